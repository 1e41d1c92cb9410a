//! How the services of a release run: its Compose file, read from its own files.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploy::ReleaseStore;
use deploy::deployment::{Deployment, Peer};
use deploy::plan::{Given, ServicePlan, plan};
use deploy::proxy::{Certificate, Route};
use indexmap::IndexMap;
use journal::{ReleaseId, ServiceName};
use source::compose::{
    ComposeFile, Condition, Environment, HealthTest, LogFormat, Marline, Project, Restart, Service,
};
use source::git::Repository;
use source::project::{self, Detection};
use source::{Finding, Place};
use watch::check::Schedule;
use watch::restart::RestartPolicy;

use super::lock;
use crate::state::State;
use crate::tree::Written;

/// How long a service without a port and without a health check must run to count as ready.
const ALIVE_FOR: Duration = Duration::from_secs(1);

/// The size at which an access log is set aside, and how many are kept, if nobody says.
const LOG_BYTES: u64 = 64 << 20;
const LOG_FILES: u32 = 5;

/// Largest page for answers of the proxy's own; it is part of each table.
const PAGE_BYTES: usize = 128 << 10;

/// One service of one release, and everything that is known about how it runs.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The plan.
    pub plan: ServicePlan,
    /// Where the proxy listens for it.
    pub listeners: Vec<SocketAddr>,
    /// Host names it answers to; empty is any.
    hosts: Vec<String>,
    /// Path prefixes it answers to; empty is any.
    paths: Vec<String>,
    /// Methods it answers to; empty is any.
    methods: Vec<String>,
    /// Headers, with their values, that a request to it has.
    headers: BTreeMap<String, String>,
    /// Whether its listeners expect the PROXY protocol.
    pub proxy_protocol: bool,
    /// How its listeners encrypt, if they do.
    pub tls: Option<Encryption>,
    /// What the proxy shall do for it, but for the instances.
    pub wanted: deploy::proxy::Service,
    /// How its health is asked.
    pub asked: Asked,
    /// The path of an HTTP probe.
    pub path: String,
    /// The command of a command probe.
    pub test: Vec<String>,
    /// When it is asked.
    pub schedule: Schedule,
    /// When its instances start again.
    pub restart: RestartPolicy,
    /// How long requests may take when an instance is taken out.
    pub drain: Duration,
}

/// How the listeners of a service encrypt.
#[derive(Debug, Clone)]
pub struct Encryption {
    /// The certificate; its files are named as the Compose file names them.
    pub certificate: Certificate,
    /// For how many seconds browsers shall come back encrypted only.
    pub hsts_seconds: Option<u64>,
    /// The listener whose clients are sent on to the encrypted one.
    pub redirect: Option<SocketAddr>,
    /// Where the Compose file asks for it.
    place: Place,
}

impl Encryption {
    /// Returns the certificate with its files looked for from the project's directory.
    ///
    /// A private key is no part of a commit, so it is never looked for among the files of a release.
    pub fn certificate_in(&self, project: &Path) -> Certificate {
        let mut certificate = self.certificate.clone();
        certificate.chain = project.join(&certificate.chain);
        certificate.key = project.join(&certificate.key);
        certificate
    }
}

/// Finds the certificates of services that this machine cannot use.
pub fn unusable_certificates(services: &Specifications, project: &Path) -> Vec<Finding> {
    let tls = services.services.values().filter_map(|spec| spec.tls.as_ref());
    let problem = |tls: &Encryption| {
        let problem = tls.certificate_in(project).problem()?;
        let finding = Finding::error("certificate", problem, tls.place.clone());
        Some(finding.help("its files are looked for from the directory of the repository"))
    };
    tls.filter_map(problem).collect()
}

/// How health is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// By a probe.
    Probe {
        /// Its name among [`watch::probe::PROBES`].
        name: &'static str,
    },
    /// Not at all: running for a while is being well.
    Alive {
        /// For how long.
        after: Duration,
    },
}

/// The services of a release in the order they start, and what is wrong with them.
#[derive(Debug, Default)]
pub struct Specifications {
    /// The services that can run.
    pub services: IndexMap<ServiceName, Arc<Spec>>,
    /// What is wrong, or not honoured.
    pub findings: Vec<Finding>,
    /// The model that it comes from.
    pub project: Option<Project>,
    /// Whether there was no Compose file and detection stood in.
    pub is_detected: bool,
    /// The Compose files and those that they include or extend, for the places of findings.
    pub files: Vec<Written>,
}

/// Specifications by release.
pub struct Specs {
    repository: Repository,
    releases: Arc<ReleaseStore>,
    volumes: PathBuf,
    vault: PathBuf,
    profiles: Vec<String>,
    known: Mutex<HashMap<ReleaseId, Arc<Specifications>>>,
}

impl Specs {
    /// Returns specifications of the releases in a store.
    pub fn new(
        repository: Repository,
        releases: Arc<ReleaseStore>,
        state: &State,
        profiles: Vec<String>,
    ) -> Self {
        Self {
            repository,
            releases,
            volumes: state.root().join("volumes"),
            vault: state.vault(),
            profiles,
            known: Mutex::default(),
        }
    }

    /// Returns how a service of a release runs.
    pub fn get(&self, release: &ReleaseId, service: &ServiceName) -> Option<Arc<Spec>> {
        self.of(release).services.get(service).cloned()
    }

    /// Returns how the services of a release run, in the order they start.
    pub fn of(&self, release: &ReleaseId) -> Arc<Specifications> {
        if let Some(known) = lock(&self.known).get(release) {
            return Arc::clone(known);
        }
        let files = self.releases.files(release);
        let read = |path: &str| std::fs::read_to_string(files.join(path)).ok();
        let names = source::compose::FILE_NAMES;
        let names = names.iter().flat_map(|(base, over)| [*base, *over]);
        let written: Vec<Written> = names
            .filter_map(|name| Some(Written { path: name.to_owned(), text: read(name)? }))
            .collect();
        let there = |name: &str| written.iter().any(|file| file.path == name);
        let chosen = source::compose::default_files(there);
        let written = written.iter().filter(|file| chosen.contains(&file.path.as_str())).cloned();
        let detection = || match project::Directory::walk(&files) {
            Ok(listing) => project::detect(&listing),
            Err(_) => Detection::default(),
        };
        let name =
            self.repository.root().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let read_all =
            Arc::new(specify(&name, written.collect(), detection, &read, &self.profiles));
        lock(&self.known).insert(release.clone(), Arc::clone(&read_all));
        read_all
    }

    /// Returns what the engine is told to run.
    pub fn deployment(&self, release: &ReleaseId, service: &ServiceName) -> Option<Deployment> {
        let all = self.of(release);
        let spec = all.services.get(service)?;
        let peers = all.services.iter().filter(|(name, _)| *name != service);
        let peers = peers.filter_map(|(name, spec)| {
            let address = spec.listeners.first()?;
            Some((name.clone(), Peer { host: address.ip().to_string(), port: address.port() }))
        });
        let files = self.releases.files(release);
        let vault =
            self.vault.exists().then(|| guard::vault::Vault::open(&self.vault).ok()).flatten();
        // What is in the vault goes before what the Compose file names as a file of the release.
        let secret = |name: &str| -> Option<Vec<u8>> {
            let kept =
                vault.as_ref().and_then(|vault| vault.get_for(name, service.as_str()).ok()?);
            if let Some(kept) = kept {
                return Some(kept.expose().as_bytes().to_vec());
            }
            let config = all.project.as_ref()?.secrets.get(name)?;
            if let Some(variable) = &config.environment {
                return Some(std::env::var(variable).ok()?.into_bytes());
            }
            std::fs::read(files.join(config.file.as_ref()?)).ok()
        };
        Some(spec.plan.deployment(
            release.clone(),
            self.releases.files(release),
            self.repository.root(),
            &self.volumes,
            peers.collect(),
            secret,
        ))
    }
}

impl Spec {
    /// Returns the routes that lead to it.
    pub fn routes(&self, service: &ServiceName) -> Vec<Route> {
        let hosts: Vec<Option<String>> = match &self.hosts[..] {
            [] => vec![None],
            hosts => hosts.iter().cloned().map(Some).collect(),
        };
        let paths = if self.paths.is_empty() { vec!["/".to_owned()] } else { self.paths.clone() };
        let service = service.clone();
        hosts
            .into_iter()
            .flat_map(|host| {
                let service = service.clone();
                paths.iter().map(move |path| Route {
                    methods: self.methods.clone(),
                    headers: self.headers.clone(),
                    ..Route::new(host.clone(), path.clone(), service.clone())
                })
            })
            .collect()
    }
}

/// Reads Compose files, or what detection found, into specifications. Pure.
pub fn specify(
    name: &str,
    written: Vec<Written>,
    detection: impl FnOnce() -> Detection,
    read: &dyn Fn(&str) -> Option<String>,
    profiles: &[String],
) -> Specifications {
    let mut findings = Vec::new();
    let mut environment = Environment::of_process().in_directory(name);
    if let Some(text) = read(".env") {
        environment = environment.with_env_file(".env", &text, &mut findings);
    }
    let mut commands: BTreeMap<String, String> = BTreeMap::new();
    let mut files = written;
    let mut is_detected = false;
    let found = if files.is_empty() {
        let detection = detection();
        commands.extend(detection.procfile.iter().cloned());
        is_detected = true;
        source::compose::from_detection(&detection, &environment).map(|(project, file)| {
            files = vec![Written { path: file.path, text: file.text }];
            project
        })
    } else {
        if let Some(text) = read("Procfile") {
            let listing = project::Files::new([("Procfile", text)]);
            commands.extend(project::detect(&listing).procfile);
        }
        let given: Vec<ComposeFile> = files
            .iter()
            .map(|file| ComposeFile::new(file.path.clone(), file.text.clone()))
            .collect();
        let others = RefCell::new(Vec::new());
        let other = |path: &str| {
            let text = read(path)?;
            others.borrow_mut().push(Written { path: path.to_owned(), text: text.clone() });
            Some(text)
        };
        let (project, wrong) = source::compose::read_with(&given, &environment, &other);
        findings.extend(wrong);
        files.extend(others.into_inner());
        project
    };
    let Some(project) = found else {
        return Specifications { findings, is_detected, files, ..Specifications::default() };
    };
    let selected = match project.select(profiles, &[] as &[&str]) {
        Ok(selected) => selected,
        Err(error) => {
            let path = files.first().map_or("compose.yaml", |file| file.path.as_str());
            let place = source::Place::file(path);
            findings.push(Finding::error("compose-select", error.to_string(), place));
            vec![]
        }
    };
    let given = Given { environment: &environment, read, commands: &commands };
    let (plans, wrong) = plan(&project, &selected, &given);
    findings.extend(wrong);
    if !is_detected {
        findings.extend(plans.iter().filter_map(|plan| not_run(&project, plan)));
    }
    let services = plans.into_iter().filter_map(|plan| {
        let service = project.services.get(plan.service.as_str())?;
        Some((plan.service.clone(), Arc::new(spec(plan, service, read, &mut findings))))
    });
    let services = services.collect();
    Specifications { services, findings, project: Some(project), is_detected, files }
}

/// Returns what a service asks for and this version does not do.
fn not_run(project: &Project, plan: &ServicePlan) -> Option<Finding> {
    let service = project.services.get(plan.service.as_str())?;
    let place = |field: &str| service.place_of(field).unwrap_or(&service.place).clone();
    if !plan.pre_start.is_empty() {
        let finding =
            Finding::error("field-refused", "`pre_start` is not run yet", place("pre_start"));
        return Some(
            finding.help("run it as a step of the workflow, or before the program in `command`"),
        );
    }
    let waits = plan.depends_on.iter().find(|(_, condition)| *condition == Condition::Completed);
    waits.map(|(name, _)| {
        let message = format!("waiting until `{name}` has completed is not supported yet");
        let finding = Finding::error("field-refused", message, place("depends_on"));
        finding.help("run it as a step of the workflow, or wait for `service_healthy`")
    })
}

fn spec(
    plan: ServicePlan,
    service: &Service,
    read: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) -> Spec {
    let listeners = plan
        .published
        .iter()
        .filter(|published| published.protocol != "udp")
        .filter_map(|published| {
            let ip = match published.address.as_deref() {
                None => IpAddr::V4(Ipv4Addr::LOCALHOST),
                Some(address) => address.parse().ok()?,
            };
            Some(SocketAddr::new(ip, published.port?))
        })
        .collect::<Vec<_>>();
    let check = service.healthcheck.as_ref().map(|check| &check.value);
    let usual = Schedule::default();
    let schedule = Schedule {
        interval: check.and_then(|c| c.interval).unwrap_or(usual.interval),
        timeout: check.and_then(|c| c.timeout).unwrap_or(usual.timeout),
        retries: check.and_then(|c| c.retries).unwrap_or(usual.retries),
        start_period: check.and_then(|c| c.start_period).unwrap_or(usual.start_period),
        start_interval: check
            .and_then(|c| c.start_interval.or(c.interval))
            .unwrap_or(usual.start_interval)
            .min(usual.interval),
    };
    let http = service.marline.http.as_ref().map(|path| path.value.clone());
    let test = check.filter(|check| !check.disable).and_then(|check| check.test.as_ref());
    let (asked, test) = match (&http, test) {
        (Some(_), _) => (Asked::Probe { name: "http" }, vec![]),
        (None, Some(HealthTest::Exec(words))) => (Asked::Probe { name: "command" }, words.clone()),
        (None, Some(HealthTest::Shell(line))) => {
            let words = ["/bin/sh", "-c", line].map(str::to_owned);
            (Asked::Probe { name: "command" }, words.to_vec())
        }
        (None, Some(HealthTest::None) | None) if listeners.is_empty() => {
            (Asked::Alive { after: ALIVE_FOR }, vec![])
        }
        (None, Some(HealthTest::None) | None) => (Asked::Probe { name: "tcp" }, vec![]),
    };
    let hosts: Vec<String> = service.marline.hosts.iter().map(|host| host.value.clone()).collect();
    let tls = service.marline.tls.as_ref().map(|tls| Encryption {
        certificate: Certificate {
            hosts: hosts.clone(),
            chain: tls.certificate.as_str().into(),
            key: tls.key.as_str().into(),
        },
        hsts_seconds: tls.hsts.as_ref().map(|hsts| hsts.as_secs()),
        redirect: tls
            .redirect
            .as_ref()
            .zip(listeners.first())
            .map(|(port, address)| SocketAddr::new(address.ip(), port.value)),
        place: tls.place.clone(),
    });
    Spec {
        listeners,
        tls,
        wanted: wanted(service, read, findings),
        methods: service.marline.methods.iter().map(|method| method.value.clone()).collect(),
        headers: (service.marline.headers.iter())
            .map(|(name, value)| (name.clone(), value.value.clone()))
            .collect(),
        proxy_protocol: service.marline.proxy_protocol.as_deref() == Some(&true),
        hosts,
        paths: service.marline.paths.iter().map(|path| path.value.clone()).collect(),
        asked,
        path: http.unwrap_or_else(|| "/".to_owned()),
        test,
        schedule,
        restart: match service.restart.as_ref().map(|restart| restart.value) {
            Some(Restart::No) => RestartPolicy::No,
            Some(Restart::OnFailure(_)) => RestartPolicy::OnFailure,
            Some(Restart::UnlessStopped) => RestartPolicy::UnlessStopped,
            Some(Restart::Always) | None => RestartPolicy::Always,
        },
        drain: service
            .marline
            .drain
            .as_ref()
            .map_or(plan.stop_grace.max(Duration::from_secs(10)), |drain| drain.value),
        plan,
    }
}

/// Returns what the proxy shall do for a service, as its `x-marline` says.
fn wanted(
    service: &Service,
    read: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) -> deploy::proxy::Service {
    use deploy::proxy::{self, CircuitBreakers, OutlierDetection, RateLimit, RetryBudget};

    let marline = &service.marline;
    let milliseconds = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let access_log = marline.access_log.as_ref().map(|log| proxy::AccessLog {
        file: log.file.clone().unwrap_or_default().into(),
        format: match log.format {
            LogFormat::Json => proxy::LogFormat::Json,
            LogFormat::Common => proxy::LogFormat::Common,
        },
        max_bytes: log.max_size.as_ref().map_or(LOG_BYTES, |size| size.value),
        max_files: log.max_files.as_ref().map_or(LOG_FILES, |files| files.value),
    });
    let rate_limit = marline.rate_limit.as_ref().map(|limit| RateLimit {
        average: limit.average.value,
        period_ms: limit.period.as_deref().map_or(1_000, milliseconds),
        burst: limit.burst.as_ref().map_or(limit.average.value, |burst| burst.value),
    });
    let circuit_breakers = marline.circuit_breakers.as_ref().map(|breakers| CircuitBreakers {
        max_requests: breakers.max_requests.value,
        max_pending_requests: breakers
            .max_pending_requests
            .as_ref()
            .map_or(breakers.max_requests.value, |pending| pending.value),
    });
    let outlier_detection = marline.outlier_detection.as_ref().map(|outliers| OutlierDetection {
        consecutive_5xx: outliers.consecutive_5xx.as_deref().copied().unwrap_or(5),
        base_ejection_ms: outliers.base_ejection_time.as_deref().map_or(30_000, milliseconds),
        max_ejection_percent: outliers.max_ejection_percent.as_deref().copied().unwrap_or(10),
    });
    let usual = RetryBudget::default();
    let retry_budget = marline.retry_budget.as_ref().map_or(usual, |budget| RetryBudget {
        budget_percent: budget.budget_percent.as_deref().copied().unwrap_or(usual.budget_percent),
        min_retries_per_second: budget
            .min_retries_per_second
            .as_deref()
            .copied()
            .unwrap_or(usual.min_retries_per_second),
    });
    deploy::proxy::Service {
        access_log,
        trace: marline.trace.as_deref().copied().unwrap_or(false),
        rate_limit,
        circuit_breakers,
        outlier_detection,
        retry_budget,
        hold_ms: marline.hold.as_deref().map_or(0, milliseconds),
        sticky: marline.sticky.as_ref().map(|_| format!("marline-{}", service.name)),
        compress: marline.compress.as_deref() == Some(&true),
        error_pages: error_pages(marline, read, findings),
        maintenance: marline.maintenance.as_deref() == Some(&true),
        ..deploy::proxy::Service::default()
    }
}

/// Reads the pages for answers of the proxy's own.
fn error_pages(
    marline: &Marline,
    read: &dyn Fn(&str) -> Option<String>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    for (status, path) in &marline.error_pages {
        let problem = match read(path.strip_prefix("./").unwrap_or(path)) {
            Some(page) if page.len() <= PAGE_BYTES => {
                pages.insert(status.clone(), page);
                continue;
            }
            Some(_) => {
                format!("the page `{}` is larger than {} KiB", path.value, PAGE_BYTES / 1024)
            }
            None => format!("the page `{}` is not a text file of the commit", path.value),
        };
        let finding = Finding::error("error-page", problem, path.place.clone());
        findings.push(finding.help("name a file of HTML from the directory of the repository"));
    }
    pages
}

/// Returns a directory's name, for the name of a project.
pub fn name_of(root: &Path) -> String {
    root.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
