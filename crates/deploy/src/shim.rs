//! The small process that holds one instance, its output and its exit status.
//!
//! One shim is one life of one instance: it starts it, in a box where the machine allows one,
//! keeps what it prints, and records how it ended. It outlives the conductor and answers whoever
//! comes next. Starting again is decided above. When a shim is killed, its instance ends with it.
//!
//! Everything lies in the directory of the instance:
//!
//! | file | is |
//! |---|---|
//! | `spec.json` | what to start, written before the shim is |
//! | `lock` | locked as long as the shim lives; this, not a process id, says whether it does |
//! | `state.json` | the processes, once started |
//! | `exit.json` | how it ended; synced before the shim goes |
//! | `control` | the socket that it answers on, one JSON object a line |
//! | `log/` | what it printed, see [`log`] |
//! | `work/` | its home and scratch directory |
//! | `secrets/` | the secrets given as files; removed at the end |

mod child;
pub mod control;
mod hold;
pub mod log;
pub mod processes;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use journal::{InstanceId, ReleaseId, ServiceName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::deployment::{Limits, Signal};

/// What a shim starts: the content of `spec.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShimSpec {
    /// The instance.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseId,
    /// The port it was given.
    pub port: u16,
    /// When the engine made it.
    pub created: Timestamp,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Where it starts.
    pub cwd: PathBuf,
    /// All its variables, but for the secret ones.
    pub environment: BTreeMap<String, String>,
    /// Variables whose values come in the shim's own environment, so that they are on no disk.
    pub secret_variables: Vec<String>,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// How long it may take to stop, in milliseconds.
    pub stop_grace_ms: u64,
    /// What it may use.
    pub limits: Limits,
    /// Whether it is boxed where the machine allows it.
    pub boxed: bool,
    /// Directories that it must not see.
    pub hidden: Vec<PathBuf>,
    /// Directories that it may read though they lie below a hidden one.
    pub readable: Vec<PathBuf>,
    /// Directories that it may write to.
    pub writable: Vec<PathBuf>,
}

/// What runs: the content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimState {
    /// When it was started.
    pub started: Timestamp,
    /// The main process.
    pub pid: u32,
    /// When the main process began, in clock ticks since the machine started.
    pub pid_began: u64,
    /// The shim.
    pub shim: u32,
    /// Protection that the machine could not give.
    pub unprotected: Vec<String>,
}

/// The first line that a shim prints: whether the instance started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// It runs as this process.
    Running(u32),
    /// It does not, and `exit.json` says the same.
    Not(String),
}

/// Before the name of a secret variable in the environment of the shim itself.
pub(crate) const SECRET_PREFIX: &str = "MARLINE_SECRET_";
/// The argument that makes a shim the first moment of an unboxed instance.
const CHILD: &str = "--child";

/// Is a shim, for the arguments after `__shim`; never comes back.
///
/// It must be called before any thread or runtime starts, after `sandbox::entry()`.
#[expect(
    clippy::disallowed_methods,
    reason = "a shim is a process of its own, and this is its end"
)]
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ! {
    let arguments: Vec<_> = arguments.into_iter().collect();
    match arguments.as_slice() {
        [flag, rest @ ..] if flag == CHILD => child::become_instance(rest),
        [spec] => match hold::hold(Path::new(spec)) {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("could not hold the instance of {}: {error}", spec.display());
                std::process::exit(1)
            }
        },
        _ => {
            eprintln!("a shim is started by Marline with the path of its spec.json");
            std::process::exit(2)
        }
    }
}

/// Reads a JSON file; one that is not there is `None`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a JSON file so that it is whole or not there, even after a power cut.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
