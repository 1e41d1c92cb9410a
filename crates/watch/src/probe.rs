//! Asking an instance how it is.
//!
//! A probe is one file with a `probe` function and one line in [`PROBES`]. What its answer means
//! is for [`Check`](crate::check::Check) to say.

mod command;
mod http;
mod tcp;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use command::CommandOutput;

use crate::check::Probed;

/// Whom a probe asks, and how.
#[derive(Clone)]
pub struct Target {
    /// Where the instance listens.
    pub address: SocketAddr,
    /// The path of an HTTP probe.
    pub path: String,
    /// The `Host` that an HTTP probe names.
    pub host: String,
    /// The command of a command probe, as Compose has it: `["CMD", "curl", "-f", …]` without the
    /// first word, or a shell line by itself.
    pub command: Vec<String>,
    /// Runs a command inside the instance.
    pub run: Option<RunCommand>,
    /// How long the answer may take.
    pub timeout: Duration,
}

impl Target {
    /// Returns a target at an address that is asked for `/` and has five seconds.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            path: "/".to_owned(),
            host: "localhost".to_owned(),
            command: Vec::new(),
            run: None,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Runs a command inside an instance and gives what became of it; the caller knows how. Dropping
/// the future must end the command.
pub type RunCommand = Arc<dyn Fn(Vec<String>) -> Running<CommandOutput> + Send + Sync>;

/// A future that is on its way.
pub type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A way of asking.
pub struct Probe {
    /// Its name.
    pub name: &'static str,
    /// What it asks.
    pub asks: &'static str,
    ask: fn(Target) -> Running<Answer>,
}

/// What a target said: why it is well, or why it is not.
type Answer = Result<String, String>;

/// Every probe.
pub const PROBES: &[Probe] = &[http::PROBE, tcp::PROBE, command::PROBE];

impl Probe {
    /// Returns the probe of this name.
    pub fn named(name: &str) -> Option<&'static Probe> {
        PROBES.iter().find(|probe| probe.name == name)
    }

    /// Asks a target and gives what it said, at the latest when its time is over.
    pub async fn ask(&self, target: &Target) -> Probed {
        let began = Instant::now();
        let answer = match tokio::time::timeout(target.timeout, (self.ask)(target.clone())).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} ms", target.timeout.as_millis())),
        };
        let took = began.elapsed();
        match answer {
            Ok(said) => Probed { well: true, said, took },
            Err(said) => Probed { well: false, said, took },
        }
    }
}

/// Says why a connection could not be made, without the number of the error.
fn connect_failure(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there".to_owned()
        }
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => format!("could not connect: {error}"),
    }
}
