//! What the pages are made from.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;
use journal::{
    Actor, DeploymentId, Event, EventId, Fact, IncidentId, InstanceId, JobKey, Journal,
    JournalError, RunId, View,
};

use crate::numbers::Numbers;

/// What the pages are made from; cheap to clone.
#[derive(Clone)]
pub struct WebState {
    /// What happened.
    pub journal: Journal,
    /// The present, kept current by whoever follows the journal.
    pub view: Arc<RwLock<View>>,
    /// The numbers of the traffic.
    pub numbers: Arc<dyn Numbers>,
    /// What steps and instances wrote.
    pub logs: Arc<dyn Logs>,
    /// Where wishes go.
    pub wishes: Arc<dyn Wishes>,
    /// The name of the repository, as shown.
    pub repository: String,
    /// The clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl WebState {
    /// Returns the present for reading. Hold it only while a page is made.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        // A writer that panicked leaves a view that is at worst one event behind.
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }
}

/// Gives what steps and instances wrote.
///
/// Offsets count bytes. An empty answer says that there is no more yet; an error of kind
/// [`io::ErrorKind::NotFound`] says that there is no log.
pub trait Logs: Send + Sync {
    /// Returns at most `limit` bytes of a step's log from byte `from`.
    fn step(
        &self,
        run: RunId,
        job: &JobKey,
        step: u32,
        from: u64,
        limit: usize,
    ) -> io::Result<Vec<u8>>;

    /// Returns at most `limit` bytes of an instance's output from byte `from`.
    fn instance(&self, instance: &InstanceId, from: u64, limit: usize) -> io::Result<Vec<u8>>;
}

/// Why a wish was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// In one sentence.
    pub why: String,
    /// What to do instead.
    pub mend: String,
}

impl Refusal {
    /// Returns a refusal with what to do instead.
    pub fn new(why: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { why: why.into(), mend: mend.into() }
    }
}

/// An answer that is waited for.
pub type Granted<'a> = Pin<Box<dyn Future<Output = Result<Event, Refusal>> + Send + 'a>>;

/// Where wishes go.
///
/// The fact was checked against the view by [`crate::wish::check`]; whoever grants it appends it to
/// the journal and returns its event.
pub trait Wishes: Send + Sync {
    /// Appends what was asked for.
    fn wish(&self, actor: Actor, fact: Fact) -> Granted<'_>;
}

/// A journal grants every checked wish by appending it.
impl Wishes for Journal {
    fn wish(&self, actor: Actor, fact: Fact) -> Granted<'_> {
        Box::pin(async move {
            self.append(actor, None, fact).await.map_err(|error| {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "could not append a wish"
                );
                Refusal::new(
                    "The journal could not be written.",
                    "Look at the disk of this machine, then try again.",
                )
            })
        })
    }
}

/// What explanations look things up in: the journal for events, the files for logs.
pub(crate) struct Evidence<'a> {
    pub(crate) state: &'a WebState,
}

/// How much of a log an explanation reads.
const LOG_EXPLAINED: usize = 8 << 20;

impl explain::Lookup for Evidence<'_> {
    fn event(&self, id: EventId) -> Result<Option<Event>, JournalError> {
        self.state.journal.event(id)
    }

    fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError> {
        self.state.journal.of_run(run)
    }

    fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError> {
        self.state.journal.of_deployment(deployment)
    }

    fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError> {
        self.state.journal.of_incident(incident)
    }

    fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.state.journal.of_kind(kind, limit)
    }

    fn step_log(&self, run: RunId, job: &JobKey, step: u32) -> Option<String> {
        let bytes = self.state.logs.step(run, job, step, 0, LOG_EXPLAINED).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}
