//! The event table in SQLite: one hash chain, group commit, following.
//!
//! Truth is the table `event`. It is appended to and never changed; each row carries the SHA-256 of
//! the row before it and of itself, so that an edit anywhere shows ([`Journal::verify`]). SQLite
//! runs in WAL mode with `synchronous=FULL`: what [`Journal::append`] has answered is on disk.
//!
//! Several processes may append to one journal: ids, numbers and hashes are taken inside the
//! writing transaction. Within a process one thread writes, and everything that waits is committed
//! together, so that many callers share one sync.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use tokio::sync::{oneshot, watch};

use crate::{Actor, Clock, DeploymentId, Event, EventId, Fact, IncidentId, RunId};

/// The steps that make the newest schema out of any older one; `user_version` counts them.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE event (
        id         INTEGER PRIMARY KEY,
        at         INTEGER NOT NULL,           -- nanoseconds since 1970
        actor      TEXT    NOT NULL,
        cause      INTEGER,
        kind       TEXT    NOT NULL,
        version    INTEGER NOT NULL,
        body       TEXT    NOT NULL,
        hash       BLOB    NOT NULL,
        run        INTEGER GENERATED ALWAYS AS (json_extract(body, '$.run')) VIRTUAL,
        deployment INTEGER GENERATED ALWAYS AS (json_extract(body, '$.deployment')) VIRTUAL,
        incident   INTEGER GENERATED ALWAYS AS (json_extract(body, '$.incident')) VIRTUAL
    ) STRICT;
    CREATE INDEX event_kind ON event (kind);
    CREATE INDEX event_cause ON event (cause) WHERE cause IS NOT NULL;
    CREATE INDEX event_run ON event (run) WHERE run IS NOT NULL;
    CREATE INDEX event_deployment ON event (deployment) WHERE deployment IS NOT NULL;
    CREATE INDEX event_incident ON event (incident) WHERE incident IS NOT NULL;
    CREATE TABLE number (name TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"];

/// How long a fact that nobody waits for may stay in memory before it is committed.
const GROUP_WINDOW: Duration = Duration::from_millis(20);

/// How often the journal looks for events that other processes appended.
const FOREIGN_POLL: Duration = Duration::from_millis(50);

/// What happened, kept for good.
///
/// Cheap to clone; all clones share one writer. The last clone to go waits until everything that
/// was noted is on disk.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    reader: Mutex<Connection>,
    writes: Mutex<Option<Sender<Write>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    newest: watch::Receiver<u64>,
    clock: Arc<Clock>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Closing the channel is what tells the writer to commit what it holds and end.
        drop(self.writes.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }
}

/// Why the journal could not be opened, read or appended to.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// SQLite said no.
    #[error("use the journal {path}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: Arc<rusqlite::Error>,
    },
    /// A newer Marline wrote it.
    #[error(
        "open the journal {path}: a newer Marline wrote it (schema {found}, this one knows {known}); use that version"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: usize,
        /// The newest schema version this Marline knows.
        known: usize,
    },
    /// The writer thread is gone.
    #[error("append to the journal {path}: its writer has ended")]
    Closed {
        /// The database file.
        path: PathBuf,
    },
}

/// A fact on its way into the journal, with who did it and what led to it.
struct Write {
    actor: Actor,
    cause: Option<EventId>,
    draft: Draft,
    reply: Option<oneshot::Sender<Result<Event, JournalError>>>,
}

/// What to write; a fact that needs a number is made when the number is known.
enum Draft {
    Known(Fact),
    Numbered(Option<MakeFact>),
}

type MakeFact = Box<dyn FnOnce(&mut Numbers<'_>) -> rusqlite::Result<Fact> + Send>;

/// Hands out the next number of each noun, inside the transaction that writes the event.
#[derive(Debug)]
pub struct Numbers<'a> {
    connection: &'a Connection,
}

impl Numbers<'_> {
    /// Returns the number of the next run.
    pub fn run(&mut self) -> rusqlite::Result<RunId> {
        self.next("run").map(RunId)
    }

    /// Returns the number of the next deployment.
    pub fn deployment(&mut self) -> rusqlite::Result<DeploymentId> {
        self.next("deployment").map(DeploymentId)
    }

    /// Returns the number of the next incident.
    pub fn incident(&mut self) -> rusqlite::Result<IncidentId> {
        self.next("incident").map(IncidentId)
    }

    fn next(&mut self, name: &str) -> rusqlite::Result<u64> {
        self.connection.query_row(
            "INSERT INTO number VALUES (?1, 1)
             ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
            [name],
            |row| row.get::<_, i64>(0).map(i64::unsigned_abs),
        )
    }
}

/// Where a hash chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The first event that is not as it was written, or the one before a gap.
    pub event: EventId,
    /// What is wrong with it.
    pub why: String,
}

impl Journal {
    /// Opens the journal at `path`, making it or bringing it to the newest schema if needed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let path = path.into();
        let database = |source| database_error(&path, source);
        let mut connection = connect(&path).map_err(database)?;
        migrate(&mut connection, &path)?;
        let last = last_id(&connection).map_err(database)?;
        let clock = Arc::new(Clock::start(newest_time(&connection).map_err(database)?));
        let reader = connect(&path).map_err(database)?;
        reader.pragma_update(None, "query_only", true).map_err(database)?;

        let (writes, queue) = channel();
        let (announce, newest) = watch::channel(last);
        let (writer_path, writer_clock) = (path.clone(), Arc::clone(&clock));
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                Writer { path: writer_path, connection, announce, clock: writer_clock }.run(&queue);
            })
            .expect("a process that cannot start one thread cannot go on");
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                reader: Mutex::new(reader),
                writes: Mutex::new(Some(writes)),
                writer: Mutex::new(Some(writer)),
                newest,
                clock,
            }),
        })
    }

    /// Returns the time as events are stamped with it; the machine's, without its jumps.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Appends a fact and returns its event once it is on disk.
    pub async fn append(
        &self,
        actor: Actor,
        cause: Option<EventId>,
        fact: Fact,
    ) -> Result<Event, JournalError> {
        self.append_draft(actor, cause, Draft::Known(fact)).await
    }

    /// Appends a fact that needs a number of its own, taken in the same transaction.
    pub async fn append_with(
        &self,
        actor: Actor,
        cause: Option<EventId>,
        make: impl FnOnce(&mut Numbers<'_>) -> rusqlite::Result<Fact> + Send + 'static,
    ) -> Result<Event, JournalError> {
        self.append_draft(actor, cause, Draft::Numbered(Some(Box::new(make)))).await
    }

    async fn append_draft(
        &self,
        actor: Actor,
        cause: Option<EventId>,
        draft: Draft,
    ) -> Result<Event, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Write { actor, cause, draft, reply: Some(reply) })?;
        answer.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// Appends a fact from code that is not async and returns its event once it is on disk.
    ///
    /// Must not be called on an async worker thread.
    pub fn append_blocking(
        &self,
        actor: Actor,
        cause: Option<EventId>,
        fact: Fact,
    ) -> Result<Event, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Write { actor, cause, draft: Draft::Known(fact), reply: Some(reply) })?;
        answer.blocking_recv().unwrap_or_else(|_| Err(self.closed()))
    }

    /// Notes a fact without waiting: it is committed within [`GROUP_WINDOW`], or together with the
    /// next fact that somebody waits for, and always before it.
    ///
    /// For facts that set the pace of a pipeline. If the disk refuses it, it is kept and tried
    /// again, and the next [`append`](Self::append) fails.
    pub fn note(
        &self,
        actor: Actor,
        cause: Option<EventId>,
        fact: Fact,
    ) -> Result<(), JournalError> {
        self.send(Write { actor, cause, draft: Draft::Known(fact), reply: None })
    }

    /// Takes the number of the next run ahead of its first fact, because a run makes its
    /// directories before it tells anything.
    pub fn take_run(&self) -> Result<RunId, JournalError> {
        let path = &self.shared.path;
        let take = || Numbers { connection: &connect(path)? }.run();
        take().map_err(|source| database_error(path, source))
    }

    fn send(&self, write: Write) -> Result<(), JournalError> {
        let writes = self.shared.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = writes.as_ref().ok_or_else(|| self.closed())?;
        sender.send(write).map_err(|_| self.closed())
    }

    fn closed(&self) -> JournalError {
        JournalError::Closed { path: self.shared.path.clone() }
    }

    /// Returns up to `limit` events after `after`, oldest first.
    pub fn read(&self, after: EventId, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.select("id > ?1 ORDER BY id LIMIT ?2", params![after.0 as i64, limit as i64])
    }

    /// Returns the newest `limit` events, oldest first.
    pub fn newest(&self, limit: usize) -> Result<Vec<Event>, JournalError> {
        let mut events = self.select("1 ORDER BY id DESC LIMIT ?1", params![limit as i64])?;
        events.reverse();
        Ok(events)
    }

    /// Returns an event by its id.
    pub fn event(&self, id: EventId) -> Result<Option<Event>, JournalError> {
        Ok(self.select("id = ?1", params![id.0 as i64])?.pop())
    }

    /// Returns everything about a run, oldest first.
    pub fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError> {
        self.select("run = ?1 ORDER BY id", params![run.0 as i64])
    }

    /// Returns everything about a deployment, oldest first.
    pub fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError> {
        self.select("deployment = ?1 ORDER BY id", params![deployment.0 as i64])
    }

    /// Returns everything about an incident, oldest first.
    pub fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError> {
        self.select("incident = ?1 ORDER BY id", params![incident.0 as i64])
    }

    /// Returns the starts of the runs that have not ended, oldest first.
    ///
    /// Unlike [`View::running`](crate::View::running) it reads nothing about their steps, nor about
    /// what has ended.
    pub fn unfinished_runs(&self) -> Result<Vec<Event>, JournalError> {
        self.select(
            "kind = 'RunStarted' AND run NOT IN
             (SELECT run FROM event WHERE kind = 'RunFinished' AND run IS NOT NULL) ORDER BY id",
            [],
        )
    }

    /// Returns the events of one kind, newest first.
    pub fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.select("kind = ?1 ORDER BY id DESC LIMIT ?2", params![kind, limit as i64])
    }

    /// Returns what `id` led to directly, oldest first.
    pub fn effects(&self, id: EventId) -> Result<Vec<Event>, JournalError> {
        self.select("cause = ?1 ORDER BY id", params![id.0 as i64])
    }

    /// Returns the causes of `id`, nearest first, beginning with the event itself.
    pub fn causes(&self, id: EventId) -> Result<Vec<Event>, JournalError> {
        let mut chain = Vec::new();
        let mut next = Some(id);
        while let Some(id) = next {
            let Some(event) = self.event(id)? else { break };
            // A cause is always older than its effect; anything else would not end.
            next = event.cause.filter(|cause| *cause < event.id);
            chain.push(event);
        }
        Ok(chain)
    }

    /// Returns the present: a fold of all events.
    pub fn view(&self) -> Result<crate::View, JournalError> {
        let mut view = crate::View::default();
        let mut after = EventId(0);
        loop {
            let events = self.read(after, 4096)?;
            let Some(last) = events.last() else {
                return Ok(view);
            };
            after = last.id;
            for event in &events {
                view.apply(event);
            }
        }
    }

    /// Returns a follower that gives every event after `after`, those of other processes included.
    pub fn follow(&self, after: EventId) -> Follower {
        Follower {
            journal: self.clone(),
            newest: self.shared.newest.clone(),
            after,
            ready: std::collections::VecDeque::new(),
        }
    }

    /// Checks the hash chain from the first event to the last and returns how many there are.
    pub fn verify(&self) -> Result<Result<u64, Broken>, JournalError> {
        let reader = self.shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
        verify_chain(&reader).map_err(|source| database_error(&self.shared.path, source))
    }

    /// Returns the database file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    fn select(
        &self,
        condition: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<Event>, JournalError> {
        let reader = self.shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let query = format!(
            "SELECT id, at, actor, cause, kind, version, body FROM event WHERE {condition}"
        );
        let read = || -> rusqlite::Result<Vec<Event>> {
            reader.prepare_cached(&query)?.query_map(values, event_of_row)?.collect()
        };
        read().map_err(|source| database_error(&self.shared.path, source))
    }
}

/// Gives one event after another and waits for those to come.
#[derive(Debug)]
pub struct Follower {
    journal: Journal,
    newest: watch::Receiver<u64>,
    after: EventId,
    ready: std::collections::VecDeque<Event>,
}

impl Follower {
    /// Returns the next event, waiting for it if need be.
    pub async fn next(&mut self) -> Result<Event, JournalError> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if self.newest.changed().await.is_err() {
                return Err(self.journal.closed());
            }
        }
    }

    /// Returns the next event if it is there already.
    pub fn try_next(&mut self) -> Result<Option<Event>, JournalError> {
        if self.ready.is_empty() && *self.newest.borrow_and_update() > self.after.0 {
            self.ready.extend(self.journal.read(self.after, 512)?);
        }
        let next = self.ready.pop_front();
        if let Some(event) = &next {
            self.after = event.id;
        }
        Ok(next)
    }
}

/// The one thread of a process that writes.
struct Writer {
    path: PathBuf,
    connection: Connection,
    announce: watch::Sender<u64>,
    clock: Arc<Clock>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Write>) {
        let mut waiting: Vec<Write> = Vec::new();
        loop {
            match queue.recv_timeout(FOREIGN_POLL) {
                Ok(write) => waiting.push(write),
                Err(RecvTimeoutError::Timeout) => {
                    self.announce_foreign();
                    if waiting.is_empty() {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.commit(&mut waiting);
                    return;
                }
            }
            gather(queue, &mut waiting);
            self.commit(&mut waiting);
        }
    }

    /// Commits what waits. On failure those who wait are told, and what was only noted stays.
    fn commit(&mut self, waiting: &mut Vec<Write>) {
        if waiting.is_empty() {
            return;
        }
        let result = (|| -> rusqlite::Result<Vec<Event>> {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let (mut id, mut hash) = tip(&transaction)?;
            let mut events = Vec::with_capacity(waiting.len());
            for write in waiting.iter_mut() {
                let fact = match &mut write.draft {
                    Draft::Known(fact) => fact.clone(),
                    Draft::Numbered(make) => {
                        let make =
                            make.take().expect("those who wait are not kept after a failure");
                        make(&mut Numbers { connection: &transaction })?
                    }
                };
                id += 1;
                let event = Event {
                    id: EventId(id),
                    at: self.clock.now(),
                    actor: write.actor.clone(),
                    cause: write.cause,
                    fact,
                };
                hash = insert(&transaction, &event, &hash)?;
                events.push(event);
            }
            transaction.commit()?;
            Ok(events)
        })();
        match result {
            Ok(events) => {
                if let Some(last) = events.last() {
                    self.announce.send_replace(last.id.0);
                }
                for (write, event) in waiting.drain(..).zip(events) {
                    if let Some(reply) = write.reply {
                        let _ = reply.send(Ok(event));
                    }
                }
            }
            Err(error) => {
                let source = Arc::new(error);
                waiting.retain_mut(|write| match write.reply.take() {
                    Some(reply) => {
                        let source = Arc::clone(&source);
                        let path = self.path.clone();
                        let _ = reply.send(Err(JournalError::Database { path, source }));
                        false
                    }
                    None => true,
                });
            }
        }
    }

    /// Lets followers know what other processes appended.
    fn announce_foreign(&self) {
        if self.announce.receiver_count() > 1
            && let Ok(last) = last_id(&self.connection)
        {
            self.announce.send_if_modified(|newest| {
                let is_newer = last > *newest;
                *newest = last.max(*newest);
                is_newer
            });
        }
    }
}

/// Takes what is there; while nobody waits for an answer, stays open for [`GROUP_WINDOW`].
fn gather(queue: &Receiver<Write>, waiting: &mut Vec<Write>) {
    let close = Instant::now() + GROUP_WINDOW;
    loop {
        let somebody_waits = waiting.iter().any(|write| write.reply.is_some());
        let more = if somebody_waits {
            queue.try_recv().ok()
        } else {
            queue.recv_timeout(close.saturating_duration_since(Instant::now())).ok()
        };
        match more {
            Some(write) => waiting.push(write),
            None => return,
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), JournalError> {
    let database = |source| database_error(path, source);
    // The version is read inside the transaction: two processes may open a new journal at once.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(database)?;
    let found: i64 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(database)?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        return Err(JournalError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() });
    }
    for step in &MIGRATIONS[found..] {
        transaction.execute_batch(step).map_err(database)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64).map_err(database)?;
    transaction.commit().map_err(database)
}

fn database_error(path: &Path, source: rusqlite::Error) -> JournalError {
    JournalError::Database { path: path.to_owned(), source: Arc::new(source) }
}

fn last_id(connection: &Connection) -> rusqlite::Result<u64> {
    let last: Option<i64> =
        connection.query_row("SELECT max(id) FROM event", [], |row| row.get(0))?;
    Ok(last.unwrap_or(0).unsigned_abs())
}

/// Returns when the newest event happened.
fn newest_time(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let newest = "SELECT at FROM event ORDER BY id DESC LIMIT 1";
    let at: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional()?;
    Ok(at.and_then(|at| Timestamp::from_nanosecond(at.into()).ok()))
}

/// Returns the id and the hash of the last event; before the first one, 0 and 32 zero bytes.
fn tip(connection: &Connection) -> rusqlite::Result<(u64, Vec<u8>)> {
    let last = connection
        .prepare_cached("SELECT id, hash FROM event ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get::<_, i64>(0)?.unsigned_abs(), row.get(1)?)))
        .optional()?;
    Ok(last.unwrap_or((0, vec![0; 32])))
}

fn insert(connection: &Connection, event: &Event, before: &[u8]) -> rusqlite::Result<Vec<u8>> {
    let row = StoredEvent {
        id: event.id.0 as i64,
        at: i64::try_from(event.at.as_nanosecond()).unwrap_or(i64::MAX),
        actor: serde_json::to_string(&event.actor).expect("an actor is plain text"),
        cause: event.cause.map(|cause| cause.0 as i64),
        kind: event.fact.kind().to_owned(),
        version: event.fact.version(),
        body: event.fact.encode().to_string(),
    };
    let hash = row.hash(before);
    connection
        .prepare_cached(
            "INSERT INTO event (id, at, actor, cause, kind, version, body, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            row.id,
            row.at,
            row.actor,
            row.cause,
            row.kind,
            row.version,
            row.body,
            hash
        ])?;
    Ok(hash)
}

/// A row of the event table without its hash.
struct StoredEvent {
    id: i64,
    at: i64,
    actor: String,
    cause: Option<i64>,
    kind: String,
    version: u16,
    body: String,
}

impl StoredEvent {
    /// Reads the columns `id, at, actor, cause, kind, version, body`.
    fn of_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            at: row.get(1)?,
            actor: row.get(2)?,
            cause: row.get(3)?,
            kind: row.get(4)?,
            version: row.get(5)?,
            body: row.get(6)?,
        })
    }

    /// Returns SHA-256 over the hash before and every column, each with its length in front, so
    /// that no two rows run into the same bytes.
    fn hash(&self, before: &[u8]) -> Vec<u8> {
        let mut digest = Sha256::new();
        for part in [
            before,
            &self.id.to_be_bytes(),
            &self.at.to_be_bytes(),
            self.actor.as_bytes(),
            &self.cause.unwrap_or(0).to_be_bytes(),
            self.kind.as_bytes(),
            &self.version.to_be_bytes(),
            self.body.as_bytes(),
        ] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().to_vec()
    }
}

fn event_of_row(row: &Row<'_>) -> rusqlite::Result<Event> {
    let row = StoredEvent::of_row(row)?;
    // What cannot be read any more is shown as it is stored: an audit must not stop at one row.
    let body = serde_json::from_str(&row.body).unwrap_or(serde_json::Value::String(row.body));
    Ok(Event {
        id: EventId(row.id.unsigned_abs()),
        at: Timestamp::from_nanosecond(i128::from(row.at)).unwrap_or_default(),
        actor: serde_json::from_str(&row.actor).unwrap_or(Actor::Remote(row.actor)),
        cause: row.cause.map(|cause| EventId(cause.unsigned_abs())),
        fact: Fact::decode(&row.kind, row.version, body),
    })
}

fn verify_chain(connection: &Connection) -> rusqlite::Result<Result<u64, Broken>> {
    let mut statement = connection
        .prepare("SELECT id, at, actor, cause, kind, version, body, hash FROM event ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut before = vec![0; 32];
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let event = StoredEvent::of_row(row)?;
        let stored: Vec<u8> = row.get(7)?;
        let broken =
            |why: &str| Broken { event: EventId(event.id.unsigned_abs()), why: why.to_owned() };
        if event.id.unsigned_abs() != count + 1 {
            return Ok(Err(broken("events before it are missing")));
        }
        if event.hash(&before) != stored {
            return Ok(Err(broken("it, or one before it, is not what was written")));
        }
        before = stored;
        count += 1;
    }
    Ok(Ok(count))
}
