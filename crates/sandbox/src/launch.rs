//! Starting one process from the zygote, as cheaply as the system allows.
//!
//! The child shares our memory until it executes the program (`CLONE_VM | CLONE_VFORK`), so
//! nothing is copied, and a failure is an ordinary value that we read afterwards. Everything it
//! needs is prepared before; between the two it only makes system calls.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

use crate::observe::calls::HAND_OVER;
use crate::seccomp::Program;
use crate::wire::{Spawn, Stage};

const STACK: usize = 256 * 1024;
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// The walls that are put around each process on its own.
#[derive(Default)]
pub(crate) struct Walls {
    /// System calls that are refused.
    pub filter: Program,
    /// Stops the system calls that an observer looks at.
    pub observing: Program,
    /// A Landlock ruleset.
    pub ruleset: Option<OwnedFd>,
    /// Resource limits by number.
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
    /// The root of our own `/proc`, for making the process the first to go when memory is short.
    pub proc: Option<OwnedFd>,
    /// Whether the process dies with the zygote, where no namespace sees to it.
    pub dies_with_us: bool,
}

/// The stack that children use until they execute their program, one at a time.
pub(crate) struct Launcher {
    stack: Vec<u128>,
}

/// A process that has executed its program.
pub(crate) struct Launched {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

struct Plan<'a> {
    programs: &'a [CString],
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    cwd: &'a CStr,
    streams: [Option<RawFd>; 3],
    walls: &'a Walls,
    filter: libc::sock_fprog,
    /// Where an observer waits for the listener, and the filter that makes one.
    observer: Option<(RawFd, libc::sock_fprog)>,
    failure: Cell<Option<(Stage, i32)>>,
}

impl Launcher {
    pub(crate) fn new() -> Self {
        Self { stack: vec![0; STACK / size_of::<u128>()] }
    }

    /// Starts a process and returns when it has executed its program.
    pub(crate) fn launch(
        &mut self,
        spawn: Spawn,
        streams: &[OwnedFd],
        walls: &Walls,
    ) -> Result<Launched, (Stage, i32)> {
        let unpassable = |_| (Stage::Message, libc::EINVAL);
        let programs = programs(&spawn).map_err(unpassable)?;
        let c_strings =
            |list: Vec<Vec<u8>>| list.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
        let cwd = CString::new(spawn.cwd).map_err(unpassable)?;
        let argv = c_strings(spawn.argv).map_err(unpassable)?;
        let env = c_strings(spawn.env).map_err(unpassable)?;
        let mut given = streams.iter();
        let plan = Plan {
            programs: &programs,
            argv: &pointers(&argv),
            env: &pointers(&env),
            cwd: &cwd,
            streams: spawn
                .stdio
                .map(|named| if named { given.next().map(AsRawFd::as_raw_fd) } else { None }),
            walls,
            filter: program(&walls.filter),
            observer: (spawn.observe && !walls.observing.is_empty())
                .then(|| Some((streams.last()?.as_raw_fd(), program(&walls.observing))))
                .flatten(),
            failure: Cell::new(None),
        };

        let mut pidfd: RawFd = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: the stack is ours, large, aligned and grows down from its end. We are suspended
        // until the child has executed or exited, so `plan` and the stack outlive its use of them.
        // It takes no lock and no memory, so what the thread of `stack` does cannot disturb it.
        let pid = unsafe {
            let top = self.stack.as_mut_ptr_range().end.cast::<c_void>();
            let argument = (&raw const plan).cast_mut().cast::<c_void>();
            libc::clone(child, top, flags, argument, &raw mut pidfd)
        };
        if pid < 0 {
            return Err((Stage::Fork, last_errno()));
        }
        // SAFETY: the kernel has just made this descriptor for us alone.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        match plan.failure.get() {
            None => Ok(Launched { pid, pidfd }),
            Some(failure) => {
                // SAFETY: the child has exited and is ours to reap.
                unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
                Err(failure)
            }
        }
    }
}

/// Lists what to try to execute, as `execvp` would.
pub(crate) fn programs(spawn: &Spawn) -> Result<Vec<CString>, std::ffi::NulError> {
    let name = spawn.argv.first().map_or(&b""[..], Vec::as_slice);
    if name.is_empty() || name.contains(&b'/') {
        return Ok(vec![CString::new(name)?]);
    }
    let path = spawn.env.iter().rev().find_map(|variable| variable.strip_prefix(b"PATH="));
    path.unwrap_or(DEFAULT_PATH)
        .split(|byte| *byte == b':')
        .map(|dir| CString::new([if dir.is_empty() { b"." } else { dir }, b"/", name].concat()))
        .collect()
}

/// Shows a filter to the kernel, which only reads it; the two types are the same structure.
fn program(filter: &Program) -> libc::sock_fprog {
    libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

extern "C" fn child(argument: *mut c_void) -> libc::c_int {
    // SAFETY: `launch` passes a plan that lives until we have executed or exited.
    let plan = unsafe { &*argument.cast::<Plan<'_>>() };
    // SAFETY: all pointers of the plan are to live, terminated values; see `execute`.
    let failure = unsafe { execute(plan) };
    plan.failure.set(Some(failure));
    // SAFETY: ends the child without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// Turns this child into the program, or returns why that failed.
///
/// # Safety
///
/// Only for a child that shares our memory but neither its descriptors nor its signal handlers.
unsafe fn execute(plan: &Plan<'_>) -> (Stage, i32) {
    // SAFETY: system calls on integers and on live, terminated values of the plan; none of them
    // takes a lock or memory from the allocator.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::setsid();
        for (stream, fd) in (0..).zip(plan.streams) {
            if let Some(fd) = fd
                && libc::dup2(fd, stream) < 0
            {
                return (Stage::Walls, last_errno());
            }
        }
        if plan.streams[0].is_some() {
            // A terminal becomes that of the session, so that a shell has jobs; all else refuses.
            libc::ioctl(0, libc::TIOCSCTTY, 0);
        }
        if plan.walls.dies_with_us {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        if let Some(proc) = &plan.walls.proc {
            let flags = libc::O_WRONLY | libc::O_CLOEXEC;
            let fd = libc::openat(proc.as_raw_fd(), c"self/oom_score_adj".as_ptr(), flags);
            if fd >= 0 {
                // Without it the kernel chooses for itself, which is no failure.
                libc::write(fd, c"300".as_ptr().cast(), 3);
                libc::close(fd);
            }
        }
        if libc::chdir(plan.cwd.as_ptr()) < 0 {
            return (Stage::Cwd, last_errno());
        }
        for (resource, limit) in &plan.walls.limits {
            let limit = libc::rlimit { rlim_cur: *limit, rlim_max: *limit };
            if libc::setrlimit(*resource, &raw const limit) < 0 {
                return (Stage::Walls, last_errno());
            }
        }
        if let Some(ruleset) = &plan.walls.ruleset
            && libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) < 0
        {
            return (Stage::Walls, last_errno());
        }
        if plan.filter.len > 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const plan.filter,
            ) < 0
        {
            return (Stage::Walls, last_errno());
        }
        // Where it is not there is known to the observer, which costs less than to see each try.
        let there = |program: &&CString| {
            libc::access(program.as_ptr(), libc::F_OK) == 0
                || !matches!(last_errno(), libc::ENOENT | libc::ENOTDIR)
        };
        let missing = plan.programs.iter().take_while(|program| !there(program)).count();
        if let Some((socket, filter)) = &plan.observer {
            let listener = libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                std::ptr::from_ref(filter),
            );
            // Where there can be none the process runs unobserved, and the observer hears the end
            // of its socket. One that nobody holds would fail every call it stops.
            if listener >= 0 && hand_over(*socket, listener as RawFd) < 0 {
                return (Stage::Walls, last_errno());
            }
        }
        let mut errno = libc::ENOENT;
        for program in &plan.programs[missing..] {
            libc::execve(program.as_ptr(), plan.argv.as_ptr(), plan.env.as_ptr());
            match last_errno() {
                libc::ENOENT | libc::ENOTDIR => {}
                // As a shell does: go on looking, but remember that something was there.
                libc::EACCES => errno = libc::EACCES,
                other => return (Stage::Exec, other),
            }
        }
        (Stage::Exec, errno)
    }
}

/// Sends a descriptor in the form of a message of `wire`.
///
/// # Safety
///
/// Both are open descriptors, and the first is a socket.
unsafe fn hand_over(socket: RawFd, listener: RawFd) -> isize {
    let mut form = [0_u8, 0];
    let mut part = libc::iovec { iov_base: form.as_mut_ptr().cast(), iov_len: form.len() };
    let mut control = [0_u64; 8];
    // SAFETY: the message points to live values of this frame, and the control buffer is aligned
    // and larger than the space of one descriptor.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let head = libc::CMSG_FIRSTHDR(&raw const message);
        (*head).cmsg_level = libc::SOL_SOCKET;
        (*head).cmsg_type = libc::SCM_RIGHTS;
        (*head).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
        libc::CMSG_DATA(head).cast::<RawFd>().write_unaligned(listener);
        libc::sendmsg(socket, &raw const message, HAND_OVER)
    }
}
