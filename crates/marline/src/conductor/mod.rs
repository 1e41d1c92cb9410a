//! The process that decides.
//!
//! It follows the journal, folds each event into the [`View`], asks [`react`] what to do, and does
//! it. Nothing else remembers what is to be done: a conductor that is killed starts again, asks
//! [`resume`](react::resume), and takes what was under way up again. Instances and the proxy are
//! processes of their own and go on meanwhile.
//!
//! - [`action`], [`mod@react`], [`rollout`]: what to do; pure.
//! - [`commit`]: a commit is planned, inspected, run, gated, and cut into a release.
//! - [`schedule`], [`start`]: workflows that start at set times, and by what others did.
//! - [`deployment`]: instances are scaled, traffic is shifted, taken back, healed.
//! - [`instances`]: what runs in truth becomes facts.
//! - [`traffic`]: what users see becomes numbers and verdicts.
//! - [`alerts`]: the team's rules, evaluated over the numbers.
//! - [`notify`]: people are told of alerts, by the team's `alertmanager.yml`.
//! - [`incident`]: what went wrong for users is opened, watched and closed.

pub mod action;
pub mod alerts;
mod commit;
mod deployment;
mod incident;
mod instances;
pub mod notify;
pub mod react;
pub mod rollout;
mod routes;
mod schedule;
pub mod spec;
mod start;
pub mod traffic;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use anyhow::Context as _;
use deploy::proxy::ProxyClient;
use deploy::{Engine, ReleaseStore};
use journal::{Actor, Event, EventId, Fact, Journal, RunId, View};
use pipeline::execute::Groups;
use source::git::Repository;
use tokio::sync::{Notify, watch};

use crate::state::State;
use action::Action;
pub use commit::secret_values;
use react::react;
use routes::Table;
use spec::Specs;
use traffic::Traffic;

/// How long to wait before an action that failed is taken again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How often an action is taken again before people are left to it.
const TRIES: u32 = 5;

/// The process that decides.
pub struct Conductor {
    /// The repository.
    pub repository: Repository,
    /// Where everything is kept.
    pub state: State,
    /// What happened.
    pub journal: Journal,
    /// The present.
    pub view: Arc<RwLock<View>>,
    /// Where instances run.
    pub engine: Arc<dyn Engine>,
    /// The releases.
    pub releases: Arc<ReleaseStore>,
    /// The numbers.
    pub store: Arc<series::Store>,
    /// What users see.
    pub traffic: Arc<Traffic>,
    /// The branch to follow; none when HEAD is detached.
    pub branch: Option<String>,
    /// How services run, by release.
    pub specs: Specs,
    /// Where the pages are, once they are served.
    pub address: std::sync::OnceLock<std::net::SocketAddr>,
    proxy: ProxyClient,
    table: tokio::sync::Mutex<Table>,
    busy: Mutex<HashMap<Action, Busy>>,
    cancels: Mutex<HashMap<RunId, watch::Sender<bool>>>,
    healing: Mutex<BTreeMap<journal::ServiceName, deployment::Patient>>,
    groups: Groups,
    look: Notify,
    gone: watch::Sender<bool>,
}

/// How much of the numbers is kept: enough to compare a release with a fortnight.
fn series_settings() -> series::disk::Settings {
    series::disk::Settings {
        bytes: Some(1 << 30),
        series: 50_000,
        cache: 4 << 20,
        ..series::disk::Settings::default()
    }
}

/// Opens the numbers of this repository. A disk that does not take them must not keep services
/// from being watched: they are in memory then, and the log says so.
fn open_series(state: &State) -> series::Store {
    series::Store::open(&state.series(), series_settings()).unwrap_or_else(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "numbers are kept in memory only, and are gone when this process ends"
        );
        series::Store::new(series::Limits::default())
    })
}

/// Whether an action was asked for again while it was under way, and by which event.
#[derive(Debug, Default)]
enum Again {
    #[default]
    No,
    Yes(Option<EventId>),
}

/// An action under way, and whether it was asked for again meanwhile.
#[derive(Debug, Default)]
struct Busy {
    again: Again,
}

impl Conductor {
    /// Returns the conductor of a repository that has nothing under way yet.
    pub fn new(
        repository: Repository,
        state: State,
        journal: Journal,
        branch: Option<String>,
        profiles: Vec<String>,
    ) -> anyhow::Result<Self> {
        let settings = deploy::engine::EngineSettings {
            directory: state.instances(),
            shim: vec![
                std::env::current_exe().context("find the program itself")?,
                PathBuf::from("__shim"),
            ],
            hidden: vec![state.root().to_owned()],
            boxed: true,
        };
        let kind = deploy::ENGINES.first().expect("there is always the process engine");
        let engine: Arc<dyn Engine> = Arc::from((kind.open)(&settings)?);
        let releases = Arc::new(ReleaseStore::open(state.releases())?);
        let store = Arc::new(open_series(&state));
        let view = journal.view()?;
        let table = Table::of(&view);
        Ok(Self {
            specs: Specs::new(repository.clone(), Arc::clone(&releases), &state, profiles),
            traffic: Arc::new(Traffic::new(journal.clone(), Arc::clone(&store))),
            proxy: ProxyClient::new(state.proxy()),
            view: Arc::new(RwLock::new(view)),
            table: tokio::sync::Mutex::new(table),
            busy: Mutex::default(),
            cancels: Mutex::default(),
            healing: Mutex::default(),
            groups: Groups::new(state.concurrency()),
            address: std::sync::OnceLock::new(),
            look: Notify::new(),
            gone: watch::Sender::new(false),
            repository,
            state,
            journal,
            engine,
            releases,
            store,
            branch,
        })
    }

    /// Decides until somebody asks to stop everything.
    pub async fn run(self: &Arc<Self>) -> anyhow::Result<()> {
        let newest = self.view().newest.unwrap_or(EventId(0));
        let mut events = self.journal.follow(newest);
        let started = self
            .append(
                None,
                Fact::ConductorStarted {
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    pid: std::process::id(),
                    missing_walls: missing_walls(&self.state).await,
                },
            )
            .await?;
        for action in react::resume(&self.view(), self.journal.now()) {
            self.take(action, Some(started.id));
        }
        let mut tasks = tokio::task::JoinSet::new();
        let this = Arc::clone(self);
        tasks.spawn(async move { this.observe().await });
        let this = Arc::clone(self);
        tasks.spawn(async move { this.follow_branch().await });
        let this = Arc::clone(self);
        tasks.spawn(async move { this.keep_schedules().await });
        let this = Arc::clone(self);
        tasks.spawn(async move { this.evaluate_rules().await });
        let this = Arc::clone(self);
        tasks.spawn(async move { this.notify_people().await });
        let this = Arc::clone(self);
        tasks.spawn(async move { this.forward_alerts().await });
        let (traffic, proxy) = (Arc::clone(&self.traffic), self.proxy.clone());
        tasks.spawn(async move { Ok(traffic.run(proxy).await?) });

        let mut gone = self.gone.subscribe();
        loop {
            tokio::select! {
                event = events.next() => self.hear(&event.context("follow the journal")?),
                ended = tasks.join_next() => {
                    if let Some(Ok(Err(error))) = ended {
                        return Err(error);
                    }
                }
                _ = gone.changed() => return Ok(()),
            }
        }
    }

    /// Folds an event in and takes what follows from it.
    fn hear(self: &Arc<Self>, event: &Event) {
        let actions = {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            view.apply(event);
            react(&view, event)
        };
        for action in actions {
            self.take(action, Some(event.id));
        }
    }

    /// Takes an action; one that is under way already is taken once more when it has ended.
    fn take(self: &Arc<Self>, action: Action, cause: Option<EventId>) {
        if let Some(busy) = lock(&self.busy).get_mut(&action) {
            busy.again = Again::Yes(cause);
            return;
        }
        lock(&self.busy).insert(action.clone(), Busy::default());
        let this = Arc::clone(self);
        tokio::spawn(async move {
            this.try_to(&action, cause).await;
            let busy = lock(&this.busy).remove(&action).unwrap_or_default();
            if let Again::Yes(cause) = busy.again {
                this.take(action, cause);
            }
        });
    }

    /// Performs an action, a few times if need be, and says so when it cannot be done.
    async fn try_to(self: &Arc<Self>, action: &Action, cause: Option<EventId>) {
        for left in (0..TRIES).rev() {
            let Err(error) = self.perform(action, cause).await else { return };
            let error = format!("{error:#}");
            tracing::warn!(?action, %error, "an action failed");
            let fact = Fact::ActionFailed { action: action.words(), error, again: left > 0 };
            if self.append(cause, fact).await.is_err() || left == 0 {
                return;
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn perform(
        self: &Arc<Self>,
        action: &Action,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        match action {
            Action::StartProxy => self.start_proxy(cause).await,
            Action::Plan { commit } => self.plan_commit(commit, cause).await,
            Action::Inspect { commit } => self.inspect(commit, cause).await,
            Action::Run { commit, workflow, occasion, again } => {
                self.run_workflow(commit, workflow, occasion, *again, cause).await
            }
            Action::Start { commit, occasion } => self.start(commit, occasion, cause).await,
            Action::EndInterrupted { run } => self.end_interrupted(*run).await,
            Action::Cancel { run } => {
                if let Some(cancel) = lock(&self.cancels).get(run) {
                    cancel.send_replace(true);
                }
                Ok(())
            }
            Action::DecideGate { commit } => self.decide_gate(commit, cause).await,
            Action::CutRelease { commit } => self.cut_release(commit, cause).await,
            Action::Deploy { release, services, strategy, reason } => {
                self.deploy(release, services, *strategy, *reason, cause).await
            }
            Action::Refuse { request, why } => {
                let fact = Fact::RequestRefused { request: *request, why: why.clone() };
                self.append(cause, fact).await.map(drop)
            }
            Action::Scale { service, release, count } => self.scale(service, release, *count).await,
            Action::Shift { deployment, service, weights } => {
                self.shift(Some(*deployment), service, weights, cause).await
            }
            Action::Judge { deployment, step } => {
                self.judge(*deployment, *step, cause);
                Ok(())
            }
            Action::LookAgain { deployment, at } => self.look_again(*deployment, *at, cause).await,
            Action::RollBack { deployment, reason, weights } => {
                self.roll_back(*deployment, reason, weights, cause).await
            }
            Action::Finish { deployment, ending } => self.finish(*deployment, ending, cause).await,
            Action::Reconcile { service } => self.reconcile(service).await,
            Action::Restart { service } => self.restart(service).await,
            Action::Heal { service, instance, release } => {
                self.heal(service, instance, release, cause).await
            }
            Action::OpenIncident { about } => self.open_incident(about, cause).await,
            Action::Resolve { incident } => self.resolve(*incident, cause).await,
            Action::CleanUp => self.clean_up(cause).await,
            Action::StopAll => self.stop_all(cause).await,
        }
    }

    /// Stops all instances and the proxy without deciding anything else.
    pub async fn stop_everything(self: &Arc<Self>) -> anyhow::Result<()> {
        self.stop_all(None).await
    }

    /// Says that the conductor goes; services stay.
    pub async fn leave(&self, reason: &str) {
        let _ = self.append(None, Fact::ConductorStopped { reason: reason.to_owned() }).await;
    }

    async fn append(&self, cause: Option<EventId>, fact: Fact) -> anyhow::Result<Event> {
        let event = self.journal.append(Actor::Conductor, cause, fact).await;
        event.context("write down what happened")
    }

    fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the walls that a box does not have on this machine, in words.
async fn missing_walls(state: &State) -> Vec<String> {
    let Ok(scratch) = tempfile::Builder::new().prefix("box-").tempdir_in(state.root()) else {
        return vec!["whether instances are boxed could not be tried".to_owned()];
    };
    match sandbox::Sandbox::open(&sandbox::BoxSpec::new(scratch.path())).await {
        Ok(sandbox) => {
            let missing = &sandbox.protection().missing;
            let missing =
                missing.iter().map(|(wall, why)| format!("{}: {why}", wall.describe())).collect();
            sandbox.close().await;
            missing
        }
        Err(error) => vec![format!("no box could be made: {error}")],
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
