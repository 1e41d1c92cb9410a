//! What the processes of a box see of the file system.
//!
//! The mounts of the machine, copied by the new mount namespace, are made read-only in place; then
//! private and empty mounts cover what is not theirs, and what is theirs is put back on top. Paths
//! stay what they are outside. What must stay visible is taken in hand first, because a cover may
//! hide the way to it.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use crate::sys::{self, ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY};
use crate::{BoxSpec, Network};

const QUIET: u64 = ATTR_NOSUID | ATTR_NODEV;
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Private to each box.
const TEMPORARY: &[&str] = &["/tmp", "/var/tmp", "/dev/shm", "/run"];

/// Parts of the kernel that it shows to the owner of the machine, who may be the owner of the box.
const KERNEL: &[&str] = &[
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/sys/firmware",
    "/sys/fs/bpf",
    "/sys/fs/pstore",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
];

/// What name resolution and some distributions keep below `/run`.
const BELOW_RUN: &[&str] =
    &["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/current-system"];

/// An empty file that covers hidden ones; it has no name once the room is built.
const EMPTY: &str = "/dev/.empty";
/// Where the zygote keeps the workspace and the layers for itself.
const STORE: &str = "/run/.marline-box";

/// What the zygote keeps of the room it built.
pub(crate) struct Room {
    /// Our own `/proc`, writable.
    pub proc: OwnedFd,
    /// The workspace and the layers, out of the reach of the others.
    pub store: Option<Store>,
    /// Mounts inside the workspace, which each new layer must get again.
    pub inside_workspace: Vec<(PathBuf, OwnedFd)>,
}

/// The two directories that layers are made of, reached by one mount, since a hard link cannot
/// lead from one mount to another.
pub(crate) struct Store {
    pub base: OwnedFd,
    pub layers: OwnedFd,
    above: PathBuf,
    tree: OwnedFd,
}

impl Store {
    /// Opens a directory by its path outside, if it is below the one mount.
    pub(crate) fn open(&self, path: &Path) -> Option<OwnedFd> {
        let below = path.strip_prefix(&self.above).ok()?;
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH);
        openat2(&self.tree, &Path::new(".").join(below), how).ok()
    }
}

/// One change to the view, applied from the root down.
struct Cover {
    path: PathBuf,
    what: What,
}

enum What {
    /// A private directory.
    Temporary {
        bytes: u64,
    },
    /// An empty directory that nobody can write to, once mount points in it are made.
    Hidden,
    /// An empty file.
    HiddenFile,
    /// Something of the machine, or already made.
    Tree {
        tree: OwnedFd,
        is_dir: bool,
    },
    Devices(Vec<(&'static str, OwnedFd)>),
}

/// What of building a room failed, in words.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub(crate) struct RoomError {
    what: String,
    source: io::Error,
}

trait Explain<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, RoomError>;
}

impl<T, E: Into<io::Error>> Explain<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, RoomError> {
        self.map_err(|source| RoomError { what: what(), source: source.into() })
    }
}

/// Builds the view; this process must be in mount and process namespaces of its own.
pub(crate) fn build(spec: &BoxSpec) -> Result<Room, RoomError> {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .doing(|| "make mounts private".into())?;

    let proc_options = QUIET | ATTR_NOEXEC;
    let proc = sys::new_mount(c"proc", &[], proc_options).doing(|| "mount /proc".into())?;
    let own_proc =
        sys::new_mount(c"proc", &[], proc_options | ATTR_RDONLY).doing(|| "mount /proc".into())?;
    let stored = spec.layers_dir.as_ref().map(|layers| {
        let above = common(&spec.workspace, layers);
        Ok((take(&above)?, above))
    });
    let stored = stored.transpose()?;
    let mut covers = covers(spec)?;
    covers.push(Cover { path: "/proc".into(), what: What::Tree { tree: own_proc, is_dir: true } });
    // From the root down, and of two at one place the later one on top.
    covers.sort_by_key(|cover| cover.path.components().count());

    let root = reach(Path::new("/"))?;
    sys::set_attributes(root.as_fd(), ATTR_RDONLY | ATTR_NOSUID, true)
        .doing(|| "make / read-only".into())?;

    let mut read_only = Vec::new();
    let mut inside_workspace = Vec::new();
    for cover in covers {
        let path = cover.path.clone();
        let Some(placed) = apply(cover).doing(|| format!("cover {}", path.display()))? else {
            continue;
        };
        if placed.becomes_read_only {
            read_only.push(placed.root.try_clone().doing(|| "keep a mount".into())?);
        }
        if path != spec.workspace && path.starts_with(&spec.workspace) {
            inside_workspace.push((path, placed.root));
        }
    }
    let store = stored.map(|(tree, above)| store(spec, &tree, above)).transpose()?;
    // Fails only where no hidden file needed it.
    let _ = fs::remove_file(EMPTY);
    for mount in read_only {
        sys::set_attributes(mount.as_fd(), ATTR_RDONLY, false).doing(|| "close a cover".into())?;
    }
    std::env::set_current_dir("/").doing(|| "enter /".into())?;
    Ok(Room { proc, store, inside_workspace })
}

fn covers(spec: &BoxSpec) -> Result<Vec<Cover>, RoomError> {
    let mut covers = Vec::new();
    let mut cover = |path: &Path, what| covers.push(Cover { path: path.to_owned(), what });
    let devices =
        DEVICES.iter().filter_map(|name| Some((*name, take(&Path::new("/dev").join(name)).ok()?)));
    cover(Path::new("/dev"), What::Devices(devices.collect()));
    for path in TEMPORARY {
        cover(Path::new(path), What::Temporary { bytes: spec.tmp_bytes });
    }
    let kernel = KERNEL.iter().map(PathBuf::from);
    for path in kernel.chain(spec.hidden.iter().cloned()) {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => cover(&path, What::Hidden),
            Ok(_) => cover(&path, What::HiddenFile),
            Err(_) => {}
        }
    }
    let below_run = BELOW_RUN.iter().map(PathBuf::from).filter(|path| path.exists());
    for path in below_run.chain(spec.readable.iter().cloned()) {
        let tree = take(&path)?;
        sys::set_attributes(tree.as_fd(), ATTR_RDONLY | QUIET, true)
            .doing(|| format!("make {} read-only", path.display()))?;
        cover(&path, What::Tree { tree, is_dir: path.is_dir() });
    }
    for path in [&spec.workspace].into_iter().chain(&spec.writable) {
        let tree = take(path)?;
        sys::set_attributes(tree.as_fd(), QUIET, true)
            .doing(|| format!("restrict {}", path.display()))?;
        cover(path, What::Tree { tree, is_dir: path.is_dir() });
    }
    Ok(covers)
}

struct Placed {
    root: OwnedFd,
    becomes_read_only: bool,
}

/// Puts one cover in its place; `None` when there is no such place, so that nothing is to cover.
fn apply(cover: Cover) -> io::Result<Option<Placed>> {
    let Cover { path, what } = cover;
    let (mount, becomes_read_only) = match what {
        What::Temporary { bytes } => {
            if !path.exists() && fs::create_dir(&path).is_err() {
                return Ok(None);
            }
            let mode = if path == Path::new("/run") { c"0755" } else { c"1777" };
            (tmpfs(bytes, mode, QUIET)?, false)
        }
        What::Hidden => {
            if !path.exists() {
                return Ok(None);
            }
            (tmpfs(1 << 20, c"0755", QUIET | ATTR_NOEXEC)?, true)
        }
        What::HiddenFile => {
            if fs::symlink_metadata(&path).is_err() {
                return Ok(None);
            }
            (sys::clone_tree(AT_FDCWD, &c_path(Path::new(EMPTY)))?, true)
        }
        What::Tree { tree, is_dir } => {
            make_place(&path, is_dir)?;
            (tree, false)
        }
        What::Devices(devices) => return place_devices(devices).map(Some),
    };
    let root = place(&mount, &path)?;
    Ok(Some(Placed { root, becomes_read_only }))
}

/// Attaches a mount and returns its root.
fn place(mount: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let target = open_path(path)?;
    sys::attach(mount.as_fd(), target.as_fd())?;
    open_path(path)
}

fn place_devices(devices: Vec<(&'static str, OwnedFd)>) -> io::Result<Placed> {
    let dev = Path::new("/dev");
    let root = place(&tmpfs(1 << 20, c"0755", ATTR_NOSUID)?, dev)?;
    for (name, device) in devices {
        let path = dev.join(name);
        File::create(&path)?;
        place(&device, &path)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name))?;
    }
    fs::create_dir(dev.join("shm"))?;
    fs::create_dir(dev.join("pts"))?;
    let options = [(c"ptmxmode", Some(c"0666")), (c"mode", Some(c"0620"))];
    let terminals = sys::new_mount(c"devpts", &options, ATTR_NOSUID | ATTR_NOEXEC)?;
    place(&terminals, &dev.join("pts"))?;
    File::create(EMPTY)?;
    Ok(Placed { root, becomes_read_only: true })
}

/// Makes the directories, and the file, that a mount needs to be put on. They can only come to be
/// in covers of ours, as all else is read-only by now.
fn make_place(path: &Path, is_dir: bool) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if is_dir {
        return fs::create_dir_all(path);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    File::create(path).map(drop)
}

fn store(spec: &BoxSpec, tree: &OwnedFd, above: PathBuf) -> Result<Store, RoomError> {
    let place_all = || -> io::Result<Store> {
        let (dir, inner) = (Path::new(STORE), Path::new(STORE).join("tree"));
        fs::create_dir(dir)?;
        place(&tmpfs(4096, c"0700", QUIET)?, dir)?;
        fs::create_dir(&inner)?;
        place(tree, &inner)?;
        let open_in = |path: &Path| {
            let below = path.strip_prefix(&above).unwrap_or(path);
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            open(&inner.join(below), flags, Mode::empty())
        };
        let base = open_in(&spec.workspace)?;
        let layers = open_in(spec.layers_dir.as_deref().unwrap_or(&spec.workspace))?;
        let tree = open_in(&above)?;
        // From here on the way to it is closed; we have the descriptors.
        place(&tmpfs(4096, c"0000", QUIET | ATTR_RDONLY)?, dir)?;
        Ok(Store { base, layers, above: above.clone(), tree })
    };
    place_all().doing(|| "keep the workspace for layers".into())
}

/// Finds the deepest directory that is above both.
fn common(one: &Path, other: &Path) -> PathBuf {
    let both = one.components().zip(other.components());
    both.take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
}

fn tmpfs(bytes: u64, mode: &CStr, attributes: u64) -> io::Result<OwnedFd> {
    let size = CString::new(bytes.to_string())?;
    sys::new_mount(c"tmpfs", &[(c"size", Some(&size)), (c"mode", Some(mode))], attributes)
}

/// Takes what is at a path in hand, with all mounts below it.
fn take(path: &Path) -> Result<OwnedFd, RoomError> {
    let from = reach(path)?;
    let tree = sys::clone_tree(from.as_fd(), c"").doing(|| format!("take {}", path.display()))?;
    Ok(tree)
}

fn reach(path: &Path) -> Result<OwnedFd, RoomError> {
    open_path(path).doing(|| format!("reach {}", path.display()))
}

/// Opens a place without following a symbolic link anywhere on the way.
pub(crate) fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(AT_FDCWD, path, how)?)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("paths of the system hold no zero byte")
}

/// Gives the box its name and its network.
pub(crate) fn name_and_network(spec: &BoxSpec) -> Result<(), RoomError> {
    if let Some(name) = &spec.hostname {
        nix::unistd::sethostname(name).doing(|| "set the host name".into())?;
    }
    if spec.network == Network::None {
        sys::loopback_up().doing(|| "switch loopback on".into())?;
    }
    Ok(())
}
