//! Where instances run.

pub mod conformance;
pub mod process;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use jiff::Timestamp;
use journal::{Exit, InstanceId, ReleaseId, ServiceName};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use crate::deployment::Deployment;

/// What an engine gives back when it must wait for the machine.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// A place where instances run. An engine knows how; it never decides when.
pub trait Engine: Send + Sync {
    /// Makes exactly `count` instances of the deployment run, however many run now.
    ///
    /// Zero removes it. Safe to repeat. Instances that have ended are replaced, so the caller
    /// decides when to restart by when it calls.
    fn scale<'a>(&'a self, deployment: &'a Deployment, count: u32) -> Answer<'a, ()>;

    /// What runs in truth, including what we forgot or never started.
    ///
    /// Instances that ended are listed too until the engine forgets them, so that nobody misses
    /// why they did.
    fn instances<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Vec<Instance>>;

    /// Returns what an instance printed after a cursor.
    fn logs<'a>(&'a self, instance: &'a InstanceId, since: LogCursor) -> Answer<'a, LogLines>;

    /// Starts a command beside a running instance, with its environment and directory.
    fn exec<'a>(
        &'a self,
        instance: &'a InstanceId,
        command: ExecCommand,
    ) -> Answer<'a, ExecSession>;

    /// Stops one instance, by its stop signal and then by force, and waits for its end.
    ///
    /// The next `scale` replaces it: this is how an instance that hangs is restarted.
    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()>;

    /// Every service that has instances, whoever started them.
    fn services(&self) -> Answer<'_, Vec<ServiceName>>;
}

/// An engine by its name, and how to open it.
pub struct EngineKind {
    /// The name in `x-marline: { engine: … }`.
    pub name: &'static str,
    /// One sentence about it.
    pub summary: &'static str,
    /// Opens it.
    pub open: fn(&EngineSettings) -> Result<Box<dyn Engine>, EngineError>,
}

/// All engines, the default one first.
pub const ENGINES: &[EngineKind] = &[process::KIND];

/// What every engine is opened with.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// The directory in which the engine keeps what it must remember.
    pub directory: PathBuf,
    /// The program and first arguments that start a shim, as in `marline __shim`.
    pub shim: Vec<PathBuf>,
    /// Directories that no instance may see: Marline's own state.
    pub hidden: Vec<PathBuf>,
    /// Whether instances are boxed where the machine allows it.
    pub boxed: bool,
}

/// One running copy of a service for one release, or what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id, unique for ever.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseId,
    /// The loopback port that it was given.
    pub port: u16,
    /// When it was started.
    pub started: Timestamp,
    /// What it does now.
    pub state: InstanceState,
    /// Protection that the machine could not give, one sentence each; empty is fully boxed.
    pub unprotected: Vec<String>,
}

impl Instance {
    /// Whether a process of it is alive.
    pub fn is_running(&self) -> bool {
        matches!(self.state, InstanceState::Running { .. })
    }
}

/// What an instance does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Its main process is alive.
    Running {
        /// The main process.
        pid: u32,
        /// What its processes use at the moment.
        usage: Usage,
    },
    /// It was asked to stop and has not ended yet.
    Stopping {
        /// The main process.
        pid: u32,
    },
    /// It ended.
    Ended(Ended),
}

/// How and when an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: EndReason,
    /// The status of its main process; empty when nobody was there to see it.
    pub exit: Exit,
    /// Whether it was asked to stop.
    pub asked: bool,
}

/// Why an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Its main process ended by itself.
    Exited,
    /// A signal ended it.
    Signalled,
    /// It went over its memory limit.
    OutOfMemory,
    /// It could not be started.
    NotStarted {
        /// What the system said, with the program or path that it said it about.
        error: String,
        /// The system's error number.
        errno: Option<i32>,
    },
    /// The shim was killed, and the instance with it.
    ShimLost,
}

/// What the processes of an instance use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Processor time used since the start, in seconds.
    pub cpu_seconds: f64,
    /// Memory in bytes.
    pub rss_bytes: u64,
    /// Number of processes.
    pub processes: u32,
}

/// Where to read a log from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogCursor {
    /// From the first line that is still kept.
    Start,
    /// The last so many lines.
    Last(u32),
    /// From where an earlier read ended, see [`LogLines::next`].
    At(u64),
}

/// A part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLines {
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
    /// Where the next read goes on.
    pub next: u64,
    /// Bytes between the cursor and the first line that rotation has already removed.
    pub skipped: u64,
}

/// A line that an instance printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When the shim read it.
    pub at: Timestamp,
    /// Where it was printed.
    pub stream: Stream,
    /// The text without its line end; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Whether the line goes on in the next one, because it was too long or had no end yet.
    pub partial: bool,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A command to run beside an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCommand {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Variables on top of the instance's own.
    pub environment: Vec<(String, String)>,
}

/// A command that runs beside an instance.
#[derive(Debug)]
pub struct ExecSession {
    /// Its standard input; drop it to close it.
    pub stdin: Option<pipe::Sender>,
    /// Its standard output.
    pub stdout: pipe::Receiver,
    /// Its standard error.
    pub stderr: pipe::Receiver,
    /// Resolves to how it ended. When it and every clone is dropped, the command is killed.
    pub exit: tokio::sync::oneshot::Receiver<Exit>,
}

/// Why an engine could not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine's own directory cannot be used.
    #[error("use {}", path.display())]
    Directory {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no such instance, or no more.
    #[error("find instance {instance}")]
    UnknownInstance {
        /// The instance.
        instance: InstanceId,
    },
    /// The instance is there but has ended.
    #[error("reach instance {instance}, which has ended")]
    HasEnded {
        /// The instance.
        instance: InstanceId,
    },
    /// No port is free.
    #[error("find a free port between {first} and {last}")]
    NoFreePort {
        /// The first one tried.
        first: u16,
        /// The last one tried.
        last: u16,
    },
    /// The shim could not be started.
    #[error("start the shim {}", program.display())]
    Shim {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// An instance could not be started; its own record says more.
    #[error("start instance {instance} of {service}: {error}")]
    NotStarted {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// What the system said.
        error: String,
    },
    /// A shim does not answer.
    #[error("ask the shim of instance {instance}")]
    NoAnswer {
        /// The instance.
        instance: InstanceId,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// A shim refused.
    #[error("{asked} instance {instance}: {error}")]
    Refused {
        /// The instance.
        instance: InstanceId,
        /// What was asked, as a verb.
        asked: &'static str,
        /// Why not.
        error: String,
    },
    /// A deployment asks for what this engine cannot do.
    #[error("run {service}: {reason}")]
    Unsupported {
        /// The service.
        service: ServiceName,
        /// Why not, and what to change.
        reason: String,
    },
    /// Processes did not go away.
    #[error("stop instance {instance}: {processes} of its processes do not go away")]
    DoesNotStop {
        /// The instance.
        instance: InstanceId,
        /// How many are left.
        processes: usize,
    },
}
