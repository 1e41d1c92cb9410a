//! Holding an instance: start it, keep its output, answer, record its end.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use journal::Exit;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::kill;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, dup2_stdout, setsid};
use sandbox::{BoxSpec, End, Limits, Sandbox, SpawnError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::RwLock;
use tokio::task::{LocalSet, spawn_local};

use super::control::{Reply, Request, short_path};
use super::log::{LineSplitter, LogWriter};
use super::processes;
use super::{CHILD, SECRET_PREFIX, ShimSpec, ShimState, Started, read_json, write_json};
use crate::deployment::Signal;
use crate::engine::{EndReason, Ended, Stream};

/// How long output may still come once every process is gone.
const STREAM_GRACE: Duration = Duration::from_secs(2);
/// How often it looks whether killed processes are gone.
const KILL_CHECK: Duration = Duration::from_millis(5);
/// How often it kills again before it gives up, so about ten seconds.
const KILL_CHECKS: u32 = 2_000;

/// Holds the instance that a `spec.json` describes until it has ended.
pub(super) fn hold(spec: &Path) -> io::Result<()> {
    // It fails only for the leader of a group, and then nobody signals us by accident either.
    let _ = setsid();
    let directory = spec.parent().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    let spec: ShimSpec = read_json(spec)?.ok_or(io::ErrorKind::NotFound)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(directory, spec))
}

async fn run(directory: PathBuf, spec: ShimSpec) -> io::Result<()> {
    // Who signals a whole group or session does not mean the instances.
    let _ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()?;
    set_child_subreaper(true)?;
    let open = File::open(&directory)?;
    let listener = UnixListener::bind(short_path(&open))?;
    let log = Rc::new(RefCell::new(LogWriter::open(directory.join("log"))?));

    let before = oom_kills();
    let house = Rc::new(House::open(&directory, &spec).await);
    let environment = environment_of(&spec);
    let streams = [io::pipe()?, io::pipe()?];
    let [(out_reader, out), (err_reader, err)] = streams;
    let start = Start {
        words: &spec.words,
        environment: &environment,
        cwd: &spec.cwd,
        stdio: [None, Some(out.into()), Some(err.into())],
    };
    let mut instance = match house.start(start).await {
        Ok(instance) => instance,
        Err(failure) => {
            house.close().await;
            let error = failure.error.clone();
            return end(&directory, &failure.ended(), &Started::Not(error));
        }
    };
    let pid = instance.pid();
    let state = ShimState {
        started: Timestamp::now(),
        pid,
        pid_began: processes::read(pid).map_or(0, |process| process.began),
        shim: std::process::id(),
        unprotected: house.unprotected.clone(),
    };
    write_json(&directory.join("state.json"), &state)?;
    tell_engine(&Started::Running(pid));

    let readers = [
        spawn_local(keep(out_reader.into(), Stream::Stdout, Rc::clone(&log))),
        spawn_local(keep(err_reader.into(), Stream::Stderr, Rc::clone(&log))),
    ];
    let holder = Rc::new(Holder {
        house: Rc::clone(&house),
        spec,
        environment,
        pid,
        asked: Cell::new(false),
        has_ended: Cell::new(false),
        children: RefCell::new(HashSet::from([pid])),
        log,
    });
    let reaping = spawn_local(reap_orphans(Rc::clone(&holder)));
    spawn_local(answer_all(listener, Rc::clone(&holder)));

    let outcome = instance.wait().await;
    holder.has_ended.set(true);
    reaping.abort();
    house.close().await;
    for mut reader in readers {
        if tokio::time::timeout(STREAM_GRACE, &mut reader).await.is_err() {
            reader.abort();
        }
    }
    let asked = holder.asked.get();
    let ended = match house.start_failure() {
        Some(failure) if !asked => failure.ended(),
        _ => outcome.ended(asked, oom_kills() > before),
    };
    write_json(&directory.join("exit.json"), &ended)?;
    forget_secrets(&directory);
    Ok(())
}

/// Ends a shim whose instance never started.
fn end(directory: &Path, ended: &Ended, told: &Started) -> io::Result<()> {
    write_json(&directory.join("exit.json"), ended)?;
    forget_secrets(directory);
    tell_engine(told);
    Ok(())
}

/// What the tasks of a shim share.
struct Holder {
    house: Rc<House>,
    spec: ShimSpec,
    environment: Vec<(String, String)>,
    pid: u32,
    asked: Cell<bool>,
    has_ended: Cell<bool>,
    /// Our own children that somebody here waits for.
    children: RefCell<HashSet<u32>>,
    log: Rc<RefCell<LogWriter>>,
}

impl Holder {
    fn signal(&self, signal: Signal) -> Reply {
        if self.has_ended.get() {
            return Reply::Failed("it has ended".to_owned());
        }
        match send_signal(self.pid, signal) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(error.to_string()),
        }
    }

    /// Asks the main process to end and kills it when its time is over; its end ends us all.
    fn stop(self: &Rc<Self>, signal: Signal, grace: Duration) -> Reply {
        self.asked.set(true);
        let told = self.signal(signal);
        let holder = Rc::clone(self);
        spawn_local(async move {
            tokio::time::sleep(grace).await;
            holder.signal(Signal::KILL);
        });
        told
    }

    fn status(&self) -> Reply {
        let own = std::process::id();
        let below = processes::descendants(own);
        let ticks = below.iter().chain(&processes::read(own)).map(|p| p.ticks).sum::<u64>();
        let of_instance: Vec<_> =
            below.into_iter().filter(|process| !House::is_ours(process.pid)).collect();
        let counted = of_instance.iter().map(|process| process.ticks).sum::<u64>();
        Reply::Status {
            pid: self.pid,
            stopping: self.asked.get(),
            usage: processes::usage(&of_instance, ticks - counted),
            lines_lost: self.log.borrow().lost(),
        }
    }
}

/// Where the processes of an instance live: in a box, or on the open machine.
struct House {
    sandbox: RwLock<Option<Sandbox>>,
    unprotected: Vec<String>,
    start_error: PathBuf,
}

/// A process to start in a house.
struct Start<'a> {
    words: &'a [String],
    environment: &'a [(String, String)],
    cwd: &'a Path,
    stdio: [Option<OwnedFd>; 3],
}

/// A process that was started in a house.
enum Resident {
    Boxed(sandbox::Process),
    Open { child: tokio::process::Child, pid: u32 },
}

/// How a process ended: its status, and whether its box was out of memory.
struct Outcome {
    exit: Exit,
}

/// Why a process was not started.
#[derive(Debug)]
struct Failure {
    error: String,
    errno: Option<i32>,
}

impl House {
    /// Builds a box if one is wanted and possible; otherwise says why there is none.
    async fn open(directory: &Path, spec: &ShimSpec) -> Self {
        let start_error = directory.join("start-error.json");
        let open = |reason: String| Self {
            sandbox: RwLock::new(None),
            unprotected: vec![reason],
            start_error: start_error.clone(),
        };
        if !spec.boxed {
            return open("it runs without a box, as it was told to".to_owned());
        }
        let limits = Limits {
            processes: spec.limits.processes.map(u64::from),
            memory_bytes: spec.limits.memory,
            ..Limits::default()
        };
        let mut wanted = BoxSpec::new(directory.join("work")).limits(limits);
        wanted = spec.hidden.iter().fold(wanted, BoxSpec::hidden);
        wanted = spec.readable.iter().fold(wanted, BoxSpec::readable);
        wanted = spec.writable.iter().fold(wanted, BoxSpec::writable);
        match Sandbox::open(&wanted).await {
            Ok(sandbox) => Self {
                unprotected: sandbox
                    .protection()
                    .missing
                    .iter()
                    .map(|(wall, reason)| format!("not so: {wall} ({reason})"))
                    .collect(),
                sandbox: RwLock::new(Some(sandbox)),
                start_error,
            },
            Err(error) => open(format!("it runs without a box: {}", chain(&error))),
        }
    }

    async fn start(&self, start: Start<'_>) -> Result<Resident, Failure> {
        let [input, output, errors] = start.stdio;
        let (program, arguments) = start
            .words
            .split_first()
            .ok_or_else(|| Failure { error: "there is no command".to_owned(), errno: None })?;
        if let Some(sandbox) = self.sandbox.read().await.as_ref() {
            let mut command = sandbox::Command::new(program)
                .args(arguments)
                .envs(start.environment.iter().cloned())
                .cwd(start.cwd);
            if let Some(input) = input {
                command = command.stdin(input);
            }
            if let (Some(output), Some(errors)) = (output, errors) {
                command = command.stdout(output).stderr(errors);
            }
            return Ok(Resident::Boxed(sandbox.spawn(command).await.map_err(Failure::of_box)?));
        }
        let mut command = tokio::process::Command::new("/proc/self/exe");
        command
            .args(["__shim", CHILD, &std::process::id().to_string()])
            .arg(&self.start_error)
            .args(start.words)
            .env_clear()
            .envs(start.environment.iter().cloned())
            .current_dir(start.cwd)
            .stdin(stdio(input))
            .stdout(stdio(output))
            .stderr(stdio(errors));
        let child = command.spawn().map_err(|error| Failure {
            errno: error.raw_os_error(),
            error: format!("start in {}: {error}", start.cwd.display()),
        })?;
        let pid = child.id().expect("nobody has waited for it yet");
        Ok(Resident::Open { child, pid })
    }

    /// Why an unboxed program could not be executed, which is known only afterwards.
    fn start_failure(&self) -> Option<Failure> {
        let told: serde_json::Value = read_json(&self.start_error).ok()??;
        let errno = told.get("errno").and_then(serde_json::Value::as_i64).map(|n| n as i32);
        Some(Failure { error: told.get("error")?.as_str()?.to_owned(), errno })
    }

    /// Whether a process is part of the box and not of the instance.
    fn is_ours(pid: u32) -> bool {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|text| text.split(|b| *b == 0).nth(1) == Some(b"__box"))
    }

    /// Ends everything that is left, exactly: nothing that descends from us survives.
    async fn close(&self) {
        if let Some(sandbox) = self.sandbox.write().await.take() {
            sandbox.close().await;
        }
        for _ in 0..KILL_CHECKS {
            let left = processes::descendants(std::process::id());
            if left.is_empty() {
                return;
            }
            for process in left {
                // It may have ended meanwhile, which is what is wanted.
                let _ = send_signal(process.pid, Signal::KILL);
            }
            tokio::time::sleep(KILL_CHECK).await;
        }
    }
}

impl Resident {
    fn pid(&self) -> u32 {
        match self {
            Self::Boxed(process) => process.pid(),
            Self::Open { pid, .. } => *pid,
        }
    }

    async fn wait(&mut self) -> Outcome {
        let exit = match self {
            Self::Boxed(process) => match process.wait().await {
                Ok(exit) => of_end(exit.end, exit.oom),
                // The box was killed, and all in it.
                Err(_) => of_end(End::Signal(Signal::KILL.0), false),
            },
            Self::Open { child, .. } => {
                child.wait().await.map_or_else(|_| Exit::default(), of_status)
            }
        };
        Outcome { exit }
    }

    async fn kill(&self) {
        match self {
            Self::Boxed(process) => {
                let _ = process.kill().await;
            }
            Self::Open { pid, .. } => {
                for process in processes::descendants(*pid) {
                    let _ = send_signal(process.pid, Signal::KILL);
                }
                let _ = send_signal(*pid, Signal::KILL);
            }
        }
    }
}

impl Outcome {
    fn ended(self, asked: bool, oom_kill_seen: bool) -> Ended {
        let mut exit = self.exit;
        let killed = exit.signal == Some(Signal::KILL.0);
        exit.out_of_memory |= killed && !asked && oom_kill_seen;
        let reason = match () {
            () if exit.out_of_memory => EndReason::OutOfMemory,
            () if exit.signal.is_some() => EndReason::Signalled,
            () => EndReason::Exited,
        };
        Ended { at: Timestamp::now(), reason, exit, asked }
    }
}

impl Failure {
    fn of_box(error: SpawnError) -> Self {
        let errno = match &error {
            SpawnError::Program { source, .. } | SpawnError::Cwd { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        };
        Self { error: chain(&error), errno }
    }

    fn ended(self) -> Ended {
        let reason = EndReason::NotStarted { error: self.error, errno: self.errno };
        Ended { at: Timestamp::now(), reason, exit: Exit::default(), asked: false }
    }
}

fn of_end(end: End, out_of_memory: bool) -> Exit {
    match end {
        End::Code(code) => Exit { code: Some(code), signal: None, out_of_memory },
        End::Signal(signal) => Exit { code: None, signal: Some(signal), out_of_memory },
    }
}

fn of_status(status: ExitStatus) -> Exit {
    Exit { code: status.code(), signal: status.signal(), out_of_memory: false }
}

fn stdio(fd: Option<OwnedFd>) -> std::process::Stdio {
    fd.map_or_else(std::process::Stdio::null, Into::into)
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn send_signal(pid: u32, signal: Signal) -> nix::Result<()> {
    let signal = nix::sys::signal::Signal::try_from(signal.0)?;
    kill(Pid::from_raw(pid as i32), signal)
}

/// Everything the instance finds in its environment, the secret variables with it.
fn environment_of(spec: &ShimSpec) -> Vec<(String, String)> {
    let secret =
        |name: &String| Some((name.clone(), std::env::var(format!("{SECRET_PREFIX}{name}")).ok()?));
    let mut all: Vec<_> = spec.environment.clone().into_iter().collect();
    all.extend(spec.secret_variables.iter().filter_map(secret));
    all
}

/// How often this machine killed something because memory was out.
fn oom_kills() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn forget_secrets(directory: &Path) {
    // There are none for most instances.
    let _ = fs::remove_dir_all(directory.join("secrets"));
}

/// Prints the one line that the engine waits for, then lets go of its pipe.
fn tell_engine(started: &Started) {
    let mut line = serde_json::to_vec(started).expect("it is plain data");
    line.push(b'\n');
    let mut out = io::stdout();
    // The engine may be gone; the instance runs all the same.
    let _ = out.write_all(&line).and_then(|()| out.flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(null);
    }
}

/// Keeps what comes out of a pipe until it ends.
async fn keep(pipe: OwnedFd, stream: Stream, log: Rc<RefCell<LogWriter>>) -> io::Result<()> {
    let mut pipe = pipe::Receiver::from_owned_fd(pipe)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut splitter = LineSplitter::default();
    loop {
        let read = pipe.read(&mut buffer).await?;
        let now = Timestamp::now();
        let mut log = log.borrow_mut();
        let write = |text: &[u8], partial| log.write(now, stream, text, partial);
        if read == 0 {
            splitter.end(write);
            return Ok(());
        }
        splitter.take(&buffer[..read], write);
    }
}

/// Waits for what the instance left without a parent, so that no zombies gather.
async fn reap_orphans(holder: Rc<Holder>) -> io::Result<()> {
    let mut ended = signal(SignalKind::child())?;
    while ended.recv().await.is_some() {
        let own = std::process::id();
        for process in processes::all() {
            let is_orphan = process.parent == own && process.is_zombie;
            if is_orphan
                && !holder.children.borrow().contains(&process.pid)
                && !holder.house.is_boxed()
            {
                let _ = waitpid(Pid::from_raw(process.pid as i32), Some(WaitPidFlag::WNOHANG));
            }
        }
    }
    Ok(())
}

impl House {
    fn is_boxed(&self) -> bool {
        self.sandbox.try_read().is_ok_and(|sandbox| sandbox.is_some())
    }
}

async fn answer_all(listener: UnixListener, holder: Rc<Holder>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let holder = Rc::clone(&holder);
                spawn_local(async move { answer(stream, &holder).await });
            }
            // Too many open files, or the like; it passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(stream: UnixStream, holder: &Rc<Holder>) -> io::Result<()> {
    let peer = stream.peer_cred()?.pid();
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match serde_json::from_str(&line) {
            Err(error) => Reply::Failed(format!("understand the question: {error}")),
            Ok(Request::Status) => holder.status(),
            Ok(Request::Signal(signal)) => holder.signal(signal),
            Ok(Request::Stop { signal, grace_ms }) => {
                holder.stop(signal, Duration::from_millis(grace_ms))
            }
            Ok(Request::Exec { words, environment, pipes }) => {
                match exec(holder, &words, environment, peer, pipes).await {
                    Err(failure) => Reply::Failed(failure.error),
                    Ok(mut resident) => {
                        let pid = resident.pid();
                        reply(&mut writer, &Reply::ExecStarted(pid)).await?;
                        let outcome = tokio::select! {
                            outcome = resident.wait() => Some(outcome),
                            // Whoever asked hung up, or broke the order of things.
                            _ = lines.next_line() => None,
                        };
                        holder.children.borrow_mut().remove(&pid);
                        let Some(outcome) = outcome else {
                            resident.kill().await;
                            resident.wait().await;
                            return Ok(());
                        };
                        match holder.house.start_failure() {
                            Some(failure) => Reply::Failed(failure.error),
                            None => Reply::ExecEnded(outcome.exit),
                        }
                    }
                }
            }
        };
        reply(&mut writer, &answer).await?;
    }
    Ok(())
}

async fn reply(writer: &mut (impl tokio::io::AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// Starts a command beside the instance, on pipes of the process that asked.
async fn exec(
    holder: &Holder,
    words: &[String],
    environment: Vec<(String, String)>,
    peer: Option<i32>,
    pipes: [i32; 3],
) -> Result<Resident, Failure> {
    if holder.has_ended.get() {
        return Err(Failure { error: "it has ended".to_owned(), errno: None });
    }
    let peer = peer.unwrap_or_default();
    let open = |number: i32, writes: bool| {
        let path = format!("/proc/{peer}/fd/{number}");
        let file = File::options().read(!writes).write(writes).open(&path);
        file.map(OwnedFd::from).map_err(|error| Failure {
            errno: error.raw_os_error(),
            error: format!("open {path}: {error}"),
        })
    };
    let stdio = [open(pipes[0], false)?, open(pipes[1], true)?, open(pipes[2], true)?].map(Some);
    let mut all = holder.environment.clone();
    all.retain(|(name, _)| !environment.iter().any(|(new, _)| new == name));
    all.extend(environment);
    // What an earlier command could not do says nothing about this one.
    let _ = fs::remove_file(&holder.house.start_error);
    let start = Start { words, environment: &all, cwd: &holder.spec.cwd, stdio };
    let resident = holder.house.start(start).await?;
    holder.children.borrow_mut().insert(resident.pid());
    Ok(resident)
}
