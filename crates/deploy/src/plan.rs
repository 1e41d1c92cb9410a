//! A Compose service becomes a resolved plan.
//!
//! Standard fields say what; `x-marline` says only what Compose cannot. [`plan`] is pure: it gives
//! what shall run, in the order it starts, and a finding with its place for every field that the
//! process engine does not honour. Printed, a [`ServicePlan`] is what `marline deploy --plan` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::{ReleaseId, ServiceName, StrategyKind};
use serde::Serialize;
use source::compose::{
    self, Condition, EngineName, Environment, FailureAction, Mount, MountKind, Project, Service,
};
use source::{Finding, Place};

use crate::deployment::{
    Command, Deployment, Limits, Peer, Secret, SecretGiven, Signal, Volume, inside,
};
use crate::strategy::{self, OnWorse, Order, WHOLE};

/// How long a release is watched and the old one kept warm, if nobody says.
const MONITOR: Duration = Duration::from_secs(30);
/// How long a step of a canary lasts at least, if `monitor` is not shorter.
const STEP_TIME: Duration = Duration::from_secs(10);
/// How long an instance may take to become ready, if its health check does not ask for more.
const START_TIME: Duration = Duration::from_mins(1);
/// How long an instance may take to stop: what Compose says.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Shares of a new release at each step, if nobody says.
const CANARY: [u32; 4] = [100, 1_000, 5_000, WHOLE];

/// What a service runs as, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServicePlan {
    /// The service.
    pub service: ServiceName,
    /// What is started.
    pub command: Command,
    /// Where, relative to the release.
    pub directory: PathBuf,
    /// How many instances.
    pub replicas: u32,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// The names of the secrets it reads as files.
    pub secrets: Vec<String>,
    /// Directories that outlive releases.
    pub volumes: Vec<VolumePlan>,
    /// The ports that the proxy listens on for it.
    pub published: Vec<Published>,
    /// What runs to completion before it starts.
    pub pre_start: Vec<PreStart>,
    /// What must be there before it starts.
    pub depends_on: Vec<(ServiceName, Condition)>,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// How long it may take to stop.
    pub stop_grace: Duration,
    /// What it may use.
    pub limits: Limits,
    /// How one release follows another.
    pub rollout: Rollout,
}

/// A directory that outlives releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumePlan {
    /// The name of the volume, or the path of a bind mount.
    pub name: String,
    /// Whether it is a path of the machine and not a volume that Marline keeps.
    pub is_bind: bool,
    /// The path the service expects in a container.
    pub target: String,
    /// Whether it is only read.
    pub read_only: bool,
}

/// A port that the proxy listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The address; loopback if nobody says.
    pub address: Option<String>,
    /// The port; any free one if nobody says.
    pub port: Option<u16>,
    /// What is spoken there: `http` if nobody says.
    pub protocol: String,
}

/// A command that runs to completion before a service starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PreStart {
    /// The program and its arguments.
    pub command: Command,
    /// Where, relative to the release.
    pub directory: PathBuf,
    /// Variables beyond the service's.
    pub environment: BTreeMap<String, String>,
    /// Whether it runs for each instance and not once for the release.
    pub per_replica: bool,
}

/// How one release follows another, with every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rollout {
    /// How traffic moves.
    pub strategy: StrategyKind,
    /// Which of two instances goes first.
    pub order: Order,
    /// Instances at a time.
    pub parallelism: u32,
    /// Pause between two batches.
    pub delay: Duration,
    /// Shares at each step, in basis points.
    pub steps: Vec<u32>,
    /// How long a step lasts at least.
    pub step_time: Duration,
    /// How long a step waits for enough traffic.
    pub patience: Duration,
    /// How long an instance may take to become ready.
    pub start_time: Duration,
    /// How long the old release stays warm.
    pub monitor: Duration,
    /// What happens when the new release is worse.
    pub on_worse: OnWorse,
    /// Which part of the requests may fail, if somebody said.
    pub max_failure_ratio: Option<f64>,
}

/// What else a plan depends on.
pub struct Given<'a> {
    /// Variables for the Compose file.
    pub environment: &'a Environment,
    /// Gives the content of a file relative to the project.
    pub read: &'a dyn Fn(&str) -> Option<String>,
    /// Lines of the Procfile, or what detection found, by service.
    pub commands: &'a BTreeMap<String, String>,
}

/// Plans services in the order they start, and finds what the process engine cannot honour.
///
/// A service with an error among its findings is not in the plan.
pub fn plan(
    project: &Project,
    services: &[&Service],
    given: &Given<'_>,
) -> (Vec<ServicePlan>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut plans = Vec::new();
    for service in services {
        let mut found = unsupported(service);
        let plan = plan_service(project, service, given, &mut found);
        let has_error = found.iter().any(Finding::is_error);
        plans.extend(plan.filter(|_| !has_error));
        findings.append(&mut found);
    }
    (plans, findings)
}

fn plan_service(
    project: &Project,
    service: &Service,
    given: &Given<'_>,
    findings: &mut Vec<Finding>,
) -> Option<ServicePlan> {
    let (environment, mut found) = project.environment_of(service, given.environment, given.read);
    findings.append(&mut found);
    let command = command(service, given.commands, findings);
    let directory = directory(service, findings);
    let volumes: Vec<_> =
        service.volumes.iter().filter_map(|mount| volume(mount, &mount.place, findings)).collect();
    let stop_signal = match &service.stop_signal {
        None => Signal::TERM,
        Some(text) => Signal::parse(text).unwrap_or_else(|| {
            let message = format!("`{}` is not a signal", text.value);
            findings.push(
                Finding::error("stop-signal-unknown", message, text.place.clone())
                    .help("use a name such as `SIGTERM`"),
            );
            Signal::TERM
        }),
    };
    let limits = &service.deploy.resources.limits;
    let rollout = rollout(service, &volumes);
    let pre_start = service
        .pre_start
        .iter()
        .map(|hook| PreStart {
            command: Command::Words(hook.command.clone()),
            directory: hook
                .working_dir
                .as_deref()
                .and_then(|dir| inside(&directory, Path::new(dir)))
                .unwrap_or_else(|| directory.clone()),
            environment: hook
                .environment
                .iter()
                .filter_map(|(k, v)| Some((k.clone(), v.clone()?)))
                .collect(),
            per_replica: hook.per_replica,
        })
        .collect();
    Some(ServicePlan {
        service: service.name.as_str().into(),
        command: command?,
        directory,
        replicas: service.replicas(),
        environment: environment.into_iter().collect(),
        secrets: service.secrets.iter().map(|secret| secret.source.clone()).collect(),
        volumes,
        published: service.ports.iter().map(|port| published(port)).collect(),
        pre_start,
        depends_on: service
            .depends_on
            .iter()
            .map(|(name, dependency)| (name.as_str().into(), dependency.condition))
            .collect(),
        stop_signal,
        stop_grace: service.stop_grace_period.as_ref().map_or(STOP_GRACE, |grace| grace.value),
        limits: Limits {
            cpu_millis: limits.cpus.as_ref().map(|cpus| (cpus.value * 1000.0).round() as u32),
            memory: limits.memory.as_ref().map(|memory| memory.value),
            processes: limits.pids.as_ref().and_then(|pids| u32::try_from(pids.value).ok()),
        },
        rollout,
    })
}

fn command(
    service: &Service,
    commands: &BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Option<Command> {
    let name = &service.name;
    if service.build.is_none() && (service.image.is_some() || service.has_provider) {
        let place = service.image.as_ref().map_or(&service.place, |image| &image.place);
        findings.push(
            Finding::error(
                "service-needs-docker",
                format!("service `{name}` has only an image, and images need the Docker engine"),
                place.clone(),
            )
            .why("the process engine runs programs of the release, not images")
            .help(format!(
                "add `build:` with the folder of its code, or run `{name}` yourself and take it out",
            )),
        );
        return None;
    }
    if let Some(words) = service.argv() {
        return Some(Command::Words(words));
    }
    if let Some(line) = commands.get(name) {
        return Some(Command::Shell(line.clone()));
    }
    findings.push(
        Finding::error(
            "service-needs-command",
            format!("service `{name}` does not say what to run"),
            service.place.clone(),
        )
        .why("the process engine does not read Dockerfiles")
        .help(format!("add `command:` to it, or a line `{name}: …` to a Procfile")),
    );
    None
}

fn directory(service: &Service, findings: &mut Vec<Finding>) -> PathBuf {
    let mut directory = PathBuf::new();
    if let Some(build) = &service.build {
        match inside(&directory, Path::new(&build.context)) {
            Some(context) => directory = context,
            None => findings.push(
                Finding::error(
                    "build-context-outside",
                    format!("`{}` is not inside the repository", build.context),
                    build.place.clone(),
                )
                .why("a release holds the files of the repository and nothing else"),
            ),
        }
    }
    if let Some(working_dir) = &service.working_dir {
        let path = Path::new(&working_dir.value);
        match inside(&directory, path) {
            Some(inner) => directory = inner,
            None if path.is_absolute() => findings.push(
                Finding::warning(
                    "working-dir-in-container",
                    format!(
                        "`{}` is a path in a container and has no meaning here",
                        path.display()
                    ),
                    working_dir.place.clone(),
                )
                .help("the service starts in its build context; name a path relative to that"),
            ),
            None => findings.push(Finding::error(
                "working-dir-outside",
                format!("`{}` is not inside the build context", path.display()),
                working_dir.place.clone(),
            )),
        }
    }
    directory
}

fn volume(mount: &Mount, place: &Place, findings: &mut Vec<Finding>) -> Option<VolumePlan> {
    let is_bind = match (mount.kind, &mount.source) {
        (MountKind::Bind, Some(_)) => true,
        (MountKind::Volume, Some(_)) => false,
        _ => {
            findings.push(
                Finding::warning(
                    "mount-not-made",
                    format!("nothing is mounted at `{}`", mount.target),
                    place.clone(),
                )
                .why("the process engine gives only named volumes and paths of the machine")
                .help("a private scratch directory is in the variable HOME"),
            );
            return None;
        }
    };
    let name = mount.source.clone().unwrap_or_default();
    let variable = format!("VOLUME_{}", crate::deployment::variable_name(&name));
    findings.push(
        Finding::warning(
            "mount-by-variable",
            format!("`{}` does not appear at `{}`", name, mount.target),
            place.clone(),
        )
        .why("processes see the file system of the machine")
        .help(format!("the service finds it in the variable {variable}")),
    );
    Some(VolumePlan { name, is_bind, target: mount.target.clone(), read_only: mount.read_only })
}

fn published(port: &compose::Port) -> Published {
    let is_tcp = port.protocol == compose::Protocol::Tcp;
    let usual = if is_tcp { "http" } else { "udp" };
    Published {
        address: port.host_ip.clone(),
        port: port.published.map(|range| range.first),
        protocol: port.app_protocol.clone().unwrap_or_else(|| usual.to_owned()),
    }
}

fn rollout(service: &Service, volumes: &[VolumePlan]) -> Rollout {
    let config = service.deploy.update_config.as_ref().map(|config| &config.value);
    let said = |order: compose::Order| match order {
        compose::Order::StopFirst => Order::StopFirst,
        compose::Order::StartFirst => Order::StartFirst,
    };
    let writes_volume = volumes.iter().any(|volume| !volume.is_bind && !volume.read_only);
    let usual = if writes_volume { Order::StopFirst } else { Order::StartFirst };
    let strategy = service.marline.strategy.as_ref().map(|strategy| strategy.value);
    let order = match strategy {
        Some(compose::Strategy::Recreate) => Order::StopFirst,
        _ => config.and_then(|c| c.order.as_ref()).map_or(usual, |order| said(order.value)),
    };
    let canary: Vec<u32> = service
        .marline
        .canary
        .iter()
        .map(|percent| (percent.value * 100.0).round().clamp(1.0, f64::from(WHOLE)) as u32)
        .collect();
    let kind = match strategy {
        // Two copies must not run together, so there is nothing to split traffic between.
        _ if order == Order::StopFirst => StrategyKind::Rolling,
        Some(compose::Strategy::BlueGreen) => StrategyKind::BlueGreen,
        Some(compose::Strategy::Canary) => StrategyKind::Canary,
        Some(compose::Strategy::Rolling | compose::Strategy::Recreate) => StrategyKind::Rolling,
        // Without ports there are no requests that could be compared.
        None if service.ports.is_empty() && canary.is_empty() => StrategyKind::BlueGreen,
        None => StrategyKind::Canary,
    };
    let mut steps = match kind {
        StrategyKind::Canary if canary.is_empty() => CANARY.to_vec(),
        StrategyKind::Canary => canary,
        _ => vec![WHOLE],
    };
    steps.push(WHOLE);
    steps.sort_unstable();
    steps.dedup();
    let monitor = config.and_then(|c| c.monitor.as_ref()).map_or(MONITOR, |time| time.value);
    let replicas = service.replicas().max(1);
    let parallelism = match config.and_then(|c| c.parallelism.as_ref()).map(|p| p.value) {
        Some(0) => replicas,
        said => said.unwrap_or(1),
    };
    let on_worse = match config.and_then(|c| c.failure_action.as_ref()).map(|action| action.value) {
        None | Some(FailureAction::Rollback) => OnWorse::RollBack,
        Some(FailureAction::Pause) => OnWorse::Hold,
        Some(FailureAction::Continue) => OnWorse::GoOn,
    };
    let start_time = service.healthcheck.as_ref().map_or(START_TIME, |check| {
        let round = check.interval.unwrap_or(Duration::from_secs(30));
        let rounds = round.saturating_mul(check.retries.unwrap_or(3).max(1));
        START_TIME.max(check.start_period.unwrap_or_default().saturating_add(rounds))
    });
    Rollout {
        strategy: kind,
        order,
        parallelism,
        delay: config.and_then(|c| c.delay.as_ref()).map_or(Duration::ZERO, |d| d.value),
        steps,
        step_time: STEP_TIME.min(monitor),
        patience: monitor,
        start_time,
        monitor,
        on_worse,
        max_failure_ratio: config.and_then(|c| c.max_failure_ratio.as_ref()).map(|r| r.value),
    }
}

/// A field that the process engine does not honour, why, and whether nothing may start then.
struct Unsupported {
    field: &'static str,
    reason: &'static str,
    is_error: bool,
}

const fn warned(field: &'static str, reason: &'static str) -> Unsupported {
    Unsupported { field, reason, is_error: false }
}

const fn refused(field: &'static str, reason: &'static str) -> Unsupported {
    Unsupported { field, reason, is_error: true }
}

/// Fields that the process engine does not honour; all others it does, or they mean nothing to it.
const UNSUPPORTED: &[Unsupported] = &[
    warned("cap_add", "an instance has no privileges"),
    refused("cgroup_parent", "the process engine chooses the cgroup itself"),
    refused("configs", "the process engine gives no configs; read the file from the release"),
    warned("container_name", "instances have names of their own"),
    warned("cpus", "processor time is not limited yet"),
    warned("deploy.resources.limits.cpus", "processor time is not limited yet"),
    warned("deploy.resources.reservations", "nothing is reserved on one machine"),
    refused("devices", "an instance sees no devices"),
    warned("dns", "instances use the resolver of the machine"),
    refused("extends", "it should have been resolved before"),
    warned("extra_hosts", "instances use the host names of the machine"),
    refused("gpus", "the process engine gives no GPUs"),
    warned("init", "the shim does what an init process would"),
    warned("links", "services find each other by variables such as DB_HOST and DB_PORT"),
    warned("network_mode", "instances use the network of the machine"),
    warned(
        "networks",
        "instances use the network of the machine; services find each other by \
                        variables such as DB_HOST and DB_PORT",
    ),
    refused("post_start", "the process engine does not run it yet"),
    refused("pre_stop", "the process engine does not run it yet"),
    refused("privileged", "an instance never gets privileges"),
    refused("runtime", "it chooses how containers run"),
    warned("shm_size", "shared memory is that of the machine"),
    warned("sysctls", "the kernel's settings are those of the machine"),
    warned("tmpfs", "a private scratch directory is in the variable HOME"),
    warned("ulimits", "limits are those that Marline was started with"),
    refused("user", "processes run as Marline's own user"),
];

fn unsupported(service: &Service) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(engine) = &service.marline.engine
        && engine.value != EngineName::Process
    {
        let message = format!("service `{}` asks for an engine that is not there", service.name);
        findings.push(
            Finding::error("engine-missing", message, engine.place.clone())
                .help("take `engine:` out, or say `engine: process`"),
        );
    }
    let mut told = Vec::new();
    for (field, place) in service.fields_set() {
        let is_below = |entry: &&Unsupported| {
            field
                .strip_prefix(entry.field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let Some(entry) = UNSUPPORTED.iter().find(is_below) else { continue };
        if told.contains(&entry.field) {
            continue;
        }
        told.push(entry.field);
        let message = format!("the process engine does not honour `{}`", entry.field);
        let finding = if entry.is_error {
            Finding::error("field-refused", message, place.clone())
        } else {
            Finding::warning("field-not-honoured", message, place.clone())
        };
        findings.push(finding.why(entry.reason));
    }
    findings
}

impl ServicePlan {
    /// The plan of one deployment of this service.
    pub fn deploy(&self, from: Option<ReleaseId>, to: ReleaseId) -> strategy::Plan {
        let rollout = &self.rollout;
        strategy::Plan {
            strategy: rollout.strategy,
            from,
            to,
            replicas: self.replicas,
            order: rollout.order,
            parallelism: rollout.parallelism,
            delay: rollout.delay,
            steps: rollout.steps.clone(),
            step_time: rollout.step_time,
            patience: rollout.patience,
            start_time: rollout.start_time,
            monitor: rollout.monitor,
            on_worse: rollout.on_worse,
            hold_when_unsure: false,
        }
    }

    /// What an engine is told to run: this plan with what only this machine knows.
    ///
    /// `volumes` is where named volumes lie, `project` what bind mounts are relative to, and
    /// `secret` gives a secret's value.
    pub fn deployment(
        &self,
        release: ReleaseId,
        files: PathBuf,
        project: &Path,
        volumes: &Path,
        peers: BTreeMap<ServiceName, Peer>,
        secret: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Deployment {
        let secrets = self.secrets.iter().filter_map(|name| {
            Some(Secret { name: name.clone(), value: secret(name)?, given: SecretGiven::File })
        });
        let volume = |volume: &VolumePlan| Volume {
            name: volume.name.clone(),
            host: if volume.is_bind { project } else { volumes }.join(&volume.name),
            target: volume.target.clone().into(),
            read_only: volume.read_only,
        };
        Deployment {
            service: self.service.clone(),
            release,
            files,
            command: self.command.clone(),
            directory: self.directory.clone(),
            environment: self.environment.clone(),
            peers,
            secrets: secrets.collect(),
            volumes: self.volumes.iter().map(volume).collect(),
            stop_signal: self.stop_signal,
            stop_grace: self.stop_grace,
            user: None,
            limits: self.limits,
        }
    }
}

impl fmt::Display for ServicePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rollout = &self.rollout;
        writeln!(f, "{} × {}", self.service, self.replicas)?;
        writeln!(f, "  runs       {}", self.command.shown())?;
        let directory = self.directory.display().to_string();
        writeln!(f, "  in         {}", if directory.is_empty() { "." } else { &directory })?;
        let keys: Vec<&str> = self.environment.keys().map(String::as_str).collect();
        if !keys.is_empty() {
            writeln!(f, "  variables  {}", keys.join(", "))?;
        }
        if !self.secrets.is_empty() {
            writeln!(f, "  secrets    {}", self.secrets.join(", "))?;
        }
        for port in &self.published {
            let address = port.address.as_deref().unwrap_or("127.0.0.1");
            let number = port.port.map_or_else(|| "any free port".to_owned(), |n| n.to_string());
            writeln!(f, "  published  {address}:{number} ({})", port.protocol)?;
        }
        for step in &self.pre_start {
            let often = if step.per_replica { "each instance" } else { "each release" };
            writeln!(f, "  before     {} (once for {often})", step.command.shown())?;
        }
        for (name, condition) in &self.depends_on {
            let condition = match condition {
                Condition::Started => "runs",
                Condition::Healthy => "is healthy",
                Condition::Completed => "has completed",
            };
            writeln!(f, "  after      {name} {condition}")?;
        }
        for volume in &self.volumes {
            let access = if volume.read_only { "read" } else { "written" };
            writeln!(f, "  volume     {} ({access})", volume.name)?;
        }
        let percent = |share: &u32| format!("{} %", f64::from(*share) / 100.0);
        let shares: Vec<_> = rollout.steps.iter().map(percent).collect();
        let first = match rollout.order {
            Order::StartFirst => "new starts first",
            Order::StopFirst => "old stops first",
        };
        writeln!(f, "  traffic    {} {}, {first}", rollout.strategy, shares.join(" → "))?;
        let worse = match rollout.on_worse {
            OnWorse::RollBack => "rolls back by itself",
            OnWorse::Hold => "waits for a person",
            OnWorse::GoOn => "goes on regardless",
        };
        writeln!(f, "  watched    {:?}, {worse}", rollout.monitor)?;
        write!(f, "  stops      {}, killed after {:?}", self.stop_signal, self.stop_grace)
    }
}

#[cfg(test)]
mod tests;
