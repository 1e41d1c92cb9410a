//! Where the samples are.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, OpenError, Settings};
use crate::matcher::Op;
use crate::{Histogram, Labels, Matcher};

/// Milliseconds since 1970-01-01 UTC.
pub type Millis = i64;

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Millis,
    /// How much.
    pub value: f64,
}

/// One sample on its way in, with the labels of its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The labels of the series.
    pub labels: Labels,
    /// When.
    pub at: Millis,
    /// How much.
    pub value: f64,
}

impl Row {
    /// Returns a row.
    pub fn new(labels: Labels, at: Millis, value: f64) -> Self {
        Self { labels, at, value }
    }
}

/// A histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub at: Millis,
    /// How the observations were distributed.
    pub value: Arc<Histogram>,
}

/// The samples of one series in order of time, as selected.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What names it.
    pub labels: Labels,
    /// Its numbers, oldest first, each time once.
    pub samples: Vec<Sample>,
    /// Its histograms, oldest first; no time is in both lists.
    pub histograms: Vec<HistogramSample>,
    /// When the counter of a sample began, for those samples where it is known.
    pub starts: Vec<Start>,
}

/// When the counter of a sample began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// When the sample was taken.
    pub at: Millis,
    /// When its counter began.
    pub start: Millis,
}

impl Series {
    /// Returns a series of numbers.
    pub fn new(labels: Labels, samples: Vec<Sample>) -> Self {
        Self { labels, samples, histograms: Vec::new(), starts: Vec::new() }
    }
}

/// Something that series are selected from: a store, or samples held in memory.
pub trait Select: Sync {
    /// Returns the series that fit all matchers, each with its samples from `from` to `to`, both
    /// included, sorted by labels. Series without a sample in that time are left out.
    fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError>;

    /// Returns about how much [`select`](Self::select) would give, without reading a sample;
    /// nothing if that is not known.
    fn amount(&self, _matchers: &[Matcher], _from: Millis, _to: Millis) -> Option<Amount> {
        None
    }
}

/// About how much a selection gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many series, at least.
    pub series: usize,
    /// How many samples of all of them.
    pub samples: usize,
}

/// How much a store keeps; whatever is over a limit is dropped, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a sample is kept, counted back from the newest one.
    pub retention: Duration,
    /// How many samples are kept in all; 16 bytes each.
    pub samples: usize,
    /// How many series are kept; the ones not written to for longest go first.
    pub series: usize,
    /// How far ahead of the newest sample a new one may be; more is a broken clock.
    pub ahead: Duration,
}

impl Default for Limits {
    /// A day, at most two million samples (32 MB) of 50,000 series.
    fn default() -> Self {
        Self {
            retention: Duration::from_hours(24),
            samples: 2_000_000,
            series: 50_000,
            ahead: Duration::MAX,
        }
    }
}

/// Why rows could not be appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The store closed, or cannot write any more.
    #[error("write samples: {reason}")]
    Unwritable {
        /// What stands in the way.
        reason: String,
    },
}

/// Why series could not be selected.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The question would read more than is sensible.
    #[error("select more than {limit} samples; ask for fewer series or a shorter time")]
    TooManySamples {
        /// The most that one selection may give.
        limit: usize,
    },
}

/// What became of the rows of one batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Kept, in order or not.
    pub kept: usize,
    /// Kept, but older than a sample that was there already.
    pub out_of_order: usize,
    /// The time was there already with another value; the new value is kept.
    pub replaced: usize,
    /// Older than the store keeps; dropped.
    pub too_old: usize,
    /// Too far ahead of the newest sample; dropped.
    pub too_new: usize,
    /// Of a series that would be one too many; dropped.
    pub too_many: usize,
}

impl Appended {
    /// Counts what became of further rows.
    pub fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.out_of_order += other.out_of_order;
        self.replaced += other.replaced;
        self.too_old += other.too_old;
        self.too_new += other.too_new;
        self.too_many += other.too_many;
    }
}

/// How full a store is and what it went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Series held.
    pub series: usize,
    /// Samples held.
    pub samples: usize,
    /// Time of the oldest sample kept, when there is one.
    pub oldest: Option<Millis>,
    /// Time of the newest sample, when there is one.
    pub newest: Option<Millis>,
    /// Rows that were ever appended and kept.
    pub appended: u64,
    /// Of these, the ones that came out of order.
    pub out_of_order: u64,
    /// Rows refused as too old or too far ahead.
    pub refused: u64,
    /// Samples dropped because of a limit.
    pub dropped: u64,
}

/// The most samples that one selection gives.
pub(crate) const SELECTION: usize = 50_000_000;

/// Labelled samples that many threads append to and select from.
///
/// Appending takes a shared lock on the index and a lock on the one series; only a series that is
/// new takes the index for itself.
///
/// A store made by [`Store::new`] is in memory and gone with the process; one made by
/// [`Store::open`] is on disk. Both answer the same questions.
pub struct Store {
    limits: Limits,
    /// Where everything is, unless it is in memory; the rest of the fields is empty then.
    disk: Option<Disk>,
    index: RwLock<Index>,
    samples: AtomicUsize,
    newest: AtomicI64,
    /// Everything before this was dropped to keep the number of samples.
    floor: AtomicI64,
    appended: AtomicU64,
    out_of_order: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    trimming: Mutex<()>,
}

/// Which series there are, and which of them carry a label.
#[derive(Default)]
struct Index {
    by_labels: HashMap<Labels, Arc<Column>>,
    /// Label name → value → series.
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, BTreeSet<u64>>>,
    by_id: BTreeMap<u64, Arc<Column>>,
    next_id: u64,
}

/// The samples of one series.
struct Column {
    id: u64,
    labels: Labels,
    samples: Mutex<VecDeque<Sample>>,
}

impl Column {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Placed {
    Last,
    Between,
    Replaced,
    Same,
}

fn place(samples: &mut VecDeque<Sample>, sample: Sample) -> Placed {
    match samples.back() {
        Some(last) if last.at >= sample.at => {}
        _ => {
            samples.push_back(sample);
            return Placed::Last;
        }
    }
    match samples.binary_search_by_key(&sample.at, |own| own.at) {
        Ok(index) if samples[index].value.to_bits() == sample.value.to_bits() => Placed::Same,
        Ok(index) => {
            samples[index] = sample;
            Placed::Replaced
        }
        Err(index) => {
            samples.insert(index, sample);
            Placed::Between
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Store {
    /// Returns an empty store.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            disk: None,
            index: RwLock::default(),
            samples: AtomicUsize::new(0),
            newest: AtomicI64::new(Millis::MIN),
            floor: AtomicI64::new(Millis::MIN),
            appended: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            trimming: Mutex::default(),
        }
    }

    /// Opens the store in a directory, or makes one there.
    pub fn open(directory: &Path, settings: Settings) -> Result<Self, OpenError> {
        let disk = Disk::open(directory, settings)?;
        Ok(Self { disk: Some(disk), ..Self::new(Limits::default()) })
    }

    /// Returns what only a store on disk can do; nothing when this one is in memory.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Appends rows and says what became of them.
    ///
    /// Rows may come in any order. A row at a time that is there already replaces the value.
    pub fn append(&self, batch: impl IntoIterator<Item = Row>) -> Result<Appended, AppendError> {
        if let Some(disk) = &self.disk {
            return disk.append(batch);
        }
        let mut appended = Appended::default();
        for row in batch {
            let newest = self.newest.load(Ordering::Relaxed);
            if newest != Millis::MIN && row.at > newest.saturating_add(millis(self.limits.ahead)) {
                appended.too_new += 1;
                continue;
            }
            if row.at < self.oldest_allowed() {
                appended.too_old += 1;
                continue;
            }
            self.newest.fetch_max(row.at, Ordering::Relaxed);
            let sample = Sample { at: row.at, value: row.value };
            appended.kept += 1;
            match self.keep(row.labels, sample) {
                Placed::Last => {}
                Placed::Between => appended.out_of_order += 1,
                Placed::Replaced => appended.replaced += 1,
                Placed::Same => {}
            }
        }
        self.appended.fetch_add(appended.kept as u64, Ordering::Relaxed);
        self.out_of_order.fetch_add(appended.out_of_order as u64, Ordering::Relaxed);
        let refused = appended.too_old + appended.too_new;
        self.refused.fetch_add(refused as u64, Ordering::Relaxed);
        if self.samples.load(Ordering::Relaxed) > self.limits.samples {
            self.trim();
        }
        Ok(appended)
    }

    fn keep(&self, labels: Labels, sample: Sample) -> Placed {
        {
            // The shared lock is held while the sample is placed, so that a series cannot be
            // dropped from the index between being found and being written to.
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(column) = index.by_labels.get(&labels) {
                return self.write(column, sample);
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        if !index.by_labels.contains_key(&labels) && index.by_labels.len() >= self.limits.series {
            self.drop_idle(&mut index);
        }
        let column = index.column(labels);
        self.write(&column, sample)
    }

    /// Places a sample and lets go of the samples of this series that are past their time.
    fn write(&self, column: &Column, sample: Sample) -> Placed {
        let mut samples = column.lock();
        let placed = place(&mut samples, sample);
        if matches!(placed, Placed::Last | Placed::Between) {
            self.samples.fetch_add(1, Ordering::Relaxed);
        }
        self.drop_before(&mut samples, self.oldest_allowed());
        placed
    }

    fn drop_before(&self, samples: &mut VecDeque<Sample>, oldest: Millis) {
        let gone = samples.partition_point(|sample| sample.at < oldest);
        if gone > 0 {
            samples.drain(..gone);
            self.samples.fetch_sub(gone, Ordering::Relaxed);
            self.dropped.fetch_add(gone as u64, Ordering::Relaxed);
        }
    }

    /// Takes the tenth of the series that were not written to for longest out of the index.
    fn drop_idle(&self, index: &mut Index) {
        let mut idle: Vec<(Millis, u64)> = index
            .by_id
            .values()
            .map(|column| (column.lock().back().map_or(Millis::MIN, |last| last.at), column.id))
            .collect();
        idle.sort_unstable();
        for (_, id) in idle.iter().take((idle.len() / 10).max(1)) {
            if let Some(column) = index.remove(*id) {
                let mut samples = column.lock();
                self.drop_before(&mut samples, Millis::MAX);
            }
        }
    }

    /// Drops what is over the limits: samples past the retention, then the oldest ones while
    /// there are too many, then series without a sample.
    ///
    /// Appending does this by itself; calling it gives memory back when nothing is appended.
    pub fn trim(&self) {
        if let Some(disk) = &self.disk {
            return disk.tend();
        }
        let _one_at_a_time = self.trimming.lock().unwrap_or_else(PoisonError::into_inner);
        self.drop_all_before(self.oldest_allowed());
        let over = self.samples.load(Ordering::Relaxed).saturating_sub(self.limits.samples);
        if over > 0 {
            // A tenth more than needed goes, so that the next rows do not trim again.
            let mut times: Vec<Millis> = Vec::with_capacity(self.limits.samples + over);
            for column in self.columns() {
                times.extend(column.lock().iter().map(|sample| sample.at));
            }
            if !times.is_empty() {
                let cut = (over + self.limits.samples / 10).min(times.len() - 1);
                let floor = *times.select_nth_unstable(cut).1;
                // Samples of one and the same time cannot be told apart by age: they go together.
                let floor = if times.iter().filter(|at| **at >= floor).count() > self.limits.samples
                {
                    floor.saturating_add(1)
                } else {
                    floor
                };
                self.floor.fetch_max(floor, Ordering::Relaxed);
                self.drop_all_before(floor);
            }
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        let empty: Vec<u64> =
            index.by_id.values().filter(|c| c.lock().is_empty()).map(|c| c.id).collect();
        for id in empty {
            index.remove(id);
        }
    }

    fn drop_all_before(&self, oldest: Millis) {
        for column in self.columns() {
            self.drop_before(&mut column.lock(), oldest);
        }
    }

    fn columns(&self) -> Vec<Arc<Column>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.by_id.values().cloned().collect()
    }

    fn oldest_allowed(&self) -> Millis {
        let newest = self.newest.load(Ordering::Relaxed);
        let by_time = newest.saturating_sub(millis(self.limits.retention));
        by_time.max(self.floor.load(Ordering::Relaxed))
    }

    /// Returns the series that fit all matchers, each with its samples from `from` to `to`, both
    /// included, sorted by labels. Series without a sample in that time are left out.
    pub fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        if let Some(disk) = &self.disk {
            return disk.select(matchers, from, to);
        }
        let oldest = self.oldest_allowed();
        let from = from.max(oldest);
        let mut selected = Vec::new();
        let mut total = 0;
        for column in self.find(matchers) {
            let samples = column.lock();
            let start = samples.partition_point(|sample| sample.at < from);
            let end = samples.partition_point(|sample| sample.at <= to);
            if start >= end {
                continue;
            }
            total += end - start;
            if total > SELECTION {
                return Err(SelectError::TooManySamples { limit: SELECTION });
            }
            let samples = samples.range(start..end).copied().collect();
            selected.push(Series::new(column.labels.clone(), samples));
        }
        selected.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(selected)
    }

    /// Returns about how much [`Store::select`] would give, without reading a sample.
    pub fn amount(&self, matchers: &[Matcher], from: Millis, to: Millis) -> Amount {
        if let Some(disk) = &self.disk {
            return disk.amount(matchers, from, to);
        }
        let from = from.max(self.oldest_allowed());
        let mut amount = Amount::default();
        for column in self.find(matchers) {
            let samples = column.lock();
            let start = samples.partition_point(|sample| sample.at < from);
            let end = samples.partition_point(|sample| sample.at <= to);
            if start < end {
                amount.series += 1;
                amount.samples += end - start;
            }
        }
        amount
    }

    /// Returns the names of the labels of the series that fit, sorted.
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<String>, SelectError> {
        let mut names = BTreeSet::new();
        for labels in self.labels(matchers, from, to)? {
            names.extend(labels.iter().map(|(name, _)| name.to_owned()));
        }
        Ok(names.into_iter().collect())
    }

    /// Returns the values of one label among the series that fit, sorted.
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<String>, SelectError> {
        let mut values = BTreeSet::new();
        for labels in self.labels(matchers, from, to)? {
            let value = labels.get(name);
            if !value.is_empty() {
                values.insert(value.to_owned());
            }
        }
        Ok(values.into_iter().collect())
    }

    /// Returns the labels of the series that fit and have a sample in that time, sorted.
    pub fn labels(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Labels>, SelectError> {
        if let Some(disk) = &self.disk {
            return disk.labels(matchers, from, to);
        }
        let from = from.max(self.oldest_allowed());
        let has_sample = |column: &Arc<Column>| {
            let samples = column.lock();
            let start = samples.partition_point(|sample| sample.at < from);
            samples.get(start).is_some_and(|sample| sample.at <= to)
        };
        let mut found: Vec<Labels> = self
            .find(matchers)
            .iter()
            .filter(|c| has_sample(c))
            .map(|c| c.labels.clone())
            .collect();
        found.sort();
        Ok(found)
    }

    fn find(&self, matchers: &[Matcher]) -> Vec<Arc<Column>> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.find(matchers)
    }

    /// Returns how full the store is and what it went through.
    pub fn stats(&self) -> Stats {
        if let Some(disk) = &self.disk {
            return disk.stats();
        }
        let columns = self.columns();
        let oldest = columns.iter().filter_map(|c| c.lock().front().map(|s| s.at)).min();
        let newest = columns.iter().filter_map(|c| c.lock().back().map(|s| s.at)).max();
        Stats {
            series: columns.len(),
            samples: self.samples.load(Ordering::Relaxed),
            oldest,
            newest,
            appended: self.appended.load(Ordering::Relaxed),
            out_of_order: self.out_of_order.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

impl Select for Store {
    fn select(
        &self,
        matchers: &[Matcher],
        from: Millis,
        to: Millis,
    ) -> Result<Vec<Series>, SelectError> {
        Store::select(self, matchers, from, to)
    }

    fn amount(&self, matchers: &[Matcher], from: Millis, to: Millis) -> Option<Amount> {
        Some(Store::amount(self, matchers, from, to))
    }
}

impl Index {
    fn column(&mut self, labels: Labels) -> Arc<Column> {
        if let Some(column) = self.by_labels.get(&labels) {
            return Arc::clone(column);
        }
        let id = self.next_id;
        self.next_id += 1;
        for (name, value) in labels.iter() {
            let values = match self.postings.get_mut(name) {
                Some(values) => values,
                None => self.postings.entry(name.into()).or_default(),
            };
            match values.get_mut(value) {
                Some(ids) => drop(ids.insert(id)),
                None => drop(values.insert(value.into(), BTreeSet::from([id]))),
            }
        }
        let column = Arc::new(Column { id, labels: labels.clone(), samples: Mutex::default() });
        self.by_id.insert(id, Arc::clone(&column));
        self.by_labels.insert(labels, Arc::clone(&column));
        column
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Column>> {
        let column = self.by_id.remove(&id)?;
        self.by_labels.remove(&column.labels);
        for (name, value) in column.labels.iter() {
            if let Some(values) = self.postings.get_mut(name) {
                if let Some(ids) = values.get_mut(value) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        values.remove(value);
                    }
                }
                if values.is_empty() {
                    self.postings.remove(name);
                }
            }
        }
        Some(column)
    }

    /// Starts from the shortest list that a `name="value"` gives, and asks the rest of each.
    fn find(&self, matchers: &[Matcher]) -> Vec<Arc<Column>> {
        let mut shortest: Option<&BTreeSet<u64>> = None;
        for matcher in matchers.iter().filter(|m| m.op() == Op::Equal && !m.value().is_empty()) {
            let ids = self.postings.get(matcher.name()).and_then(|v| v.get(matcher.value()));
            match (ids, shortest) {
                (None, _) => return Vec::new(),
                (Some(ids), Some(known)) if known.len() <= ids.len() => {}
                (Some(ids), _) => shortest = Some(ids),
            }
        }
        let fits = |column: &&Arc<Column>| matchers.iter().all(|m| m.fits(&column.labels));
        match shortest {
            Some(ids) => ids.iter().map(|id| &self.by_id[id]).filter(fits).cloned().collect(),
            None => self.by_id.values().filter(fits).cloned().collect(),
        }
    }
}

pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}
