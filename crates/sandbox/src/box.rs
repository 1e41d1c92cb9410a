//! The caller's side of a box.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, shutdown, socketpair};
use nix::unistd::pipe2;
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};

use crate::observe::Observer;
use crate::process::{Command, Exit, Input, Output, Process, SpawnError};
use crate::wire::{self, Answer, Request, Spawn, Stage};
use crate::{BoxSpec, Layer, Level, Protection, Wall};

/// The first argument that makes our own program a zygote.
pub(crate) const ENTRY: &str = "__box";

/// How long the building of the walls may take on a very busy machine.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the box may take to put an open layer into the workspace at its end.
const CLOSE_TIMEOUT: Duration = Duration::from_mins(1);

/// An open box.
///
/// Dropping it kills everything inside; [`close`](Self::close) also waits for that.
#[derive(Debug)]
pub struct Sandbox {
    link: Arc<Link>,
    zygote: tokio::process::Child,
    protection: Protection,
    workspace: PathBuf,
}

/// Why a box could not be opened.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A path of the box is not there or cannot be used.
    #[error("use {path:?} in a box")]
    Path {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory for layers lies inside the workspace.
    #[error("keep layers in {layers_dir:?}: it is inside the workspace")]
    LayersInside {
        /// The directory.
        layers_dir: PathBuf,
    },
    /// `MARLINE_BOX` names no level.
    #[error("understand MARLINE_BOX={value:?}: it is `plain`, `landlock` or `namespaces`")]
    UnknownLevel {
        /// What it says.
        value: String,
    },
    /// The zygote could not be started.
    #[error("start the box from this program")]
    Start(#[source] io::Error),
    /// The zygote ended or said nothing.
    #[error("hear from the box; does `main` call `sandbox::entry()` first?")]
    Silent,
    /// The walls that can be built here are weaker than what was asked for.
    #[error("build a box at level `{wanted}` or better: {reason}")]
    TooWeak {
        /// The weakest level allowed.
        wanted: Level,
        /// What is missing.
        reason: String,
    },
    /// The walls could not be built at all.
    #[error("build the box: {reason}")]
    Refused {
        /// What failed.
        reason: String,
    },
}

/// The box is gone, with everything that was in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("reach the box: it is gone")]
pub struct BoxLost;

impl Sandbox {
    /// Builds the walls and waits until they stand.
    pub async fn open(spec: &BoxSpec) -> Result<Self, SandboxError> {
        let spec = resolve(spec)?;
        let (here, there) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| SandboxError::Start(errno.into()))?;
        fcntl(&here, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
            .map_err(|errno| SandboxError::Start(errno.into()))?;
        let zygote = tokio::process::Command::new("/proc/self/exe")
            .arg(ENTRY)
            .env_clear()
            .current_dir("/")
            .stdin(there)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .map_err(SandboxError::Start)?;

        let link = Arc::new(Link::new(here, spec.layers_dir.clone()).map_err(SandboxError::Start)?);
        let json = serde_json::to_vec(&spec).map_err(|error| SandboxError::Start(error.into()))?;
        let first = async {
            link.send(&Request::Open(json), &[]).await?;
            link.receive().await
        };
        let Ok(Ok(Some((answer, _)))) = tokio::time::timeout(OPEN_TIMEOUT, first).await else {
            return Err(SandboxError::Silent);
        };
        let protection = match answer {
            Answer::Open(json) => {
                serde_json::from_slice::<Protection>(&json).map_err(|_| SandboxError::Silent)?
            }
            Answer::Refused(reason) => return Err(SandboxError::Refused { reason }),
            _ => return Err(SandboxError::Silent),
        };
        if protection.level < spec.at_least {
            let reasons: Vec<&str> =
                protection.missing.iter().map(|(_, reason)| reason.as_str()).collect();
            return Err(SandboxError::TooWeak {
                wanted: spec.at_least,
                reason: reasons.join("; "),
            });
        }
        tokio::spawn(Arc::clone(&link).listen());
        Ok(Self { link, zygote, protection, workspace: spec.workspace })
    }

    /// Returns which walls stand.
    pub fn protection(&self) -> &Protection {
        &self.protection
    }

    /// Starts a process in the box; any number may run at once.
    ///
    /// It returns when the program has been executed, so that a missing program is an error here
    /// and not an exit code.
    pub async fn spawn(&self, command: Command) -> Result<Process, SpawnError> {
        let id = self.link.next_id();
        let Command { argv, env, cwd, layer, hold, observe, stdin, stdout, stderr } = command;
        let cwd = cwd.map_or_else(|| self.workspace.clone(), |cwd| self.workspace.join(cwd));
        let env = env
            .into_iter()
            .map(|(name, value)| {
                if name.is_empty() || name.as_bytes().contains(&b'=') {
                    return Err(SpawnError::Unpassable {
                        what: format!("the variable `{}`", name.display()),
                    });
                }
                Ok([name.as_bytes(), b"=", value.as_bytes()].concat())
            })
            .collect::<Result<Vec<_>, _>>()?;
        let program = argv.first().cloned().unwrap_or_default();
        let spawn = Spawn {
            id,
            layer,
            hold,
            observe: observe && self.has_layers(),
            stdio: [false; 3],
            cwd: cwd.as_os_str().as_bytes().to_vec(),
            argv,
            env,
        };
        check_passable(&spawn)?;

        let stdin = match stdin {
            Input::Null => None,
            Input::Fd(fd) => Some(fd),
        };
        let (stdout, stdout_reader) = output(stdout)?;
        let (stderr, stderr_reader) = output(stderr)?;
        let streams = [stdin, stdout, stderr];
        let spawn = Spawn { stdio: streams.each_ref().map(Option::is_some), ..spawn };
        let mut fds: Vec<BorrowedFd<'_>> = streams.iter().flatten().map(AsFd::as_fd).collect();
        let observed = if spawn.observe { Some(observed(&spawn)?) } else { None };
        let (observer, socket) = observed.unzip();
        fds.extend(socket.iter().map(AsFd::as_fd));

        let (started, exit) = self.link.expect_process(id)?;
        if let Err(error) = self.link.send(&Request::Spawn(spawn), &fds).await {
            self.link.forget(id);
            return Err(SpawnError::Reach(error));
        }
        // The box holds its own copies now; ours would keep the pipes from ending.
        drop(streams);
        drop(socket);
        match started.await.map_err(|_| BoxLost)? {
            Ok(pid) => Ok(Process {
                link: Arc::clone(&self.link),
                id,
                pid,
                stdout: stdout_reader,
                stderr: stderr_reader,
                exit,
                observer,
            }),
            Err((stage, source)) => Err(match stage {
                Stage::Exec => SpawnError::Program {
                    program: std::ffi::OsStr::from_bytes(&program).to_owned(),
                    source,
                },
                Stage::Cwd => SpawnError::Cwd { cwd, source },
                Stage::Layer => SpawnError::Layer(source),
                Stage::Fork => SpawnError::Fork(source),
                Stage::Walls => SpawnError::Walls(source),
                Stage::Message => SpawnError::Reach(source),
            }),
        }
    }

    /// Tells whether the box records the changes of each layered process.
    pub fn has_layers(&self) -> bool {
        self.protection.has(Wall::Layers)
    }

    /// Folds a layer that was held into the workspace.
    ///
    /// No layered process may run meanwhile.
    pub async fn fold(&self) -> Result<(), ReplayError> {
        let id = self.link.next_id();
        self.finish(id, &Request::Fold { id }, &[]).await
    }

    async fn finish(
        &self,
        id: u64,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ReplayError> {
        let done = self.link.expect_replay(id).map_err(ReplayError::Lost)?;
        self.link.send(request, fds).await.map_err(|_| ReplayError::Lost(BoxLost))?;
        match done.await.map_err(|_| ReplayError::Lost(BoxLost))? {
            0 => Ok(()),
            errno => Err(ReplayError::Fold(io::Error::from_raw_os_error(errno))),
        }
    }

    /// Folds a layer recorded earlier, in this box or another, into the workspace.
    ///
    /// No layered process may run meanwhile.
    pub async fn replay(&self, layer: &Layer) -> Result<(), ReplayError> {
        let upper = layer.dir().join("upper").canonicalize().map_err(ReplayError::Fold)?;
        let opened = std::fs::File::open(&upper).map_err(ReplayError::Fold)?;
        let id = self.link.next_id();
        let request = Request::Replay { id, upper: upper.as_os_str().as_bytes().to_vec() };
        self.finish(id, &request, &[opened.as_fd()]).await
    }

    /// Kills everything that is left in the box and waits until it is gone.
    pub async fn close(mut self) {
        // A box that no longer hears us is already ending.
        let _ = self.link.send(&Request::Close, &[]).await;
        if tokio::time::timeout(CLOSE_TIMEOUT, self.zygote.wait()).await.is_err() {
            self.link.hang_up();
            let _ = self.zygote.wait().await;
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The zygote ends the box when its socket closes, which is also what happens when we die.
        self.link.hang_up();
    }
}

/// Why a layer could not be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The files of the layer could not be put into the workspace.
    #[error("fold the layer into the workspace")]
    Fold(#[source] io::Error),
    /// The box is gone.
    #[error(transparent)]
    Lost(BoxLost),
}

/// Makes every path real, so that no symbolic link can lead a wall astray.
fn resolve(spec: &BoxSpec) -> Result<BoxSpec, SandboxError> {
    let real = |path: &PathBuf| {
        path.canonicalize().map_err(|source| SandboxError::Path { path: path.clone(), source })
    };
    let mut resolved = spec.clone();
    resolved.workspace = real(&spec.workspace)?;
    if !resolved.workspace.is_dir() {
        let source = io::ErrorKind::NotADirectory.into();
        return Err(SandboxError::Path { path: resolved.workspace, source });
    }
    resolved.writable = spec.writable.iter().map(real).collect::<Result<_, _>>()?;
    resolved.readable = spec.readable.iter().map(real).collect::<Result<_, _>>()?;
    // What is not there, or not for our eyes either, needs no hiding.
    resolved.hidden = spec.hidden.iter().filter_map(|path| path.canonicalize().ok()).collect();
    if let Some(dir) = &spec.layers_dir {
        std::fs::create_dir_all(dir)
            .map_err(|source| SandboxError::Path { path: dir.clone(), source })?;
        let layers_dir = real(dir)?;
        if layers_dir.starts_with(&resolved.workspace) {
            return Err(SandboxError::LayersInside { layers_dir });
        }
        resolved.layers_dir = Some(layers_dir);
    }
    if let Some(value) = std::env::var_os("MARLINE_BOX").filter(|value| !value.is_empty()) {
        let value = value.to_string_lossy();
        resolved.wanted = Level::from_name(&value)
            .ok_or_else(|| SandboxError::UnknownLevel { value: value.into_owned() })?;
    }
    Ok(resolved)
}

fn check_passable(spawn: &Spawn) -> Result<(), SpawnError> {
    let all = spawn.argv.iter().chain(&spawn.env).chain([&spawn.cwd]);
    match all.into_iter().find(|bytes| bytes.contains(&0)) {
        Some(bytes) => {
            Err(SpawnError::Unpassable { what: format!("{:?}", String::from_utf8_lossy(bytes)) })
        }
        None => Ok(()),
    }
}

/// Names what is tried to be executed, as absolute paths.
fn programs(spawn: &Spawn) -> Result<Vec<Vec<u8>>, SpawnError> {
    let programs = crate::launch::programs(spawn)
        .map_err(|error| SpawnError::Unpassable { what: error.to_string() })?;
    let absolute = programs.into_iter().map(|program| {
        let program = program.into_bytes();
        if program.starts_with(b"/") { program } else { [&spawn.cwd, &b"/"[..], &program].concat() }
    });
    Ok(absolute.collect())
}

/// Starts an observer; the box gets the other end of its socket.
fn observed(spawn: &Spawn) -> Result<(Observer, OwnedFd), SpawnError> {
    let (here, there) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| SpawnError::Reach(errno.into()))?;
    Ok((Observer::start(here, programs(spawn)?).map_err(SpawnError::Reach)?, there))
}

fn output(output: Output) -> Result<(Option<OwnedFd>, Option<pipe::Receiver>), SpawnError> {
    match output {
        Output::Null => Ok((None, None)),
        Output::Fd(fd) => Ok((Some(fd), None)),
        Output::Pipe => {
            let (reader, writer) =
                pipe2(OFlag::O_CLOEXEC).map_err(|errno| SpawnError::Reach(errno.into()))?;
            let reader = pipe::Receiver::from_owned_fd(reader).map_err(SpawnError::Reach)?;
            Ok((Some(writer), Some(reader)))
        }
    }
}

type Started = Result<u32, (Stage, io::Error)>;

/// The socket to the zygote, and who waits for which answer.
#[derive(Debug)]
pub(crate) struct Link {
    socket: AsyncFd<OwnedFd>,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    layers_dir: Option<PathBuf>,
}

#[derive(Debug, Default)]
struct Waiting {
    lost: bool,
    starts: HashMap<u64, oneshot::Sender<Started>>,
    exits: HashMap<u64, watch::Sender<Option<Exit>>>,
    replays: HashMap<u64, oneshot::Sender<i32>>,
}

impl Link {
    #[allow(unsafe_code)]
    fn new(socket: OwnedFd, layers_dir: Option<PathBuf>) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` gives the same descriptor each time it is asked, and keeps it open.
        let socket = unsafe { AsyncFd::register(socket) }?;
        Ok(Self { socket, waiting: Mutex::default(), next: AtomicU64::new(1), layers_dir })
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_process(
        &self,
        id: u64,
    ) -> Result<(oneshot::Receiver<Started>, watch::Receiver<Option<Exit>>), BoxLost> {
        let mut waiting = self.waiting();
        if waiting.lost {
            return Err(BoxLost);
        }
        let (started, start) = oneshot::channel();
        let (exited, exit) = watch::channel(None);
        waiting.starts.insert(id, started);
        waiting.exits.insert(id, exited);
        Ok((start, exit))
    }

    fn expect_replay(&self, id: u64) -> Result<oneshot::Receiver<i32>, BoxLost> {
        let mut waiting = self.waiting();
        if waiting.lost {
            return Err(BoxLost);
        }
        let (done, replayed) = oneshot::channel();
        waiting.replays.insert(id, done);
        Ok(replayed)
    }

    fn forget(&self, id: u64) {
        let mut waiting = self.waiting();
        waiting.starts.remove(&id);
        waiting.exits.remove(&id);
    }

    pub(crate) async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = request.to_bytes();
        // Nearly always there is room, and then no trip through the reactor is needed.
        match wire::send(self.socket.get_ref().as_fd(), &bytes, fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| wire::send(socket.get_ref().as_fd(), &bytes, fds)) {
                Ok(sent) => return sent,
                Err(_would_block) => {}
            }
        }
    }

    async fn receive(&self) -> io::Result<Option<(Answer, Vec<OwnedFd>)>> {
        let mut buffer = Vec::new();
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| wire::receive(socket.get_ref().as_fd(), &mut buffer)) {
                Err(_would_block) => {}
                Ok(received) => {
                    let Some((bytes, fds)) = received? else {
                        return Ok(None);
                    };
                    let answer = Answer::from_bytes(&bytes).ok_or(io::ErrorKind::InvalidData)?;
                    return Ok(Some((answer, fds)));
                }
            }
        }
    }

    /// Hands each answer to whoever waits for it, until the box is gone.
    async fn listen(self: Arc<Self>) {
        while let Ok(Some((answer, fds))) = self.receive().await {
            self.deliver(answer, &fds);
        }
        let mut waiting = self.waiting();
        waiting.lost = true;
        // Dropping the senders is the news.
        waiting.starts.clear();
        waiting.exits.clear();
        waiting.replays.clear();
    }

    fn deliver(&self, answer: Answer, fds: &[OwnedFd]) {
        let mut waiting = self.waiting();
        match answer {
            Answer::Spawned { id } => {
                if let Some(start) = waiting.starts.remove(&id) {
                    // Whoever asked may have stopped waiting; the process runs all the same.
                    let _ = start.send(Ok(fds.first().and_then(pid_of).unwrap_or(0)));
                }
            }
            Answer::Failed { id, stage, errno } => {
                waiting.exits.remove(&id);
                if let Some(start) = waiting.starts.remove(&id) {
                    let _ = start.send(Err((stage, io::Error::from_raw_os_error(errno))));
                }
            }
            Answer::Exited(ended) => {
                if let Some(exit) = waiting.exits.remove(&ended.id) {
                    let _ = exit.send(Some(Exit::from_wire(&ended, self.layers_dir.as_deref())));
                }
            }
            Answer::Replayed { id, errno } => {
                if let Some(done) = waiting.replays.remove(&id) {
                    let _ = done.send(errno);
                }
            }
            Answer::Open(_) | Answer::Refused(_) => {
                tracing::warn!("the box answered a question nobody asked");
            }
        }
    }

    fn hang_up(&self) {
        let _ = shutdown(self.socket.get_ref().as_raw_fd(), nix::sys::socket::Shutdown::Both);
    }
}

/// Reads which process a pidfd means, as our own process namespace numbers it.
fn pid_of(pidfd: &OwnedFd) -> Option<u32> {
    let path = Path::new("/proc/self/fdinfo").join(pidfd.as_raw_fd().to_string());
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    line.trim().parse().ok()
}
