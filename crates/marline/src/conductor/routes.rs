//! The proxy and its table: which instances get a service's requests, and how many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use deploy::proxy::{Hold, Listener, Routes, Target};
use journal::{EventId, Fact, InstanceId, ServiceName, View, Weight};

use super::Conductor;
use super::spec::Spec;

/// How long a proxy may take to answer after it was started.
const PROXY_STARTS_IN: Duration = Duration::from_secs(10);

/// How long requests may wait while a service has nothing that answers.
const HOLD: Hold = Hold { for_ms: 60_000, waiting: 1_000 };

/// What the proxy shall do, as far as it is decided here.
#[derive(Debug, Default)]
pub struct Table {
    /// The shares of each service; ahead of the view by the fact that is being written.
    weights: BTreeMap<ServiceName, Vec<Weight>>,
    /// Instances that are about to be stopped.
    leaving: BTreeSet<InstanceId>,
    /// The version of the table that was set last.
    version: u64,
    held: BTreeSet<ServiceName>,
    /// The addresses that are on record, and whether they encrypt.
    told: Vec<(SocketAddr, bool)>,
}

impl Table {
    /// Returns the table as the present has it.
    pub fn of(view: &View) -> Self {
        let weights =
            view.services.iter().map(|(name, service)| (name.clone(), service.weights.clone()));
        Self { weights: weights.collect(), ..Self::default() }
    }
}

impl Conductor {
    /// Sees that a proxy runs and serves what is wanted.
    pub(super) async fn start_proxy(
        self: &Arc<Self>,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let is_there = self.proxy.status().await.is_ok();
        if !is_there {
            self.spawn_proxy()?;
        }
        let status = self
            .proxy
            .wait_until_up(PROXY_STARTS_IN)
            .await
            .with_context(|| format!("start the proxy in {}", self.state.proxy().display()))?;
        {
            let mut table = self.table.lock().await;
            table.version = table.version.max(status.version);
        }
        let is_known = self
            .view()
            .proxy
            .as_ref()
            .is_some_and(|proxy| proxy.pid == status.pid && !proxy.is_lost);
        self.push_routes().await?;
        if !is_known {
            let addresses = self.proxy.status().await?.listeners;
            let addresses = addresses.iter().map(|listening| listening.bound.to_string()).collect();
            self.append(cause, Fact::ProxyStarted { pid: status.pid, addresses }).await?;
        }
        Ok(())
    }

    fn spawn_proxy(&self) -> anyhow::Result<()> {
        use std::os::unix::process::CommandExt as _;

        let program = std::env::current_exe().context("find the program itself")?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.state.proxy().join("proxy.log"))
            .context("open the proxy's log")?;
        let mut child = Command::new(program)
            .arg("__proxy")
            .arg("--dir")
            .arg(self.state.proxy())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // A group of its own: what is typed at our terminal does not reach it.
            .process_group(0)
            .spawn()
            .context("start the proxy")?;
        // It outlives us; while we are there, somebody must take its exit status.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// Tells the proxy what stands now.
    pub(super) async fn push_routes(&self) -> anyhow::Result<()> {
        let mut table = self.table.lock().await;
        self.push(&mut table).await
    }

    /// Gives a service's releases these shares from now on; says whether that is new.
    pub(super) async fn weigh(
        &self,
        service: &ServiceName,
        weights: &[Weight],
    ) -> anyhow::Result<bool> {
        let mut table = self.table.lock().await;
        if table.weights.get(service).is_some_and(|known| known == weights) {
            return Ok(false);
        }
        let before = table.weights.insert(service.clone(), weights.to_vec());
        if let Err(error) = self.push(&mut table).await {
            // It is tried again, and must be new then.
            table.weights.insert(service.clone(), before.unwrap_or_default());
            return Err(error);
        }
        Ok(true)
    }

    /// Gives instances no new request, and waits until they have answered those they have.
    pub(super) async fn drain(
        &self,
        instances: &[InstanceId],
        grace: Duration,
    ) -> anyhow::Result<()> {
        {
            let mut table = self.table.lock().await;
            table.leaving.extend(instances.iter().cloned());
            self.push(&mut table).await?;
        }
        for instance in instances {
            // An instance that the proxy never had has nothing to answer.
            let _ = self.proxy.drain(instance, grace).await;
        }
        Ok(())
    }

    /// Forgets that instances were about to be stopped.
    pub(super) async fn forget_leaving(&self, instances: &[InstanceId]) {
        let mut table = self.table.lock().await;
        for instance in instances {
            table.leaving.remove(instance);
        }
    }

    async fn push(&self, table: &mut Table) -> anyhow::Result<()> {
        let mut routes = self.routes(table);
        let mut tries = 0;
        loop {
            table.version += 1;
            routes.version = table.version;
            match self.proxy.set_routes(&routes).await {
                Ok(()) => break,
                Err(deploy::proxy::ClientError::Refused(deploy::proxy::Refusal::Stale {
                    current,
                    ..
                })) if tries < 3 => {
                    table.version = current;
                    tries += 1;
                }
                Err(error) => return Err(error).context("set the proxy's routes"),
            }
        }
        self.hold_what_is_empty(table, &routes).await;
        self.tell_addresses(table, &routes).await
    }

    /// Writes down where the proxy listens when that changed.
    async fn tell_addresses(&self, table: &mut Table, routes: &Routes) -> anyhow::Result<()> {
        let listeners = routes.listeners.iter();
        let wanted: Vec<_> = listeners.map(|one| (one.address, one.tls.is_some())).collect();
        if table.told == wanted {
            return Ok(());
        }
        let status = self.proxy.status().await?;
        let addresses = status.listeners.iter().map(|listening| {
            let scheme = if wanted.contains(&(listening.address, true)) { "https://" } else { "" };
            format!("{scheme}{}", listening.bound)
        });
        let addresses: Vec<String> = addresses.collect();
        table.told = wanted;
        let is_known = self
            .view()
            .proxy
            .as_ref()
            .is_some_and(|proxy| proxy.pid == status.pid && proxy.addresses == addresses);
        if !is_known {
            self.append(None, Fact::ProxyStarted { pid: status.pid, addresses }).await?;
        }
        Ok(())
    }

    /// Lets requests wait for a service that is being replaced by stopping first.
    async fn hold_what_is_empty(&self, table: &mut Table, routes: &Routes) {
        let moving: BTreeSet<ServiceName> = {
            let view = self.view();
            let moving = view.services.iter().filter(|(_, service)| service.deployment.is_some());
            moving.map(|(name, _)| name.clone()).collect()
        };
        for (name, service) in &routes.services {
            let shall_hold = service.targets.is_empty() && moving.contains(name);
            if shall_hold && table.held.insert(name.clone()) {
                let _ = self.proxy.hold(name, HOLD).await;
            } else if !shall_hold && table.held.remove(name) {
                let _ = self.proxy.release(name).await;
            }
        }
    }

    fn routes(&self, table: &Table) -> Routes {
        let view = self.view();
        let mut listeners: BTreeMap<SocketAddr, Listener> = BTreeMap::new();
        let mut services = BTreeMap::new();
        for (name, service) in &view.services {
            let weights = table.weights.get(name).unwrap_or(&service.weights);
            let newest = weights.iter().max_by_key(|weight| weight.basis_points);
            let release = newest.map(|weight| &weight.release).or(service.release.as_ref());
            let Some(spec) = release.and_then(|release| self.specs.get(release, name)) else {
                continue;
            };
            if spec.listeners.is_empty() {
                continue;
            }
            for address in &spec.listeners {
                let listener = listeners.entry(*address).or_insert_with(|| silent(*address));
                listener.routes.extend(spec.routes(name));
            }
            self.encrypt(&spec, &mut listeners);
            if spec.proxy_protocol {
                let redirect = spec.tls.as_ref().and_then(|tls| tls.redirect.as_ref());
                for address in spec.listeners.iter().chain(redirect) {
                    if let Some(listener) = listeners.get_mut(address) {
                        listener.proxy_protocol = true;
                    }
                }
            }
            let targets = service
                .instances
                .values()
                .filter(|instance| instance.is_ready && !table.leaving.contains(&instance.id))
                .filter(|instance| instance.health != journal::Health::Unhealthy)
                .filter(|instance| weights.iter().any(|weight| weight.release == instance.release));
            let targets = targets.map(|instance| Target {
                release: instance.release.clone(),
                instance: instance.id.clone(),
                address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), instance.port),
            });
            let shares = weights
                .iter()
                .map(|weight| (weight.release.clone(), weight.basis_points as u16))
                .filter(|(_, share)| *share > 0);
            services.insert(
                name.clone(),
                deploy::proxy::Service {
                    targets: targets.collect(),
                    weights: shares.collect(),
                    ..self.wanted(name, &spec, service.is_in_maintenance)
                },
            );
        }
        Routes { version: 0, listeners: listeners.into_values().collect(), services }
    }

    /// Returns what the proxy shall do for a service, with its files at their places.
    fn wanted(
        &self,
        name: &ServiceName,
        spec: &Spec,
        is_in_maintenance: bool,
    ) -> deploy::proxy::Service {
        let mut wanted = spec.wanted.clone();
        wanted.maintenance |= is_in_maintenance;
        if let Some(log) = &mut wanted.access_log {
            log.file = if log.file.as_os_str().is_empty() {
                self.state.proxy().join("access").join(format!("{name}.log"))
            } else {
                self.repository.root().join(&log.file)
            };
        }
        wanted
    }

    /// Lets the listeners of a service encrypt as it asks, and sends clients there who come plainly.
    fn encrypt(&self, spec: &Spec, listeners: &mut BTreeMap<SocketAddr, Listener>) {
        let Some(encryption) = &spec.tls else { return };
        for address in &spec.listeners {
            let Some(listener) = listeners.get_mut(address) else { continue };
            let tls = listener.tls.get_or_insert_default();
            let certificate = encryption.certificate_in(self.repository.root());
            if !tls.certificates.contains(&certificate) {
                tls.certificates.push(certificate);
            }
            tls.hsts_seconds = tls.hsts_seconds.max(encryption.hsts_seconds);
        }
        if let (Some(from), Some(to)) = (encryption.redirect, spec.listeners.first()) {
            let listener = listeners.entry(from).or_insert_with(|| silent(from));
            listener.redirect = Some(to.port());
        }
    }
}

/// Returns a listener without routes.
fn silent(address: SocketAddr) -> Listener {
    Listener { routes: vec![], ..Listener::all_to(address, "") }
}
