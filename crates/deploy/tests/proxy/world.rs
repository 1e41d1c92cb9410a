//! A proxy, in this process or in one of its own, and clients that ask it.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    fs::File,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use deploy::proxy::{
    Listener, ProxyClient, Routes, SOCKET, Service, Status, Tally, TallyReport, Target, serve,
    serve_until,
};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

use crate::app::App;

/// Tells the child process which directory it is the proxy of.
const DIR: &str = "MARLINE_TEST_PROXY_DIR";

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Turns this process into a proxy, if it was started to be one.
pub fn serve_if_told_to() {
    let Some(dir) = env::var_os(DIR) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("the system gives us a poller");
    runtime.block_on(serve(dir.into())).expect("the proxy starts");
}

/// A proxy in a directory.
pub struct World {
    pub client: ProxyClient,
    temporary: TempDir,
    dir: PathBuf,
    listener: SocketAddr,
    bound: Mutex<Option<SocketAddr>>,
    version: AtomicU64,
    bad: Mutex<HashMap<&'static str, u64>>,
    task: Option<JoinHandle<()>>,
    processes: Vec<Child>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_in("").await
    }

    pub async fn start_in(below: &str) -> Self {
        let mut world = Self::new(below);
        world.start_here().await;
        world.route(&[]).await;
        world
    }

    /// Starts with a file in the directory, and without setting a table.
    pub async fn start_with_file(name: &str, bytes: &[u8]) -> Self {
        let mut world = Self::new("");
        fs::write(world.dir.join(name), bytes).expect("the directory is there");
        world.start_here().await;
        world
    }

    pub async fn start_process() -> Self {
        let mut world = Self::new("");
        // Fixed, so that it is the same after a restart.
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        world.listener = free.local_addr().expect("it is bound");
        drop(free);
        world.start_another_process().await;
        world.route(&[]).await;
        world
    }

    fn new(below: &str) -> Self {
        let temporary = TempDir::new().expect("a temporary directory");
        let dir = temporary.path().join(below);
        fs::create_dir_all(&dir).expect("a directory");
        Self {
            client: ProxyClient::new(&dir),
            temporary,
            dir,
            listener: SocketAddr::from(([127, 0, 0, 1], 0)),
            bound: Mutex::default(),
            version: AtomicU64::new(0),
            bad: Mutex::default(),
            task: None,
            processes: Vec::new(),
        }
    }

    async fn start_here(&mut self) {
        let dir = self.dir.clone();
        self.task = Some(tokio::spawn(async move {
            serve_until(dir, std::future::pending()).await.expect("the proxy starts");
        }));
        self.client.wait_until_up(PATIENCE).await.expect("the proxy starts");
    }

    /// Starts a proxy process, which takes over from the one that runs, if one does.
    pub async fn start_another_process(&mut self) {
        let before = self.client.status().await.ok().map(|status| status.pid);
        let this = env::current_exe().expect("a test knows its own program");
        let mut command = Command::new(this);
        command.args(["--exact", "a_proxy_process_for_the_other_tests"]);
        command.env(DIR, &self.dir).stdout(Stdio::null());
        self.processes.push(command.spawn().expect("a program can be started twice"));
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.client.wait_until_up(PATIENCE).await.expect("it starts");
            if Some(status.pid) != before {
                return;
            }
            assert!(Instant::now() < end, "the new process never took over");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Kills the newest proxy process.
    pub fn kill_process(&mut self) {
        let mut process = self.processes.pop().expect("one runs");
        process.kill().expect("it runs");
        process.wait().expect("it is ours");
    }

    pub async fn until_gone(&mut self, pid: u32) {
        let process = self.processes.iter_mut().find(|process| process.id() == pid);
        let process = process.expect("it is ours");
        eventually(|| process.try_wait().expect("it is ours").is_some()).await;
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn address(&self) -> SocketAddr {
        self.bound.lock().expect("nobody panicked").expect("a table was set")
    }

    /// Returns a table, newer than any before, that gives each app its weight as a release.
    pub fn table(&self, weights: &[(&App, u16)]) -> Routes {
        let mut service = Service::default();
        for (app, weight) in weights {
            service.weights.insert(app.name.into(), *weight);
            service.targets.push(Target {
                release: app.name.into(),
                instance: app.instance(),
                address: app.address,
            });
        }
        Routes {
            version: self.version.fetch_add(1, SeqCst) + 1,
            listeners: vec![Listener::all_to(self.listener, "web")],
            services: BTreeMap::from([("web".into(), service)]),
        }
    }

    pub async fn route(&self, weights: &[(&App, u16)]) {
        let routes = self.table(weights);
        self.client.set_routes(&routes).await.expect("the table is sound");
        let status = self.client.status().await.expect("the proxy runs");
        *self.bound.lock().expect("nobody panicked") = Some(status.listeners[0].bound);
    }

    pub async fn until_status(&self, holds: impl Fn(&Status) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.client.status().await.expect("the proxy runs");
            if holds(&status) {
                return;
            }
            assert!(Instant::now() < end, "still {status:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Returns the tally of an app as it stands.
    pub async fn tally(&self, app: &App) -> Tally {
        let mut reports = self.client.subscribe().await.expect("the proxy runs");
        let report = reports.next().await.expect("a report").expect("the proxy runs");
        assert!(report.full);
        let mut tallies = report.tallies.into_iter();
        let tally = tallies.find(|tally| tally.instance.as_ref() == Some(&app.instance()));
        tally.expect("the app was in a table")
    }

    /// Returns the bad answers of an app, as far as reports have told.
    pub fn bad(&self, app: &App, report: &TallyReport) -> u64 {
        let mut bad = self.bad.lock().expect("nobody panicked");
        let known = bad.entry(app.name).or_default();
        for tally in &report.tallies {
            if tally.instance.as_ref() == Some(&app.instance()) {
                *known = tally.errors.total();
            }
        }
        *known
    }

    /// Opens a connection to the control socket, for saying odd things.
    pub async fn control(&self) -> UnixStream {
        let dir = File::open(&self.dir).expect("the directory is there");
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        UnixStream::connect(path).await.expect("the proxy listens")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if let Some(task) = &self.task {
            task.abort();
        }
        let _ = &self.temporary;
    }
}

/// Waits until something holds, for a bounded time.
pub async fn eventually(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "it never came to hold");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns how much memory a process has in use.
pub fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).expect("the process lives");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.map_or(0, |pages: u64| pages * 4_096)
}

/// One kept connection of a client that never looks whether it is still open.
pub struct Line {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub struct Heard {
    pub status: u16,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Line {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the proxy listens");
        stream.set_nodelay(true).expect("it is connected");
        Self { stream, read: Vec::new() }
    }

    pub async fn get(&mut self, path: &str) -> Heard {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await
    }

    pub async fn ask(&mut self, request: &str) -> Heard {
        self.send(request).await;
        self.hear().await
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("the proxy reads");
    }

    pub async fn hear(&mut self) -> Heard {
        let heard = tokio::time::timeout(PATIENCE, self.try_hear()).await;
        heard.expect("the proxy answers in time").expect("the proxy answers")
    }

    /// Reads one answer whole, and gives its body as it came.
    pub async fn hear_bytes(&mut self) -> (Heard, Vec<u8>) {
        let heard = tokio::time::timeout(PATIENCE, self.try_hear_bytes()).await;
        heard.expect("the proxy answers in time").expect("the proxy answers")
    }

    /// Reads one chunk of an answer.
    pub async fn read_chunk(&mut self) -> Vec<u8> {
        let size = self.read_until("\r\n").await;
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
        let mut chunk = self.read_exactly(size + 2).await;
        chunk.truncate(size);
        chunk
    }

    async fn try_hear(&mut self) -> std::io::Result<Heard> {
        let (mut heard, body) = self.try_hear_bytes().await?;
        heard.body = String::from_utf8_lossy(&body).into_owned();
        Ok(heard)
    }

    async fn try_hear_bytes(&mut self) -> std::io::Result<(Heard, Vec<u8>)> {
        let head = self.take_until(b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.get(9..12)?.parse().ok());
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let heard =
            Heard { status: status.unwrap_or(0), body: String::new(), headers: headers.collect() };
        let length = heard.header("content-length").and_then(|length| length.parse().ok());
        let mut body = Vec::new();
        if let Some(length) = length {
            body = self.take_exactly(length).await?;
        } else if heard.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.take_until(b"\r\n").await?;
                let size = String::from_utf8_lossy(&size);
                let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
                let chunk = self.take_exactly(size + 2).await?;
                if size == 0 {
                    break;
                }
                body.extend_from_slice(&chunk[..size]);
            }
        }
        Ok((heard, body))
    }

    pub async fn read_until(&mut self, end: &str) -> String {
        let read = tokio::time::timeout(PATIENCE, self.take_until(end.as_bytes())).await;
        let read = read.expect("it comes in time").expect("it comes");
        String::from_utf8_lossy(&read).into_owned()
    }

    pub async fn read_exactly(&mut self, bytes: usize) -> Vec<u8> {
        let read = tokio::time::timeout(PATIENCE, self.take_exactly(bytes)).await;
        read.expect("it comes in time").expect("it comes")
    }

    async fn take_until(&mut self, end: &[u8]) -> std::io::Result<Vec<u8>> {
        loop {
            let found = self.read.windows(end.len()).position(|window| window == end);
            if let Some(place) = found {
                return Ok(self.read.drain(..place + end.len()).collect());
            }
            self.read_more().await?;
        }
    }

    async fn take_exactly(&mut self, bytes: usize) -> std::io::Result<Vec<u8>> {
        while self.read.len() < bytes {
            self.read_more().await?;
        }
        Ok(self.read.drain(..bytes).collect())
    }

    async fn read_more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Clients that POST as fast as they can and never look whether their connection is still open.
pub struct Load {
    seen: Arc<Mutex<BTreeMap<String, u64>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// How often each app answered, and how often nobody did (`failed`).
#[derive(Debug)]
pub struct Seen(BTreeMap<String, u64>);

impl std::ops::Index<&str> for Seen {
    type Output = u64;

    fn index(&self, name: &str) -> &u64 {
        self.0.get(name).unwrap_or(&0)
    }
}

impl Load {
    pub fn start(address: SocketAddr, clients: usize) -> Self {
        Self::with(address, clients, "")
    }

    pub fn start_without_keep_alive(address: SocketAddr, clients: usize) -> Self {
        Self::with(address, clients, "Connection: close\r\n")
    }

    fn with(address: SocketAddr, clients: usize, header: &'static str) -> Self {
        let seen = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|_| {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut line = None;
                while !stop.load(SeqCst) {
                    let name = post(address, header, &mut line).await;
                    *seen.lock().expect("nobody panicked").entry(name).or_default() += 1;
                }
            })
        });
        Self { clients: clients.collect(), seen, stop }
    }

    pub async fn until(&self, holds: impl Fn(&Seen) -> bool) {
        eventually(|| holds(&self.seen())).await;
    }

    pub async fn stop(self) -> Seen {
        self.stop.store(true, SeqCst);
        let seen = Arc::clone(&self.seen);
        for client in self.clients {
            client.await.expect("no client panics");
        }
        let seen = seen.lock().expect("nobody panicked").clone();
        Seen(seen)
    }

    fn seen(&self) -> Seen {
        Seen(self.seen.lock().expect("nobody panicked").clone())
    }
}

async fn post(address: SocketAddr, header: &str, line: &mut Option<Line>) -> String {
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{header}Content-Length: 0\r\n\r\n");
    let asked = async {
        if line.is_none() {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            *line = Some(Line { stream, read: Vec::new() });
        }
        let line = line.as_mut().expect("just opened");
        line.stream.write_all(request.as_bytes()).await?;
        line.try_hear().await
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    match asked.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())) {
        Ok(heard) => {
            if heard.header("connection") == Some("close") {
                *line = None;
            }
            if heard.status == 200 { heard.body } else { "failed".to_owned() }
        }
        Err(_) => {
            *line = None;
            "failed".to_owned()
        }
    }
}

/// Asks for some paths over one HTTP/2 connection and returns the bodies.
pub async fn http2(address: SocketAddr, paths: &[&str]) -> Vec<String> {
    let stream = TcpStream::connect(address).await.expect("the proxy listens");
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.expect("the proxy speaks HTTP/2");
    tokio::spawn(connection);
    let mut bodies = Vec::new();
    for path in paths {
        let body = if *path == "/echo" { "a body" } else { "" };
        let request = Request::builder()
            .method(if body.is_empty() { "GET" } else { "POST" })
            .uri(format!("http://shop.test{path}"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from(body)));
        let sent = sender.send_request(request.expect("it is sound")).await;
        let body = sent.expect("the proxy answers").into_body().collect().await;
        let body = body.expect("the body is whole").to_bytes();
        bodies.push(String::from_utf8_lossy(&body).into_owned());
    }
    bodies
}
