//! The box's side of a box: builds the walls once, then starts processes behind them.
//!
//! Two processes: the *keeper* stays outside, holds the control groups and ends when the caller
//! does; the one it forks goes *inside*, is process 1 there, and serves the caller's requests.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, dup2_stderr, dup2_stdin, dup2_stdout, getegid, geteuid, setsid};

use crate::cgroup::Group;
use crate::launch::{Launched, Launcher, Walls};
use crate::observe::calls;
use crate::room::{self, Room};
use crate::stack::Stack;
use crate::sys::{self, Reap, Reaped};
use crate::wire::{self, Answer, Ended, Request, Spawn, Stage};
use crate::{BoxSpec, Level, Network, Protection, Wall, fence, filter};

/// How often memory is added up where no control group limits it, in milliseconds.
const WATCH_EVERY: u16 = 200;

/// Becomes a box when this process was started as one; otherwise returns at once.
///
/// It must be the first call in `main`, before any thread or runtime starts.
pub fn entry() {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == crate::sandbox::ENTRY) {
        // Nobody reads what goes wrong from here; the caller hears it as the end of the socket.
        leave(i32::from(keep().is_err()));
    }
}

/// Ends this process without going back to `main`, which is the caller's.
#[allow(clippy::disallowed_methods)]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}

/// The keeper, from its start to the end of the box.
fn keep() -> io::Result<()> {
    let control = settle()?;
    let Some((bytes, _)) = wire::receive(control.as_fd(), &mut Vec::new())? else { return Ok(()) };
    let Some(Request::Open(json)) = Request::from_bytes(&bytes) else { return Ok(()) };
    let spec: BoxSpec = serde_json::from_slice(&json)?;

    let group = Group::make(&spec.limits);
    let ended = try_levels(&spec, &group, &control);
    group.remove();
    ended
}

/// Lets go of what the caller's program had open or set.
fn settle() -> io::Result<OwnedFd> {
    sys::close_from(3);
    sys::reset_signals();
    let _ = setsid();
    let _ = nix::sys::prctl::set_name(c"marline-box");
    let control = fcntl(io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    let control = own(control);
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(control)
}

#[allow(unsafe_code)]
fn own(fd: i32) -> OwnedFd {
    // SAFETY: `fcntl` has just made this descriptor for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Builds the strongest box that this machine allows, and stays until its end.
fn try_levels(spec: &BoxSpec, group: &Group, control: &OwnedFd) -> io::Result<()> {
    let mut reasons = Vec::new();
    for level in [Level::Namespaces, Level::Landlock, Level::Plain] {
        if level > spec.wanted {
            continue;
        }
        if level < spec.at_least {
            break;
        }
        match start(level, spec, group, control, &reasons)? {
            Ok(inside) => return watch(level, inside, control),
            Err(reason) => reasons.push((level, reason)),
        }
    }
    let reason = reasons
        .iter()
        .map(|(level, reason)| format!("{level}: {reason}"))
        .collect::<Vec<_>>()
        .join("; ");
    let reason = if reason.is_empty() { "no level is left to try".to_owned() } else { reason };
    wire::send(control.as_fd(), &Answer::Refused(reason).to_bytes(), &[])
}

/// Forks the process inside and hears whether its walls stand, or which do not.
fn start(
    level: Level,
    spec: &BoxSpec,
    group: &Group,
    control: &OwnedFd,
    reasons: &[(Level, String)],
) -> io::Result<Result<(i32, OwnedFd), String>> {
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut flags = 0;
    if level == Level::Namespaces {
        flags = libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWCGROUP;
        if spec.network == Network::None {
            flags |= libc::CLONE_NEWNET;
        }
    } else {
        // Whatever loses its parent becomes ours, so that the end of the box can find it.
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    let forked = match sys::fork(flags) {
        Ok(forked) => forked,
        Err(error) => return Ok(Err(format!("new namespaces are not allowed here: {error}"))),
    };
    let Some((pid, pidfd)) = forked else {
        drop(ours);
        inside(level, spec, group, control, theirs, reasons);
    };
    drop(theirs);
    let mut admit = || -> io::Result<()> {
        if level == Level::Namespaces {
            map_users(pid)?;
        }
        group.admit(pid)?;
        ours.write_all(b"go")
    };
    let admitted = admit();
    if admitted.is_err() {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let mut reason = String::new();
    // The end without a word is how the process inside says that all went well.
    let _ = ours.read_to_string(&mut reason);
    match admitted {
        Ok(()) if reason == "ok" => Ok(Ok((pid, pidfd))),
        Ok(()) => {
            sys::reap(true);
            Ok(Err(if reason.is_empty() {
                "the box ended while it was built".to_owned()
            } else {
                reason
            }))
        }
        Err(error) => {
            sys::reap(true);
            Ok(Err(format!("users could not be mapped or limits not set: {error}")))
        }
    }
}

/// Lets the users of a new user namespace be who they are outside, as far as we may.
fn map_users(pid: i32) -> io::Result<()> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let identity = |file: &str| -> io::Result<String> {
        let ours = fs::read_to_string(format!("/proc/self/{file}"))?;
        let ranges = ours.lines().filter_map(|line| {
            let mut columns = line.split_whitespace();
            let (first, _, count) = (columns.next()?, columns.next()?, columns.next()?);
            Some(format!("{first} {first} {count}\n"))
        });
        Ok(ranges.collect())
    };
    let all = |file: &str| fs::write(dir.join(file), identity(file)?);
    if geteuid().is_root() && all("uid_map").is_ok() {
        return all("gid_map");
    }
    let (uid, gid) = (geteuid(), getegid());
    fs::write(dir.join("setgroups"), "deny")?;
    fs::write(dir.join("uid_map"), format!("{uid} {uid} 1\n"))?;
    fs::write(dir.join("gid_map"), format!("{gid} {gid} 1\n"))
}

/// Waits for the end of the box, or of the caller, and leaves nothing of the box behind.
fn watch(level: Level, (pid, pidfd): (i32, OwnedFd), control: &OwnedFd) -> io::Result<()> {
    loop {
        let mut fds = [
            PollFd::new(pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(control.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        let has = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
        if has(&fds[0]) {
            break;
        }
        if has(&fds[1]) {
            // Without namespaces the process inside knows best what to end; it hears it, too.
            if level == Level::Namespaces {
                kill(Pid::from_raw(pid), Signal::SIGKILL)?;
            }
            let mut inside = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            while poll(&mut inside, PollTimeout::NONE) == Err(Errno::EINTR) {}
            break;
        }
    }
    end_descendants();
    Ok(())
}

/// The process inside, from its start to the end of the box.
fn inside(
    level: Level,
    spec: &BoxSpec,
    group: &Group,
    control: &OwnedFd,
    mut keeper: UnixStream,
    reasons: &[(Level, String)],
) -> ! {
    let mut go = [0; 2];
    if keeper.read_exact(&mut go).is_err() {
        leave(1);
    }
    let server = match Server::build(level, spec, group, control, reasons) {
        Ok((server, protection)) => {
            let _ = keeper.write_all(b"ok");
            drop(keeper);
            let report = serde_json::to_vec(&protection).unwrap_or_default();
            if server.answer(&Answer::Open(report), &[]).is_err() {
                leave(1);
            }
            server
        }
        Err(reason) => {
            let _ = keeper.write_all(reason.as_bytes());
            leave(1);
        }
    };
    let code = i32::from(server.serve().is_err());
    leave(code);
}

/// Serves the caller's requests from behind the walls.
struct Server<'a> {
    control: &'a OwnedFd,
    group: &'a Group,
    walls: Walls,
    launcher: Launcher,
    stack: Option<Stack>,
    running: HashMap<i32, Running>,
    /// The process of each request, also after its end, as its group may live on.
    pids: HashMap<u64, i32>,
    /// Layered processes that run.
    layered: usize,
    children: SignalFd,
    watchdog: Option<Watchdog>,
}

struct Running {
    id: u64,
    layer: bool,
    /// Whether its layer is folded only when the caller says so.
    hold: bool,
    /// Whether nothing else ran in the box while this did.
    alone: bool,
    killed_before: u64,
}

/// Adds up memory where no control group limits it.
struct Watchdog {
    limit: u64,
    killed: u64,
}

impl<'a> Server<'a> {
    fn build(
        level: Level,
        spec: &BoxSpec,
        group: &'a Group,
        control: &'a OwnedFd,
        reasons: &[(Level, String)],
    ) -> Result<(Self, Protection), String> {
        // Before any thread starts, which would else receive the signal in our place.
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGCHLD);
        let blocked = || -> nix::Result<SignalFd> {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&signals), None)?;
            SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        };
        let children = blocked().map_err(|errno| format!("children cannot be watched: {errno}"))?;
        let mut report = Protection::new(level);
        let mut walls = Walls::default();
        let mut stack = None;
        match level {
            Level::Namespaces => {
                let mut room = namespaces(spec, &mut report)?;
                stack = Stack::new(spec.workspace.clone(), &mut room);
                walls.proc = Some(room.proc);
                match fence::scope() {
                    Ok(ruleset) => walls.ruleset = ruleset,
                    Err(error) => report.note(format!("no Landlock as a second wall: {error}")),
                }
            }
            Level::Landlock => {
                walls.ruleset = landlock(spec, &mut report)?;
                walls.dies_with_us = true;
            }
            Level::Plain => {
                walls.dies_with_us = true;
                for wall in [Wall::ReadOnlySystem, Wall::HiddenPaths, Wall::ProcessControl] {
                    report.lacks(wall, why(reasons));
                }
            }
        }
        if level > Level::Plain {
            restrict(level, spec, &mut walls, &mut report)?;
        } else {
            for wall in [Wall::NoPrivileges, Wall::SystemCalls] {
                report.lacks(wall, why(reasons));
            }
        }
        if level < Level::Namespaces {
            report.lacks(Wall::PrivateTmp, why(reasons));
            report.lacks(Wall::Devices, why(reasons));
            report.lacks(Wall::ProcessView, why(reasons));
            report.stands(Wall::ExactEnd);
            if spec.hostname.is_some() {
                report.note("the host name is that of the machine");
            }
            if level == Level::Plain && spec.network == Network::None {
                report.lacks(Wall::Network, why(reasons));
            }
            if spec.layers_dir.is_some() {
                let why = why(reasons);
                report.lacks(Wall::Layers, format!("steps write to the workspace itself: {why}"));
            }
        }
        if let Some(stack) = &mut stack {
            match stack.begin() {
                Ok(()) => report.stands(Wall::Layers),
                Err(error) => {
                    report.lacks(
                        Wall::Layers,
                        format!("steps write to the workspace itself: no overlay can be mounted here: {error}"),
                    );
                }
            }
        }
        if !report.has(Wall::Layers) {
            stack = None;
        }
        let watchdog = limit(level, spec, group, &mut walls, &mut report);

        let server = Self {
            control,
            group,
            walls,
            launcher: Launcher::new(),
            stack,
            running: HashMap::new(),
            pids: HashMap::new(),
            layered: 0,
            children,
            watchdog,
        };
        Ok((server, report))
    }

    fn answer(&self, answer: &Answer, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send(self.control.as_fd(), &answer.to_bytes(), fds)
    }

    fn serve(mut self) -> io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            let timeout = match &self.watchdog {
                Some(_) if !self.running.is_empty() => PollTimeout::from(WATCH_EVERY),
                _ => PollTimeout::NONE,
            };
            let mut fds = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            let [asked, ended] = [0, 1].map(|at| fds[at].any().unwrap_or(true));
            if ended {
                self.reap()?;
            }
            if asked {
                let request = wire::receive(self.control.as_fd(), &mut buffer)?
                    .and_then(|(bytes, fds)| Some((Request::from_bytes(&bytes)?, fds)));
                match request {
                    Some((Request::Spawn(spawn), streams)) => self.spawn(spawn, streams)?,
                    Some((Request::Signal { id, signal, tree }, _)) => {
                        self.signal(id, signal, tree);
                    }
                    Some((Request::Replay { id, upper }, fds)) => {
                        self.replay(id, upper, fds.into_iter().next())?;
                    }
                    Some((Request::Fold { id }, _)) => self.fold(id)?,
                    Some((Request::Open(_) | Request::Close, _)) | None => return self.end(),
                }
            }
            self.weigh();
        }
    }

    fn spawn(&mut self, spawn: Spawn, streams: Vec<OwnedFd>) -> io::Result<()> {
        let id = spawn.id;
        let layer = spawn.layer && self.stack.is_some();
        let hold = spawn.hold;
        let failed = |stage, errno| Answer::Failed { id, stage, errno };
        if layer
            && let Some(stack) = &mut self.stack
            && let Err(error) = stack.begin()
        {
            return self
                .answer(&failed(Stage::Layer, error.raw_os_error().unwrap_or(libc::EIO)), &[]);
        }
        let killed_before = self.killed();
        match self.launcher.launch(spawn, &streams, &self.walls) {
            Ok(Launched { pid, pidfd }) => {
                // Ours would keep the pipes from ending.
                drop(streams);
                let alone = self.running.is_empty();
                self.running.values_mut().for_each(|running| running.alone = false);
                self.running.insert(pid, Running { id, layer, hold, alone, killed_before });
                self.pids.insert(id, pid);
                self.layered += usize::from(layer);
                self.answer(&Answer::Spawned { id }, &[pidfd.as_fd()])
            }
            Err((stage, errno)) => self.answer(&failed(stage, errno), &[]),
        }
    }

    fn signal(&self, id: u64, signal: i32, tree: bool) {
        let Some(pid) = self.pids.get(&id).copied() else { return };
        if tree {
            end_tree(pid);
        } else if let Ok(signal) = Signal::try_from(signal) {
            // Its number is not used again while its group lives; without a group this fails.
            let _ = kill(Pid::from_raw(-pid), signal);
        }
    }

    fn replay(&mut self, id: u64, upper: Vec<u8>, opened: Option<OwnedFd>) -> io::Result<()> {
        let upper = PathBuf::from(std::ffi::OsString::from_vec(upper));
        let replayed = match (&mut self.stack, opened) {
            _ if self.layered > 0 => Err(io::Error::from_raw_os_error(libc::EBUSY)),
            (Some(stack), Some(opened)) => stack.replay(&upper, opened),
            _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        };
        let errno = replayed.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        self.answer(&Answer::Replayed { id, errno }, &[])
    }

    fn fold(&mut self, id: u64) -> io::Result<()> {
        let folded = match &mut self.stack {
            _ if self.layered > 0 => Err(io::Error::from_raw_os_error(libc::EBUSY)),
            Some(stack) => stack.fold_changes(),
            None => Ok(()),
        };
        let errno = folded.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        self.answer(&Answer::Replayed { id, errno }, &[])
    }

    /// Reports every process that has ended.
    fn reap(&mut self) -> io::Result<()> {
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            match sys::reap(false) {
                Reap::Ended(reaped) => {
                    // What lost its parent is ours to reap, but nobody's to hear of.
                    if let Some(running) = self.running.remove(&reaped.pid) {
                        self.report(running, &reaped)?;
                    }
                }
                Reap::Running | Reap::Childless => return Ok(()),
            }
        }
    }

    fn report(&mut self, running: Running, reaped: &Reaped) -> io::Result<()> {
        let mut layer = None;
        let mut layer_errno = 0;
        let childless = self.running.is_empty() && is_childless();
        if running.layer {
            self.layered -= 1;
            if let Some(stack) = &mut self.stack {
                match stack.end(childless, running.hold) {
                    Ok(left) => {
                        layer = left
                            .map(|left| (left.number, left.part, left.shared || !running.alone));
                    }
                    Err(error) => layer_errno = error.raw_os_error().unwrap_or(libc::EIO),
                }
            }
        }
        let ended = Ended {
            id: running.id,
            status: reaped.status,
            user_micros: reaped.user_micros,
            system_micros: reaped.system_micros,
            max_rss: reaped.max_rss,
            oom: self.killed() > running.killed_before,
            alone: running.alone && childless,
            layer,
            layer_errno,
        };
        self.answer(&Answer::Exited(ended), &[])
    }

    fn killed(&self) -> u64 {
        self.watchdog.as_ref().map_or_else(|| self.group.killed(), |watchdog| watchdog.killed)
    }

    /// Kills the largest process when the box takes more memory than it may.
    fn weigh(&mut self) {
        let Some(watchdog) = &mut self.watchdog else { return };
        if self.running.is_empty() {
            return;
        }
        let weights = descendants().into_iter().map(|entry| (resident(entry.pid), entry.pid));
        let weights: Vec<(u64, i32)> = weights.collect();
        let total: u64 = weights.iter().map(|(weight, _)| weight).sum();
        if total > watchdog.limit
            && let Some((_, largest)) = weights.iter().max()
        {
            watchdog.killed += 1;
            let _ = kill(Pid::from_raw(*largest), Signal::SIGKILL);
        }
    }

    /// Kills all that is left, and puts what it wrote into the workspace.
    fn end(mut self) -> io::Result<()> {
        end_descendants();
        if let Some(stack) = &mut self.stack {
            stack.end(true, false)?;
            stack.fold()?;
        }
        Ok(())
    }
}

/// Builds the room of level `namespaces`.
fn namespaces(spec: &BoxSpec, report: &mut Protection) -> Result<Room, String> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|errno| errno.to_string())?;
    let room = room::build(spec).map_err(|error| error.to_string())?;
    room::name_and_network(spec).map_err(|error| error.to_string())?;
    for wall in [
        Wall::ReadOnlySystem,
        Wall::HiddenPaths,
        Wall::PrivateTmp,
        Wall::Devices,
        Wall::ProcessView,
        Wall::ProcessControl,
        Wall::ExactEnd,
    ] {
        report.stands(wall);
    }
    if spec.network == Network::None {
        report.stands(Wall::Network);
    }
    Ok(room)
}

/// Builds the ruleset of level `landlock`.
fn landlock(spec: &BoxSpec, report: &mut Protection) -> Result<Option<OwnedFd>, String> {
    let ruleset = fence::files(spec).map_err(|error| error.to_string())?;
    let Some(ruleset) = ruleset else { return Err("this kernel has no Landlock".to_owned()) };
    report.stands(Wall::ReadOnlySystem);
    match fence::left_open(spec).as_slice() {
        [] => report.stands(Wall::HiddenPaths),
        open => {
            report.lacks(
                Wall::HiddenPaths,
                format!("Landlock cannot hide {open:?} below what may be written"),
            );
        }
    }
    report.stands(Wall::ProcessControl);
    report.note("directories above a hidden path cannot be listed, and temporary files are shared with the machine");
    if spec.network == Network::None {
        report.stands(Wall::Network);
        report.note("there are no internet sockets at all, not even for loopback");
    }
    Ok(Some(ruleset))
}

/// Takes privileges away and prepares the filter of system calls.
fn restrict(
    level: Level,
    spec: &BoxSpec,
    walls: &mut Walls,
    report: &mut Protection,
) -> Result<(), String> {
    let internet = level == Level::Namespaces || spec.network == Network::Open;
    nix::sys::prctl::set_no_new_privs().map_err(|errno| errno.to_string())?;
    // Without privileges of our own there are none in the set to take out.
    match sys::drop_bounding_set() {
        Ok(()) => {}
        Err(_) if !geteuid().is_root() => {}
        Err(error) => return Err(format!("privileges cannot be dropped: {error}")),
    }
    report.stands(Wall::NoPrivileges);
    walls.filter = filter::build(internet);
    report.stands(Wall::SystemCalls);
    walls.observing = calls::filter();
    // Nobody but us reads our memory, where the secrets of the next step may be.
    nix::sys::prctl::set_dumpable(false).map_err(|errno| errno.to_string())
}

/// Limits what the box may use, by control groups where we have them.
fn limit(
    level: Level,
    spec: &BoxSpec,
    group: &Group,
    walls: &mut Walls,
    report: &mut Protection,
) -> Option<Watchdog> {
    let limits = &spec.limits;
    let each = [
        (libc::RLIMIT_NOFILE, limits.open_files),
        (libc::RLIMIT_FSIZE, limits.file_bytes),
        (libc::RLIMIT_CPU, limits.cpu_seconds),
    ];
    walls.limits =
        each.into_iter().filter_map(|(resource, limit)| Some((resource, limit?))).collect();
    if !walls.limits.is_empty() {
        report.stands(Wall::ResourceLimits);
    }
    if level > Level::Plain {
        walls.limits.push((libc::RLIMIT_CORE, 0));
    }
    for (resource, limit) in &mut walls.limits {
        // A limit above the one we live under ourselves would be refused; ours goes on.
        *limit = hard_limit(*resource).map_or(*limit, |hard| hard.min(*limit));
    }

    match (limits.processes, group.processes) {
        (None, _) => {}
        (Some(_), Some(how)) => {
            report.stands(Wall::ProcessLimit);
            report.note(format!("processes limited by {how}"));
        }
        (Some(count), None) if !geteuid().is_root() => {
            // In a user namespace only the processes of the box count, else all of the user.
            let others = if level == Level::Namespaces { 1 } else { processes_of_user() };
            walls.limits.push((libc::RLIMIT_NPROC, count + others));
            report.stands(Wall::ProcessLimit);
            report.note("processes limited by a resource limit");
        }
        (Some(_), None) => {
            report.lacks(
                Wall::ProcessLimit,
                "no control group can be made, and other limits do not bind root",
            );
        }
    }
    match (limits.memory_bytes, group.memory) {
        (None, _) => None,
        (Some(_), Some(how)) => {
            report.stands(Wall::MemoryLimit);
            report.note(format!("memory limited by {how}"));
            None
        }
        (Some(limit), None) => {
            report.stands(Wall::MemoryLimit);
            report.note(format!(
                "memory added up every {WATCH_EVERY} ms, as no control group can be made"
            ));
            Some(Watchdog { limit, killed: 0 })
        }
    }
}

/// Returns the limit that we live under ourselves and cannot raise.
fn hard_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    let resource = match resource {
        libc::RLIMIT_NOFILE => Resource::RLIMIT_NOFILE,
        libc::RLIMIT_FSIZE => Resource::RLIMIT_FSIZE,
        libc::RLIMIT_CPU => Resource::RLIMIT_CPU,
        _ => return None,
    };
    getrlimit(resource).ok().map(|(_, hard)| hard)
}

fn why(reasons: &[(Level, String)]) -> String {
    match reasons {
        [] => "a weaker level was asked for".to_owned(),
        reasons => reasons.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>().join("; "),
    }
}

/// Tells whether nothing at all runs in the box but us.
fn is_childless() -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, peek) == Err(Errno::ECHILD)
}

/// One process as `/proc` shows it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
    is_dead: bool,
}

fn processes() -> Vec<Entry> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name of the program is in brackets and may hold anything, brackets too.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let is_dead = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let session = fields.nth(1)?.parse().ok()?;
        Some(Entry { pid, parent, session, is_dead })
    })
    .collect()
}

/// Picks those that are of a tree: its root, its session, and all that descends from them.
fn tree_of(entries: &[Entry], is_root: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let mut tree: Vec<Entry> = entries.iter().filter(|entry| is_root(entry)).copied().collect();
    let mut at = 0;
    while let Some(parent) = tree.get(at).map(|entry| entry.pid) {
        let is_in = |tree: &[Entry], pid| tree.iter().any(|entry| entry.pid == pid);
        let new: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.parent == parent && !is_in(&tree, entry.pid))
            .copied()
            .collect();
        tree.extend(new);
        at += 1;
    }
    tree
}

fn descendants() -> Vec<Entry> {
    let own = std::process::id() as i32;
    tree_of(&processes(), |entry| entry.parent == own)
}

/// Kills a process with all that descends from it or is of its session.
fn end_tree(pid: i32) {
    let own = std::process::id() as i32;
    // What is forked between the look and the kill is found by the next look.
    for _ in 0..1000 {
        let mut tree = tree_of(&processes(), |entry| entry.pid == pid || entry.session == pid);
        tree.retain(|entry| !entry.is_dead && entry.pid != own);
        if tree.is_empty() {
            return;
        }
        for entry in tree {
            let _ = kill(Pid::from_raw(entry.pid), Signal::SIGKILL);
        }
    }
}

/// Kills and reaps everything that descends from us.
fn end_descendants() {
    if std::process::id() == 1 {
        // In a namespace of our own this reaches all but ourselves, at once.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    } else {
        loop {
            let mut alive = descendants();
            alive.retain(|entry| !entry.is_dead);
            if alive.is_empty() {
                break;
            }
            for entry in alive {
                let _ = kill(Pid::from_raw(entry.pid), Signal::SIGKILL);
            }
        }
    }
    while matches!(sys::reap(true), Reap::Ended(_)) {}
}

/// Reads how much memory a process holds for itself.
fn resident(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let mut pages = text.split(' ').skip(1).map(|field| field.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * 4096
}

fn processes_of_user() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = geteuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = entries.filter(|entry| {
        entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && entry.metadata().is_ok_and(|metadata| metadata.uid() == own)
    });
    ours.count() as u64
}
