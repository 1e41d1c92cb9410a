//! The life of a proxy process: start or take over, obey, leave.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    future::Future,
    io,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use journal::{InstanceId, ServiceName};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};

use super::{
    ClientError, Drained, Hold, InstanceStatus, Listening, ProxyClient, Refusal, Routes, Status,
    control,
    count::{Counters, Hub},
    hand_over::{self, Inheritance},
    keep, listen,
    share::random,
    table::{Registry, Table},
    tls,
};

/// How long clients of a proxy that is replaced may take to finish.
const AFTER_HAND_OVER: Duration = Duration::from_mins(15);

/// How long clients of a proxy that is told to stop may take to finish.
const AFTER_STOP: Duration = Duration::from_secs(30);

/// How often connections nobody needs any more are let go.
const SWEEP: Duration = Duration::from_secs(20);

/// How often it is seen whether a certificate was renewed.
const RENEW: Duration = Duration::from_secs(5);

/// How long two proxies starting in one directory wait for each other.
const START: Duration = Duration::from_secs(30);

/// Why a proxy could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The directory cannot be used.
    #[error("use the directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An address of the kept table cannot be listened on.
    #[error("start with the kept table")]
    Routes(#[source] Refusal),
    /// The proxy that runs in the directory did not hand its sockets over.
    #[error("take over from the proxy in {}", dir.display())]
    TakeOver {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be listened for.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
}

/// Runs a proxy in `dir` until it is replaced or told to stop.
///
/// Where a proxy runs in `dir` already, the new one takes the listening sockets over from it, and
/// the old one finishes what it has and goes: starting a second is how the first is upgraded.
/// `SIGTERM` and `SIGINT` stop it once the requests under way are answered.
pub async fn serve(dir: PathBuf) -> Result<(), ProxyError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ProxyError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ProxyError::Signals)?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve_until(dir, stop).await
}

/// Runs a proxy in `dir` until it is replaced, told to stop, or `stop` is ready.
pub async fn serve_until(dir: PathBuf, stop: impl Future<Output = ()>) -> Result<(), ProxyError> {
    let directory = |source| ProxyError::Directory { dir: dir.clone(), source };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(&dir).map_err(directory)?;
    let lock = only_one_starts(&dir).await.map_err(directory)?;

    let take_over = |source| ProxyError::TakeOver { dir: dir.clone(), source };
    let mut inheritance = hand_over::take(&dir).await.map_err(take_over)?;
    let proxy = Arc::new(Proxy::new(dir.clone(), &mut inheritance));
    let routes = keep::read(&dir).map_err(directory)?;
    let sockets = inheritance.as_mut().map(Inheritance::sockets).unwrap_or_default();
    proxy.start(routes, sockets).await.map_err(ProxyError::Routes)?;

    let socket = control::bind(&dir, proxy.predecessor_socket()).map_err(directory)?;
    let control = tokio::spawn(control::obey(Arc::clone(&proxy), socket));
    if let Some(inheritance) = inheritance {
        inheritance.taken().await.map_err(take_over)?;
    }
    drop(lock);

    let logs = Arc::clone(&proxy.registry().logs);
    let log_writer = tokio::spawn(Arc::clone(&logs).keep_writing());
    let sweeper = tokio::spawn(sweep(Arc::clone(&proxy)));
    let mut leaving = proxy.leaving.subscribe();
    tokio::select! {
        _ = leaving.wait_for(|leaving| *leaving) => {}
        () = stop => {}
    }
    let replaced = proxy.is_replaced().await;
    if !replaced {
        // Nobody comes after us: who connects now is refused at once instead of left waiting.
        proxy.stop_listening().await;
        control.abort();
    }
    proxy.leave();
    let patience = if replaced { AFTER_HAND_OVER } else { AFTER_STOP };
    proxy.emptied(Instant::now() + patience).await;
    sweeper.abort();
    control.abort();
    log_writer.abort();
    logs.write().await;
    Ok(())
}

/// Waits until no other proxy is starting in the directory.
async fn only_one_starts(dir: &Path) -> io::Result<File> {
    let lock = File::create(dir.join("start.lock"))?;
    let end = Instant::now() + START;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::TimedOut.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

async fn sweep(proxy: Arc<Proxy>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(RENEW).await;
        if !proxy.table.load().tls.is_empty() {
            proxy.renew_certificates().await;
        }
        if last.elapsed() < SWEEP {
            continue;
        }
        last = Instant::now();
        for instance in proxy.registry().instances() {
            instance.sweep();
        }
    }
}

/// A running proxy.
pub(super) struct Proxy {
    pub dir: PathBuf,
    pub epoch: String,
    pub table: ArcSwap<Table>,
    pub hub: Arc<Hub>,
    pub leaving: watch::Sender<bool>,
    /// Rings for each new table.
    pub changed: Notify,
    registry: Mutex<Registry>,
    ports: tokio::sync::Mutex<Ports>,
    connections: AtomicU64,
    emptied: Notify,
    /// The control socket of the proxy before this one, while that still has clients.
    predecessor: Mutex<Option<String>>,
}

#[derive(Default)]
struct Ports {
    open: HashMap<SocketAddr, Port>,
    state: PortsState,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum PortsState {
    #[default]
    Ours,
    /// Nobody accepts, until the new proxy does or gives up.
    BeingHandedOver,
    /// The new proxy accepts.
    HandedOver,
}

struct Port {
    listener: Arc<TcpListener>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    fn new(dir: PathBuf, inheritance: &mut Option<Inheritance>) -> Self {
        let predecessor = inheritance.as_ref().map(|before| before.socket_name().to_owned());
        Self {
            dir,
            epoch: format!("{:016x}", random()),
            table: ArcSwap::default(),
            hub: Arc::default(),
            leaving: watch::Sender::new(false),
            changed: Notify::new(),
            registry: Mutex::default(),
            ports: tokio::sync::Mutex::default(),
            connections: AtomicU64::new(0),
            emptied: Notify::new(),
            predecessor: Mutex::new(predecessor),
        }
    }

    pub fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }

    pub fn leave(&self) {
        self.leaving.send_replace(true);
    }

    async fn is_replaced(&self) -> bool {
        self.ports.lock().await.state == PortsState::HandedOver
    }

    fn predecessor_socket(&self) -> Option<String> {
        self.predecessor.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn counters(&self) -> Vec<Arc<Counters>> {
        self.registry().counters()
    }

    pub fn count_connection(self: &Arc<Self>) -> Counted {
        self.connections.fetch_add(1, SeqCst);
        Counted(Arc::clone(self))
    }

    async fn emptied(&self, deadline: Instant) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections.load(SeqCst) == 0
                || tokio::time::timeout_at(deadline, emptied).await.is_err()
            {
                return;
            }
        }
    }

    async fn start(
        self: &Arc<Self>,
        routes: Routes,
        sockets: HashMap<SocketAddr, TcpListener>,
    ) -> Result<(), Refusal> {
        let mut ports = self.ports.lock().await;
        let tls = certificates(&routes, &Table::default())?;
        let open = open(&routes, sockets, &HashMap::new())?;
        self.put_in_force(routes, tls);
        self.listen(&mut ports, open);
        Ok(())
    }

    /// Replaces the table: on disk, then for requests, then for listeners and instances.
    pub async fn set_routes(self: &Arc<Self>, routes: Routes) -> Result<(), Refusal> {
        let mut ports = self.ports.lock().await;
        if ports.state == PortsState::BeingHandedOver {
            return Err(Refusal::Busy);
        }
        let in_force = self.table.load_full();
        let (given, current) = (routes.version, &in_force.routes);
        if given < current.version {
            let current = current.version;
            return Err(Refusal::Stale { given, current });
        }
        if given == current.version && current.version > 0 {
            let same = routes == *current;
            return if same { Ok(()) } else { Err(Refusal::SameVersion { version: given }) };
        }
        let checked = routes.check();
        checked.map_err(|error| Refusal::Table { reason: error.to_string() })?;
        let (read_from, before) = (routes.clone(), Arc::clone(&in_force));
        let tls = tokio::task::spawn_blocking(move || certificates(&read_from, &before)).await;
        let panicked = |panic: tokio::task::JoinError| panic.to_string();
        let tls = tls.map_err(|panic| Refusal::Certificate { reason: panicked(panic) })??;
        if ports.state == PortsState::HandedOver {
            // The sockets and the file are the new proxy's; our last clients follow its table.
            self.put_in_force(routes, tls);
            return Ok(());
        }
        let opened = open(&routes, HashMap::new(), &ports.open)?;
        let (dir, kept) = (self.dir.clone(), routes.clone());
        let written = tokio::task::spawn_blocking(move || keep::write(&dir, &kept)).await;
        let written = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        written.map_err(|error| Refusal::Keep { reason: error.to_string() })?;
        let listens = |address: &SocketAddr| {
            routes.listeners.iter().any(|listener| listener.address == *address)
        };
        ports.open.retain(|address, port| {
            let stays = listens(address);
            if !stays {
                port.accepting.abort();
            }
            stays
        });
        self.put_in_force(routes, tls);
        self.listen(&mut ports, opened);
        Ok(())
    }

    /// Reads certificates again whose files changed, as a renewal changes them.
    async fn renew_certificates(&self) {
        let ports = self.ports.lock().await;
        let table = self.table.load_full();
        let before = Arc::clone(&table);
        let read = tokio::task::spawn_blocking(move || {
            let changed = tls::stamp(&before.routes) != before.tls_stamp;
            changed.then(|| certificates(&before.routes, &before))
        });
        if let Ok(Some(Ok(tls))) = read.await {
            self.put_in_force(table.routes.clone(), tls);
        }
        drop(ports);
    }

    fn put_in_force(&self, routes: Routes, tls: Certificates) {
        let mut registry = self.registry();
        let before = self.table.load_full();
        let mut table = registry.build(routes, &before, &self.hub);
        (table.tls, table.tls_stamp) = tls;
        let table = Arc::new(table);
        // Opened before it is found, closed after it is no longer: no request is turned away.
        registry.reopen(&table.routes);
        self.table.store(Arc::clone(&table));
        registry.close_unnamed(&table.routes);
        drop(registry);
        self.changed.notify_waiters();
    }

    fn listen(self: &Arc<Self>, ports: &mut Ports, opened: HashMap<SocketAddr, TcpListener>) {
        for (address, listener) in opened {
            let listener = Arc::new(listener);
            let accepting = listen::accept(Arc::clone(self), address, Arc::clone(&listener));
            let accepting = tokio::spawn(accepting);
            ports.open.insert(address, Port { listener, accepting });
        }
    }

    async fn stop_listening(&self) {
        let mut ports = self.ports.lock().await;
        for port in ports.open.values_mut() {
            port.stop().await;
        }
        ports.open.clear();
    }

    /// Stops accepting and gives the sockets to pass on; whoever connects meanwhile waits in their queues.
    pub async fn lend_sockets(&self) -> Result<Vec<(SocketAddr, Arc<TcpListener>)>, Refusal> {
        let mut ports = self.ports.lock().await;
        match ports.state {
            PortsState::Ours if !self.is_leaving() => {}
            PortsState::BeingHandedOver => return Err(Refusal::Busy),
            PortsState::Ours | PortsState::HandedOver => return Err(Refusal::Leaving),
        }
        ports.state = PortsState::BeingHandedOver;
        for port in ports.open.values_mut() {
            port.stop().await;
        }
        let sockets = ports.open.iter();
        Ok(sockets.map(|(address, port)| (*address, Arc::clone(&port.listener))).collect())
    }

    /// Accepts again, because the new proxy did not get up.
    pub async fn take_sockets_back(self: &Arc<Self>) {
        let mut ports = self.ports.lock().await;
        ports.state = PortsState::Ours;
        for (address, port) in &mut ports.open {
            let listener = Arc::clone(&port.listener);
            port.accepting = tokio::spawn(listen::accept(Arc::clone(self), *address, listener));
        }
    }

    /// Lets the sockets go, because the new proxy accepts on them.
    pub async fn let_sockets_go(&self) {
        let mut ports = self.ports.lock().await;
        ports.state = PortsState::HandedOver;
        ports.open.clear();
        drop(ports);
        self.leave();
    }

    pub async fn drain(&self, id: &InstanceId, deadline: Instant) -> Drained {
        let instance = self.registry().instance(id);
        let Some(instance) = instance else {
            return Drained { in_flight: 0 };
        };
        instance.close();
        Drained { in_flight: instance.emptied(deadline).await }
    }

    pub fn hold(&self, service: &ServiceName, hold: Option<Hold>) -> Result<(), Refusal> {
        let table = self.table.load();
        let Some(service) = table.service(service) else {
            return Err(Refusal::UnknownService { service: service.clone() });
        };
        match hold {
            Some(hold) => service.gate.close(hold),
            None => service.gate.open(),
        }
        Ok(())
    }

    pub async fn status(&self) -> Status {
        let listeners = self.ports.lock().await;
        let listeners = listeners.open.iter().filter_map(|(address, port)| {
            let bound = port.listener.local_addr().ok()?;
            Some(Listening { address: *address, bound })
        });
        let mut listeners: Vec<_> = listeners.collect();
        listeners.sort_by_key(|listening| listening.address);
        let registry = self.registry();
        let instances = registry.instances().into_iter().map(|instance| InstanceStatus {
            service: instance.owner().service.clone(),
            release: instance.target.release.clone(),
            instance: instance.target.instance.clone(),
            in_flight: instance.counters.in_flight(),
            routed: !instance.is_closed(),
            ejected: instance.is_ejected(),
        });
        let mut instances: Vec<_> = instances.collect();
        instances.sort_by(|one, other| one.instance.cmp(&other.instance));
        let held = registry.gates().filter(|(_, gate)| gate.is_closed());
        let held = held.map(|(service, gate)| (service.clone(), gate.waiting()));
        Status {
            pid: std::process::id(),
            epoch: self.epoch.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            version: self.table.load().routes.version,
            connections: self.connections.load(SeqCst),
            listeners,
            instances,
            held: held.collect(),
        }
    }

    /// Returns the proxy before this one, as long as it still has clients.
    pub fn predecessor(&self) -> Option<ProxyClient> {
        let name = self.predecessor_socket()?;
        Some(ProxyClient::at(&self.dir, &name))
    }

    /// Takes note of what the predecessor answered, or that it is gone.
    pub fn heard_from_predecessor<T>(&self, result: Result<T, ClientError>) -> Option<T> {
        if matches!(result, Err(ClientError::Unreachable { .. })) {
            let mut predecessor = self.predecessor.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(name) = predecessor.take() {
                // Left behind by a process that is gone; harmless if it stays.
                let _ = fs::remove_file(self.dir.join(name));
            }
        }
        result.ok()
    }
}

/// How each listener that speaks TLS encrypts, and of when that is.
type Certificates = (tls::Configs, Vec<Option<SystemTime>>);

fn certificates(routes: &Routes, before: &Table) -> Result<Certificates, Refusal> {
    // Looked at first: what is renewed while it is read is read once more.
    let stamp = tls::stamp(routes);
    let read = tls::read(routes, (&before.routes, &before.tls));
    let read = read.map_err(|error| Refusal::Certificate { reason: error.to_string() })?;
    Ok((read, stamp))
}

impl Port {
    async fn stop(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

/// Opens what the table listens on and is not open yet. Where one cannot be opened, none is.
fn open(
    routes: &Routes,
    mut inherited: HashMap<SocketAddr, TcpListener>,
    known: &HashMap<SocketAddr, Port>,
) -> Result<HashMap<SocketAddr, TcpListener>, Refusal> {
    let mut opened = HashMap::new();
    for listener in &routes.listeners {
        let address = listener.address;
        if known.contains_key(&address) {
            continue;
        }
        let socket = match inherited.remove(&address) {
            Some(socket) => Ok(socket),
            None => listen::bind(address),
        };
        let refused = |error: io::Error| Refusal::Listen { address, reason: error.to_string() };
        opened.insert(address, socket.map_err(refused)?);
    }
    Ok(opened)
}

/// One open connection of a client.
pub(super) struct Counted(Arc<Proxy>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.connections.fetch_sub(1, SeqCst) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

/// Makes a file only its owner can use.
pub(super) fn only_for_us(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}
