//! What a step looks at: every path it names and every address it reaches, while it runs.
//!
//! A filter (see [`calls`]) stops each system call that names a path or an address; a thread of the
//! caller reads the name from the memory of the process and lets the call go on. The kernel reads
//! that memory again, so a process that changes it meanwhile deceives only the record of its own
//! step. What cannot be read is never taken for nothing: then [`Seen::lost`] says so.
#![allow(unsafe_code)]

pub(crate) mod calls;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::wire;
use calls::{Act, CALLS, Call};

/// How much may be remembered of one step.
const MOST_PATHS: usize = 1_000_000;
const MOST_BYTES: usize = 128 << 20;
const MOST_DESTINATIONS: usize = 1000;

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const IS_VALID: libc::c_ulong = 0x4008_2102;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;

/// How a step used a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Uses(u16);

impl Uses {
    /// It was looked at, following a symbolic link.
    pub const LOOKED: Self = Self(1);
    /// It was looked at without following a symbolic link.
    pub const LINK: Self = Self(2);
    /// It was opened such that its content matters: to be read, or to be changed in part.
    pub const READ: Self = Self(4);
    /// It was opened to be written, or changed in another way.
    pub const WRITTEN: Self = Self(8);
    /// It was executed.
    pub const EXECUTED: Self = Self(16);
    /// It was made, or may have been.
    pub const MADE: Self = Self(32);
    /// It was made by a call that fails where something is already, before it was removed.
    pub const NEW: Self = Self(64);
    /// It was removed or renamed.
    pub const REMOVED: Self = Self(128);

    /// Tells whether all of these uses are among them.
    pub fn has(self, uses: Self) -> bool {
        self.0 & uses.0 == uses.0
    }

    /// Tells whether any of these uses is among them.
    pub fn has_any(self, uses: Self) -> bool {
        self.0 & uses.0 != 0
    }
}

impl std::ops::BitOr for Uses {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Uses {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// What was seen of a step.
#[derive(Debug, Default)]
pub struct Seen {
    /// Every path that it named, absolute but not made shorter, with its uses.
    pub paths: HashMap<Vec<u8>, Uses>,
    /// What became another name for something: links and renamed paths, first the new name.
    pub aliases: Vec<(PathBuf, PathBuf)>,
    /// Where it sent something or tried to, besides what was served from inside the box.
    pub reached: BTreeSet<SocketAddr>,
    /// Why something may be missing here.
    pub lost: Option<String>,
    /// What processes of the box see as `/`.
    root: Option<OwnedFd>,
    bytes: usize,
    served: BTreeSet<SocketAddr>,
}

impl Seen {
    /// Tells whether there is something at a path as the box sees it; links are not followed.
    ///
    /// None when that cannot be known.
    pub fn is_there(&self, path: &Path) -> Option<bool> {
        let root = self.root.as_ref()?;
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        match openat2(root, path, how) {
            Ok(_) => Some(true),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => Some(false),
            Err(_) => None,
        }
    }

    /// Tells whether a directory of the box is empty; none when that cannot be known.
    pub fn is_empty(&self, dir: &Path) -> Option<bool> {
        let root = self.root.as_ref()?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        match openat2(root, dir, how) {
            Ok(dir) => Some(crate::fold::list(&dir).ok()?.next().is_none()),
            Err(nix::errno::Errno::ENOENT) => Some(true),
            Err(_) => None,
        }
    }

    fn lose(&mut self, why: impl Into<String>) {
        self.lost.get_or_insert_with(|| why.into());
    }

    fn note(&mut self, path: Vec<u8>, uses: Uses) {
        if self.lost.is_some() {
            return;
        }
        if self.paths.len() >= MOST_PATHS || self.bytes >= MOST_BYTES {
            return self.lose("it named more paths than are remembered");
        }
        let known = self.paths.entry(path);
        if let std::collections::hash_map::Entry::Vacant(vacant) = &known {
            self.bytes += vacant.key().len() + 64;
        }
        let known = known.or_default();
        // What is made anew after it was removed was not new at first.
        let uses = if known.has(Uses::REMOVED) { Uses(uses.0 & !Uses::NEW.0) } else { uses };
        *known |= uses;
    }
}

/// What a thread does that observes one step.
type Watch = Box<dyn FnOnce() + Send>;

/// Threads that wait for another step to observe: to make one costs more than a short step.
static IDLE: Mutex<Vec<mpsc::Sender<Watch>>> = Mutex::new(Vec::new());

/// Observes on a thread that waits, or on a new one.
fn watch(mut work: Watch) -> io::Result<()> {
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some(thread) = idle().pop() {
        match thread.send(work) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(back)) => work = back,
        }
    }
    std::thread::Builder::new().name("observer".to_owned()).spawn(move || {
        let (sender, next) = mpsc::channel();
        work();
        loop {
            idle().push(sender.clone());
            // There is a sender right here, so this waits for ever.
            let Ok(work) = next.recv() else { return };
            work();
        }
    })?;
    Ok(())
}

/// The observer of one step.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    seen: Arc<Mutex<Seen>>,
    /// What the box tries to execute at first, for which its own memory is not to be read.
    programs: Arc<[Vec<u8>]>,
}

impl Observer {
    /// Starts to wait for the listener of a process, which comes over the socket.
    pub(crate) fn start(socket: OwnedFd, programs: Vec<Vec<u8>>) -> io::Result<Self> {
        let seen = Seen { lost: Some("it could not be observed".to_owned()), ..Seen::default() };
        let observer = Self { seen: Arc::new(Mutex::new(seen)), programs: programs.into() };
        let other = observer.clone();
        watch(Box::new(move || {
            let Ok(Some((_, fds))) = wire::receive(socket.as_fd(), &mut Vec::new()) else { return };
            drop(socket);
            if let Some(listener) = fds.into_iter().next() {
                {
                    let mut seen = other.seen();
                    seen.lost = None;
                    for program in other.programs.iter() {
                        seen.note(program.clone(), Uses::EXECUTED | Uses::READ);
                    }
                }
                other.observe(&listener);
            }
        }))?;
        Ok(observer)
    }

    /// Takes what was seen so far.
    pub(crate) fn take(&self) -> Seen {
        let left = Seen { lost: Some("it has ended".to_owned()), ..Seen::default() };
        std::mem::replace(&mut *self.seen(), left)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at each call and lets it go on, until nobody is left who could make one.
    fn observe(&self, listener: &OwnedFd) {
        // Wakes each side on the processor of the other; kernels before 6.6 do without.
        // SAFETY: only integers are passed.
        unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS, 1_u64) };
        // One call for each program that is tried, until it is the program itself that calls.
        let mut tried = 0;
        loop {
            // SAFETY: all zeroes is a valid value, and the kernel asks for one.
            let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: the pointer is to a live structure of the size that the request says.
            let received = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE, &raw mut call) };
            if received < 0 {
                match io::Error::last_os_error().raw_os_error() {
                    // The process was killed before we looked, or we were interrupted.
                    Some(libc::ENOENT) if !is_over(listener) => continue,
                    Some(libc::EINTR) => continue,
                    _ => return,
                }
            }
            let is_try = i64::from(call.data.nr) == libc::SYS_execve && tried < self.programs.len();
            tried = if is_try { tried + 1 } else { usize::MAX };
            self.look(listener, &call, is_try);
            let mut answer = libc::seccomp_notif_resp {
                id: call.id,
                val: 0,
                error: 0,
                flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            };
            // SAFETY: the pointer is to a live structure of the size that the request says. It
            // fails when the process has gone, which the next request shows.
            unsafe { libc::ioctl(listener.as_raw_fd(), SEND, &raw mut answer) };
        }
    }

    fn look(&self, listener: &OwnedFd, call: &libc::seccomp_notif, is_try: bool) {
        let stopped = Stopped { pid: call.pid as i32, arguments: call.data.args };
        let mut seen = self.seen();
        if seen.root.is_none() {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let path = format!("/proc/{}/root", stopped.pid);
            seen.root = open(path.as_str(), flags, Mode::empty()).ok();
        }
        let number = i64::from(call.data.nr);
        let looked = match CALLS.iter().find(|known| known.number == number) {
            Some(known) => stopped.names(known, &mut seen),
            None => stopped.reaches(number, &mut seen),
        };
        if let Err(why) = looked
            && !is_try
        {
            let id = call.id;
            // SAFETY: the pointer is to a live integer.
            let valid = unsafe { libc::ioctl(listener.as_raw_fd(), IS_VALID, &raw const id) };
            // A process that has gone saw nothing.
            if valid == 0 {
                seen.lose(why);
            }
        }
    }
}

/// Tells whether no process is left that the filter could stop.
fn is_over(listener: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO);
    polled.is_err()
        || fds[0].revents().is_some_and(|events| {
            events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL)
        })
}

/// A process that waits at a system call.
struct Stopped {
    pid: i32,
    arguments: [u64; 6],
}

impl Stopped {
    fn names(&self, call: &Call, seen: &mut Seen) -> Result<(), String> {
        let Some(path) = self.path(call.dir, call.path)? else { return Ok(()) };
        let uses = match call.act {
            Act::Open(flags) => opened(self.arguments[flags] as i32),
            Act::OpenHow(how) => {
                let bytes = self.memory(self.arguments[how], 8)?;
                let bytes: [u8; 8] = bytes.try_into().map_err(|_| "a call was cut short")?;
                opened(u64::from_ne_bytes(bytes) as i32)
            }
            Act::Create => Uses::WRITTEN | Uses::MADE | Uses::LOOKED,
            Act::Look => Uses::LOOKED,
            Act::LookAtLink => Uses::LINK,
            Act::LookBy(flags) => {
                let no_follow = self.arguments[flags] as i32 & libc::AT_SYMLINK_NOFOLLOW != 0;
                if no_follow { Uses::LINK } else { Uses::LOOKED }
            }
            Act::Execute => Uses::EXECUTED | Uses::READ,
            Act::Make => Uses::LINK | Uses::MADE | Uses::NEW | Uses::WRITTEN,
            Act::Remove => Uses::LINK | Uses::REMOVED | Uses::WRITTEN,
            Act::Change => Uses::LINK | Uses::READ | Uses::WRITTEN,
            Act::Rename(dir, other) => {
                self.alias(&path, dir, other, seen)?;
                Uses::LINK | Uses::READ | Uses::REMOVED | Uses::WRITTEN
            }
            Act::Link(dir, other) => {
                self.alias(&path, dir, other, seen)?;
                Uses::LINK | Uses::READ
            }
            Act::Symlink(text) => {
                let text = self.text(self.arguments[text])?;
                let link = PathBuf::from(std::ffi::OsString::from_vec(path.clone()));
                let target = link.parent().unwrap_or(&link).join(OsStr::from_bytes(&text));
                seen.aliases.push((link, target));
                Uses::LINK | Uses::MADE | Uses::NEW | Uses::WRITTEN
            }
        };
        seen.note(path, uses);
        Ok(())
    }

    /// Notes the other name of a path.
    fn alias(
        &self,
        path: &[u8],
        dir: Option<usize>,
        other: usize,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let Some(other) = self.path(dir, other)? else { return Ok(()) };
        let as_path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        seen.aliases.push((as_path(&other), as_path(path)));
        if seen.aliases.len() > MOST_PATHS {
            return Err("it linked or renamed more paths than are remembered".to_owned());
        }
        seen.note(other, Uses::LINK | Uses::MADE | Uses::WRITTEN);
        Ok(())
    }

    /// Reads a path and makes it absolute. None when it names only an open file.
    fn path(&self, dir: Option<usize>, path: usize) -> Result<Option<Vec<u8>>, String> {
        let pointer = self.arguments[path];
        if pointer == 0 {
            return Ok(None);
        }
        let name = self.text(pointer)?;
        if name.starts_with(b"/") {
            return Ok(Some(name));
        }
        let dir = dir.map_or(libc::AT_FDCWD, |dir| self.arguments[dir] as i32);
        let link = if dir == libc::AT_FDCWD {
            format!("/proc/{}/cwd", self.pid)
        } else {
            format!("/proc/{}/fd/{dir}", self.pid)
        };
        if name.is_empty() && dir != libc::AT_FDCWD {
            return Ok(None);
        }
        let dir = match std::fs::read_link(link) {
            Ok(dir) => dir.into_os_string().into_vec(),
            // A number that is no open file: the call fails.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("a path could not be followed: {error}")),
        };
        Ok(Some([&dir, b"/".as_slice(), &name].concat()))
    }

    /// Reads a text that ends with a zero byte.
    fn text(&self, pointer: u64) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        let mut at = pointer;
        while text.len() < libc::PATH_MAX as usize {
            // Never over the end of a page, as the next one may not be there. Most are short.
            let most = if text.is_empty() { 256 } else { 4096 };
            let room = (4096 - (at % 4096) as usize).min(most);
            let bytes = match self.memory(at, room) {
                Ok(bytes) => bytes,
                // A bad address: the call fails.
                Err(error) if error.contains("EFAULT") => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&bytes[..end]);
                return Ok(text);
            }
            text.extend_from_slice(&bytes);
            at += room as u64;
        }
        Ok(text)
    }

    fn memory(&self, pointer: u64, count: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; count];
        let remote = [RemoteIoVec { base: pointer as usize, len: count }];
        let read =
            process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(&mut bytes)], &remote)
                .map_err(|errno| format!("the memory of a process could not be read: {errno:?}"))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Notes the addresses of a call that connects or sends.
    fn reaches(&self, number: i64, seen: &mut Seen) -> Result<(), String> {
        let addresses = match number {
            libc::SYS_connect => vec![self.address(self.arguments[1], self.arguments[2])?],
            libc::SYS_sendto => vec![self.address(self.arguments[4], self.arguments[5])?],
            libc::SYS_sendmsg => vec![self.message(self.arguments[1])?],
            libc::SYS_sendmmsg => {
                let count = self.arguments[2].min(1024);
                let each = size_of::<libc::mmsghdr>() as u64;
                (0..count)
                    .map(|at| self.message(self.arguments[1] + at * each))
                    .collect::<Result<_, _>>()?
            }
            _ => return Ok(()),
        };
        for address in addresses.into_iter().flatten() {
            match address {
                Address::Internet(address) => {
                    if seen.served.contains(&address) || seen.reached.contains(&address) {
                        continue;
                    }
                    if address.ip().is_loopback() && self.is_served_inside(address.port()) {
                        seen.served.insert(address);
                    } else if seen.reached.len() < MOST_DESTINATIONS {
                        seen.reached.insert(address);
                    }
                }
                Address::Local(path) => {
                    let path = if path.starts_with(b"/") {
                        path
                    } else {
                        let dir = std::fs::read_link(format!("/proc/{}/cwd", self.pid))
                            .map_err(|error| error.to_string())?;
                        [dir.as_os_str().as_bytes(), b"/", &path].concat()
                    };
                    seen.note(path, Uses::LOOKED);
                }
            }
        }
        Ok(())
    }

    /// Reads the address of a message, if it has one.
    fn message(&self, pointer: u64) -> Result<Option<Address>, String> {
        // A message begins with the pointer to the address and its length.
        let head = self.memory(pointer, 12)?;
        let (Some(name), Some(length)) = (head.first_chunk::<8>(), head.last_chunk::<4>()) else {
            return Ok(None);
        };
        self.address(u64::from_ne_bytes(*name), u64::from(u32::from_ne_bytes(*length)))
    }

    fn address(&self, pointer: u64, length: u64) -> Result<Option<Address>, String> {
        if pointer == 0 || length < 2 {
            return Ok(None);
        }
        let bytes = self.memory(pointer, length.min(128) as usize)?;
        Ok(read_address(&bytes))
    }

    /// Tells whether a process of this box listens on a port of the loopback interface.
    fn is_served_inside(&self, port: u16) -> bool {
        let mut sockets = BTreeSet::new();
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            let path = format!("/proc/{}/net/{table}", self.pid);
            let text = std::fs::read_to_string(path).unwrap_or_default();
            for line in text.lines().skip(1) {
                let mut fields = line.split_whitespace();
                let local = fields.nth(1).unwrap_or_default();
                let is_port = local
                    .rsplit_once(':')
                    .is_some_and(|(_, text)| u16::from_str_radix(text, 16) == Ok(port));
                // 0A listens; a datagram socket that nobody is connected to is 07.
                let state = fields.nth(1).unwrap_or_default();
                if is_port && matches!(state, "0A" | "07") {
                    sockets.insert(format!("socket:[{}]", fields.nth(5).unwrap_or_default()));
                }
            }
        }
        if sockets.is_empty() {
            return false;
        }
        // Its own /proc shows the processes of the box and no others.
        let processes = std::fs::read_dir(format!("/proc/{}/root/proc", self.pid));
        processes.into_iter().flatten().flatten().any(|process| {
            let files = std::fs::read_dir(process.path().join("fd"));
            files.into_iter().flatten().flatten().any(|file| {
                std::fs::read_link(file.path())
                    .is_ok_and(|to| to.to_str().is_some_and(|to| sockets.contains(to)))
            })
        })
    }
}

enum Address {
    Internet(SocketAddr),
    Local(Vec<u8>),
}

fn read_address(bytes: &[u8]) -> Option<Address> {
    let family = i32::from(u16::from_ne_bytes(*bytes.first_chunk()?));
    let port = || Some(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?));
    match family {
        libc::AF_INET => {
            let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            let ip = Ipv4Addr::from(ip);
            // To nowhere is to this machine.
            let ip = if ip.is_unspecified() { Ipv4Addr::LOCALHOST } else { ip };
            Some(Address::Internet(SocketAddr::new(IpAddr::V4(ip), port()?)))
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let ip = Ipv6Addr::from(ip);
            let ip = match ip.to_ipv4_mapped() {
                Some(ip) => IpAddr::V4(ip),
                None if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                None => IpAddr::V6(ip),
            };
            Some(Address::Internet(SocketAddr::new(ip, port()?)))
        }
        libc::AF_UNIX => {
            let path = bytes.get(2..)?;
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            // A name without a file does not leave the box.
            (end > 0).then(|| Address::Local(path[..end].to_vec()))
        }
        _ => None,
    }
}

/// Reads from the flags of an opening what it is for.
fn opened(flags: i32) -> Uses {
    let link = if flags & libc::O_NOFOLLOW != 0 { Uses::LINK } else { Uses::LOOKED };
    if flags & libc::O_PATH != 0 {
        return link;
    }
    let mut uses = link;
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
    let anew = flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    if writes || flags & libc::O_TRUNC != 0 {
        uses |= Uses::WRITTEN;
    }
    if flags & libc::O_CREAT != 0 {
        uses |= Uses::MADE | Uses::WRITTEN;
    }
    if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        return uses;
    }
    if anew {
        uses |= Uses::NEW;
    } else if flags & libc::O_TRUNC == 0 {
        // What is not emptied keeps its content, also where only more is added to it.
        uses |= Uses::READ;
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_says_what_it_is_for() {
        assert_eq!(opened(libc::O_RDONLY), Uses::LOOKED | Uses::READ);
        assert_eq!(opened(libc::O_PATH | libc::O_NOFOLLOW), Uses::LINK);
        let emptied = opened(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC);
        assert!(!emptied.has(Uses::READ) && emptied.has(Uses::MADE | Uses::WRITTEN));
        assert!(opened(libc::O_WRONLY | libc::O_APPEND).has(Uses::READ));
        let new = opened(libc::O_RDWR | libc::O_CREAT | libc::O_EXCL);
        assert!(new.has(Uses::NEW) && !new.has(Uses::READ));
    }

    #[test]
    fn what_is_made_again_after_it_was_removed_was_not_new() {
        let mut seen = Seen::default();
        seen.note(b"/x".to_vec(), Uses::REMOVED);
        seen.note(b"/x".to_vec(), Uses::MADE | Uses::NEW);
        assert!(!seen.paths[b"/x".as_slice()].has(Uses::NEW));
    }

    #[test]
    fn addresses_are_read_as_where_they_lead() {
        let text = |bytes: &[u8]| match read_address(bytes) {
            Some(Address::Internet(address)) => address.to_string(),
            Some(Address::Local(path)) => String::from_utf8_lossy(&path).into_owned(),
            None => "none".to_owned(),
        };
        let family = |family: i32| (family as u16).to_ne_bytes();
        let four = [&family(libc::AF_INET)[..], &[1, 187, 192, 0, 2, 7]].concat();
        assert_eq!(text(&four), "192.0.2.7:443");
        let nowhere = [&family(libc::AF_INET)[..], &[0, 80, 0, 0, 0, 0]].concat();
        assert_eq!(text(&nowhere), "127.0.0.1:80");
        let mapped: Vec<u8> = [
            &family(libc::AF_INET6)[..],
            &[0, 80, 0, 0, 0, 0],
            &Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().octets(),
        ]
        .concat();
        assert_eq!(text(&mapped), "192.0.2.7:80");
        assert_eq!(text(&[&family(libc::AF_UNIX)[..], b"/run/x\0y"].concat()), "/run/x");
        assert_eq!(text(&[&family(libc::AF_UNIX)[..], b"\0abstract"].concat()), "none");
        assert_eq!(text(&[2]), "none");
    }
}
