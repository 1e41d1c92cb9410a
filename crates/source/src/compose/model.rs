//! What a project is, once read.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Deref;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;

use super::Environment;
use super::environment::{read_env_file, read_raw_env_file};
use crate::yaml::did_you_mean;
use crate::{Finding, Place};

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> Spanned<T> {
    /// Returns the value with its place.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The services of one or more Compose files that belong together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Project {
    /// Its name: as written, from the environment, or that of its directory.
    pub name: String,
    /// The services in the order they were written.
    pub services: IndexMap<String, Service>,
    /// The networks.
    pub networks: IndexMap<String, Spanned<Network>>,
    /// The volumes.
    pub volumes: IndexMap<String, Spanned<Volume>>,
    /// The secrets.
    pub secrets: IndexMap<String, Spanned<Config>>,
    /// The configs.
    pub configs: IndexMap<String, Spanned<Config>>,
    /// The extensions of the whole file: every key that begins with `x-`.
    pub extensions: IndexMap<String, serde_json::Value>,
    pub(super) tree: serde_json::Value,
}

impl Project {
    /// Returns the whole project in long forms, variables filled in, files laid over each other.
    pub fn normalised(&self) -> serde_json::Value {
        self.tree.clone()
    }

    /// Returns the names of the services that run with the given profiles, those first that others
    /// wait for.
    ///
    /// Runs: every service without a profile, with one of `profiles` (`*` is all of them), or named
    /// in `services`; with `services`, only those and what they depend on. Among services that may
    /// start at the same time the order is the one they were written in.
    pub fn select(
        &self,
        profiles: &[impl AsRef<str>],
        services: &[impl AsRef<str>],
    ) -> Result<Vec<&Service>, SelectError> {
        let named: HashSet<&str> = services.iter().map(AsRef::as_ref).collect();
        for name in services.iter().map(AsRef::as_ref) {
            if !self.services.contains_key(name) {
                let near = did_you_mean(name, self.services.keys().map(String::as_str));
                return Err(SelectError::NoService {
                    name: name.to_owned(),
                    near: near.map(str::to_owned),
                });
            }
        }
        let is_active = |service: &Service| {
            named.contains(service.name.as_str())
                || service.profiles.is_empty()
                || service.profiles.iter().any(|profile| {
                    profiles.iter().any(|on| on.as_ref() == "*" || on.as_ref() == profile.value)
                })
        };
        let wanted =
            self.services.values().filter(|s| named.is_empty() || named.contains(s.name.as_str()));
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for service in wanted.filter(|service| is_active(service)) {
            self.visit(service, &is_active, &mut seen, &mut order)?;
        }
        Ok(order)
    }

    /// Puts `start` and all it depends on in order; a stack of its own, as chains may be long.
    fn visit<'a>(
        &'a self,
        start: &'a Service,
        is_active: &impl Fn(&Service) -> bool,
        seen: &mut HashSet<&'a str>,
        order: &mut Vec<&'a Service>,
    ) -> Result<(), SelectError> {
        if !seen.insert(&start.name) {
            return Ok(());
        }
        let mut stack = vec![(start, start.depends_on.iter())];
        while let Some((service, dependencies)) = stack.last_mut() {
            let Some((name, dependency)) = dependencies.next() else {
                order.push(service);
                stack.pop();
                continue;
            };
            match self.services.get(name) {
                Some(next) if is_active(next) => {
                    if seen.insert(&next.name) {
                        stack.push((next, next.depends_on.iter()));
                    }
                }
                Some(_) if dependency.required => {
                    return Err(SelectError::Inactive {
                        service: service.name.clone(),
                        dependency: name.clone(),
                    });
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    /// Returns the variables a service gets: its env files in order, then its `environment`.
    ///
    /// A variable named without a value takes the one of `environment` and is left out when there
    /// is none. `read` gives the content of a file relative to the project.
    pub fn environment_of(
        &self,
        service: &Service,
        environment: &Environment,
        read: impl Fn(&str) -> Option<String>,
    ) -> (IndexMap<String, String>, Vec<Finding>) {
        let mut findings = Vec::new();
        let mut given: IndexMap<String, String> = IndexMap::new();
        for file in &service.env_files {
            match read(&file.path) {
                Some(text) if file.is_raw => given.extend(read_raw_env_file(&text)),
                Some(text) => {
                    for (key, value) in read_env_file(&file.path, &text, environment, &mut findings)
                    {
                        match value.or_else(|| environment.get(&key).map(str::to_owned)) {
                            Some(value) => given.insert(key, value),
                            None => None,
                        };
                    }
                }
                None if file.required => findings.push(
                    Finding::error(
                        "compose-env-file",
                        format!("there is no file `{}`", file.path),
                        file.place.clone(),
                    )
                    .help("create it, or say `required: false`"),
                ),
                None => {}
            }
        }
        for (key, value) in &service.environment {
            match value.value.clone().or_else(|| environment.get(key).map(str::to_owned)) {
                Some(value) => given.insert(key.clone(), value),
                None => given.shift_remove(key),
            };
        }
        (given, findings)
    }

    /// Returns every profile that some service names.
    pub fn profiles(&self) -> BTreeSet<&str> {
        self.services.values().flat_map(|s| &s.profiles).map(|p| p.value.as_str()).collect()
    }
}

/// Why the services to run could not be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// No service has the name.
    #[error("there is no service `{name}`")]
    NoService {
        /// The name that was asked for.
        name: String,
        /// A service whose name is much like it.
        near: Option<String>,
    },
    /// A service needs one that none of the profiles turns on.
    #[error("`{service}` depends on `{dependency}`, which none of the given profiles turns on")]
    Inactive {
        /// The service.
        service: String,
        /// What it depends on.
        dependency: String,
    },
}

/// One entry under `services:`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub place: Place,
    /// The image it runs.
    pub image: Option<Spanned<String>>,
    /// How its image, or its release directory, is made.
    pub build: Option<Spanned<Build>>,
    /// What is run; an empty list clears what the image says.
    pub command: Option<Spanned<Vec<String>>>,
    /// What runs the command.
    pub entrypoint: Option<Spanned<Vec<String>>>,
    /// The directory it runs in.
    pub working_dir: Option<Spanned<String>>,
    /// The user it runs as.
    pub user: Option<Spanned<String>>,
    /// Its variables; `None` takes the value from outside.
    pub environment: IndexMap<String, Spanned<Option<String>>>,
    /// Files with more variables, the later ones winning.
    pub env_files: Vec<Spanned<EnvFile>>,
    /// The ports it offers, ranges spread out.
    pub ports: Vec<Spanned<Port>>,
    /// The ports it offers to other services only.
    pub expose: Vec<Spanned<PortRange>>,
    /// How its health is asked.
    pub healthcheck: Option<Spanned<Healthcheck>>,
    /// What must be there before it starts.
    pub depends_on: IndexMap<String, Spanned<Dependency>>,
    /// How it is deployed.
    pub deploy: Deploy,
    /// How many instances run, said the old way; see [`Service::replicas`].
    pub scale: Option<Spanned<u32>>,
    /// What happens when it ends.
    pub restart: Option<Spanned<Restart>>,
    /// The signal that asks it to end: `SIGTERM`.
    pub stop_signal: Option<Spanned<String>>,
    /// How long it may take to end.
    pub stop_grace_period: Option<Spanned<Duration>>,
    /// Run to completion before it starts.
    pub pre_start: Vec<Spanned<Hook>>,
    /// Run just after it started.
    pub post_start: Vec<Spanned<Hook>>,
    /// Run just before it is stopped.
    pub pre_stop: Vec<Spanned<Hook>>,
    /// The profiles that turn it on; always on without any.
    pub profiles: Vec<Spanned<String>>,
    /// The secrets it may read.
    pub secrets: Vec<Spanned<FileGrant>>,
    /// The configs it may read.
    pub configs: Vec<Spanned<FileGrant>>,
    /// What is mounted into it.
    pub volumes: Vec<Spanned<Mount>>,
    /// Directories in memory.
    pub tmpfs: Vec<Spanned<String>>,
    /// Limits of the kernel by name.
    pub ulimits: IndexMap<String, Spanned<Ulimit>>,
    /// Its labels.
    pub labels: IndexMap<String, Spanned<String>>,
    /// Whether its file system is read-only.
    pub read_only: Option<Spanned<bool>>,
    /// Whether an init process reaps its children.
    pub init: Option<Spanned<bool>>,
    /// The networks it joins.
    pub networks: IndexMap<String, Spanned<NetworkUse>>,
    /// What only Marline knows.
    pub marline: Marline,
    /// Whether an outside program provides it (`provider:`).
    pub has_provider: bool,
    /// Every key somebody set, as a path such as `deploy.update_config.order`, and where.
    pub fields: Vec<(String, Place)>,
}

impl Service {
    /// How many instances run.
    pub fn replicas(&self) -> u32 {
        let said = self.deploy.replicas.as_ref().or(self.scale.as_ref());
        said.map_or(1, |replicas| replicas.value)
    }

    /// Every key somebody set, as a path such as `deploy.update_config.order`, and where.
    ///
    /// An engine goes through it to refuse or warn, by name, about what it cannot honour.
    pub fn fields_set(&self) -> &[(String, Place)] {
        &self.fields
    }

    /// Where a key was set, by its path.
    pub fn place_of(&self, field: &str) -> Option<&Place> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, place)| place)
    }

    /// Entrypoint and command in one, ready to run; `None` when neither says anything.
    pub fn argv(&self) -> Option<Vec<String>> {
        let parts = [&self.entrypoint, &self.command];
        let argv: Vec<String> =
            parts.into_iter().flatten().flat_map(|part| part.value.iter().cloned()).collect();
        (!argv.is_empty()).then_some(argv)
    }
}

/// How an image, or a release directory, is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Build {
    /// The directory it is made from, relative to the project.
    pub context: String,
    /// The Dockerfile, relative to the context.
    pub dockerfile: Option<String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Variables of the build; `None` takes the value from outside.
    pub args: IndexMap<String, Option<String>>,
}

/// A file with variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EnvFile {
    /// Its path relative to the project.
    pub path: String,
    /// Whether it must be there.
    pub required: bool,
    /// Whether values stand for themselves (`format: raw`): no quotes, no variables.
    pub is_raw: bool,
}

/// A port a service offers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Port {
    /// What people call it.
    pub name: Option<String>,
    /// The address it is published at; all of them without one.
    pub host_ip: Option<String>,
    /// Where it is published: one port, or any of a range; nowhere fixed without one.
    pub published: Option<PortRange>,
    /// The port inside.
    pub target: u16,
    /// What runs over IP.
    pub protocol: Protocol,
    /// What runs over that: `http`, `grpc`, …
    pub app_protocol: Option<String>,
    /// `host` or `ingress`.
    pub mode: Option<String>,
}

/// Ports from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest; the same for a single port.
    pub last: u16,
    /// What runs over IP.
    pub protocol: Protocol,
}

/// What runs over IP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// How health is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Healthcheck {
    /// Whether a check of the image is turned off.
    pub disable: bool,
    /// What is run.
    pub test: Option<HealthTest>,
    /// How long to wait between two; 30 s unless said.
    pub interval: Option<Duration>,
    /// How long one may take; 30 s unless said.
    pub timeout: Option<Duration>,
    /// How many failures in a row make it unhealthy; 3 unless said.
    pub retries: Option<u32>,
    /// How long failures do not count at the start; 0 s unless said.
    pub start_period: Option<Duration>,
    /// How long to wait between two in that time; 5 s unless said.
    pub start_interval: Option<Duration>,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthTest {
    /// Nothing: `NONE`.
    None,
    /// A program with its arguments: `CMD`.
    Exec(Vec<String>),
    /// A line for the shell: `CMD-SHELL`.
    Shell(String),
}

/// What must be there before a service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// What must be true of it.
    pub condition: Condition,
    /// Whether the service cannot start without it.
    pub required: bool,
    /// Whether the service restarts when it does.
    pub restart: bool,
}

/// What must be true of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// `service_started`.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    Completed,
}

/// How a service is deployed.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Deploy {
    /// How many instances run.
    pub replicas: Option<Spanned<u32>>,
    /// What it may use and what is kept for it.
    pub resources: Resources,
    /// What happens when an instance ends.
    pub restart_policy: Option<Spanned<RestartPolicy>>,
    /// How one release follows another.
    pub update_config: Option<Spanned<UpdateConfig>>,
    /// How a release is taken back.
    pub rollback_config: Option<Spanned<UpdateConfig>>,
    /// Its labels.
    pub labels: IndexMap<String, Spanned<String>>,
}

/// What a service may use and what is kept for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Resources {
    /// The most it may use.
    pub limits: ResourceLimits,
    /// What is kept for it.
    pub reservations: ResourceLimits,
}

/// Amounts of what a machine has.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ResourceLimits {
    /// Processors: 0.5 is half of one.
    pub cpus: Option<Spanned<f64>>,
    /// Bytes of memory.
    pub memory: Option<Spanned<u64>>,
    /// Processes and threads.
    pub pids: Option<Spanned<u64>>,
}

/// How one release follows another.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpdateConfig {
    /// How many instances at a time; 0 is all.
    pub parallelism: Option<Spanned<u32>>,
    /// How long to wait between two steps.
    pub delay: Option<Spanned<Duration>>,
    /// Whether the new starts before the old stops.
    pub order: Option<Spanned<Order>>,
    /// How long to watch after each step.
    pub monitor: Option<Spanned<Duration>>,
    /// Which part may fail.
    pub max_failure_ratio: Option<Spanned<f64>>,
    /// What to do when more fails.
    pub failure_action: Option<Spanned<FailureAction>>,
}

/// Whether the new starts before the old stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The old stops first.
    StopFirst,
    /// The new starts first.
    StartFirst,
}

/// What to do when too much fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// Go on.
    Continue,
    /// Take the release back.
    Rollback,
    /// Wait for a person.
    Pause,
}

/// What happens when a service ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// It stays ended.
    No,
    /// It is started again, always.
    Always,
    /// It is started again after a failure, at most so many times where said.
    OnFailure(Option<u32>),
    /// It is started again unless somebody stopped it.
    UnlessStopped,
}

/// What happens when an instance ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RestartPolicy {
    /// When it is started again.
    pub condition: Option<Spanned<RestartCondition>>,
    /// How long to wait before.
    pub delay: Option<Spanned<Duration>>,
    /// How often to try.
    pub max_attempts: Option<Spanned<u32>>,
    /// How long it must run to count as started.
    pub window: Option<Spanned<Duration>>,
}

/// When an instance is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// Never.
    None,
    /// After a failure.
    OnFailure,
    /// Always.
    Any,
}

/// A command at a turn in the life of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// What is run.
    pub command: Vec<String>,
    /// The image it runs in, where not the service's.
    pub image: Option<String>,
    /// The user it runs as, where not the service's.
    pub user: Option<String>,
    /// The directory it runs in, where not the service's.
    pub working_dir: Option<String>,
    /// Variables beyond the service's.
    pub environment: IndexMap<String, Option<String>>,
    /// Whether it runs with every rights there are.
    pub privileged: bool,
    /// Whether it runs for each instance; otherwise once for the release. Only of `pre_start`.
    pub per_replica: bool,
}

/// A secret or config that a service may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileGrant {
    /// Its name in the project.
    pub source: String,
    /// Where the service finds it, if not at the usual place.
    pub target: Option<String>,
    /// Its owner.
    pub uid: Option<String>,
    /// Its group.
    pub gid: Option<String>,
    /// Its permissions.
    pub mode: Option<u32>,
}

/// Something mounted into a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What it is.
    pub kind: MountKind,
    /// A path for a bind, a name for a volume; none for an unnamed volume and memory.
    pub source: Option<String>,
    /// Where it is found inside.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// What a mount is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    /// A path of the machine.
    Bind,
    /// A volume, named or not.
    Volume,
    /// Memory.
    Tmpfs,
    /// The files of an image.
    Image,
    /// A volume of a cluster.
    Cluster,
    /// A Windows pipe.
    Npipe,
}

/// A limit of the kernel; −1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ulimit {
    /// What the process starts with.
    pub soft: i64,
    /// How far it may raise it.
    pub hard: i64,
}

/// How a service is known in a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NetworkUse {
    /// Its other names there.
    pub aliases: Vec<String>,
}

/// A network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Its real name, where not made from the project's.
    pub name: Option<String>,
    /// Whether it is there already.
    pub external: bool,
    /// Whether nothing leaves it.
    pub internal: bool,
    /// What makes it.
    pub driver: Option<String>,
}

/// A volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Its real name, where not made from the project's.
    pub name: Option<String>,
    /// Whether it is there already.
    pub external: bool,
    /// What makes it.
    pub driver: Option<String>,
    /// Options for that.
    pub driver_opts: BTreeMap<String, String>,
}

/// A secret or a config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Config {
    /// Its real name, where not made from the project's.
    pub name: Option<String>,
    /// The file that holds it.
    pub file: Option<String>,
    /// The variable that holds it.
    pub environment: Option<String>,
    /// What it holds.
    pub content: Option<String>,
    /// Whether it is there already.
    pub external: bool,
}

/// What only Marline knows about a service: its `x-marline`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Marline {
    /// The host names it answers to.
    pub hosts: Vec<Spanned<String>>,
    /// The path prefixes it answers to.
    pub paths: Vec<Spanned<String>>,
    /// The path that tells its health over HTTP.
    pub http: Option<Spanned<String>>,
    /// The percentages of traffic that a new release gets one after the other.
    pub canary: Vec<Spanned<f64>>,
    /// How long requests in flight may take when an instance is taken out.
    pub drain: Option<Spanned<Duration>>,
    /// How traffic moves from one release to the next.
    pub strategy: Option<Spanned<Strategy>>,
    /// Where its instances run.
    pub engine: Option<Spanned<EngineName>>,
    /// How its published ports are encrypted.
    pub tls: Option<Spanned<Tls>>,
    /// Where a line is written for each request.
    pub access_log: Option<Spanned<AccessLog>>,
    /// Whether a request without a trace context gets one.
    pub trace: Option<Spanned<bool>>,
    /// How often one client may ask.
    pub rate_limit: Option<Spanned<RateLimit>>,
    /// How many requests it has at once.
    pub circuit_breakers: Option<Spanned<CircuitBreakers>>,
    /// When an instance that fails gets no requests for a while.
    pub outlier_detection: Option<Spanned<OutlierDetection>>,
    /// How many requests may be tried again.
    pub retry_budget: Option<Spanned<RetryBudget>>,
    /// How long a request waits for an instance.
    pub hold: Option<Spanned<Duration>>,
    /// Whether a client stays with the instance that answered it.
    pub sticky: Option<Spanned<bool>>,
    /// Whether answers are compressed for clients that can read them so.
    pub compress: Option<Spanned<bool>>,
    /// The files of pages for answers of the proxy's own, by status or class.
    pub error_pages: IndexMap<String, Spanned<String>>,
    /// Whether every request is answered 503.
    pub maintenance: Option<Spanned<bool>>,
    /// The methods it answers to.
    pub methods: Vec<Spanned<String>>,
    /// The headers, with their values, that a request to it has.
    pub headers: IndexMap<String, Spanned<String>>,
    /// Whether connections to its published ports begin with a header of the PROXY protocol.
    pub proxy_protocol: Option<Spanned<bool>>,
}

/// Where a line is written for each request of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AccessLog {
    /// What a line looks like.
    pub format: LogFormat,
    /// The file; one in the state directory if nobody says.
    pub file: Option<String>,
    /// The size in bytes at which the file is set aside.
    pub max_size: Option<Spanned<u64>>,
    /// How many files are kept.
    pub max_files: Option<Spanned<u32>>,
}

/// What a line of an access log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// The common log format of web servers.
    Common,
}

/// How often one client may ask. The words are those of Traefik.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RateLimit {
    /// How many requests a period allows in the long run.
    pub average: Spanned<u32>,
    /// The period; a second if nobody says.
    pub period: Option<Spanned<Duration>>,
    /// How many requests may come at once; as many as `average` if nobody says.
    pub burst: Option<Spanned<u32>>,
}

/// How many requests a service has at once. The words are those of Envoy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CircuitBreakers {
    /// Requests being answered.
    pub max_requests: Spanned<u32>,
    /// Requests that wait for one of those to end; as many if nobody says.
    pub max_pending_requests: Option<Spanned<u32>>,
}

/// When an instance that fails gets no requests for a while. The words are those of Envoy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutlierDetection {
    /// After so many failures in a row; 5 if nobody says.
    pub consecutive_5xx: Option<Spanned<u32>>,
    /// For how long the first time; 30 seconds if nobody says.
    pub base_ejection_time: Option<Spanned<Duration>>,
    /// Most instances out at once, in percent; 10 if nobody says, and one at least.
    pub max_ejection_percent: Option<Spanned<u32>>,
}

/// How many requests may be tried again. The words are those of Envoy and Linkerd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetryBudget {
    /// This part of the requests, in percent.
    pub budget_percent: Option<Spanned<u32>>,
    /// And so many each second.
    pub min_retries_per_second: Option<Spanned<u32>>,
}

/// How the published ports of a service are encrypted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tls {
    /// The file of the certificate and those that vouch for it, in PEM.
    pub certificate: Spanned<String>,
    /// The file of its private key, in PEM.
    pub key: Spanned<String>,
    /// How long browsers shall come back encrypted only (`Strict-Transport-Security`, RFC 6797).
    pub hsts: Option<Spanned<Duration>>,
    /// The port whose clients are sent on to the encrypted one.
    pub redirect: Option<Spanned<u16>>,
}

/// How traffic moves from one release to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All at once, after all instances are up.
    BlueGreen,
    /// Step by step, watched.
    Canary,
    /// Instance by instance.
    Rolling,
    /// The old stops, then the new starts.
    Recreate,
}

/// Where instances run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// Processes of this machine.
    Process,
    /// Containers of Docker.
    Docker,
    /// Pods of Kubernetes.
    Kubernetes,
}
