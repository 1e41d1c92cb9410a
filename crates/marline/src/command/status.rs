//! `marline status`: what runs, how healthy, since when.

use explain::{Standing, words};
use jiff::Timestamp;
use journal::view::{Deployment, Gate, Service};
use journal::{Health, ServiceName, Verdict, View};
use serde_json::json;

use super::timeline::{clean, incident_json, moment, one_line, paint, release_words, sign, tell};
use crate::cli::Global;
use crate::client;
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// Prints every service, what needs somebody, and the processes behind it all.
pub async fn run(global: &Global) -> Outcome {
    let here = Here::find(global)?;
    let is_up = client::is_up(here.state.root()).await;
    if !here.state.exists() {
        return Err(Failure::new(Exit::Unreachable, "nothing runs here")
            .help("start everything with `marline up`"));
    }
    let (_, view) = here.known()?;
    let seen = Seen { here: &here, view: &view, is_up, now: Timestamp::now() };
    if here.json {
        tell(&format!("{}\n", seen.json()))?;
        return Ok(Exit::Done);
    }
    tell(&seen.text())?;
    if view.services.is_empty() {
        eprintln!("  nothing was deployed yet; start everything with `marline up`");
    } else if !is_up && view.services.values().all(|service| service.instances.is_empty()) {
        eprintln!("  nothing runs; start everything with `marline up`");
    } else if !is_up {
        eprintln!("  services go on, but nobody decides: marline up -d");
    }
    Ok(Exit::Done)
}

/// Returns how a service stands, in a word.
pub(super) fn state_of(service: &Service, view: &View) -> (Standing, &'static str) {
    let total = service.instances.len();
    if total == 0 && view.conductor.as_ref().is_some_and(|conductor| conductor.has_stopped) {
        return (Standing::Off, "stopped");
    }
    let of = |health| service.instances.values().filter(|it| it.health == health).count();
    let starting = of(Health::Starting);
    match (total, of(Health::Healthy)) {
        (0, _) if service.release.is_some() && service.replicas > 0 => (Standing::Failed, "down"),
        (0, _) => (Standing::Off, "off"),
        (total, healthy) if total == healthy => (Standing::Ok, "healthy"),
        (total, 0) if starting == total => (Standing::Running, "starting"),
        (_, 0) => (Standing::Failed, "down"),
        (total, healthy) if healthy + starting == total => (Standing::Running, "starting"),
        _ => (Standing::Attention, "degraded"),
    }
}

/// Everything that is shown.
struct Seen<'a> {
    here: &'a Here,
    view: &'a View,
    is_up: bool,
    now: Timestamp,
}

impl Seen<'_> {
    fn text(&self) -> String {
        let mut told = String::new();
        let names = self.view.services.keys().map(|name| name.as_str().chars().count());
        let width = names.max().unwrap_or(0);
        for (name, service) in &self.view.services {
            told += &self.service(name, service, width);
        }
        told += &self.attention();
        told += &self.processes();
        told
    }

    fn line(&self, standing: Standing, text: &str) -> String {
        format!("  {} {text}\n", sign(self.here.colour, standing))
    }

    /// A line that adds to the one above.
    fn below(&self, text: &str) -> String {
        format!("    {}\n", paint(self.here.colour, "2", text))
    }

    fn service(&self, name: &ServiceName, service: &Service, width: usize) -> String {
        let (standing, word) = state_of(service, self.view);
        let ready = service.instances.values().filter(|instance| instance.is_ready).count();
        let release = match &service.release {
            Some(release) => format!("release {}", release_words(release, self.view)),
            None => "no release yet".to_owned(),
        };
        let since = self.since(name, service).map_or(String::new(), |since| {
            format!("since {} ({})", moment(since), words::relative(since, self.now))
        });
        let text = format!(
            "{}  {word:<8}  {ready} of {} ready  {release}  {since}",
            paint(self.here.colour, "1", &format!("{:<width$}", clean(name.as_str()))),
            service.replicas,
        );
        let mut told = self.line(standing, text.trim_end());
        if let Some(deployment) = self.view.deployment_of(name) {
            told += &self.deployment(deployment, service);
        }
        for instance in service.instances.values() {
            let trouble = match (&instance.diagnosis, instance.health) {
                (Some(diagnosis), _) => diagnosis.cause.as_str(),
                (None, Health::Unhealthy) => instance.evidence.as_str(),
                _ => continue,
            };
            let id = clean(instance.id.as_str());
            told += &self.below(&format!("{id}: {}", one_line(trouble, 120)));
        }
        told
    }

    fn deployment(&self, deployment: &Deployment, service: &Service) -> String {
        let steps = deployment.steps.len();
        let step = deployment.verdicts.last().map_or(0, |verdict| verdict.step as usize) + 1;
        let step = match deployment.strategy {
            journal::StrategyKind::Canary if steps > 0 => {
                format!(", step {} of {steps}", step.min(steps))
            }
            _ => String::new(),
        };
        let mut told = self.below(&format!(
            "deployment {} to {}, {}{step}, since {}; traffic: {}",
            deployment.id,
            clean(deployment.to.short()),
            deployment.strategy,
            moment(deployment.at),
            explain::story::shares(&service.weights),
        ));
        if let Some(last) = deployment.verdicts.last() {
            let seen = &last.evidence;
            told += &self.below(&format!(
                "failed: {} of the new release ({} of {}), {} of the old one ({} of {}); {}",
                words::share(seen.canary_failed, seen.canary_requests),
                words::thousands(seen.canary_failed),
                words::thousands(seen.canary_requests),
                words::share(seen.baseline_failed, seen.baseline_requests),
                words::thousands(seen.baseline_failed),
                words::thousands(seen.baseline_requests),
                verdict(last.verdict),
            ));
        }
        told
    }

    /// Returns since when a service's release has the traffic; without one, since when it runs.
    fn since(&self, name: &ServiceName, service: &Service) -> Option<Timestamp> {
        let release = service.release.as_ref()?;
        let of_service = |it: &&Deployment| it.service == *name && it.shifts.last().is_some();
        let deployments = self.view.deployments.values().rev().filter(of_service);
        let brought = deployments
            .flat_map(|it| it.shifts.iter().rev())
            .take_while(|(_, weights)| {
                weights.iter().any(|it| it.release == *release && it.basis_points == 10_000)
            })
            .last()
            .map(|(at, _)| *at);
        brought.or_else(|| service.instances.values().map(|instance| instance.started).min())
    }

    /// What somebody should look at, or wait for.
    fn attention(&self) -> String {
        let mut told = String::new();
        for incident in self.view.open_incidents() {
            let title = one_line(&incident.title, 100);
            let failed = words::count(incident.affected.failed, "request", "requests");
            told += &self.line(
                Standing::Failed,
                &format!("incident {}  {title}, since {}", incident.id, moment(incident.at)),
            );
            told += &self.below(&format!("{failed} failed; marline why incident {}", incident.id));
        }
        for ((name, _), alert) in &self.view.alerts {
            let summary = alert.annotations.get("summary").map_or("", String::as_str);
            let words = one_line(&format!("alert {name}  {summary}"), 120);
            told +=
                &self.line(Standing::Failed, &format!("{words}  since {}", moment(alert.since)));
        }
        for run in self.view.running() {
            let jobs = run.jobs.values();
            let done = jobs.filter(|job| job.conclusion.is_some()).count();
            told += &self.line(
                Standing::Running,
                &format!(
                    "run {}  {} for {}, {done} of {} jobs done, since {}",
                    run.id,
                    one_line(&run.name, 60),
                    run.commit.short(),
                    run.jobs.len(),
                    moment(run.at)
                ),
            );
        }
        if let Some((id, commit)) = self.view.newest_commit()
            && let Gate::Held { reasons, .. } = &commit.gate
        {
            let subject = one_line(&commit.subject, 60);
            told +=
                &self.line(Standing::Attention, &format!("gate holds {} “{subject}”", id.short()));
            if let Some(first) = reasons.first() {
                let more = match reasons.len() {
                    1 => String::new(),
                    count => format!(" and {} more", count - 1),
                };
                let place =
                    first.place.as_ref().map_or(String::new(), |place| format!("{place}: "));
                let why = one_line(&format!("{place}{}", first.message), 120);
                told += &self.below(&format!("{why}{more}; marline why {}", id.short()));
            }
        }
        told
    }

    fn processes(&self) -> String {
        let mut told = String::new();
        match (&self.view.conductor, self.is_up) {
            (Some(conductor), true) => {
                let since = moment(conductor.since);
                let text = format!("conductor {}, since {since}", clean(&conductor.version));
                told += &self.line(Standing::Ok, &text);
                for wall in &conductor.missing_walls {
                    told += &self.below(&format!("missing wall: {}", one_line(wall, 120)));
                }
            }
            (Some(conductor), false) if conductor.has_stopped => {
                told += &self.line(Standing::Off, "the conductor was stopped");
            }
            (Some(_), false) => {
                told += &self.line(
                    Standing::Attention,
                    "the conductor does not answer; this is how things stood last",
                );
            }
            (None, true) => told += &self.line(Standing::Ok, "conductor"),
            (None, false) => {
                told += &self.line(Standing::Off, "no conductor has run here; only runs are known");
            }
        }
        if let Some(proxy) = &self.view.proxy {
            let at = proxy.addresses.iter().map(|address| {
                let scheme = if address.contains("://") { "" } else { "http://" };
                format!("{scheme}{}", clean(address))
            });
            let at: Vec<String> = at.collect();
            let on =
                if at.is_empty() { String::new() } else { format!(" on {}", words::list(&at)) };
            if proxy.is_lost {
                told += &self.line(Standing::Failed, &format!("the proxy{on} was lost"));
            } else if self.is_up {
                told += &self.line(Standing::Ok, &format!("proxy{on}, process {}", proxy.pid));
            }
        }
        told
    }

    fn json(&self) -> serde_json::Value {
        let view = self.view;
        let services: serde_json::Map<String, serde_json::Value> = view
            .services
            .iter()
            .map(|(name, service)| (name.to_string(), self.service_json(name, service)))
            .collect();
        let running = view.running().map(|run| {
            json!({
                "run": run.id,
                "workflow": run.workflow,
                "name": run.name,
                "commit": run.commit,
                "since": run.at,
                "jobs": run.jobs.len(),
                "done": run.jobs.values().filter(|job| job.conclusion.is_some()).count(),
            })
        });
        let alerts = view.alerts.iter().map(|((name, labels), alert)| {
            json!({ "alert": name, "labels": labels, "since": alert.since, "value": alert.value, "annotations": alert.annotations })
        });
        json!({
            "conductor": {
                "answers": self.is_up,
                "version": view.conductor.as_ref().map(|it| &it.version),
                "pid": view.conductor.as_ref().map(|it| it.pid),
                "since": view.conductor.as_ref().map(|it| it.since),
                "missing_walls": view.conductor.as_ref().map(|it| &it.missing_walls),
            },
            "proxy": view.proxy.as_ref().map(|it| json!({
                "pid": it.pid, "addresses": it.addresses, "lost": it.is_lost,
            })),
            "as_of": view.at,
            "services": services,
            "incidents": view.open_incidents().map(incident_json).collect::<Vec<_>>(),
            "alerts": alerts.collect::<Vec<_>>(),
            "runs": running.collect::<Vec<_>>(),
            "commit": view.newest_commit().map(|(id, commit)| json!({
                "commit": id,
                "subject": commit.subject,
                "author": commit.author,
                "branch": commit.branch,
                "release": commit.release,
                "gate": match &commit.gate {
                    Gate::Open => json!("open"),
                    Gate::Passed { .. } => json!("passed"),
                    Gate::Held { reasons, .. } => json!({ "held": reasons }),
                },
            })),
        })
    }

    fn service_json(&self, name: &ServiceName, service: &Service) -> serde_json::Value {
        let instances = service.instances.values().map(|it| {
            json!({
                "instance": it.id,
                "release": it.release,
                "health": it.health,
                "ready": it.is_ready,
                "evidence": it.evidence,
                "diagnosis": it.diagnosis,
                "port": it.port,
                "pid": it.pid,
                "started": it.started,
            })
        });
        let commit = service.release.as_ref().and_then(|release| view_commit(self.view, release));
        json!({
            "state": state_of(service, self.view).1,
            "release": service.release,
            "commit": commit.map(|(id, _)| id),
            "subject": commit.map(|(_, commit)| &commit.subject),
            "replicas": service.replicas,
            "ready": service.instances.values().filter(|it| it.is_ready).count(),
            "since": self.since(name, service),
            "weights": service.weights,
            "exits": service.exits,
            "instances": instances.collect::<Vec<_>>(),
            "deployment": self.view.deployment_of(name).map(|it| json!({
                "deployment": it.id,
                "from": it.from,
                "to": it.to,
                "strategy": it.strategy,
                "steps": it.steps,
                "since": it.at,
                "verdict": it.verdicts.last().map(|last| json!({
                    "step": last.step, "verdict": last.verdict, "evidence": last.evidence,
                })),
            })),
        })
    }
}

fn view_commit<'a>(
    view: &'a View,
    release: &journal::ReleaseId,
) -> Option<(&'a journal::CommitId, &'a journal::view::Commit)> {
    view.commits.get_key_value(&view.releases.get(release)?.commit)
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotWorse => "not worse",
        Verdict::Worse => "worse",
        Verdict::NotEnough => "not enough traffic to tell yet",
    }
}
