//! Small files that every step gets anew, made from those that the last step no longer needs.
//!
//! A file system pays for a new inode, and more for many that come and go within seconds, so a file
//! is emptied and renamed instead, out of the reach of the box in between. Only a file that nobody
//! can still hold is used again: nothing was left running, and it has no other name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::OFlag;

/// What a step needs: a script, the files of commands, and the list of what earlier steps made.
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
    pub fn make(&self, path: &Path) -> io::Result<()> {
        match self.take(path) {
            // Between the two somebody may have put another one there.
            Some(inode) if fs::symlink_metadata(path)?.ino() == inode => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
            None => create(path).map(drop),
        }
    }

    /// Makes a file with a text, as [`make`](Self::make) makes an empty one.
    pub fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut file = match self.take(path) {
            Some(inode) => {
                let file = open(path)?;
                if file.metadata()?.ino() != inode {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                file
            }
            None => create(path)?,
        };
        file.write_all(text)
    }

    /// Gives a waiting file a new place; returns its inode.
    fn take(&self, path: &Path) -> Option<u64> {
        let spare = self.lock().pop()?;
        fs::rename(&spare.path, path).ok()?;
        Some(spare.inode)
    }

    /// Takes a file out of the reach of the steps that follow. It is used again if the program that
    /// had it was `alone`.
    pub fn put_away(&self, path: &Path, alone: bool) {
        if !(alone && self.keep(path).is_ok()) {
            let _ = fs::remove_file(path);
        }
    }

    fn keep(&self, path: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        let is_as_made = found.is_file()
            && found.nlink() == 1
            && found.mode() & 0o7777 == 0o644
            && found.uid() == nix::unistd::geteuid().as_raw();
        let mut waiting = self.lock();
        if !is_as_made || waiting.len() >= MOST {
            return Err(io::ErrorKind::Other.into());
        }
        if found.len() > 0 {
            open(path)?.set_len(0)?;
        }
        let spare = self.dir.join(waiting.len().to_string());
        if fs::rename(path, &spare).is_err() {
            fs::create_dir_all(&self.dir)?;
            fs::rename(path, &spare)?;
        }
        waiting.push(Spare { path: spare, inode: found.ino() });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Spare>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    OpenOptions::new().write(true).custom_flags(flags.bits()).open(path)
}

#[cfg(test)]
mod tests {
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
        spares.write(&one, b"text").expect("written");
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
        spares.write(&path("new"), b"x").expect("takes the place of the link");
        assert_eq!(fs::read(path("outside")).expect("read"), b"kept");
    }
}
