//! Small files that every step gets anew, made from those that the last step no longer needs.
//!
//! A file system pays for a new inode, and more for many that come and go within seconds, so a file
//! is emptied and renamed instead, out of the reach of the box in between. Only a file that nobody
//! can still hold is used again: nothing was left running, and it has no other name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::OFlag;

/// What a job needs at most at a time: a script and the files of commands.
const MOST: usize = 8;

/// The files of a job that wait for their next use.
#[derive(Debug)]
pub(super) struct Spares {
    dir: PathBuf,
    waiting: Mutex<Vec<Spare>>,
}

#[derive(Debug)]
struct Spare {
    path: PathBuf,
    inode: u64,
}

impl Spares {
    /// Keeps files in a directory that the box does not see; it is made when it is needed.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, waiting: Mutex::default() }
    }

    /// Makes an empty file. What is at its place already, which may be a link that leads elsewhere,
    /// is an error or goes.
    pub fn make(&self, path: &Path) -> io::Result<File> {
        let spare = self.lock().pop();
        if let Some(spare) = spare
            && fs::rename(&spare.path, path).is_ok()
        {
            let file = open(path)?;
            // Between the two somebody may have put another one there.
            if file.metadata()?.ino() == spare.inode {
                return Ok(file);
            }
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
    }

    /// Takes a file out of the reach of the steps that follow. It is used again if the program that
    /// had it was `alone`.
    pub fn put_away(&self, path: &Path, alone: bool) {
        if !(alone && self.keep(path).is_ok()) {
            let _ = fs::remove_file(path);
        }
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let file = open(path)?;
        let found = file.metadata()?;
        let is_as_made = found.is_file()
            && found.nlink() == 1
            && found.mode() & 0o7777 == 0o644
            && found.uid() == nix::unistd::geteuid().as_raw();
        let mut waiting = self.lock();
        if !is_as_made || waiting.len() >= MOST {
            return Err(io::ErrorKind::Other.into());
        }
        if found.len() > 0 {
            file.set_len(0)?;
        }
        let spare = self.dir.join(waiting.len().to_string());
        if waiting.is_empty() {
            fs::create_dir_all(&self.dir)?;
        }
        fs::rename(path, &spare)?;
        waiting.push(Spare { path: spare, inode: found.ino() });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Spare>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn spares() -> (tempfile::TempDir, Spares) {
        let dir = tempfile::tempdir().expect("a directory");
        let spares = Spares::new(dir.path().join("spare"));
        (dir, spares)
    }

    fn inode(path: &Path) -> u64 {
        fs::metadata(path).expect("there").ino()
    }

    #[test]
    fn a_file_that_nobody_holds_is_used_again_and_empty() {
        let (dir, spares) = spares();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        spares.make(&one).expect("made").write_all(b"text").expect("written");
        let before = inode(&one);
        spares.put_away(&one, true);
        assert!(!one.exists());
        spares.make(&two).expect("made");
        assert_eq!((inode(&two), fs::read(&two).expect("read")), (before, Vec::new()));
    }

    #[test]
    fn a_file_that_somebody_may_hold_is_not_used_again() {
        let (dir, spares) = spares();
        let path = |name: &str| dir.path().join(name);
        for (name, spoil) in [
            ("linked", &(|| fs::hard_link(path("linked"), path("other"))) as &dyn Fn() -> _),
            ("closed", &|| {
                fs::set_permissions(
                    path("closed"),
                    std::os::unix::fs::PermissionsExt::from_mode(0o600),
                )
            }),
            ("link", &|| {
                fs::remove_file(path("link"))?;
                std::os::unix::fs::symlink(path("other"), path("link"))
            }),
        ] {
            spares.make(&path(name)).expect("made");
            spoil().expect("spoiled");
            spares.put_away(&path(name), true);
            assert!(fs::symlink_metadata(path(name)).is_err(), "{name} is gone");
            assert!(spares.lock().is_empty(), "{name} is not kept");
        }
        spares.make(&path("running")).expect("made");
        spares.put_away(&path("running"), false);
        assert!(!path("running").exists() && spares.lock().is_empty());
    }

    #[test]
    fn a_link_in_the_place_of_a_new_file_is_not_followed() {
        let (dir, spares) = spares();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("outside"), "kept").expect("written");
        let link = || std::os::unix::fs::symlink(path("outside"), path("new")).expect("a link");
        link();
        assert!(spares.make(&path("new")).is_err());
        spares.make(&path("old")).expect("made");
        spares.put_away(&path("old"), true);
        spares
            .make(&path("new"))
            .expect("takes the place of the link")
            .write_all(b"x")
            .expect("written");
        assert_eq!(fs::read(path("outside")).expect("read"), b"kept");
    }
}
