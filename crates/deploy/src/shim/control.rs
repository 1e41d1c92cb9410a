//! What a shim is asked, and how.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::Exit;
use serde::{Deserialize, Serialize};

use crate::deployment::Signal;
use crate::engine::Usage;

/// The name of the socket in the directory of an instance.
pub const SOCKET: &str = "control";

/// A question to a shim: one JSON object on a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What runs and what it uses.
    Status,
    /// Ask the main process to end; kill everything when the time is over.
    ///
    /// It is answered at once; that the shim hangs up tells that the instance has ended.
    Stop {
        /// How to ask.
        signal: Signal,
        /// How long to wait, in milliseconds.
        grace_ms: u64,
    },
    /// Give the main process a signal.
    Signal(Signal),
    /// Start a command beside the instance.
    Exec {
        /// The program and its arguments.
        words: Vec<String>,
        /// Variables on top of the instance's own.
        environment: Vec<(String, String)>,
        /// Numbers of open pipes of the asking process: input, output, errors.
        pipes: [i32; 3],
    },
}

/// The answer of a shim: one JSON object on a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What runs and what it uses.
    Status {
        /// The main process.
        pid: u32,
        /// Whether it was asked to stop.
        stopping: bool,
        /// What its processes use.
        usage: Usage,
        /// Lines of the log that a full disk swallowed.
        lines_lost: u64,
    },
    /// It is done.
    Done,
    /// The command beside the instance has its pipes and runs.
    ExecStarted(u32),
    /// The command beside the instance ended.
    ExecEnded(Exit),
    /// It cannot be done.
    Failed(String),
}

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the shim of the instance in `directory`.
    pub fn connect(directory: &Path) -> io::Result<Self> {
        let open = File::open(directory)?;
        let stream = UnixStream::connect(short_path(&open))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks, and waits at most so long for the answer; `None` waits for ever.
    pub fn ask(&mut self, request: &Request, patience: Option<Duration>) -> io::Result<Reply> {
        self.stream.get_ref().set_read_timeout(patience)?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        self.answer()
    }

    /// Waits for one more answer.
    pub fn answer(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }

    /// Waits until the shim hangs up, which it does when its instance has ended.
    pub(crate) fn ask_no_more(&mut self, patience: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(patience))?;
        match self.stream.read_line(&mut String::new()) {
            Ok(0) => Ok(()),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Waits for one more answer without a limit.
    pub(crate) fn be_patient(&self) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(None)
    }

    /// Returns a handle that can hang up while another thread waits.
    pub(crate) fn handle(&self) -> io::Result<UnixStream> {
        self.stream.get_ref().try_clone()
    }
}

/// The socket's path by an open directory, as a socket's own path must be shorter than 108 bytes.
pub(crate) fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}
