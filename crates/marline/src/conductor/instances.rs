//! What runs in truth becomes facts.
//!
//! The engine is asked again and again what runs; whatever differs from the view is written down.
//! So it does not matter who started or killed an instance, or whether the conductor was there.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use deploy::diagnosis::{Symptoms, diagnose};
use deploy::engine::{ExecCommand, LogCursor};
use deploy::{Instance, InstanceState};
use journal::{Certainty, Diagnosis, Fact, Health, InstanceId, ServiceName};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinHandle;
use watch::check::Check;
use watch::probe::{CommandOutput, Probe, RunCommand, Target};

use super::Conductor;
use super::spec::{Asked, Spec};
use crate::output::Veil;

/// How often the engine is asked when nothing says that something changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often the proxy is looked for, in looks at the engine.
const PROXY_EVERY: u32 = 4;

/// How many of its last lines explain the end of an instance.
const LAST_LINES: u32 = 20;

impl Conductor {
    /// Writes down what runs until the process ends.
    pub(super) async fn observe(self: Arc<Self>) -> anyhow::Result<()> {
        let mut probes: BTreeMap<InstanceId, JoinHandle<()>> = BTreeMap::new();
        let mut told: HashSet<InstanceId> = HashSet::new();
        for turn in 0_u32.. {
            tokio::select! {
                () = self.look.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if turn.is_multiple_of(PROXY_EVERY) {
                self.look_for_proxy().await?;
            }
            let Ok(mut services) = self.engine.services().await else { continue };
            services.extend(self.view().services.keys().cloned());
            services.sort();
            services.dedup();
            let mut running: HashSet<InstanceId> = HashSet::new();
            for service in services {
                let Ok(instances) = self.engine.instances(&service).await else { continue };
                for instance in &instances {
                    running.insert(instance.id.clone());
                    self.tell(instance, &mut told).await?;
                    let is_new = instance.is_running() && !probes.contains_key(&instance.id);
                    if is_new && let Some(spec) = self.specs.get(&instance.release, &service) {
                        let probe = tokio::spawn(Arc::clone(&self).probe(instance.clone(), spec));
                        probes.insert(instance.id.clone(), probe);
                    }
                    if !instance.is_running()
                        && let Some(probe) = probes.remove(&instance.id)
                    {
                        probe.abort();
                    }
                }
                self.tell_lost(&service, &running, &mut told).await?;
            }
            probes.retain(|id, probe| {
                let is_there = running.contains(id);
                if !is_there {
                    probe.abort();
                }
                is_there
            });
            told.retain(|id| running.contains(id));
        }
        Ok(())
    }

    /// Writes down what is new about an instance, each thing once.
    async fn tell(
        &self,
        instance: &Instance,
        told: &mut HashSet<InstanceId>,
    ) -> anyhow::Result<()> {
        let (is_known, is_past, was_ready, cause, deployment) = {
            let view = self.view();
            let service = view.services.get(&instance.service);
            let known = service.and_then(|service| service.instances.get(&instance.id));
            let is_past = service
                .is_some_and(|service| service.past.iter().any(|past| past.id == instance.id));
            let deployment = view
                .deployment_of(&instance.service)
                .filter(|deployment| deployment.to == instance.release);
            (
                known.is_some(),
                is_past,
                known.is_some_and(|known| known.is_ready),
                deployment.map(|deployment| deployment.started),
                deployment.map(|deployment| deployment.id),
            )
        };
        if is_past || (!is_known && told.contains(&instance.id) && instance.is_running()) {
            return Ok(());
        }
        // Its shim has begun and not yet its program, which is what will be told of.
        if !is_known && matches!(instance.state, InstanceState::Running { pid: 0, .. }) {
            return Ok(());
        }
        let (id, service) = (instance.id.clone(), instance.service.clone());
        let release = instance.release.clone();
        if !is_known && told.insert(id.clone()) {
            let pid = match &instance.state {
                InstanceState::Running { pid, .. } | InstanceState::Stopping { pid } => *pid,
                InstanceState::Ended(_) => 0,
            };
            let fact = Fact::InstanceStarted {
                instance: id.clone(),
                service: service.clone(),
                release: release.clone(),
                deployment,
                port: instance.port,
                pid,
            };
            self.append(cause, fact).await?;
        }
        let InstanceState::Ended(ended) = &instance.state else { return Ok(()) };
        let last_lines = self.last_lines(&id).await;
        let fact = if ended.asked {
            Fact::InstanceStopped { instance: id, service, reason: "no longer wanted".to_owned() }
        } else if was_ready {
            let ran = ended.at.duration_since(instance.started).as_millis().max(0) as u64;
            Fact::InstanceExited {
                instance: id,
                service,
                release,
                exit: ended.exit.clone(),
                ran_ms: ran,
                last_lines,
            }
        } else {
            let diagnosis = self.diagnose(instance, last_lines).await;
            Fact::InstanceFailed { instance: id, service, release, diagnosis }
        };
        self.append(cause, fact).await?;
        Ok(())
    }

    async fn diagnose(&self, instance: &Instance, last_lines: Vec<String>) -> Diagnosis {
        let unknown = Diagnosis {
            cause: "it ended before it was ready".to_owned(),
            certainty: Certainty::Certain,
            help: None,
            last_lines,
        };
        let Some(deployment) = self.specs.deployment(&instance.release, &instance.service) else {
            return unknown;
        };
        match Symptoms::of(&*self.engine, &deployment, instance).await {
            Ok(symptoms) => Veil::of(&self.state.vault()).hide_diagnosis(diagnose(&symptoms)),
            Err(_) => unknown,
        }
    }

    /// Writes down instances that the engine knows nothing of any more.
    async fn tell_lost(
        &self,
        service: &ServiceName,
        running: &HashSet<InstanceId>,
        told: &mut HashSet<InstanceId>,
    ) -> anyhow::Result<()> {
        let lost: Vec<InstanceId> = {
            let view = self.view();
            let Some(service) = view.services.get(service) else { return Ok(()) };
            service.instances.keys().filter(|id| !running.contains(*id)).cloned().collect()
        };
        for instance in lost {
            told.remove(&instance);
            let reason = "it is gone, and nothing is left of it".to_owned();
            let fact = Fact::InstanceStopped { instance, service: service.clone(), reason };
            self.append(None, fact).await?;
        }
        Ok(())
    }

    async fn look_for_proxy(&self) -> anyhow::Result<()> {
        let Some(proxy) = self.view().proxy.clone().filter(|proxy| !proxy.is_lost) else {
            return Ok(());
        };
        let is_there = std::path::Path::new(&format!("/proc/{}", proxy.pid)).exists();
        if !is_there && self.proxy.status().await.is_err() {
            self.append(None, Fact::ProxyLost { pid: proxy.pid }).await?;
        }
        Ok(())
    }

    async fn last_lines(&self, instance: &InstanceId) -> Vec<String> {
        match self.engine.logs(instance, LogCursor::Last(LAST_LINES)).await {
            Ok(log) => {
                let lines = log.lines.into_iter().map(|line| line.text).collect();
                Veil::of(&self.state.vault()).hide_lines(lines)
            }
            Err(_) => vec![],
        }
    }

    /// Asks an instance how it is, again and again, and writes down what changes.
    async fn probe(self: Arc<Self>, instance: Instance, spec: Arc<Spec>) {
        let id = instance.id.clone();
        let known = self.view().services.get(&instance.service).and_then(|service| {
            let known = service.instances.get(&id)?;
            Some((known.is_ready, known.health))
        });
        let mut is_ready = known.is_some_and(|(is_ready, _)| is_ready);
        let mut check = Check::new(spec.schedule, instance.started);
        let target = self.target(&instance, &spec);
        loop {
            let probed = match &spec.asked {
                Asked::Alive { after } => {
                    let age = self.journal.now().duration_since(instance.started);
                    let left = after.saturating_sub(Duration::try_from(age).unwrap_or_default());
                    tokio::time::sleep(left).await;
                    watch::check::Probed {
                        well: true,
                        said: format!("it has been running for {} s", after.as_secs().max(1)),
                        took: Duration::ZERO,
                    }
                }
                Asked::Probe { name } => {
                    let probe = Probe::named(name).expect("specs name only probes that there are");
                    probe.ask(&target).await
                }
            };
            let now = self.journal.now();
            let change = check.observe(&probed, now);
            if probed.well && !is_ready {
                is_ready = true;
                let after = now.duration_since(instance.started).as_millis().max(0) as u64;
                let fact = Fact::InstanceReady {
                    instance: id.clone(),
                    service: instance.service.clone(),
                    after_ms: after,
                };
                let _ = self.append(None, fact).await;
            } else if let Some(change) = change.filter(|change| change.from != Health::Starting) {
                let fact = Fact::HealthChanged {
                    instance: id.clone(),
                    service: instance.service.clone(),
                    from: change.from,
                    to: change.to,
                    evidence: change.evidence,
                };
                let _ = self.append(None, fact).await;
            }
            let due = check.due().duration_since(self.journal.now());
            let wait = Duration::try_from(due).unwrap_or(Duration::ZERO);
            tokio::time::sleep(wait.max(Duration::from_millis(20))).await;
        }
    }

    fn target(self: &Arc<Self>, instance: &Instance, spec: &Spec) -> Target {
        let this = Arc::clone(self);
        let id = instance.id.clone();
        let run: RunCommand = Arc::new(move |words| {
            let (this, id) = (Arc::clone(&this), id.clone());
            Box::pin(async move { this.run_beside(&id, words).await })
        });
        Target {
            path: spec.path.clone(),
            command: spec.test.clone(),
            run: Some(run),
            timeout: spec.schedule.timeout,
            ..Target::at(SocketAddr::from(([127, 0, 0, 1], instance.port)))
        }
    }

    /// Runs a command beside an instance and gives what became of it.
    async fn run_beside(&self, instance: &InstanceId, words: Vec<String>) -> CommandOutput {
        let command = ExecCommand { words, environment: vec![] };
        let failed = |text: String| CommandOutput { exit: Err(text), output: String::new() };
        let mut session = match self.engine.exec(instance, command).await {
            Ok(session) => session,
            Err(error) => return failed(error.to_string()),
        };
        drop(session.stdin.take());
        let mut output = Vec::new();
        let mut errors = Vec::new();
        let _ = tokio::join!(
            session.stdout.read_to_end(&mut output),
            session.stderr.read_to_end(&mut errors)
        );
        output.extend(errors);
        let exit = match session.exit.await {
            Ok(exit) => exit.code.ok_or_else(|| exit.to_string()),
            Err(_) => Err("the instance ended meanwhile".to_owned()),
        };
        CommandOutput { exit, output: String::from_utf8_lossy(&output).trim().to_owned() }
    }

    /// Has the engine looked at at once.
    pub(super) fn look_now(&self) {
        self.look.notify_one();
    }
}
