//! Samples on disk.
//!
//! A [`Disk`] answers an append when the rows are in the log. The newest hours are in the head, in
//! memory; what is older is in blocks that do not change any more. Whatever is on disk carries a
//! checksum: what is broken is set aside and told, and the rest is served.
//!
//! ```text
//!   append ─► log (wal-N, checkpoint-N) ─► head ──two hours──► block ─► larger block ─► gone
//!                                                                 └────► coarse numbers ─► gone
//! ```
//!
//! Order matters in three places, and each is said where it stands: the log before the head, the
//! block before the head forgets, the checkpoint before the log forgets.

pub mod inspect;

mod block;
mod bytes;
mod cache;
mod chunk;
mod compact;
mod head;
mod postings;
mod retention;
mod wal;

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use self::block::{Block, BlockError};
use self::cache::Cache;
use self::compact::{COARSE, matchers_of};
use self::head::{Column, Head, Placed, merge, restore_columns};
use self::wal::{CheckpointWriter, Record, Wal, numbered, read_file, read_records};
use crate::store::{Amount, SELECTION, Stats};
use crate::{AppendError, Appended, Labels, Matcher, Millis, Row, Sample, SelectError, Series};

pub use self::compact::Rollup;
pub use self::wal::Damage;

/// A checkpoint is made when the log after the last one is this long: so a start reads little.
const CHECKPOINT: u64 = 32 << 20;

/// How many rows go into one record of the log.
const BATCH: usize = 20_000;

/// The most that indexes of blocks take in memory.
const INDEXES: usize = 64 << 20;

/// How often the store looks after itself.
const TEND: Duration = Duration::from_secs(5);

/// What the store does beside what it is asked for.
const TASKS: [Task; 2] = [("series-sync", sync), ("series-tend", tend)];

/// The name of a thread and what it does.
type Task = (&'static str, fn(&Shared));

/// How a store on disk behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long samples are kept, counted back from the newest.
    pub retention: Duration,
    /// How long the coarse numbers of five minutes are kept.
    pub coarse_retention: Duration,
    /// How many bytes the blocks may take; the oldest go first. None is no limit.
    pub bytes: Option<u64>,
    /// The share of the disk that stays free, from 0 to 1; the oldest blocks go first.
    pub free: f64,
    /// How late a sample may be, counted back from the newest of all.
    pub late: Duration,
    /// How far ahead of the newest sample a new one may be; more is a broken clock.
    pub ahead: Duration,
    /// How many series are written to at a time; rows of further ones are refused.
    pub series: usize,
    /// How much time the smallest blocks cover.
    pub span: Duration,
    /// When an append is answered.
    pub durability: Durability,
    /// How many bytes of samples taken apart are held for the next question.
    pub cache: usize,
    /// Whether the store looks after itself in threads of its own; otherwise call
    /// [`Disk::tend`].
    pub threads: bool,
}

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the rows are handed to the system: no death of the process loses them. A loss of power
    /// may lose the last second.
    Process,
    /// When the rows are on the disk; appends that wait together wait for the same write.
    Power,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(15 * 24),
            coarse_retention: Duration::from_hours(395 * 24),
            bytes: None,
            free: 0.02,
            late: Duration::from_hours(1),
            ahead: Duration::MAX,
            series: 1_000_000,
            span: Duration::from_hours(2),
            durability: Durability::Process,
            cache: 32 << 20,
            threads: true,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or directory cannot be used.
    #[error("use {path} for samples")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the store.
    #[error(
        "use {path} for samples: another process writes there; stop it or name another directory"
    )]
    Held {
        /// The directory.
        path: PathBuf,
    },
}

/// What opening a store came upon.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Recovery {
    /// How long it took.
    pub took: Duration,
    /// Samples read back from the log.
    pub samples: usize,
    /// Bytes at the end of the log that were half a record; cut off.
    pub torn: u64,
    /// Bytes in the log that were broken; stepped over.
    pub broken: u64,
    /// Samples in the log whose series is not known because of that.
    pub orphans: usize,
    /// Blocks that could not be read and were set aside, with the reason.
    pub set_aside: Vec<String>,
}

/// A store whose samples outlive the process.
pub struct Disk {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

struct Shared {
    settings: Settings,
    directory: PathBuf,
    /// Held while the store is open.
    _lock: File,
    wal: Wal,
    head: Head,
    /// Taken for reading by who appends, for writing by who must know that nobody does.
    gate: RwLock<()>,
    blocks: RwLock<Arc<Vec<Arc<Block>>>>,
    coarse: RwLock<Arc<Vec<Arc<Block>>>>,
    cache: Cache,
    /// Samples before this are in blocks, or gone.
    floor: AtomicI64,
    newest: AtomicI64,
    /// No sample of the head is older.
    oldest: AtomicI64,
    /// Whatever is before this was dropped to keep to the limits.
    kept_from: AtomicI64,
    counts: Counts,
    checkpoint: AtomicU64,
    tending: Mutex<()>,
    stop: Mutex<bool>,
    stopped: Condvar,
    next_name: AtomicU64,
    recovery: Recovery,
    /// Whether the log could not be written the last time; said once.
    is_failing: AtomicBool,
}

#[derive(Default)]
struct Counts {
    appended: AtomicU64,
    out_of_order: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    damaged: AtomicU64,
}

impl Disk {
    /// Opens the store in a directory, or makes one there.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, OpenError> {
        let shared = Arc::new(open(directory, settings)?);
        let mut threads = Vec::new();
        if shared.settings.threads {
            for (name, task) in TASKS {
                let shared = Arc::clone(&shared);
                let spawned = std::thread::Builder::new()
                    .name(name.to_owned())
                    .stack_size(512 << 10)
                    .spawn(move || task(&shared));
                match spawned {
                    Ok(thread) => threads.push(thread),
                    Err(source) => {
                        return Err(OpenError::Io { path: directory.to_owned(), source });
                    }
                }
            }
        }
        Ok(Self { shared, threads })
    }

    /// Returns what opening came upon.
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// Appends rows and says what became of them, when they are as safe as the settings ask for.
    pub fn append(&self, batch: impl IntoIterator<Item = Row>) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        let mut rows = batch.into_iter();
        let mut synced_to = 0;
        loop {
            let piece: Vec<Row> = rows.by_ref().take(BATCH).collect();
            if piece.is_empty() {
                break;
            }
            synced_to = self.shared.append(&piece, &mut appended)?.max(synced_to);
        }
        if self.shared.settings.durability == Durability::Power && synced_to > 0 {
            self.shared.wal.sync(synced_to).map_err(|error| unwritable(&error))?;
        }
        Ok(appended)
    }

    /// Waits until everything that was appended is on the disk.
    pub fn sync(&self) -> Result<(), AppendError> {
        self.shared.wal.sync_all().map_err(|error| unwritable(&error))
    }

    /// Returns the series that fit all matchers, each with its samples from `from` to `to`, both
    /// included, sorted by labels. Series without a sample in that time are left out.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        self.shared.select(matchers, from, to)
    }

    /// Returns about how much [`Disk::select`] would give.
    pub(crate) fn amount(&self, matchers: &[Matcher], from: Millis, to: Millis) -> Amount {
        self.shared.amount(matchers, from, to)
    }

    /// Returns one of the coarse numbers of the series that fit, each at the end of its five
    /// minutes. There are none for the last day or two: read the samples for these.
    pub fn coarse(
        &self,
        rollup: Rollup,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        let matchers = matchers_of(matchers, rollup);
        let mut gathered = Gathered::default();
        let blocks = self.shared.coarse.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.shared.gather(&blocks, &matchers, from, to.saturating_add(COARSE), &mut gathered)?;
        let mut series = gathered.finish();
        for one in &mut series {
            one.labels = one.labels.with(compact::ROLLUP, "");
            one.samples.retain(|sample| sample.at >= from && sample.at <= to);
        }
        series.retain(|one| !one.samples.is_empty());
        Ok(series)
    }

    /// Returns the labels of the series that fit and have a sample in that time, sorted.
    pub fn labels(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Labels>, SelectError> {
        let shared = &self.shared;
        let from = from.max(shared.oldest_allowed());
        let mut found: Vec<Labels> = shared
            .head
            .find(matchers)
            .iter()
            .filter(|column| column.lock().touches(from, to))
            .map(|column| column.labels.clone())
            .collect();
        for block in shared.blocks().iter().filter(|block| overlaps(block, from, to)) {
            let result = block.labels(matchers, from, to, |labels| found.push(labels));
            shared.note_damage(block, result.map(|()| 0));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Deletes the samples of the series that fit from a time to a time, both included.
    pub fn delete(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<(), AppendError> {
        let shared = &self.shared;
        let _one_at_a_time = shared.tending.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let _nobody_appends = shared.gate.write().unwrap_or_else(PoisonError::into_inner);
            let record = Record::Delete { matchers: matchers.to_vec(), from, to };
            let end = shared.wal.write(&[record]).map_err(|error| unwritable(&error))?;
            shared.wal.sync(end).map_err(|error| unwritable(&error))?;
            shared.delete_from_head(matchers, from, to);
        }
        for kind in [Kind::Samples, Kind::Coarse] {
            shared.delete_from_blocks(kind, matchers, from, to).map_err(|e| unwritable(&e))?;
        }
        shared.cache.clear();
        Ok(())
    }

    /// Does what is due: seals, flushes, compacts, drops what is over a limit.
    pub fn tend(&self) {
        self.shared.tend();
    }

    /// Writes the head down, so that the next start has no log to read.
    pub fn checkpoint(&self) -> io::Result<()> {
        let _one_at_a_time = self.shared.tending.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.seal_chunks();
        self.shared.checkpoint()
    }

    /// Returns how full the store is and what it went through.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let blocks = shared.blocks();
        let counts = &shared.counts;
        let columns = shared.head.unordered();
        let in_head: usize = columns.iter().map(|column| column.lock().count()).sum();
        let in_blocks: usize = blocks.iter().map(|block| block.meta.samples).sum();
        let oldest = blocks.iter().map(|block| block.meta.first).min();
        let head_oldest = columns.iter().filter_map(|column| column.lock().oldest()).min();
        let newest = shared.newest.load(Ordering::Relaxed);
        Stats {
            series: columns.len(),
            samples: in_head + in_blocks,
            oldest: oldest.into_iter().chain(head_oldest).min(),
            newest: (newest != Millis::MIN).then_some(newest),
            appended: counts.appended.load(Ordering::Relaxed),
            out_of_order: counts.out_of_order.load(Ordering::Relaxed),
            refused: counts.refused.load(Ordering::Relaxed),
            dropped: counts.dropped.load(Ordering::Relaxed),
        }
    }

    /// Returns how the samples are kept.
    pub fn layout(&self) -> Layout {
        let shared = &self.shared;
        let blocks = shared.blocks();
        let coarse = shared.coarse.read().unwrap_or_else(PoisonError::into_inner).clone();
        let columns = shared.head.unordered();
        Layout {
            blocks: blocks.len(),
            block_samples: blocks.iter().map(|block| block.meta.samples).sum(),
            block_bytes: blocks.iter().map(|block| block.meta.bytes()).sum(),
            coarse_blocks: coarse.len(),
            coarse_bytes: coarse.iter().map(|block| block.meta.bytes()).sum(),
            head_series: columns.len(),
            head_samples: columns.iter().map(|column| column.lock().count()).sum(),
            head_bytes: columns.iter().map(|column| column.lock().size()).sum(),
            log_bytes: shared.wal.tail(),
            checkpoint_bytes: shared.checkpoint.load(Ordering::Relaxed),
            damaged_chunks: shared.counts.damaged.load(Ordering::Relaxed),
            floor: shared.floor.load(Ordering::Relaxed),
        }
    }
}

/// How the samples of a store on disk are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// Blocks of samples.
    pub blocks: usize,
    /// Samples in them.
    pub block_samples: usize,
    /// Bytes they take.
    pub block_bytes: u64,
    /// Blocks of coarse numbers.
    pub coarse_blocks: usize,
    /// Bytes they take.
    pub coarse_bytes: u64,
    /// Series in memory.
    pub head_series: usize,
    /// Samples in memory.
    pub head_samples: usize,
    /// Bytes these samples take.
    pub head_bytes: usize,
    /// Bytes of the log that the next start has to read.
    pub log_bytes: u64,
    /// Bytes of the last checkpoint.
    pub checkpoint_bytes: u64,
    /// Chunks that a question found damaged.
    pub damaged_chunks: u64,
    /// What is before this is in blocks.
    pub floor: Millis,
}

impl Drop for Disk {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        // A start reads a checkpoint faster than a log. When it cannot be written the log is there.
        if self.shared.settings.threads && self.shared.wal.tail() > 0 {
            let _ = self.checkpoint();
        }
        let _ = self.shared.wal.sync_all();
    }
}

fn unwritable(error: &io::Error) -> AppendError {
    AppendError::Unwritable { reason: error.to_string() }
}

/// Syncs the log once a second.
fn sync(shared: &Shared) {
    while !shared.rests(Duration::from_secs(1)) {
        if let Err(error) = shared.wal.sync_all() {
            shared.note_failure("sync the log of samples", &error);
        }
    }
}

fn tend(shared: &Shared) {
    while !shared.rests(TEND) {
        shared.tend();
    }
}

/// Which of the two kinds of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Samples,
    Coarse,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Samples => "b",
            Self::Coarse => "r",
        }
    }
}

/// Series that are being put together from several places.
#[derive(Default)]
struct Gathered {
    places: HashMap<Labels, usize>,
    series: Vec<Series>,
    samples: usize,
}

impl Gathered {
    fn add(&mut self, labels: Labels, samples: Vec<Sample>) -> bool {
        self.samples += samples.len();
        match self.places.get(&labels) {
            Some(place) => {
                let own = &mut self.series[*place].samples;
                match own.last() {
                    Some(last) if samples.first().is_some_and(|first| first.at <= last.at) => {
                        *own = merge(&samples, own);
                    }
                    _ => own.extend(samples),
                }
            }
            None => {
                self.places.insert(labels.clone(), self.series.len());
                self.series.push(Series::new(labels, samples));
            }
        }
        self.samples <= SELECTION
    }

    fn finish(mut self) -> Vec<Series> {
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.series
    }
}

fn overlaps(block: &Block, from: Millis, to: Millis) -> bool {
    block.meta.first <= to && block.meta.last >= from
}

impl Shared {
    fn blocks(&self) -> Arc<Vec<Arc<Block>>> {
        self.blocks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn list(&self, kind: Kind) -> &RwLock<Arc<Vec<Arc<Block>>>> {
        match kind {
            Kind::Samples => &self.blocks,
            Kind::Coarse => &self.coarse,
        }
    }

    fn span(&self) -> Millis {
        crate::store::millis(self.settings.span).max(1)
    }

    /// Waits, and says whether it is time to stop.
    fn rests(&self, time: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stopped.wait_timeout_while(stop, time, |stop| !*stop);
        let (stop, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *stop
    }

    fn oldest_allowed(&self) -> Millis {
        let newest = self.newest.load(Ordering::Relaxed);
        let by_time = newest.saturating_sub(crate::store::millis(self.settings.retention));
        by_time.max(self.kept_from.load(Ordering::Relaxed))
    }

    fn append(&self, rows: &[Row], appended: &mut Appended) -> Result<u64, AppendError> {
        let _not_while_flushing = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let floor = self.floor.load(Ordering::Relaxed).max(self.oldest_allowed());
        let ahead = crate::store::millis(self.settings.ahead);
        let mut newest = self.newest.load(Ordering::Relaxed);
        let mut counted = Appended::default();
        let mut taken: Vec<&Row> = Vec::with_capacity(rows.len());
        for row in rows {
            if newest != Millis::MIN && row.at > newest.saturating_add(ahead) {
                counted.too_new += 1;
            } else if row.at < floor {
                counted.too_old += 1;
            } else {
                newest = newest.max(row.at);
                taken.push(row);
            }
        }
        let mut columns = Vec::with_capacity(taken.len());
        let runs: Vec<&[&Row]> = taken.chunk_by(|a, b| a.labels == b.labels).collect();
        let found =
            self.head.columns_of(runs.iter().map(|run| &run[0].labels), self.settings.series);
        let mut unknown = Vec::new();
        for (run, column) in runs.iter().zip(found) {
            match column {
                Some(column) => {
                    if !column.is_logged.load(Ordering::Acquire) {
                        unknown.push(Arc::clone(&column));
                    }
                    columns.extend(
                        run.iter().map(|row| {
                            (Arc::clone(&column), Sample { at: row.at, value: row.value })
                        }),
                    );
                }
                None => counted.too_many += run.len(),
            }
        }
        let mut end = 0;
        if !columns.is_empty() {
            let mut records = Vec::new();
            if !unknown.is_empty() {
                let series = unknown.iter().map(|column| (column.id, column.labels.clone()));
                records.push(Record::Series(series.collect()));
            }
            let samples = columns.iter().map(|(column, sample)| (column.id, *sample));
            records.push(Record::Samples(samples.collect()));
            // The log before the head: what a question has seen is not lost.
            end = self.wal.write(&records).map_err(|error| {
                self.note_failure("write the log of samples", &error);
                unwritable(&error)
            })?;
            self.is_failing.store(false, Ordering::Relaxed);
            for column in &unknown {
                column.is_logged.store(true, Ordering::Release);
            }
        }
        self.newest.fetch_max(newest, Ordering::Relaxed);
        let span = self.span();
        for same in columns.chunk_by(|a, b| Arc::ptr_eq(&a.0, &b.0)) {
            let mut content = same[0].0.lock();
            for (_, sample) in same {
                self.oldest.fetch_min(sample.at, Ordering::Relaxed);
                counted.kept += 1;
                match content.push(*sample, span) {
                    Placed::Last | Placed::Same => {}
                    Placed::Between => counted.out_of_order += 1,
                    Placed::Replaced => counted.replaced += 1,
                }
            }
        }
        let refused = counted.too_old + counted.too_new + counted.too_many;
        self.counts.appended.fetch_add(counted.kept as u64, Ordering::Relaxed);
        self.counts.out_of_order.fetch_add(counted.out_of_order as u64, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused as u64, Ordering::Relaxed);
        appended.add(counted);
        Ok(end)
    }

    fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        let from = from.max(self.oldest_allowed());
        // The head before the list of blocks: what moves from one to the other meanwhile is then
        // seen twice, which does no harm, and never missed.
        let mut in_head = Vec::new();
        let mut total = 0;
        for column in self.head.find(matchers) {
            let samples = column.lock().cached_between(from, to, &self.cache);
            total += samples.len();
            if total > SELECTION {
                return Err(SelectError::TooManySamples { limit: SELECTION });
            }
            if !samples.is_empty() {
                in_head.push((column.labels.clone(), samples));
            }
        }
        let blocks = self.blocks();
        let mut gathered = Gathered::default();
        self.gather(&blocks, matchers, from, to, &mut gathered)?;
        for (labels, samples) in in_head {
            gathered.add(labels, samples);
        }
        if gathered.samples > SELECTION {
            return Err(SelectError::TooManySamples { limit: SELECTION });
        }
        Ok(gathered.finish())
    }

    fn amount(&self, matchers: &[Matcher], from: Millis, to: Millis) -> Amount {
        let from = from.max(self.oldest_allowed());
        let mut amount = Amount::default();
        for column in self.head.find(matchers) {
            let samples = column.lock().about(from, to);
            amount.series += usize::from(samples > 0);
            amount.samples += samples;
        }
        for block in self.blocks().iter().filter(|block| overlaps(block, from, to)) {
            // What cannot be read is told when it is.
            let own = block.amount(matchers, from, to).unwrap_or_default();
            // The same series may be in each of them.
            amount.series = amount.series.max(own.series);
            amount.samples += own.samples;
        }
        self.let_indexes_go();
        amount
    }

    fn gather(
        &self,
        blocks: &[Arc<Block>],
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
        gathered: &mut Gathered,
    ) -> Result<(), SelectError> {
        for block in blocks.iter().filter(|block| overlaps(block, from, to)) {
            let result = block.select(matchers, from, to, &self.cache, |labels, samples| {
                gathered.add(labels, samples)
            });
            self.note_damage(block, result);
            if gathered.samples > SELECTION {
                return Err(SelectError::TooManySamples { limit: SELECTION });
            }
        }
        self.let_indexes_go();
        Ok(())
    }

    /// Keeps the indexes in memory below their limit; the oldest blocks are asked least.
    fn let_indexes_go(&self) {
        let blocks = self.blocks();
        let mut held: usize = blocks.iter().map(|block| block.held()).sum();
        for block in blocks.iter() {
            if held <= INDEXES {
                break;
            }
            held -= block.held();
            block.let_go();
        }
    }

    /// Tells of what a block could not give, and sets it aside when that is all of it.
    fn note_damage(&self, block: &Arc<Block>, result: Result<u64, BlockError>) {
        match result {
            Ok(0) => {}
            Ok(chunks) => {
                self.counts.damaged.fetch_add(chunks, Ordering::Relaxed);
                tracing::warn!(
                    block = block.name,
                    chunks,
                    "left out samples whose checksum is another"
                );
            }
            Err(error) => {
                tracing::warn!(
                    block = block.name,
                    error = &error as &dyn std::error::Error,
                    "set a block of samples aside"
                );
                self.counts.damaged.fetch_add(1, Ordering::Relaxed);
                for kind in [Kind::Samples, Kind::Coarse] {
                    self.replace(kind, &[Arc::clone(block)], None);
                }
                let _ = set_aside(&self.directory, &block.directory);
            }
        }
    }

    fn note_failure(&self, what: &'static str, error: &io::Error) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(error = error as &dyn std::error::Error, "could not {what}");
        }
    }

    /// Takes blocks out of a list and puts one in.
    fn replace(&self, kind: Kind, gone: &[Arc<Block>], new: Option<Block>) {
        let mut list = self.list(kind).write().unwrap_or_else(PoisonError::into_inner);
        let mut blocks: Vec<Arc<Block>> = list
            .iter()
            .filter(|block| !gone.iter().any(|gone| Arc::ptr_eq(gone, block)))
            .cloned()
            .collect();
        blocks.extend(new.map(Arc::new));
        blocks.sort_by_key(|block| (block.meta.from, block.meta.to));
        *list = Arc::new(blocks);
    }

    fn next_name(&self, kind: Kind, range: (Millis, Millis)) -> String {
        let number = self.next_name.fetch_add(1, Ordering::Relaxed);
        format!("{}-{}-{}-{number}", kind.prefix(), range.0, range.1)
    }

    fn blocks_directory(&self) -> PathBuf {
        self.directory.join("blocks")
    }

    // ── looking after itself ─────────────────────────────────────────────────────────────────

    fn tend(&self) {
        let _one_at_a_time = self.tending.lock().unwrap_or_else(PoisonError::into_inner);
        self.seal_chunks();
        let flushed = self.flush_due();
        let steps: [(&'static str, io::Result<()>); 4] = [
            ("write samples into a block", flushed),
            ("make one block of several", self.compact_due()),
            ("write coarse numbers", self.roll_up_due()),
            ("drop old samples", self.drop_due()),
        ];
        for (what, result) in steps {
            if let Err(error) = result {
                self.note_failure(what, &error);
            }
        }
        let tail = self.wal.tail();
        let is_long = tail >= CHECKPOINT;
        // Where little is written a start should still not read hours of it.
        let is_worth_it = tail > 1 << 20 && tail > self.checkpoint.load(Ordering::Relaxed) * 2;
        if (is_long || is_worth_it)
            && let Err(error) = self.checkpoint()
        {
            self.note_failure("write a checkpoint", &error);
        }
    }

    fn seal_chunks(&self) {
        for column in self.head.unordered() {
            column.lock().seal();
        }
    }

    /// Writes every range of time that is over into a block of its own.
    fn flush_due(&self) -> io::Result<()> {
        let span = self.span();
        let late = crate::store::millis(self.settings.late);
        let mut any = false;
        loop {
            let oldest = self.oldest.load(Ordering::Relaxed);
            let newest = self.newest.load(Ordering::Relaxed);
            if oldest == Millis::MAX || newest == Millis::MIN {
                break;
            }
            let from = oldest.div_euclid(span).saturating_mul(span);
            let to = from.saturating_add(span);
            if newest < to.saturating_add(late) {
                break;
            }
            self.flush(from, to)?;
            any = true;
        }
        // Only now: the blocks are there, so the log may forget what is in them.
        if any { self.checkpoint() } else { Ok(()) }
    }

    fn flush(&self, from: Millis, to: Millis) -> io::Result<()> {
        {
            let _nobody_appends = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.floor.fetch_max(to, Ordering::Relaxed);
        }
        let columns = self.head.columns();
        let name = self.next_name(Kind::Samples, (from, to));
        let mut writer = block::Writer::create(&self.blocks_directory(), &name)?;
        for column in &columns {
            let samples = column.lock().between(Millis::MIN, to - 1);
            if !samples.is_empty()
                && let Err(error) = writer.add(column.labels.clone(), &samples)
            {
                writer.abandon();
                return Err(error);
            }
        }
        if writer.is_empty() {
            writer.abandon();
        } else {
            let block = writer.finish(&name, (from, to), Vec::new())?;
            // The block before the head forgets: nobody asks in between and finds nothing.
            self.replace(Kind::Samples, &[], Some(block));
        }
        for column in &columns {
            column.lock().cut_before(to);
        }
        let _nobody_appends = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.head.drop_empty();
        let oldest = self.head.unordered().iter().filter_map(|column| column.lock().oldest()).min();
        self.oldest.store(oldest.unwrap_or(Millis::MAX), Ordering::Relaxed);
        Ok(())
    }

    /// Writes the head down and lets the log before it go.
    fn checkpoint(&self) -> io::Result<()> {
        let segment = {
            let _nobody_appends = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.wal.rotate()?
        };
        let mut writer = CheckpointWriter::create(&self.directory)?;
        let mut bytes = Vec::new();
        for column in self.head.unordered() {
            column.write(&mut bytes);
            if bytes.len() >= 64 << 10 {
                writer.write(&Record::Column(std::mem::take(&mut bytes)))?;
            }
        }
        if !bytes.is_empty() {
            writer.write(&Record::Column(bytes))?;
        }
        let length = writer.length;
        writer.finish(segment)?;
        self.checkpoint.store(length, Ordering::Relaxed);
        // Only now, when the checkpoint is there.
        self.wal.forget_before(segment)
    }

    fn compact_due(&self) -> io::Result<()> {
        loop {
            let blocks = self.blocks();
            let ranges: Vec<(Millis, Millis)> =
                blocks.iter().map(|block| (block.meta.from, block.meta.to)).collect();
            let floor = self.floor.load(Ordering::Relaxed);
            let Some(group) = compact::plan(&ranges, self.span(), floor) else {
                return Ok(());
            };
            let sources: Vec<Arc<Block>> =
                group.blocks.iter().map(|index| Arc::clone(&blocks[*index])).collect();
            let name = self.next_name(Kind::Samples, group.range);
            let made = compact::rewrite(
                &self.blocks_directory(),
                &name,
                group.range,
                &sources,
                |_, samples| samples,
            );
            match made {
                Ok(block) => {
                    self.replace(Kind::Samples, &sources, block);
                    remove(&sources)?;
                }
                Err(error) => {
                    // One that is damaged must not keep the others from becoming one for ever.
                    let all = sources.iter().all(|block| self.is_whole(block));
                    if all {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Reads a block whole; one that is damaged is written anew without what cannot be read.
    fn is_whole(&self, block: &Arc<Block>) -> bool {
        let index = match block.index() {
            Ok(index) => index,
            Err(error) => {
                self.note_damage(block, Err(error));
                return false;
            }
        };
        if (0..index.len()).all(|ordinal| block.samples_of(ordinal).is_ok()) {
            return true;
        }
        let range = (block.meta.from, block.meta.to);
        let name = self.next_name(Kind::Samples, range);
        let uncached = Cache::new(0);
        let rewritten =
            block::Writer::create(&self.blocks_directory(), &name).and_then(|mut writer| {
                let mut result = Ok(());
                let damaged =
                    block.select(&[], Millis::MIN, Millis::MAX, &uncached, |labels, samples| {
                        result = writer.add(labels, &samples);
                        result.is_ok()
                    });
                if let Ok(damaged) = damaged {
                    self.counts.damaged.fetch_add(damaged, Ordering::Relaxed);
                }
                match result {
                    Ok(()) if !writer.is_empty() => {
                        writer.finish(&name, range, Vec::new()).map(Some)
                    }
                    result => {
                        writer.abandon();
                        result.map(|()| None)
                    }
                }
            });
        match rewritten {
            Ok(new) => {
                tracing::warn!(block = block.name, "set aside a block with damaged samples");
                self.replace(Kind::Samples, &[Arc::clone(block)], new);
                let _ = set_aside(&self.directory, &block.directory);
                false
            }
            // Not now: say that it is whole, so that nobody tries again at once.
            Err(_) => true,
        }
    }

    /// Writes coarse numbers for every block of a day that is over.
    fn roll_up_due(&self) -> io::Result<()> {
        let day = self.span() * 12;
        let over = self.floor.load(Ordering::Relaxed).div_euclid(day).saturating_mul(day);
        for block in self.blocks().iter().filter(|block| block.meta.to <= over) {
            let range = (block.meta.from, block.meta.to);
            let coarse = self.coarse.read().unwrap_or_else(PoisonError::into_inner).clone();
            if coarse.iter().any(|own| own.meta.from <= range.0 && own.meta.to >= range.1) {
                continue;
            }
            let name = self.next_name(Kind::Coarse, range);
            if let Some(made) = compact::roll_up(&self.blocks_directory(), &name, block)? {
                self.replace(Kind::Coarse, &[], Some(made));
            }
        }
        Ok(())
    }

    /// Removes blocks that are over a limit, oldest first.
    fn drop_due(&self) -> io::Result<()> {
        let newest = self.newest.load(Ordering::Relaxed);
        for (kind, keep) in [
            (Kind::Samples, self.settings.retention),
            (Kind::Coarse, self.settings.coarse_retention),
        ] {
            let list = self.list(kind).read().unwrap_or_else(PoisonError::into_inner).clone();
            let sizes: Vec<(Millis, u64)> =
                list.iter().map(|block| (block.meta.last, block.meta.bytes())).collect();
            let limits = retention::Limits {
                oldest: newest.saturating_sub(crate::store::millis(keep)),
                bytes: self.settings.bytes,
                lacking: retention::lacking(&self.directory, self.settings.free),
            };
            let count = retention::over(&sizes, &limits);
            if count == 0 {
                continue;
            }
            let gone: Vec<Arc<Block>> = list[..count].to_vec();
            self.replace(kind, &gone, None);
            if kind == Kind::Samples {
                let samples: usize = gone.iter().map(|block| block.meta.samples).sum();
                self.counts.dropped.fetch_add(samples as u64, Ordering::Relaxed);
                let last = gone.iter().map(|block| block.meta.to).max().unwrap_or(Millis::MIN);
                self.kept_from.fetch_max(last, Ordering::Relaxed);
            }
            remove(&gone)?;
        }
        Ok(())
    }

    // ── deleting ─────────────────────────────────────────────────────────────────────────────

    fn delete_from_head(&self, matchers: &[Matcher], from: Millis, to: Millis) {
        for column in self.head.find(matchers) {
            column.lock().delete(from, to);
        }
    }

    fn delete_from_blocks(
        &self,
        kind: Kind,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> io::Result<()> {
        let list = self.list(kind).read().unwrap_or_else(PoisonError::into_inner).clone();
        for block in list.iter().filter(|block| overlaps(block, from, to)) {
            let mut concerned = false;
            let found = block.labels(matchers, from, to, |_| concerned = true);
            if found.is_err() {
                self.note_damage(block, found.map(|()| 0));
                continue;
            }
            if !concerned {
                continue;
            }
            let range = (block.meta.from, block.meta.to);
            let name = self.next_name(kind, range);
            let sources = [Arc::clone(block)];
            let new = compact::rewrite(
                &self.blocks_directory(),
                &name,
                range,
                &sources,
                |labels, mut samples| {
                    if matchers.iter().all(|matcher| matcher.fits(labels)) {
                        samples.retain(|sample| sample.at < from || sample.at > to);
                    }
                    samples
                },
            )?;
            self.replace(kind, &sources, new);
            remove(&sources)?;
        }
        Ok(())
    }
}

fn remove(blocks: &[Arc<Block>]) -> io::Result<()> {
    for block in blocks {
        remove_directory(&block.directory)?;
    }
    Ok(())
}

/// Removes a block under a name that the next start removes too: one that is half gone when the
/// process is killed must not look like one that is damaged.
fn remove_directory(block: &Path) -> io::Result<()> {
    let name = block.file_name().unwrap_or_default().to_string_lossy();
    let going = block.with_file_name(format!("tmp-gone-{name}"));
    std::fs::rename(block, &going)?;
    std::fs::remove_dir_all(going)
}

/// Moves a block to where nobody reads it, for a person to look at.
fn set_aside(store: &Path, block: &Path) -> io::Result<()> {
    let aside = store.join("set-aside");
    std::fs::create_dir_all(&aside)?;
    std::fs::rename(block, aside.join(block.file_name().unwrap_or_default()))
}

// ── opening ──────────────────────────────────────────────────────────────────────────────────

fn open(directory: &Path, settings: Settings) -> Result<Shared, OpenError> {
    let began = Instant::now();
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    let blocks_directory = directory.join("blocks");
    std::fs::create_dir_all(&blocks_directory).map_err(at(&blocks_directory))?;
    let lock_path = directory.join("lock");
    let lock = File::create(&lock_path).map_err(at(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Held { path: directory.to_owned() });
        }
        Err(TryLockError::Error(source)) => return Err(OpenError::Io { path: lock_path, source }),
    }

    let mut recovery = Recovery::default();
    let found = open_blocks(directory, &mut recovery).map_err(at(&blocks_directory))?;
    let floor = found.samples.iter().map(|block| block.meta.to).max().unwrap_or(Millis::MIN);
    let newest = found.samples.iter().map(|block| block.meta.last).max().unwrap_or(Millis::MIN);

    let head = Head::default();
    let replayed =
        replay(directory, &head, &settings, floor, &mut recovery).map_err(at(directory))?;
    let wal = Wal::open(directory, replayed.segment, replayed.length, replayed.tail)
        .map_err(at(directory))?;
    if recovery.torn > 0 || recovery.broken > 0 || !recovery.set_aside.is_empty() {
        tracing::warn!(
            torn = recovery.torn,
            broken = recovery.broken,
            orphans = recovery.orphans,
            set_aside = ?recovery.set_aside,
            "the store of samples was damaged; the rest is served"
        );
    }
    let columns = head.unordered();
    let oldest = columns.iter().filter_map(|column| column.lock().oldest()).min();
    recovery.samples = columns.iter().map(|column| column.lock().count()).sum();
    recovery.took = began.elapsed();
    Ok(Shared {
        cache: Cache::new(settings.cache),
        settings,
        directory: directory.to_owned(),
        _lock: lock,
        wal,
        head,
        gate: RwLock::default(),
        blocks: RwLock::new(Arc::new(found.samples)),
        coarse: RwLock::new(Arc::new(found.coarse)),
        floor: AtomicI64::new(floor),
        newest: AtomicI64::new(newest.max(replayed.newest)),
        oldest: AtomicI64::new(oldest.unwrap_or(Millis::MAX)),
        kept_from: AtomicI64::new(Millis::MIN),
        counts: Counts::default(),
        checkpoint: AtomicU64::new(replayed.checkpoint),
        tending: Mutex::default(),
        stop: Mutex::default(),
        stopped: Condvar::new(),
        next_name: AtomicU64::new(found.next_name),
        recovery,
        is_failing: AtomicBool::new(false),
    })
}

#[derive(Default)]
struct FoundBlocks {
    samples: Vec<Arc<Block>>,
    coarse: Vec<Arc<Block>>,
    next_name: u64,
}

fn open_blocks(directory: &Path, recovery: &mut Recovery) -> io::Result<FoundBlocks> {
    let mut found = FoundBlocks::default();
    let mut opened: BTreeMap<String, Block> = BTreeMap::new();
    for entry in std::fs::read_dir(directory.join("blocks"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("tmp-") {
            std::fs::remove_dir_all(&path)?;
            continue;
        }
        let number = name.rsplit('-').next().and_then(|number| number.parse().ok());
        found.next_name = found.next_name.max(number.map_or(0, |number: u64| number + 1));
        match Block::open(path.clone()) {
            Ok(block) => drop(opened.insert(name, block)),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                recovery.set_aside.push(format!("{error}{}", cause.unwrap_or_default()));
                set_aside(directory, &path)?;
            }
        }
    }
    // One that took the place of others was finished before they were removed.
    let replaced: Vec<String> =
        opened.values().flat_map(|block| block.meta.replaces.iter().cloned()).collect();
    for name in replaced {
        if let Some(block) = opened.remove(&name) {
            remove_directory(&block.directory)?;
        }
    }
    for (name, block) in opened {
        let list = if name.starts_with("r-") { &mut found.coarse } else { &mut found.samples };
        list.push(Arc::new(block));
    }
    for list in [&mut found.samples, &mut found.coarse] {
        list.sort_by_key(|block| (block.meta.from, block.meta.to));
    }
    Ok(found)
}

struct Replayed {
    segment: u64,
    length: u64,
    tail: u64,
    checkpoint: u64,
    newest: Millis,
}

/// Reads the last checkpoint and the log after it into the head.
fn replay(
    directory: &Path,
    head: &Head,
    settings: &Settings,
    floor: Millis,
    recovery: &mut Recovery,
) -> io::Result<Replayed> {
    let span = crate::store::millis(settings.span).max(1);
    let _ = std::fs::remove_file(directory.join("tmp-checkpoint"));
    let mut replayed =
        Replayed { segment: 1, length: 0, tail: 0, checkpoint: 0, newest: Millis::MIN };
    let mut first_segment = 0;
    if let Some((number, path)) = numbered(directory, "checkpoint-")?.pop() {
        let bytes = read_file(&path)?;
        let mut broken = 0;
        let (damage, _) = read_records(&bytes, |record| {
            if let Record::Column(bytes) = record
                && !restore_columns(head, &bytes)
            {
                broken += bytes.len() as u64;
            }
        });
        recovery.broken += damage.broken + damage.torn + broken;
        replayed.checkpoint = bytes.len() as u64;
        first_segment = number;
        replayed.segment = number;
    }
    let segments: Vec<(u64, PathBuf)> = numbered(directory, "wal-")?
        .into_iter()
        .filter(|(number, _)| *number >= first_segment)
        .collect();
    let mut columns: HashMap<u32, Arc<Column>> = HashMap::new();
    for (index, (number, path)) in segments.iter().enumerate() {
        let is_last = index + 1 == segments.len();
        let bytes = read_file(path)?;
        let (damage, whole) = read_records(&bytes, |record| match record {
            Record::Series(series) => {
                for (id, labels) in series {
                    let column = head.restore(id, &labels);
                    column.is_logged.store(true, Ordering::Relaxed);
                    columns.insert(id, column);
                }
            }
            Record::Samples(samples) => {
                for same in samples.chunk_by(|a, b| a.0 == b.0) {
                    let id = same[0].0;
                    if !columns.contains_key(&id)
                        && let Some(column) = head.by_id(id)
                    {
                        columns.insert(id, column);
                    }
                    let Some(column) = columns.get(&id) else {
                        recovery.orphans += same.len();
                        continue;
                    };
                    let mut content = column.lock();
                    for (_, sample) in same.iter().filter(|(_, sample)| sample.at >= floor) {
                        content.push(*sample, span);
                        replayed.newest = replayed.newest.max(sample.at);
                    }
                }
            }
            Record::Delete { matchers, from, to } => {
                for column in head.find(&matchers) {
                    column.lock().delete(from, to);
                }
            }
            Record::Column(_) => {}
        });
        recovery.broken += damage.broken;
        if is_last {
            recovery.torn += damage.torn;
        } else {
            recovery.broken += damage.torn;
        }
        replayed.segment = *number;
        replayed.length = whole;
        replayed.tail += whole;
    }
    drop(columns);
    for column in head.unordered() {
        let mut content = column.lock();
        content.cut_before(floor);
        if let Some(newest) = content.newest() {
            replayed.newest = replayed.newest.max(newest);
        }
    }
    Ok(replayed)
}
