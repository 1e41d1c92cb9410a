//! A command, and the process it becomes.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use thiserror::Error;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use crate::observe::{Observer, Seen};
use crate::sandbox::{BoxLost, Link};
use crate::{Layer, wire};

/// How long to go on reading the streams of a process that has ended, because something it
/// started may still hold them, before [`Process::kill`] ends that too.
pub const STREAM_GRACE: Duration = Duration::from_secs(5);

/// What to start in a box.
///
/// The process gets exactly the arguments, variables and streams said here; nothing is inherited.
#[derive(Debug)]
pub struct Command {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) layer: bool,
    pub(crate) hold: bool,
    pub(crate) observe: bool,
    pub(crate) stdin: Input,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
}

/// Where a process reads from.
#[derive(Debug, Default)]
pub enum Input {
    /// Nowhere: it meets the end at once.
    #[default]
    Null,
    /// An open file, pipe or socket.
    Fd(OwnedFd),
}

/// Where a process writes to.
#[derive(Debug, Default)]
pub enum Output {
    /// A new pipe, read with [`Process::stdout`] or [`Process::stderr`].
    #[default]
    Pipe,
    /// Nowhere.
    Null,
    /// An open file, pipe or socket.
    Fd(OwnedFd),
}

impl Command {
    /// Names the program; without a `/` it is looked up in the `PATH` given to the process.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().as_bytes().to_vec()],
            env: Vec::new(),
            cwd: None,
            layer: false,
            hold: false,
            observe: false,
            stdin: Input::Null,
            stdout: Output::Pipe,
            stderr: Output::Pipe,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.argv.push(argument.as_ref().as_bytes().to_vec());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.argv
            .extend(arguments.into_iter().map(|argument| argument.as_ref().as_bytes().to_vec()));
        self
    }

    /// Sets one variable; a later value for a name takes the place of an earlier one.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.into()));
        self
    }

    /// Sets variables; names are taken to differ from each other.
    pub fn envs<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.env.extend(env.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Chooses the working directory; the workspace when not said. A relative path is below it.
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Records the file changes of the process as a [`Layer`], if the box has layers.
    pub fn layer(mut self, layer: bool) -> Self {
        self.layer = layer;
        self
    }

    /// Keeps the workspace as it was below the layer of the process until
    /// [`Sandbox::fold`](crate::Sandbox::fold), so that both can be compared.
    pub fn hold(mut self, hold: bool) -> Self {
        self.hold = hold;
        self
    }

    /// Notes every path that the process and its descendants name, for [`Process::seen`].
    ///
    /// It works where the box has layers; each such call costs some microseconds.
    pub fn observe(mut self, observe: bool) -> Self {
        self.observe = observe;
        self
    }

    /// Chooses standard input; nothing when not said.
    pub fn stdin(mut self, stdin: impl Into<Input>) -> Self {
        self.stdin = stdin.into();
        self
    }

    /// Chooses standard output; a pipe when not said.
    pub fn stdout(mut self, stdout: impl Into<Output>) -> Self {
        self.stdout = stdout.into();
        self
    }

    /// Chooses standard error; a pipe when not said.
    pub fn stderr(mut self, stderr: impl Into<Output>) -> Self {
        self.stderr = stderr.into();
        self
    }
}

impl From<OwnedFd> for Input {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

impl From<OwnedFd> for Output {
    fn from(fd: OwnedFd) -> Self {
        Self::Fd(fd)
    }
}

/// Why a process could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The program was not found or is not one.
    #[error("start the program {program:?}")]
    Program {
        /// The program as it was named.
        program: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The working directory could not be entered.
    #[error("enter the working directory {cwd:?}")]
    Cwd {
        /// The directory.
        cwd: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An argument, a variable or a path holds a zero byte, or a name holds `=`.
    #[error("pass {what} to the process: it holds a byte that cannot be passed")]
    Unpassable {
        /// What it is.
        what: String,
    },
    /// The overlay for the process could not be mounted.
    #[error("mount a new layer over the workspace")]
    Layer(#[source] io::Error),
    /// The system refused a new process.
    #[error("make a new process")]
    Fork(#[source] io::Error),
    /// A wall could not be put around the process.
    #[error("put the walls around the process")]
    Walls(#[source] io::Error),
    /// A pipe could not be made, or the message could not be sent.
    #[error("reach the box")]
    Reach(#[source] io::Error),
    /// The box is gone.
    #[error(transparent)]
    Lost(#[from] BoxLost),
}

/// A process in a box.
///
/// Dropping it leaves the process running until the box closes.
#[derive(Debug)]
pub struct Process {
    pub(crate) link: Arc<Link>,
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
    pub(crate) exit: watch::Receiver<Option<Exit>>,
    pub(crate) observer: Option<Observer>,
}

/// How a process ended, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// By its own exit or by a signal.
    pub end: End,
    /// Processor time in the program, with that of the children it waited for.
    pub user: Duration,
    /// Processor time in the kernel, with that of the children it waited for.
    pub system: Duration,
    /// The most memory that the process or one of the children it waited for held, in bytes.
    pub max_rss: u64,
    /// The memory limit of the box killed something while the process ran.
    pub oom: bool,
    /// Nothing else ran in the box while the process did, and it left nothing running.
    pub alone: bool,
    /// What a layered process changed in the workspace; `None` when it changed nothing.
    pub layer: Option<Layer>,
    /// Why the changes could not be recorded or folded into the workspace, in words.
    pub layer_failure: Option<String>,
}

/// By what a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// Tells whether the process exited with code 0.
    pub fn is_success(&self) -> bool {
        self.end == End::Code(0)
    }

    pub(crate) fn from_wire(ended: &wire::Ended, layers_dir: Option<&Path>) -> Self {
        let layer = ended.layer.zip(layers_dir);
        Self {
            end: match ended.status & 0x7f {
                0 => End::Code((ended.status >> 8) & 0xff),
                signal => End::Signal(signal),
            },
            user: Duration::from_micros(ended.user_micros),
            system: Duration::from_micros(ended.system_micros),
            max_rss: ended.max_rss,
            oom: ended.oom,
            alone: ended.alone,
            layer: layer.map(|((number, part, shared), dir)| Layer::new(dir, number, part, shared)),
            layer_failure: (ended.layer_errno != 0)
                .then(|| io::Error::from_raw_os_error(ended.layer_errno).to_string()),
        }
    }
}

/// How long [`Process::terminate`] waits after each request to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// Signals and the time to wait after each; when all are spent the whole tree is killed.
    pub requests: Vec<(Signal, Duration)>,
}

impl Default for Patience {
    /// What GitHub's runner does: SIGINT, 7.5 s, SIGTERM, 2.5 s.
    fn default() -> Self {
        Self {
            requests: vec![
                (Signal::SIGINT, Duration::from_millis(7500)),
                (Signal::SIGTERM, Duration::from_millis(2500)),
            ],
        }
    }
}

impl Process {
    /// Returns the process id as the caller's side sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Takes the reading end of standard output, once, if it is a pipe.
    pub fn stdout(&mut self) -> Option<pipe::Receiver> {
        self.stdout.take()
    }

    /// Takes the reading end of standard error, once, if it is a pipe.
    pub fn stderr(&mut self) -> Option<pipe::Receiver> {
        self.stderr.take()
    }

    /// Waits for the end of the process; it may be called again and gives the same answer.
    ///
    /// Grandchildren may still hold the streams: read on for at most [`STREAM_GRACE`], then
    /// [`kill`](Self::kill).
    pub async fn wait(&self) -> Result<Exit, BoxLost> {
        let mut exit = self.exit.clone();
        let seen = exit.wait_for(Option::is_some).await.map_err(|_| BoxLost)?;
        seen.clone().ok_or(BoxLost)
    }

    /// Returns how the process ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Takes what was seen of an observed process, once, after its end; none if it was not observed.
    pub fn seen(&self) -> Option<Seen> {
        self.observer.as_ref().map(Observer::take)
    }

    /// Sends a signal to the process group of the process; one that has ended is no error.
    pub async fn signal(&self, signal: Signal) -> Result<(), BoxLost> {
        self.request(signal, false).await
    }

    /// Kills the process and everything that descends from it or stayed in its session.
    ///
    /// It works after the end of the process, too. What left the session and lost its parents is
    /// reached only by [`Sandbox::close`](crate::Sandbox::close).
    pub async fn kill(&self) -> Result<(), BoxLost> {
        self.request(Signal::SIGKILL, true).await
    }

    /// Asks the process to end, ever less politely, and returns how it ended.
    pub async fn terminate(&self, patience: &Patience) -> Result<Exit, BoxLost> {
        for (signal, time) in &patience.requests {
            self.signal(*signal).await?;
            if let Ok(exit) = tokio::time::timeout(*time, self.wait()).await {
                // Its background children end with it, as their step has been cancelled.
                self.kill().await?;
                return exit;
            }
        }
        self.kill().await?;
        self.wait().await
    }

    async fn request(&self, signal: Signal, tree: bool) -> Result<(), BoxLost> {
        let request = wire::Request::Signal { id: self.id, signal: signal as i32, tree };
        self.link.send(&request, &[]).await.map_err(|_| BoxLost)
    }
}
