//! The newest samples, in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::bytes::{Reader, put_signed, put_varint};
use super::cache::Cache;
use super::chunk::{Closed, OPEN, Open};
use super::postings::{Postings, find};
use super::wal::{put_labels, read_labels};
use crate::{Labels, Matcher, Millis, Sample};

/// The series that are written to, each with its chunks.
#[derive(Default)]
pub(crate) struct Head {
    index: RwLock<Index>,
}

#[derive(Default)]
struct Index {
    by_labels: HashMap<Labels, Arc<Column>>,
    by_id: HashMap<u32, Arc<Column>>,
    postings: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Vec<u32>>>,
    next_id: u32,
}

/// One series.
pub(crate) struct Column {
    pub id: u32,
    pub labels: Labels,
    /// Whether the log knows the number.
    pub is_logged: AtomicBool,
    content: Mutex<Content>,
}

/// The samples of one series.
#[derive(Default)]
pub(crate) struct Content {
    closed: Vec<Closed>,
    open: Option<Open>,
    /// What came after a later sample was there, in order of time; wins over the chunks.
    late: Vec<Sample>,
}

/// What became of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    Last,
    Between,
    Replaced,
    Same,
}

impl Column {
    pub fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// Keeps a sample; chunks never go over a multiple of `span`, so that they can be cut there.
    pub fn push(&mut self, sample: Sample, span: Millis) -> Placed {
        if self.newest().is_none_or(|newest| newest < sample.at) {
            if let Some(open) = self.open.as_mut() {
                let same_span = open.first.div_euclid(span) == sample.at.div_euclid(span);
                if open.count < OPEN && same_span {
                    open.push(sample);
                    return Placed::Last;
                }
            }
            self.closed.extend(self.open.take().map(Open::close));
            self.open = Some(Open::new(sample));
            return Placed::Last;
        }
        let there = self.between(sample.at, sample.at).first().copied();
        if there.is_some_and(|own| own.value.to_bits() == sample.value.to_bits()) {
            return Placed::Same;
        }
        match self.late.binary_search_by_key(&sample.at, |own| own.at) {
            Ok(index) => self.late[index] = sample,
            Err(index) => self.late.insert(index, sample),
        }
        if there.is_some() { Placed::Replaced } else { Placed::Between }
    }

    pub fn newest(&self) -> Option<Millis> {
        let open = self.open.as_ref().map(|open| open.last.at);
        open.or_else(|| self.closed.last().map(|chunk| chunk.last)).max(self.late_newest())
    }

    fn late_newest(&self) -> Option<Millis> {
        self.late.last().map(|sample| sample.at)
    }

    pub fn oldest(&self) -> Option<Millis> {
        let chunks = self.closed.first().map(|chunk| chunk.first);
        let chunks = chunks.or_else(|| self.open.as_ref().map(|open| open.first));
        let late = self.late.first().map(|sample| sample.at);
        [chunks, late].into_iter().flatten().min()
    }

    /// Gives the samples from a time to a time, both included.
    pub fn between(&self, from: Millis, to: Millis) -> Vec<Sample> {
        self.gather(from, to, |chunk, samples| samples.extend(chunk.samples()))
    }

    /// The same for who asks again and again.
    pub fn cached_between(&self, from: Millis, to: Millis, cache: &Cache) -> Vec<Sample> {
        self.gather(from, to, |chunk, samples| samples.extend_from_slice(&chunk.cached(cache)))
    }

    fn gather(
        &self,
        from: Millis,
        to: Millis,
        read: impl Fn(&Closed, &mut Vec<Sample>),
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        for chunk in &self.closed {
            if chunk.last >= from && chunk.first <= to {
                read(chunk, &mut samples);
            }
        }
        if let Some(open) = &self.open
            && open.last.at >= from
            && open.first <= to
        {
            samples.extend(open.samples());
        }
        let start = samples.partition_point(|sample| sample.at < from);
        samples.drain(..start);
        samples.truncate(samples.partition_point(|sample| sample.at <= to));
        let late = &self.late[self.late.partition_point(|sample| sample.at < from)..];
        let late = &late[..late.partition_point(|sample| sample.at <= to)];
        if late.is_empty() { samples } else { merge(&samples, late) }
    }

    /// Returns how many samples the chunks have that reach into a time; some may lie outside.
    pub fn about(&self, from: Millis, to: Millis) -> usize {
        let closed = self.closed.iter().filter(|chunk| chunk.last >= from && chunk.first <= to);
        let open = self.open.iter().filter(|open| open.last.at >= from && open.first <= to);
        let late = self.late.iter().filter(|sample| sample.at >= from && sample.at <= to);
        closed.map(|chunk| chunk.count).chain(open.map(|open| open.count)).sum::<usize>()
            + late.count()
    }

    /// Whether there is a sample from a time to a time.
    pub fn touches(&self, from: Millis, to: Millis) -> bool {
        !self.between(from, to).is_empty()
    }

    /// Forgets what is before a time.
    pub fn cut_before(&mut self, time: Millis) {
        self.closed.retain(|chunk| chunk.last >= time);
        if self.open.as_ref().is_some_and(|open| open.last.at < time) {
            self.open = None;
        }
        self.late.retain(|sample| sample.at >= time);
        if self.oldest().is_some_and(|oldest| oldest < time) {
            let kept = self.between(time, Millis::MAX);
            self.rebuild(&kept);
        }
    }

    /// Forgets what lies between two times, both included, and returns how many samples went.
    pub fn delete(&mut self, from: Millis, to: Millis) -> usize {
        let gone = self.between(from, to).len();
        if gone > 0 {
            let mut kept = self.between(Millis::MIN, Millis::MAX);
            kept.retain(|sample| sample.at < from || sample.at > to);
            self.rebuild(&kept);
        }
        gone
    }

    fn rebuild(&mut self, samples: &[Sample]) {
        *self = Self::default();
        for sample in samples {
            self.push(*sample, Millis::MAX);
        }
    }

    /// Makes closed chunks small; says whether there was one.
    pub fn seal(&mut self) -> bool {
        let mut any = false;
        for chunk in self.closed.iter_mut().filter(|chunk| chunk.is_packed()) {
            chunk.seal();
            any = true;
        }
        any
    }

    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open.is_none() && self.late.is_empty()
    }

    /// How many samples there are; one that came twice counts twice.
    pub fn count(&self) -> usize {
        let closed: usize = self.closed.iter().map(|chunk| chunk.count).sum();
        closed + self.open.as_ref().map_or(0, |open| open.count) + self.late.len()
    }

    /// How many bytes the samples take.
    pub fn size(&self) -> usize {
        let closed: usize = self.closed.iter().map(Closed::size).sum();
        closed + self.open.as_ref().map_or(0, Open::size) + self.late.len() * 16
    }
}

/// Joins two rows of samples in order of time; the second wins where both have a time.
pub(crate) fn merge(base: &[Sample], over: &[Sample]) -> Vec<Sample> {
    let mut merged = Vec::with_capacity(base.len() + over.len());
    let mut base = base.iter().copied().peekable();
    for sample in over {
        while let Some(own) = base.next_if(|own| own.at < sample.at) {
            merged.push(own);
        }
        base.next_if(|own| own.at == sample.at);
        merged.push(*sample);
    }
    merged.extend(base);
    merged
}

impl Head {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the columns of many series, making those that are missing; none for a series that
    /// would be one too many.
    pub fn columns_of<'l>(
        &self,
        all: impl Iterator<Item = &'l Labels> + Clone,
        most: usize,
    ) -> Vec<Option<Arc<Column>>> {
        let mut found: Vec<Option<Arc<Column>>> = {
            let index = self.read();
            all.clone().map(|labels| index.by_labels.get(labels).cloned()).collect()
        };
        if found.iter().any(Option::is_none) {
            let mut index = self.write();
            for (labels, column) in all.zip(&mut found) {
                if column.is_none()
                    && (index.by_id.len() < most || index.by_labels.contains_key(labels))
                {
                    *column = Some(index.column(labels));
                }
            }
        }
        found
    }

    /// Takes a series with its number from the log.
    pub fn restore(&self, id: u32, labels: &Labels) -> Arc<Column> {
        let mut index = self.write();
        if let Some(column) = index.by_id.get(&id) {
            return Arc::clone(column);
        }
        if let Some(column) = index.by_labels.get(labels).cloned() {
            // The series got a second number after it was empty for a while: both mean it.
            index.by_id.insert(id, Arc::clone(&column));
            index.next_id = index.next_id.max(id.saturating_add(1));
            return column;
        }
        index.insert(id, labels)
    }

    pub fn by_id(&self, id: u32) -> Option<Arc<Column>> {
        self.read().by_id.get(&id).cloned()
    }

    /// Returns every column in order of its labels.
    pub fn columns(&self) -> Vec<Arc<Column>> {
        let mut columns = self.unordered();
        columns.sort_by(|a, b| a.labels.cmp(&b.labels));
        columns
    }

    /// Returns every column.
    pub fn unordered(&self) -> Vec<Arc<Column>> {
        self.read().by_labels.values().cloned().collect()
    }

    pub fn find(&self, matchers: &[Matcher]) -> Vec<Arc<Column>> {
        let index = self.read();
        find(&*index, matchers).iter().filter_map(|id| index.by_id.get(id).cloned()).collect()
    }

    /// Takes series without a sample out of the index. Nobody may be appending.
    pub fn drop_empty(&self) {
        let mut index = self.write();
        let empty: HashSet<u32> = index
            .by_labels
            .values()
            .filter(|column| column.lock().is_empty())
            .map(|column| column.id)
            .collect();
        if empty.is_empty() {
            return;
        }
        index.by_labels.retain(|_, column| !empty.contains(&column.id));
        index.by_id.retain(|_, column| !empty.contains(&column.id));
        for values in index.postings.values_mut() {
            values.retain(|_, ids| {
                ids.retain(|id| !empty.contains(id));
                !ids.is_empty()
            });
        }
        index.postings.retain(|_, values| !values.is_empty());
    }
}

impl Index {
    fn column(&mut self, labels: &Labels) -> Arc<Column> {
        if let Some(column) = self.by_labels.get(labels) {
            return Arc::clone(column);
        }
        self.insert(self.next_id, labels)
    }

    fn insert(&mut self, id: u32, labels: &Labels) -> Arc<Column> {
        self.next_id = self.next_id.max(id.saturating_add(1));
        let mut shared: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        for (name, value) in labels.iter() {
            let name = match self.postings.get_key_value(name) {
                Some((own, _)) => Arc::clone(own),
                None => Arc::from(name),
            };
            let values = self.postings.entry(Arc::clone(&name)).or_default();
            let value = match values.get_key_value(value) {
                Some((own, _)) => Arc::clone(own),
                None => Arc::from(value),
            };
            let ids = values.entry(Arc::clone(&value)).or_default();
            match ids.last() {
                Some(last) if *last > id => {
                    let place = ids.partition_point(|own| *own < id);
                    ids.insert(place, id);
                }
                _ => ids.push(id),
            }
            shared.push((name, value));
        }
        let column = Arc::new(Column {
            id,
            // The same texts for all series: most labels are on many of them.
            labels: Labels::new(shared),
            is_logged: AtomicBool::new(false),
            content: Mutex::default(),
        });
        self.by_id.insert(id, Arc::clone(&column));
        self.by_labels.insert(column.labels.clone(), Arc::clone(&column));
        column
    }
}

impl Postings for Index {
    fn everything(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.by_labels.values().map(|column| column.id).collect();
        ids.sort_unstable();
        ids
    }

    fn list(&self, name: &str, value: &str) -> Vec<u32> {
        let ids = self.postings.get(name).and_then(|values| values.get(value));
        ids.cloned().unwrap_or_default()
    }

    fn lists(&self, name: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<u32> {
        let Some(values) = self.postings.get(name) else {
            return Vec::new();
        };
        values.iter().filter(|(value, _)| wanted(value)).flat_map(|(_, ids)| ids.clone()).collect()
    }
}

impl Column {
    /// Writes the column as it stands, to be put into a checkpoint.
    pub fn write(&self, out: &mut Vec<u8>) {
        put_varint(out, u64::from(self.id));
        put_labels(out, &self.labels);
        let content = self.lock();
        put_varint(out, content.closed.len() as u64);
        content.closed.iter().for_each(|chunk| chunk.write(out));
        out.push(u8::from(content.open.is_some()));
        content.open.iter().for_each(|open| open.write(out));
        put_varint(out, content.late.len() as u64);
        for sample in &content.late {
            put_signed(out, sample.at);
            out.extend_from_slice(&sample.value.to_bits().to_le_bytes());
        }
    }
}

/// Puts the columns of a checkpoint's record into the head; says whether all of it was understood.
pub(crate) fn restore_columns(head: &Head, bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let Some((id, labels, content)) = read_column(&mut reader) else {
            return false;
        };
        let column = head.restore(id, &labels);
        column.is_logged.store(true, Ordering::Relaxed);
        *column.lock() = content;
    }
    true
}

fn read_column(reader: &mut Reader<'_>) -> Option<(u32, Labels, Content)> {
    let id = u32::try_from(reader.varint()?).ok()?;
    let labels = read_labels(reader)?;
    let mut content = Content::default();
    for _ in 0..reader.varint()? {
        content.closed.push(Closed::read(reader)?);
    }
    if reader.byte()? == 1 {
        content.open = Some(Open::read(reader)?);
    }
    for _ in 0..reader.varint()? {
        content.late.push(Sample { at: reader.signed()?, value: reader.float()? });
    }
    Some((id, labels, content))
}
