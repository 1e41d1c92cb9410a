//! Reading the upper directory of an overlay, and putting it into the directory below.
//!
//! In an upper directory a character device 0/0 says "deleted" and a directory with the attribute
//! `user.overlay.opaque` hides the one below; everything else is what it is. All steps go by
//! descriptors of directories and follow no symbolic link.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::libc;
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, fstatat, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};

use crate::layer::{Change, ChangeKind, FileKind};

/// Tells two states of a changed path apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: i64,
    mode: u32,
    changed: (i64, i64),
}

/// Lists what an upper directory changes in the one below.
pub(crate) fn changes(upper: &OwnedFd, base: &OwnedFd) -> io::Result<BTreeMap<Change, Stamp>> {
    let mut found = BTreeMap::new();
    compare(upper, Some(base), Path::new(""), false, &mut found)?;
    Ok(found)
}

fn compare(
    upper: &OwnedFd,
    base: Option<&OwnedFd>,
    at: &Path,
    opaque: bool,
    found: &mut BTreeMap<Change, Stamp>,
) -> io::Result<()> {
    for name in list(upper)? {
        let path = at.join(OsStr::from_bytes(name.to_bytes()));
        let above = stat_at(upper, &name)?;
        let below = base.and_then(|base| stat_at(base, &name).ok());
        let mut tell = |kind, file| {
            found.insert(Change { path: path.clone(), kind, file }, Stamp::of(&above));
        };
        if is_whiteout(&above) {
            if let Some(below) = below {
                tell(ChangeKind::Deleted, kind_of(&below));
            }
            continue;
        }
        let is_dir = kind_of(&above) == FileKind::Directory;
        match &below {
            None => tell(ChangeKind::Added, kind_of(&above)),
            Some(below)
                if !is_dir || above.st_mode != below.st_mode || owner(&above) != owner(below) =>
            {
                tell(ChangeKind::Modified, kind_of(&above));
            }
            Some(_) => {}
        }
        if is_dir {
            let upper = open_dir(upper, &name)?;
            let opaque = is_opaque(&upper);
            let base = base.and_then(|base| open_dir(base, &name).ok());
            compare(&upper, base.as_ref(), &path, opaque, found)?;
        }
    }
    if opaque && let Some(base) = base {
        // What was below and is not above has gone with the directory that was replaced.
        for name in list(base)? {
            if stat_at(upper, &name).is_err() {
                let below = stat_at(base, &name)?;
                let path = at.join(OsStr::from_bytes(name.to_bytes()));
                let change = Change { path, kind: ChangeKind::Deleted, file: kind_of(&below) };
                found.insert(change, Stamp::of(&below));
            }
        }
    }
    Ok(())
}

impl Stamp {
    fn of(stat: &FileStat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            mode: stat.st_mode,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// Makes the directory below what the overlay showed, by hard links to the files above, which stay.
pub(crate) fn fold(upper: &OwnedFd, base: &OwnedFd) -> io::Result<()> {
    for name in list(upper)? {
        let above = stat_at(upper, &name)?;
        let below = stat_at(base, &name).ok();
        if is_whiteout(&above) {
            if below.is_some() {
                remove(base, &name)?;
            }
        } else if kind_of(&above) == FileKind::Directory {
            let from = open_dir(upper, &name)?;
            let is_kept = below.is_some_and(|below| kind_of(&below) == FileKind::Directory)
                && !is_opaque(&from);
            if !is_kept {
                if below.is_some() {
                    remove(base, &name)?;
                }
                mkdirat(base, name.as_c_str(), Mode::S_IRWXU)?;
            }
            fold(&from, &open_dir(base, &name)?)?;
            dress(base, &name, &above)?;
        } else {
            place(upper, base, &name, &above, below.as_ref())?;
        }
    }
    let own = fstat(upper)?;
    utimensat(base, c".", &accessed(&own), &modified(&own), UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

/// Copies an upper directory, with what it says is deleted, by hard links.
pub(crate) fn keep(upper: &OwnedFd, copy: &OwnedFd) -> io::Result<()> {
    for name in list(upper)? {
        let above = stat_at(upper, &name)?;
        if is_whiteout(&above) {
            mknodat(copy, name.as_c_str(), SFlag::S_IFCHR, Mode::empty(), 0)?;
        } else if kind_of(&above) == FileKind::Directory {
            let from = open_dir(upper, &name)?;
            mkdirat(copy, name.as_c_str(), Mode::S_IRWXU)?;
            let to = open_dir(copy, &name)?;
            if is_opaque(&from) {
                set_opaque(&to)?;
            }
            keep(&from, &to)?;
            dress(copy, &name, &above)?;
        } else {
            link_or_copy(upper, &name, copy, &name, &above)?;
        }
    }
    let own = fstat(upper)?;
    nix::sys::stat::fchmod(copy, Mode::from_bits_truncate(own.st_mode & 0o7777))?;
    utimensat(copy, c".", &accessed(&own), &modified(&own), UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

/// Puts one file, link or pipe in its place below.
fn place(
    upper: &OwnedFd,
    base: &OwnedFd,
    name: &CStr,
    above: &FileStat,
    below: Option<&FileStat>,
) -> io::Result<()> {
    if below.is_some_and(|below| kind_of(below) == FileKind::Directory) {
        remove(base, name)?;
    } else if below
        .is_some_and(|below| below.st_ino == above.st_ino && below.st_dev == above.st_dev)
    {
        return Ok(());
    } else if below.is_some() {
        // A file is never missing in between, which a watcher of the workspace would see.
        let temporary = CString::new([b".marline-fold-", name.to_bytes()].concat())?;
        let temporary =
            if temporary.as_bytes().len() > 255 { c".marline-fold".to_owned() } else { temporary };
        let _ = unlinkat(base, temporary.as_c_str(), UnlinkatFlags::NoRemoveDir);
        link_or_copy(upper, name, base, &temporary, above)?;
        renameat(base, temporary.as_c_str(), base, name)?;
        return Ok(());
    }
    link_or_copy(upper, name, base, name, above)
}

fn link_or_copy(
    upper: &OwnedFd,
    name: &CStr,
    base: &OwnedFd,
    to: &CStr,
    above: &FileStat,
) -> io::Result<()> {
    match linkat(upper, name, base, to, AtFlags::empty()) {
        Ok(()) => Ok(()),
        // Another file system, too many links, or one that keeps links to its owners.
        Err(Errno::EXDEV | Errno::EMLINK | Errno::EPERM) => copy(upper, name, base, to, above),
        Err(errno) => Err(errno.into()),
    }
}

fn copy(
    upper: &OwnedFd,
    name: &CStr,
    base: &OwnedFd,
    to: &CStr,
    above: &FileStat,
) -> io::Result<()> {
    match kind_of(above) {
        FileKind::Symlink => {
            let target = readlinkat(upper, name)?;
            symlinkat(target.as_os_str(), base, to)?;
        }
        FileKind::File => {
            let from = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut from = File::from(openat(upper, name, from, Mode::empty())?);
            let into = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mut into = File::from(openat(base, to, into, Mode::S_IRUSR | Mode::S_IWUSR)?);
            io::copy(&mut from, &mut into)?;
        }
        _ => mknodat(
            base,
            to,
            SFlag::from_bits_truncate(above.st_mode),
            Mode::S_IRUSR,
            above.st_rdev,
        )?,
    }
    dress(base, to, above)
}

/// Gives a path the owner, the permissions and the times of another.
fn dress(dir: &OwnedFd, name: &CStr, like: &FileStat) -> io::Result<()> {
    let (uid, gid) = owner(like);
    let owners = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let now = stat_at(dir, name)?;
    if owner(&now) != owner(like) {
        fchownat(dir, name, owners.0, owners.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    if kind_of(like) != FileKind::Symlink && now.st_mode != like.st_mode {
        let mode = Mode::from_bits_truncate(like.st_mode & 0o7777);
        fchmodat(dir, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    utimensat(dir, name, &accessed(like), &modified(like), UtimensatFlags::NoFollowSymlink)?;
    Ok(())
}

/// Removes a path with all below it.
pub(crate) fn remove(dir: &OwnedFd, name: &CStr) -> io::Result<()> {
    if kind_of(&stat_at(dir, name)?) != FileKind::Directory {
        return Ok(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?);
    }
    let inner = open_dir_to_write(dir, name)?;
    for entry in list(&inner)? {
        remove(&inner, &entry)?;
    }
    Ok(unlinkat(dir, name, UnlinkatFlags::RemoveDir)?)
}

/// Opens a directory to empty it, also one without permissions, as overlays make for themselves.
fn open_dir_to_write(dir: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    match open_dir(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fchmodat(dir, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            open_dir(dir, name)
        }
        opened => opened,
    }
}

/// Lists the names in a directory. All are read at first, as the caller may change it.
pub(crate) fn list(dir: &OwnedFd) -> io::Result<std::vec::IntoIter<CString>> {
    let mut names = Vec::new();
    for entry in Dir::from_fd(open_dir(dir, c".")?)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names.into_iter())
}

fn open_dir(dir: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

fn stat_at(dir: &OwnedFd, name: &CStr) -> nix::Result<FileStat> {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

fn kind_of(stat: &FileStat) -> FileKind {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => FileKind::File,
        libc::S_IFDIR => FileKind::Directory,
        libc::S_IFLNK => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn is_whiteout(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}

fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0_u8; 1];
    // SAFETY: the name is a C string and the buffer is as long as is said.
    let count = unsafe {
        libc::fgetxattr(
            dir.as_raw_fd(),
            c"user.overlay.opaque".as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    count == 1 && value == *b"y"
}

fn set_opaque(dir: &OwnedFd) -> io::Result<()> {
    // SAFETY: the name is a C string and the value is as long as is said.
    let set = unsafe {
        libc::fsetxattr(
            dir.as_raw_fd(),
            c"user.overlay.opaque".as_ptr(),
            b"y".as_ptr().cast(),
            1,
            0,
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn owner(stat: &FileStat) -> (u32, u32) {
    (stat.st_uid, stat.st_gid)
}

fn accessed(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_atime, stat.st_atime_nsec)
}

fn modified(stat: &FileStat) -> TimeSpec {
    TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct World {
        dir: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            for name in ["upper", "base"] {
                fs::create_dir(dir.path().join(name)).expect("made");
            }
            Self { dir }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.dir.path().join(path)
        }

        fn write(&self, path: &str, text: &str) -> &Self {
            let path = self.path(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
            self
        }

        fn open(&self, name: &str) -> OwnedFd {
            File::open(self.path(name)).expect("opened").into()
        }

        fn changes(&self) -> Vec<String> {
            let found = changes(&self.open("upper"), &self.open("base")).expect("listed");
            found
                .keys()
                .map(|change| format!("{:?} {}", change.kind, change.path.display()))
                .collect()
        }

        fn fold(&self) {
            fold(&self.open("upper"), &self.open("base")).expect("folded");
        }
    }

    #[test]
    fn a_new_tree_and_a_changed_file_are_listed_and_folded() {
        let world = World::new();
        world.write("base/a", "old").write("upper/a", "new").write("upper/d/e/f", "deep");
        symlink("nowhere", world.path("upper/d/link")).expect("a link");
        fs::set_permissions(world.path("upper/d"), fs::Permissions::from_mode(0o750)).expect("set");
        assert_eq!(
            world.changes(),
            ["Modified a", "Added d", "Added d/e", "Added d/e/f", "Added d/link"]
        );
        world.fold();
        assert_eq!(fs::read_to_string(world.path("base/a")).expect("read"), "new");
        assert_eq!(fs::read_to_string(world.path("base/d/e/f")).expect("read"), "deep");
        assert_eq!(fs::read_link(world.path("base/d/link")).expect("a link"), Path::new("nowhere"));
        assert_eq!(fs::metadata(world.path("base/d")).expect("there").mode() & 0o777, 0o750);
        assert!(world.path("upper/d/e/f").exists(), "the layer stays");
    }

    #[test]
    fn a_file_takes_the_place_of_a_directory_and_the_other_way_round() {
        let world = World::new();
        world.write("base/dir/x", "1").write("base/file", "2");
        world.write("upper/dir", "now a file").write("upper/file/y", "now below");
        world.fold();
        assert_eq!(fs::read_to_string(world.path("base/dir")).expect("read"), "now a file");
        assert_eq!(fs::read_to_string(world.path("base/file/y")).expect("read"), "now below");
    }

    #[test]
    fn folding_never_follows_a_symbolic_link_out() {
        let world = World::new();
        world.write("outside/kept", "kept").write("upper/way/kept", "overwritten");
        symlink(world.path("outside"), world.path("base/way")).expect("a link");
        world.fold();
        assert_eq!(fs::read_to_string(world.path("outside/kept")).expect("read"), "kept");
        assert_eq!(fs::read_to_string(world.path("base/way/kept")).expect("read"), "overwritten");
    }
}
