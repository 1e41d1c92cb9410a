//! What is said on the control socket: one JSON value a line, an answer to each request in order.

use std::net::SocketAddr;

use journal::{InstanceId, ReleaseId, ServiceName};
use serde::{Deserialize, Serialize};

use super::{Routes, TallyReport};

/// The name of the control socket in the directory of a proxy.
pub const SOCKET: &str = "proxy.sock";

/// A wish of the conductor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Replace the whole table.
    SetRoutes(Routes),
    /// Give the table in force.
    GetRoutes,
    /// Give an instance no new request, and answer once it has none left or the deadline has passed.
    Drain {
        /// The instance.
        instance: InstanceId,
        /// How long to wait.
        deadline_ms: u64,
    },
    /// Let the requests of a service wait.
    Hold {
        /// The service.
        service: ServiceName,
        /// How long and how many.
        hold: Hold,
    },
    /// Let them go on.
    Release {
        /// The service.
        service: ServiceName,
    },
    /// Say who you are and what you are doing.
    Status,
    /// Send tallies on this connection from now on.
    Subscribe,
    /// Hand the listening sockets to the new proxy that asks.
    HandOver,
    /// Said by the new proxy once it serves; the old one then finishes what it has and goes.
    Taken,
    /// Stop listening, finish what is under way, go.
    ShutDown,
}

/// How long, and how many, requests may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// The hold ends by itself after this time, and everything that waited goes on.
    pub for_ms: u64,
    /// More requests than this are answered 503 with `Retry-After`.
    pub waiting: u32,
}

/// What the proxy answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// The table in force.
    Routes(Routes),
    /// How the draining ended.
    Drained(Drained),
    /// Who the proxy is and what it does.
    Status(Status),
    /// Tallies, to a subscriber.
    Tallies(TallyReport),
    /// The listening sockets, which come with this very message, in this order.
    Sockets(Vec<SocketAddr>),
    /// It was not done, and why.
    Refused(Refusal),
}

/// Why the proxy did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A newer table is in force.
    #[error("table {given} is older than table {current}, which is in force")]
    Stale {
        /// The version given.
        given: u64,
        /// The version in force.
        current: u64,
    },
    /// Another table with the same version is in force.
    #[error("another table with version {version} is in force")]
    SameVersion {
        /// The version given.
        version: u64,
    },
    /// The table contradicts itself.
    #[error("the table cannot be used: {reason}")]
    Table {
        /// Why.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// A certificate of the table cannot be used.
    #[error("{reason}")]
    Certificate {
        /// Which, and why.
        reason: String,
    },
    /// The table could not be written to disk.
    #[error("the table could not be kept on disk: {reason}")]
    Keep {
        /// What the system said.
        reason: String,
    },
    /// No such service is known.
    #[error("no service is called `{service}`")]
    UnknownService {
        /// The name given.
        service: ServiceName,
    },
    /// The line is not a request.
    #[error("this is not a request: {reason}")]
    Malformed {
        /// What the parser said.
        reason: String,
    },
    /// The proxy is on its way out.
    #[error("this proxy has handed its sockets over and is going")]
    Leaving,
    /// A hand-over is under way already.
    #[error("another proxy is taking over already")]
    Busy,
}

/// How the draining of an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Requests it still has: 0 unless the deadline passed.
    pub in_flight: u64,
}

/// Who a proxy is and what it is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Which life this is; see [`TallyReport::epoch`].
    pub epoch: String,
    /// The version of the program.
    pub program: String,
    /// The version of the table in force.
    pub version: u64,
    /// Open connections of clients.
    pub connections: u64,
    /// Where it listens.
    pub listeners: Vec<Listening>,
    /// Instances of the table, and those no longer in it that still answer requests.
    pub instances: Vec<InstanceStatus>,
    /// Services whose requests are held now, and how many wait.
    pub held: Vec<(ServiceName, u32)>,
}

/// An address of the table and the one it became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// The address as the table says it.
    pub address: SocketAddr,
    /// The address in truth; another only where the table says port 0.
    pub bound: SocketAddr,
}

/// What an instance is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseId,
    /// The instance.
    pub instance: InstanceId,
    /// Requests it is answering.
    pub in_flight: u64,
    /// Whether it may get new requests.
    pub routed: bool,
    /// Whether others are asked first for a while, because it failed again and again.
    #[serde(default)]
    pub ejected: bool,
}
