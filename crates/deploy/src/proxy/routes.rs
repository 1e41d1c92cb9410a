//! The whole truth about where requests go: set at once, versioned, kept on disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use journal::{InstanceId, ReleaseId, ServiceName};
use serde::{Deserialize, Serialize};

/// Weights are counted in basis points, so that the weights of a service add up to this.
pub const WHOLE: u16 = 10_000;

/// Most listeners one table may have; their sockets must fit in one hand-over message.
const MOST_LISTENERS: usize = 200;

/// Every listener, route and target the proxy serves.
///
/// A table replaces the one before it as a whole. Versions only grow: setting the same table twice
/// is harmless, setting an older one is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Routes {
    /// Which table this is; chosen by whoever sets it.
    pub version: u64,
    /// Where the proxy listens.
    #[serde(default)]
    pub listeners: Vec<Listener>,
    /// What stands behind each service a route names.
    #[serde(default)]
    pub services: BTreeMap<ServiceName, Service>,
}

/// One address the proxy listens on and what it routes there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// The address to bind; port 0 lets the system choose (see [`Status::listeners`](super::Status)).
    pub address: SocketAddr,
    /// The most specific route wins: exact host, then wildcard, then any; then the longest path.
    pub routes: Vec<Route>,
    /// Whether another proxy stands before us, so that its `X-Forwarded-*` headers are believed.
    #[serde(default)]
    pub behind_proxy: bool,
    /// Whether each connection begins with a header of the PROXY protocol that says who the client
    /// is. Connections without one are closed then, so only those who send it may reach the address.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// What one client may ask of us.
    #[serde(default)]
    pub guards: Guards,
    /// Whose certificates encrypt it. Without them it speaks plainly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The port of HTTPS to which every request is sent on with 308, on connections opened from
    /// now on. The routes are not looked at then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<u16>,
}

/// How a listener encrypts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificates. A client that asks for no name, or for an unknown one, gets the first.
    pub certificates: Vec<Certificate>,
    /// For how many seconds browsers shall come back encrypted only (`Strict-Transport-Security`,
    /// RFC 6797). An application that says so itself is not overruled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts_seconds: Option<u64>,
}

/// A certificate on disk and the names it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Host names, or `*.example.com` for the names one below; the certificate must cover them.
    pub hosts: Vec<String>,
    /// The file of the certificate and those that vouch for it, in PEM.
    pub chain: PathBuf,
    /// The file of the private key, in PEM.
    pub key: PathBuf,
}

impl Listener {
    /// Returns a listener that sends everything to one service.
    pub fn all_to(address: SocketAddr, service: impl Into<ServiceName>) -> Self {
        Self {
            address,
            routes: vec![Route::new(None, "/".to_owned(), service.into())],
            behind_proxy: false,
            proxy_protocol: false,
            guards: Guards::default(),
            tls: None,
            redirect: None,
        }
    }
}

/// One way from a host and path to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A host name without port, `*.example.com` for its subdomains, nothing for any host.
    #[serde(default)]
    pub host: Option<String>,
    /// A path and everything below it: `/api` covers `/api` and `/api/users`, not `/apis`.
    #[serde(default = "root")]
    pub path: String,
    /// The methods it is for; any if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Headers that a request must have with just these values. Of routes to one place, the one
    /// with the most conditions that hold wins.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The service that answers.
    pub service: ServiceName,
}

impl Route {
    /// Returns the route for a host, or any, and a path, without conditions.
    pub fn new(host: Option<String>, path: String, service: ServiceName) -> Self {
        Self { host, path, methods: Vec::new(), headers: BTreeMap::new(), service }
    }
}

fn root() -> String {
    "/".to_owned()
}

/// What stands behind a service, and how much of its traffic each release gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The running instances. An instance that is not here gets no new request.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// Basis points per release; they add up to [`WHOLE`]. May be left out while there is one release.
    ///
    /// The share of a release without targets goes to the others in proportion.
    #[serde(default)]
    pub weights: BTreeMap<ReleaseId, u16>,
    /// What one request may take.
    #[serde(default)]
    pub limits: Limits,
    /// Where a line is written for each request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// Whether a request without a `traceparent` gets one.
    #[serde(default)]
    pub trace: bool,
    /// How often one client may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// How many requests the service has at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breakers: Option<CircuitBreakers>,
    /// When an instance that fails gets no requests for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
    /// How many requests may be tried again.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// How long a request waits, in milliseconds, while no instance can be connected to.
    #[serde(default)]
    pub hold_ms: u64,
    /// The name of the cookie by which a client stays with the instance that answered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<String>,
    /// Whether answers are compressed for clients that can read them so.
    #[serde(default)]
    pub compress: bool,
    /// HTML for answers that are ours, by status (`503`) or class (`5xx`). The status stays.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_pages: BTreeMap<String, String>,
    /// Whether every request is answered 503, without asking an instance.
    #[serde(default)]
    pub maintenance: bool,
}

impl Service {
    /// Returns the page for an answer of ours.
    pub(super) fn error_page(&self, status: u16) -> Option<&str> {
        if self.error_pages.is_empty() {
            return None;
        }
        let page = self.error_pages.get(&status.to_string());
        let class = || self.error_pages.get(&format!("{}xx", status / 100));
        page.or_else(class).map(String::as_str)
    }
}

/// Where a line is written for each request of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// The file; its directory is made where it is missing.
    pub file: PathBuf,
    /// What a line looks like.
    pub format: LogFormat,
    /// The size at which the file is set aside as `FILE.1`.
    pub max_bytes: u64,
    /// How many files there are at most, the one that is written included.
    pub max_files: u32,
}

/// What a line of an access log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// The common log format of web servers.
    Common,
}

/// How often one client may ask; what comes beyond it is answered 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many requests a period allows in the long run.
    pub average: u32,
    /// The period.
    pub period_ms: u64,
    /// How many requests may come at once.
    pub burst: u32,
}

/// How many requests a service has at once; what comes beyond it is answered 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakers {
    /// Requests being answered.
    pub max_requests: u32,
    /// Requests that wait for one of those to end, for as long as connecting may take.
    pub max_pending_requests: u32,
}

/// When an instance that fails gets no requests for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutlierDetection {
    /// After so many failures in a row, answers of 5xx included.
    pub consecutive_5xx: u32,
    /// For how long the first time; the second time for twice as long, and so on.
    pub base_ejection_ms: u64,
    /// Most instances of a release that are out at once, in percent; one may always be, all never.
    pub max_ejection_percent: u32,
}

/// How many requests may be tried again, over ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryBudget {
    /// This part of the requests,
    pub budget_percent: u32,
    /// and so many each second however few requests there are.
    pub min_retries_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        // Enough for every kept connection of an instance that ends at once.
        Self { budget_percent: 20, min_retries_per_second: 100 }
    }
}

/// One instance that answers requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The release it runs.
    pub release: ReleaseId,
    /// The instance itself.
    pub instance: InstanceId,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What one request of a service may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request body; a larger one is answered 413. Nothing means no limit.
    pub body_bytes: Option<u64>,
    /// How long connecting to an instance may take.
    pub connect_ms: u64,
    /// How long an instance may take for the head of its answer once the request stands still; then 504.
    pub answer_ms: u64,
    /// How long an answer may stand still half way before it is cut.
    pub stall_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: Some(1 << 30), connect_ms: 2_000, answer_ms: 60_000, stall_ms: 300_000 }
    }
}

/// What one client may ask of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// Most connections at once; more wait in the queue of the system.
    pub connections: usize,
    /// Longest request head.
    pub head_bytes: usize,
    /// Most headers of a request.
    pub headers: usize,
    /// How long a request head may take from its first byte on, and a new connection to send one.
    pub head_ms: u64,
    /// How long a connection may rest between two requests.
    pub idle_ms: u64,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_bytes: 64 * 1024,
            headers: 100,
            head_ms: 10_000,
            idle_ms: 75_000,
        }
    }
}

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// Two listeners want one address.
    #[error("two listeners want {address}")]
    AddressTwice {
        /// The address.
        address: SocketAddr,
    },
    /// There are more listeners than one proxy can hand over.
    #[error("{count} listeners are more than the {MOST_LISTENERS} one proxy can hold")]
    TooManyListeners {
        /// How many there are.
        count: usize,
    },
    /// A route names a service that is not in the table.
    #[error("a route of {address} leads to service `{service}`, which is not in the table")]
    UnknownService {
        /// The listener.
        address: SocketAddr,
        /// The service nobody described.
        service: ServiceName,
    },
    /// A path does not start with a slash.
    #[error("the path `{path}` of a route to `{service}` does not start with `/`")]
    BadPath {
        /// The path as given.
        path: String,
        /// Where it leads.
        service: ServiceName,
    },
    /// A host is empty, holds a port, or has a `*` in an odd place.
    #[error("`{host}` is not a host name or `*.` before one")]
    BadHost {
        /// The host as given.
        host: String,
    },
    /// A listener is to encrypt and has nothing to do it with.
    #[error("{address} speaks TLS and has no certificate")]
    NoCertificate {
        /// The listener.
        address: SocketAddr,
    },
    /// A listener sends on to HTTPS what came by HTTPS.
    #[error("{address} speaks TLS itself, so it cannot send its clients on to HTTPS")]
    RedirectsFromTls {
        /// The listener.
        address: SocketAddr,
    },
    /// An instance stands in the table twice.
    #[error("instance `{instance}` is in the table twice")]
    InstanceTwice {
        /// The instance.
        instance: InstanceId,
    },
    /// The weights of a service do not make a whole.
    #[error("the weights of `{service}` add up to {sum}, not {WHOLE}")]
    Weights {
        /// The service.
        service: ServiceName,
        /// What they add up to.
        sum: u32,
    },
    /// A service has several releases and no weights.
    #[error("`{service}` has several releases and no weights")]
    NoWeights {
        /// The service.
        service: ServiceName,
    },
}

impl Routes {
    /// Checks that every route leads somewhere and every weight makes sense.
    pub fn check(&self) -> Result<(), RoutesError> {
        self.check_listeners()?;
        let mut instances = BTreeSet::new();
        for (name, service) in &self.services {
            service.check(name)?;
            for target in &service.targets {
                if !instances.insert(&target.instance) {
                    let instance = target.instance.clone();
                    return Err(RoutesError::InstanceTwice { instance });
                }
            }
        }
        Ok(())
    }

    fn check_listeners(&self) -> Result<(), RoutesError> {
        if self.listeners.len() > MOST_LISTENERS {
            return Err(RoutesError::TooManyListeners { count: self.listeners.len() });
        }
        let mut addresses = BTreeSet::new();
        for listener in &self.listeners {
            let address = listener.address;
            if !addresses.insert(address) {
                return Err(RoutesError::AddressTwice { address });
            }
            if let Some(tls) = &listener.tls {
                if tls.certificates.is_empty() {
                    return Err(RoutesError::NoCertificate { address });
                }
                if listener.redirect.is_some() {
                    return Err(RoutesError::RedirectsFromTls { address });
                }
                let mut hosts = tls.certificates.iter().flat_map(|one| &one.hosts);
                hosts.try_for_each(|host| check_host(host))?;
            }
            for route in &listener.routes {
                route.check()?;
                if !self.services.contains_key(&route.service) {
                    let service = route.service.clone();
                    return Err(RoutesError::UnknownService { address, service });
                }
            }
        }
        Ok(())
    }
}

impl Route {
    fn check(&self) -> Result<(), RoutesError> {
        if !self.path.starts_with('/') {
            return Err(RoutesError::BadPath {
                path: self.path.clone(),
                service: self.service.clone(),
            });
        }
        self.host.as_deref().map_or(Ok(()), check_host)
    }
}

fn check_host(host: &str) -> Result<(), RoutesError> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte);
    let ported = name.contains(':') && !name.starts_with('[');
    if name.is_empty() || ported || !name.bytes().all(letters) {
        return Err(RoutesError::BadHost { host: host.to_owned() });
    }
    Ok(())
}

impl Service {
    /// Returns the share of a release in basis points.
    pub fn weight(&self, release: &ReleaseId) -> u16 {
        if self.weights.is_empty() {
            return WHOLE;
        }
        self.weights.get(release).copied().unwrap_or(0)
    }

    fn check(&self, name: &ServiceName) -> Result<(), RoutesError> {
        if self.weights.is_empty() {
            let releases: BTreeSet<_> = self.targets.iter().map(|t| &t.release).collect();
            return match releases.len() {
                0 | 1 => Ok(()),
                _ => Err(RoutesError::NoWeights { service: name.clone() }),
            };
        }
        match self.weights.values().map(|weight| u32::from(*weight)).sum() {
            sum if sum == u32::from(WHOLE) => Ok(()),
            sum => Err(RoutesError::Weights { service: name.clone(), sum }),
        }
    }
}
