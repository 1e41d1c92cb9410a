//! Instances as processes of this machine, each held by a shim.
//!
//! The engine remembers nothing: what runs is read from the directories of the instances each time,
//! so a new engine over the same directory goes on where a killed one stopped. Whether a shim lives
//! is told by the lock it holds, which it inherits locked; there is no moment in between.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use journal::{Exit, InstanceId, ServiceName};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::{
    Answer, EndReason, Ended, Engine, EngineError, EngineKind, EngineSettings, ExecCommand,
    ExecSession, Instance, InstanceState, LogCursor, LogLines, Usage,
};
use crate::deployment::{Deployment, SecretGiven, variable_name};
use crate::shim::control::{Client, Reply, Request};
use crate::shim::{SECRET_PREFIX, ShimSpec, ShimState, Started, log, processes};
use crate::shim::{read_json, write_json};

/// The engine in the list of all engines.
pub(super) const KIND: EngineKind = EngineKind {
    name: "process",
    summary: "processes of this machine, boxed where it allows that; needs nothing else",
    open: |settings| Ok(Box::new(ProcessEngine::open(settings.clone())?)),
};

/// Ports that instances get: below those that the system gives to outgoing connections.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=32_000;
/// How long a shim may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a killed shim or process may take to go.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// How many ended instances of a service are kept, so that people can read why.
const ENDED_KEPT: usize = 5;

/// Runs instances as processes of this machine.
#[derive(Debug, Clone)]
pub struct ProcessEngine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: EngineSettings,
    /// One change at a time; holds the shims we started, so that they leave no zombies.
    shims: Mutex<Vec<Child>>,
}

/// An instance as its directory tells.
struct Found {
    directory: PathBuf,
    spec: ShimSpec,
    state: Option<ShimState>,
    is_held: bool,
    ended: Option<Ended>,
}

impl ProcessEngine {
    /// Opens the engine over its directory, with whatever runs there.
    pub fn open(settings: EngineSettings) -> Result<Self, EngineError> {
        let directory = &settings.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
        let directory = directory.canonicalize().map_err(at(directory))?;
        for entry in fs::read_dir(&directory).map_err(at(&directory))? {
            let path = entry.map_err(at(&directory))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                fs::remove_dir_all(&path).map_err(at(&path))?;
            }
        }
        let settings = EngineSettings { directory, ..settings };
        Ok(Self { inner: Arc::new(Inner { settings, shims: Mutex::default() }) })
    }

    /// Returns the directory of an instance: its log, its scratch files, its end.
    pub fn directory_of(&self, instance: &InstanceId) -> PathBuf {
        self.inner.settings.directory.join(instance.as_str())
    }

    /// Returns what an instance printed after a cursor, for those who do not wait asynchronously.
    ///
    /// `directory` is what the engine was opened with.
    pub fn read_log(
        directory: &Path,
        instance: &InstanceId,
        since: LogCursor,
    ) -> std::io::Result<LogLines> {
        log::read(&directory.join(instance.as_str()).join("log"), since)
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, EngineError> + Send + 'static,
    ) -> Answer<'_, T> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
        })
    }
}

impl Engine for ProcessEngine {
    fn scale<'a>(&'a self, deployment: &'a Deployment, count: u32) -> Answer<'a, ()> {
        let deployment = deployment.clone();
        self.blocking(move |inner| inner.scale(&deployment, count as usize))
    }

    fn instances<'a>(&'a self, service: &'a ServiceName) -> Answer<'a, Vec<Instance>> {
        let service = service.clone();
        self.blocking(move |inner| {
            let mut found: Vec<_> =
                inner.find()?.into_iter().filter(|f| f.spec.service == service).collect();
            found.sort_by_key(|found| found.spec.created);
            Ok(found.into_iter().map(Found::into_instance).collect())
        })
    }

    fn logs<'a>(&'a self, instance: &'a InstanceId, since: LogCursor) -> Answer<'a, LogLines> {
        let instance = instance.clone();
        self.blocking(move |inner| {
            let directory = inner.find_one(&instance)?.directory.join("log");
            log::read(&directory, since).map_err(at(&directory))
        })
    }

    fn exec<'a>(
        &'a self,
        instance: &'a InstanceId,
        command: ExecCommand,
    ) -> Answer<'a, ExecSession> {
        let work = {
            let instance = instance.clone();
            self.blocking(move |inner| inner.exec(&instance, &command))
        };
        Box::pin(async move {
            let exec = work.await?;
            let pipe = |source| EngineError::NoAnswer { instance: instance.clone(), source };
            Ok(ExecSession {
                stdin: Some(pipe::Sender::from_owned_fd(exec.stdin).map_err(pipe)?),
                stdout: pipe::Receiver::from_owned_fd(exec.stdout).map_err(pipe)?,
                stderr: pipe::Receiver::from_owned_fd(exec.stderr).map_err(pipe)?,
                exit: exec.exit,
            })
        })
    }

    fn stop<'a>(&'a self, instance: &'a InstanceId) -> Answer<'a, ()> {
        let instance = instance.clone();
        self.blocking(move |inner| {
            let found = inner.find_one(&instance)?;
            Inner::stop(&found)?;
            Inner::reap(&mut inner.shims.lock().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        })
    }

    fn services(&self) -> Answer<'_, Vec<ServiceName>> {
        self.blocking(|inner| {
            let names: BTreeSet<_> =
                inner.find()?.into_iter().map(|found| found.spec.service).collect();
            Ok(names.into_iter().collect())
        })
    }
}

/// The pipes of a command beside an instance.
struct Exec {
    stdin: std::os::fd::OwnedFd,
    stdout: std::os::fd::OwnedFd,
    stderr: std::os::fd::OwnedFd,
    exit: oneshot::Receiver<Exit>,
}

impl Inner {
    fn scale(&self, deployment: &Deployment, count: usize) -> Result<(), EngineError> {
        let mut shims = self.shims.lock().unwrap_or_else(PoisonError::into_inner);
        Self::reap(&mut shims);
        let all = self.find()?;
        for lost in all.iter().filter(|found| !found.is_held) {
            lost.clear_away()?;
        }
        let is_of = |found: &&Found| {
            found.spec.service == deployment.service && found.spec.release == deployment.release
        };
        let mut running: Vec<_> = all.iter().filter(is_of).filter(|found| found.is_held).collect();
        running.sort_by_key(|found| found.spec.created);
        if running.len() > count {
            std::thread::scope(|scope| {
                let stops: Vec<_> = running[count..]
                    .iter()
                    .map(|found| scope.spawn(|| Self::stop(found)))
                    .collect();
                stops.into_iter().try_for_each(|stop| {
                    stop.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })?;
        }
        for _ in running.len()..count {
            let shim = self.start(deployment, &all)?;
            shims.push(shim);
        }
        Self::reap(&mut shims);
        self.forget_old(&deployment.service)
    }

    /// Starts one more instance and waits until it runs or is known not to.
    fn start(&self, deployment: &Deployment, others: &[Found]) -> Result<Child, EngineError> {
        let id = new_id(deployment);
        let directory = self.settings.directory.join(id.as_str());
        DirBuilder::new().mode(0o700).create(&directory).map_err(at(&directory))?;
        let port = free_port(others)?;
        let spec = self.spec(deployment, &id, &directory, port)?;
        let lock_path = directory.join("lock");
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        lock.lock().map_err(at(&lock_path))?;
        // With its spec the instance is there for everybody who looks, so it is locked by then:
        // one that is there and not locked has lost its shim.
        let path = directory.join("spec.json");
        write_json(&path, &spec).map_err(at(&path))?;

        let errors = directory.join("shim-errors");
        let errors =
            File::options().create(true).append(true).open(&errors).map_err(at(&errors))?;
        let (program, arguments) = self.settings.shim.split_first().expect("a shim has a program");
        let secret = |secret: &crate::deployment::Secret| match &secret.given {
            SecretGiven::Variable(name) => {
                let value =
                    std::ffi::OsString::from(String::from_utf8_lossy(&secret.value).into_owned());
                Some((format!("{SECRET_PREFIX}{name}"), value))
            }
            SecretGiven::File => None,
        };
        let mut shim = Command::new(program)
            .args(arguments)
            .arg(&path)
            .envs(deployment.secrets.iter().filter_map(secret))
            .current_dir("/")
            // The lock goes with the shim: it is free again exactly when the shim is gone.
            .stdin(lock)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|source| EngineError::Shim { program: program.clone(), source })?;
        let mut line = String::new();
        let told = shim.stdout.take().expect("it is piped");
        let _ = BufReader::new(told).read_line(&mut line);
        match serde_json::from_str(&line) {
            Ok(Started::Running(_)) => Ok(shim),
            told => {
                let _ = shim.wait();
                let error = match told {
                    Ok(Started::Not(error)) => error,
                    _ => fs::read_to_string(directory.join("shim-errors")).unwrap_or_default(),
                };
                let error = error.trim().to_owned();
                Err(EngineError::NotStarted {
                    instance: id,
                    service: deployment.service.clone(),
                    error,
                })
            }
        }
    }

    fn spec(
        &self,
        deployment: &Deployment,
        id: &InstanceId,
        directory: &Path,
        port: u16,
    ) -> Result<ShimSpec, EngineError> {
        let unsupported = |reason: String| EngineError::Unsupported {
            service: deployment.service.clone(),
            reason,
        };
        if let Some(user) = &deployment.user {
            return Err(unsupported(format!(
                "processes run as Marline's own user, not as `{user}`"
            )));
        }
        let cwd = crate::deployment::inside(&deployment.files, &deployment.directory).ok_or_else(
            || unsupported(format!("`{}` leaves the release", deployment.directory.display())),
        )?;
        let work = directory.join("work");
        fs::create_dir_all(&work).map_err(at(&work))?;
        let secrets = directory.join("secrets");
        let mut environment = Self::environment(deployment, id, &work, port);
        let mut secret_variables = Vec::new();
        for secret in &deployment.secrets {
            match &secret.given {
                SecretGiven::Variable(name) => secret_variables.push(name.clone()),
                SecretGiven::File => {
                    let path = secrets.join(variable_name(&secret.name).to_lowercase());
                    DirBuilder::new()
                        .recursive(true)
                        .mode(0o700)
                        .create(&secrets)
                        .map_err(at(&secrets))?;
                    let mut file = File::options()
                        .write(true)
                        .create_new(true)
                        .mode(0o400)
                        .open(&path)
                        .map_err(at(&path))?;
                    file.write_all(&secret.value).map_err(at(&path))?;
                    let name = format!("{}_FILE", variable_name(&secret.name));
                    environment.insert(name, path.display().to_string());
                }
            }
        }
        let mut readable = vec![deployment.files.clone()];
        readable.extend(secrets.exists().then_some(secrets));
        let mut writable = Vec::new();
        for volume in &deployment.volumes {
            fs::create_dir_all(&volume.host).map_err(at(&volume.host))?;
            let list = if volume.read_only { &mut readable } else { &mut writable };
            list.push(volume.host.clone());
        }
        Ok(ShimSpec {
            instance: id.clone(),
            service: deployment.service.clone(),
            release: deployment.release.clone(),
            port,
            created: Timestamp::now(),
            words: deployment.command.words(port),
            cwd,
            environment,
            secret_variables,
            stop_signal: deployment.stop_signal,
            stop_grace_ms: deployment.stop_grace.as_millis() as u64,
            limits: deployment.limits,
            boxed: self.settings.boxed,
            hidden: self.settings.hidden.clone(),
            readable,
            writable,
        })
    }

    /// What an instance finds in its environment; what Marline gives goes before what Compose says.
    fn environment(
        deployment: &Deployment,
        id: &InstanceId,
        work: &Path,
        port: u16,
    ) -> BTreeMap<String, String> {
        let path =
            std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
        let mut all = BTreeMap::from([
            ("PATH".to_owned(), path),
            ("HOME".to_owned(), work.display().to_string()),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ]);
        for (peer, place) in &deployment.peers {
            let name = variable_name(peer.as_str());
            all.insert(format!("{name}_HOST"), place.host.clone());
            all.insert(format!("{name}_PORT"), place.port.to_string());
        }
        for volume in &deployment.volumes {
            all.insert(volume.variable(), volume.host.display().to_string());
        }
        all.extend(deployment.environment.clone());
        all.extend([
            ("HOST".to_owned(), "127.0.0.1".to_owned()),
            ("PORT".to_owned(), port.to_string()),
            ("SERVICE".to_owned(), deployment.service.to_string()),
            ("RELEASE".to_owned(), deployment.release.to_string()),
            ("INSTANCE".to_owned(), id.to_string()),
        ]);
        all
    }

    /// Stops an instance: its signal, its time, then by force; comes back when nothing is left.
    fn stop(found: &Found) -> Result<(), EngineError> {
        if found.is_held {
            let grace = Duration::from_millis(found.spec.stop_grace_ms);
            let request = Request::Stop {
                signal: found.spec.stop_signal,
                grace_ms: found.spec.stop_grace_ms,
            };
            let asked = Client::connect(&found.directory).and_then(|mut client| {
                client.ask(&request, Some(PATIENCE))?;
                client.ask_no_more(grace + KILL_PATIENCE)
            });
            if asked.is_err() || !found.is_free_within(PATIENCE) {
                // It does not answer: without it, its instance ends too.
                if let Some(state) = &found.state
                    && !found.is_free()
                {
                    let pid = nix::unistd::Pid::from_raw(state.shim as i32);
                    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                }
                if !found.is_free_within(KILL_PATIENCE) {
                    let instance = found.spec.instance.clone();
                    return Err(EngineError::DoesNotStop { instance, processes: 1 });
                }
            }
        }
        found.clear_away()
    }

    fn exec(&self, instance: &InstanceId, command: &ExecCommand) -> Result<Exec, EngineError> {
        let found = self.find_one(instance)?;
        if !found.is_held {
            return Err(EngineError::HasEnded { instance: instance.clone() });
        }
        let failed = |source| EngineError::NoAnswer { instance: instance.clone(), source };
        let (stdin_there, stdin) = io::pipe().map_err(failed)?;
        let (stdout, stdout_there) = io::pipe().map_err(failed)?;
        let (stderr, stderr_there) = io::pipe().map_err(failed)?;
        let mut client = Client::connect(&found.directory).map_err(failed)?;
        let request = Request::Exec {
            words: command.words.clone(),
            environment: command.environment.clone(),
            pipes: [stdin_there.as_raw_fd(), stdout_there.as_raw_fd(), stderr_there.as_raw_fd()],
        };
        match client.ask(&request, Some(PATIENCE)).map_err(failed)? {
            Reply::ExecStarted(_) => {}
            Reply::Failed(error) => {
                return Err(EngineError::Refused {
                    instance: instance.clone(),
                    asked: "run a command beside",
                    error,
                });
            }
            _ => return Err(failed(io::ErrorKind::InvalidData.into())),
        }
        client.be_patient().map_err(failed)?;
        let handle = client.handle().map_err(failed)?;
        let (mut sender, exit) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        std::thread::spawn(move || {
            let (ended, end) = oneshot::channel();
            runtime.spawn(async move {
                tokio::select! {
                    // Nobody waits any more: hanging up kills the command.
                    () = sender.closed() => { let _ = handle.shutdown(std::net::Shutdown::Both); }
                    end = end => if let Ok(exit) = end { let _ = sender.send(exit); },
                }
            });
            let exit = match client.answer() {
                Ok(Reply::ExecEnded(exit)) => exit,
                Ok(Reply::Failed(_)) => Exit { code: Some(127), ..Exit::default() },
                _ => Exit::default(),
            };
            let _ = ended.send(exit);
        });
        Ok(Exec { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), exit })
    }

    /// Reads every instance from its directory.
    fn find(&self) -> Result<Vec<Found>, EngineError> {
        let directory = &self.settings.directory;
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).map_err(at(directory))? {
            let path = entry.map_err(at(directory))?.path();
            let is_one =
                path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'));
            if is_one {
                found.extend(Found::read(path)?);
            }
        }
        Ok(found)
    }

    fn find_one(&self, instance: &InstanceId) -> Result<Found, EngineError> {
        let name = instance.as_str();
        let is_name = !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        let found = if is_name { Found::read(self.settings.directory.join(name))? } else { None };
        found.ok_or_else(|| EngineError::UnknownInstance { instance: instance.clone() })
    }

    /// Waits for the shims of ours that have ended.
    fn reap(shims: &mut Vec<Child>) {
        shims.retain_mut(|shim| matches!(shim.try_wait(), Ok(None)));
    }

    /// Removes all but the last few ended instances of a service.
    fn forget_old(&self, service: &ServiceName) -> Result<(), EngineError> {
        let mut ended: Vec<_> = self
            .find()?
            .into_iter()
            .filter(|found| !found.is_held && found.spec.service == *service)
            .collect();
        ended.sort_by_key(|found| std::cmp::Reverse(found.spec.created));
        for old in ended.into_iter().skip(ENDED_KEPT) {
            let doomed = self.settings.directory.join(format!(".gone-{}", old.spec.instance));
            fs::rename(&old.directory, &doomed).map_err(at(&old.directory))?;
            fs::remove_dir_all(&doomed).map_err(at(&doomed))?;
        }
        Ok(())
    }
}

impl Found {
    /// Reads an instance; what was never completely made is none and is removed.
    fn read(directory: PathBuf) -> Result<Option<Self>, EngineError> {
        let Some(spec) = read_json(&directory.join("spec.json")).map_err(at(&directory))? else {
            return Ok(None);
        };
        let is_held = !is_free(&directory.join("lock"));
        let state = read_json(&directory.join("state.json")).map_err(at(&directory))?;
        let ended = read_json(&directory.join("exit.json")).map_err(at(&directory))?;
        Ok(Some(Self { directory, spec, state, is_held, ended }))
    }

    fn is_free(&self) -> bool {
        is_free(&self.directory.join("lock"))
    }

    /// Waits for the shim to go.
    fn is_free_within(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        while !self.is_free() {
            if Instant::now() >= until {
                return false;
            }
            breathe();
        }
        true
    }

    /// Removes what a shim that was killed could not: processes, secrets, and the missing record.
    fn clear_away(&self) -> Result<(), EngineError> {
        let path = self.directory.join("exit.json");
        if path.exists() {
            return Ok(());
        }
        let until = Instant::now() + KILL_PATIENCE;
        loop {
            let left = processes::kill_marked(self.spec.instance.as_str());
            if left == 0 {
                break;
            }
            if Instant::now() >= until {
                let instance = self.spec.instance.clone();
                return Err(EngineError::DoesNotStop { instance, processes: left });
            }
            breathe();
        }
        let _ = fs::remove_dir_all(self.directory.join("secrets"));
        write_json(&path, &lost()).map_err(at(&path))
    }

    fn into_instance(self) -> Instance {
        let state = match (self.is_held, &self.state) {
            (true, Some(state)) => {
                let asked = Client::connect(&self.directory)
                    .and_then(|mut client| client.ask(&Request::Status, Some(PATIENCE)));
                match asked {
                    Ok(Reply::Status { pid, stopping: true, .. }) => {
                        InstanceState::Stopping { pid }
                    }
                    Ok(Reply::Status { pid, usage, .. }) => InstanceState::Running { pid, usage },
                    _ => InstanceState::Running { pid: state.pid, usage: Usage::default() },
                }
            }
            (true, None) => InstanceState::Running { pid: 0, usage: Usage::default() },
            (false, _) => {
                // It may have ended between the two looks.
                let late = || read_json(&self.directory.join("exit.json")).ok().flatten();
                InstanceState::Ended(self.ended.clone().or_else(late).unwrap_or_else(lost))
            }
        };
        Instance {
            id: self.spec.instance,
            service: self.spec.service,
            release: self.spec.release,
            port: self.spec.port,
            started: self.state.as_ref().map_or(self.spec.created, |state| state.started),
            unprotected: self.state.map(|state| state.unprotected).unwrap_or_default(),
            state,
        }
    }
}

/// Lets a moment pass before looking again: the system tells nobody when a lock gets free.
#[expect(clippy::disallowed_methods, reason = "it runs on a thread that may block")]
fn breathe() {
    std::thread::sleep(Duration::from_millis(5));
}

/// The end of an instance whose shim was killed.
fn lost() -> Ended {
    Ended { at: Timestamp::now(), reason: EndReason::ShimLost, exit: Exit::default(), asked: false }
}

fn is_free(lock: &Path) -> bool {
    match File::open(lock) {
        Ok(file) => !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
        Err(_) => true,
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Directory { path, source }
}

/// Makes an id that is unique for ever: `web-3f9a2c1b-k7d2mq`.
fn new_id(deployment: &Deployment) -> InstanceId {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = [0; 6];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    let end: String = random.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect();
    InstanceId(format!("{}-{}-{end}", deployment.service, deployment.release.short()))
}

/// Finds a loopback port that nobody has and no other instance was given.
fn free_port(others: &[Found]) -> Result<u16, EngineError> {
    let (first, last) = (*PORTS.start(), *PORTS.end());
    let mut random = [0; 2];
    getrandom::fill(&mut random).expect("the system gives random bytes");
    let count = last - first + 1;
    let offset = u16::from_le_bytes(random) % count;
    (0..count)
        .map(|n| first + (offset + n) % count)
        .find(|port| {
            let given = others.iter().any(|found| found.is_held && found.spec.port == *port);
            !given && TcpListener::bind(("127.0.0.1", *port)).is_ok()
        })
        .ok_or(EngineError::NoFreePort { first, last })
}
