//! Layers over the workspace: at most one is open at a time.
//!
//! A layer stays open while anything runs in the box, because a process that works in the overlay
//! would not see what a later one writes elsewhere. A layer that nobody wrote to is used again.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};

use crate::fold;
use crate::layer::{Change, list_name, write_list};
use crate::room::{Room, Store, open_path};
use crate::sys::{self, ATTR_NODEV, ATTR_NOSUID};

/// The layers of one box.
pub(crate) struct Stack {
    store: Store,
    workspace: PathBuf,
    inside_workspace: Vec<(PathBuf, OwnedFd)>,
    open: Option<OpenLayer>,
    next: u64,
    /// Where overlays go when nobody needs them: the kernel waits for all processors before it
    /// lets one go, so a thread does that while the next step starts.
    graves: Sender<OwnedFd>,
}

struct OpenLayer {
    number: u64,
    name: String,
    upper: OwnedFd,
    /// Keeps the overlay alive until the thread has it.
    overlay: OwnedFd,
    /// How many lists of changes have been written, and what was in them.
    parts: u32,
    told: BTreeMap<Change, fold::Stamp>,
}

/// What a process left in the open layer.
pub(crate) struct Left {
    pub number: u64,
    pub part: u32,
    pub shared: bool,
}

impl Stack {
    /// Takes over the workspace of a room that was built for layers.
    pub(crate) fn new(workspace: PathBuf, room: &mut Room) -> Option<Self> {
        let store = room.store.take()?;
        let inside_workspace = std::mem::take(&mut room.inside_workspace);
        let next = 1 + highest_number(&store.layers);
        let (graves, dead) = channel();
        std::thread::Builder::new()
            .name("graves".to_owned())
            .spawn(move || dead.into_iter().for_each(drop))
            .ok()?;
        Some(Self { store, workspace, inside_workspace, open: None, next, graves })
    }

    /// Makes sure that a layer is open.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            return Ok(());
        }
        let number = self.next;
        let name = number.to_string();
        let layers = self.store.layers.as_fd();
        mkdirat(layers, name.as_str(), Mode::from_bits_truncate(0o755))?;
        self.next += 1;
        let upper = self.make_upper(&name)?;
        match self.mount(&name) {
            Ok(overlay) => {
                let told = BTreeMap::new();
                self.open = Some(OpenLayer { number, name, upper, overlay, parts: 0, told });
                Ok(())
            }
            Err(error) => {
                self.remove(&name);
                Err(error)
            }
        }
    }

    /// Makes the upper directory look like the workspace, as it becomes the workspace.
    fn make_upper(&self, name: &str) -> io::Result<OwnedFd> {
        let layers = self.store.layers.as_fd();
        let upper = format!("{name}/upper");
        mkdirat(layers, upper.as_str(), Mode::from_bits_truncate(0o755))?;
        mkdirat(layers, format!("{name}/work").as_str(), Mode::from_bits_truncate(0o700))?;
        let base = fstat(&self.store.base)?;
        let (owner, group) = (Uid::from_raw(base.st_uid), Gid::from_raw(base.st_gid));
        // Fails only where the owner is one that this box does not know.
        let _ = fchownat(layers, upper.as_str(), Some(owner), Some(group), AtFlags::empty());
        let mode = Mode::from_bits_truncate(base.st_mode & 0o7777);
        fchmodat(layers, upper.as_str(), mode, FchmodatFlags::FollowSymlink)?;
        Ok(openat(layers, upper.as_str(), OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    fn mount(&self, name: &str) -> io::Result<OwnedFd> {
        let lower = CString::new(format!("/proc/self/fd/{}", self.store.base.as_raw_fd()))?;
        let above = format!("/proc/self/fd/{}/{name}", self.store.layers.as_raw_fd());
        let upper = CString::new(format!("{above}/upper"))?;
        let work = CString::new(format!("{above}/work"))?;
        let options = [
            (c"lowerdir", Some(lower.as_c_str())),
            (c"upperdir", Some(upper.as_c_str())),
            (c"workdir", Some(work.as_c_str())),
            (c"userxattr", None),
            // A layer of a box that crashed is thrown away, so nothing needs to reach the disk.
            (c"volatile", None),
        ];
        let overlay = sys::new_mount(c"overlay", &options, ATTR_NOSUID | ATTR_NODEV)?;
        sys::attach(overlay.as_fd(), open_path(&self.workspace)?.as_fd())?;
        for (path, root) in &self.inside_workspace {
            let copy = sys::clone_tree(root.as_fd(), c"")?;
            sys::attach(copy.as_fd(), open_path(path)?.as_fd())?;
        }
        Ok(overlay)
    }

    /// Records what a layered process changed. When it was `alone` the layer is folded, too, unless
    /// it is to `hold` what it changed until somebody has looked at what lies below.
    pub(crate) fn end(&mut self, alone: bool, hold: bool) -> io::Result<Option<Left>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        if open.parts == 0 && is_untouched(&open.upper, &self.store.base)? {
            return Ok(None);
        }
        let found = fold::changes(&open.upper, &self.store.base)?;
        let news: Vec<Change> = found
            .iter()
            .filter(|(change, stamp)| open.told.get(change) != Some(stamp))
            .map(|(change, _)| change.clone())
            .collect();
        let left = if news.is_empty() {
            None
        } else {
            let part = open.parts;
            open.parts += 1;
            let list = format!("{}/{}", open.name, list_name(part));
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
            let file =
                openat(&self.store.layers, list.as_str(), flags, Mode::from_bits_truncate(0o644))?;
            File::from(file).write_all(&write_list(&news))?;
            Some(Left { number: open.number, part, shared: !alone || part > 0 })
        };
        open.told = found;
        if alone && !(hold && left.is_some()) {
            self.fold()?;
        }
        Ok(left)
    }

    /// Folds the open layer; one that nobody wrote to stays for the next step.
    pub(crate) fn fold_changes(&mut self) -> io::Result<()> {
        match &self.open {
            Some(open) if open.parts == 0 && is_untouched(&open.upper, &self.store.base)? => Ok(()),
            _ => self.fold(),
        }
    }

    /// Puts an open layer into the workspace and closes it.
    pub(crate) fn fold(&mut self) -> io::Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        umount2(&self.workspace, MntFlags::MNT_DETACH)?;
        // If the thread is gone the overlay is dropped right here, which only takes longer.
        let _ = self.graves.send(open.overlay);
        fold::fold(&open.upper, &self.store.base)?;
        self.remove_work(&open.name);
        if open.parts == 0 {
            self.remove(&open.name);
        }
        Ok(())
    }

    /// Puts a layer recorded earlier into the workspace: the one at `upper`, which `opened` is, too.
    pub(crate) fn replay(&mut self, upper: &Path, opened: OwnedFd) -> io::Result<()> {
        self.fold()?;
        // By our own mount its files can be linked; by the caller's they can only be copied.
        fold::fold(&self.store.open(upper).unwrap_or(opened), &self.store.base)
    }

    fn remove_work(&self, name: &str) {
        let layers = self.store.layers.as_fd();
        if let Ok(dir) = openat(layers, name, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        {
            let _ = fold::remove(&dir, c"work");
        }
    }

    /// Removes a layer that holds nothing.
    fn remove(&self, name: &str) {
        self.remove_work(name);
        let layers = self.store.layers.as_fd();
        let _ = unlinkat(layers, format!("{name}/upper").as_str(), UnlinkatFlags::RemoveDir);
        let _ = unlinkat(layers, name, UnlinkatFlags::RemoveDir);
    }
}

/// Tells cheaply whether nothing was written to a layer.
fn is_untouched(upper: &OwnedFd, base: &OwnedFd) -> io::Result<bool> {
    let (above, below) = (fstat(upper)?, fstat(base)?);
    if above.st_mode != below.st_mode {
        return Ok(false);
    }
    let mut dir = fold::list(upper)?;
    Ok(dir.next().is_none())
}

fn highest_number(layers: &OwnedFd) -> u64 {
    let Ok(copy) = openat(layers, c".", OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
    else {
        return 0;
    };
    let Ok(dir) = Dir::from_fd(copy) else { return 0 };
    let names = dir.into_iter().flatten();
    names.filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok()).max().unwrap_or(0)
}
