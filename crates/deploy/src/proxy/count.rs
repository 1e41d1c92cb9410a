//! Counts what becomes of requests, and wakes those who want to know.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release, SeqCst},
        },
    },
    time::Duration,
};

use jiff::Timestamp;
use journal::{InstanceId, ReleaseId, ServiceName};
use tokio::sync::Notify;

use super::{ErrorKind, Errors, Failing, Histogram, Tally};

/// How many of the newest bad answers are kept.
const FAILING: usize = 8;

/// Whose requests are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub service: ServiceName,
    pub release: Option<ReleaseId>,
    pub instance: Option<InstanceId>,
}

/// The counters behind one [`Tally`].
#[derive(Debug)]
pub(super) struct Counters {
    owner: Owner,
    /// Grows with every change, so that a subscriber sees what is new to it.
    changes: AtomicU64,
    in_flight: AtomicU64,
    requests: AtomicU64,
    classes: [AtomicU64; 5],
    errors: [AtomicU64; 4],
    cancelled: AtomicU64,
    retries: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    latency: [AtomicU64; Histogram::BUCKETS],
    bad: Mutex<Bad>,
}

#[derive(Debug, Default)]
struct Bad {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    failing: VecDeque<Failing>,
}

impl Counters {
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            changes: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            classes: Default::default(),
            errors: Default::default(),
            cancelled: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; Histogram::BUCKETS],
            bad: Mutex::default(),
        }
    }

    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(SeqCst)
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub fn enter(&self) {
        self.in_flight.fetch_add(1, SeqCst);
    }

    /// Returns whether nothing is left.
    pub fn leave(&self) -> bool {
        let left = self.in_flight.fetch_sub(1, SeqCst);
        self.changed();
        left == 1
    }

    pub fn answered(&self, status: u16, took: Duration) {
        self.requests.fetch_add(1, Relaxed);
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Relaxed);
        let bucket = Histogram::bucket(took.as_micros() as u64);
        self.latency[usize::from(bucket)].fetch_add(1, Relaxed);
        self.changed();
    }

    pub fn failed(&self, kind: ErrorKind, status: Option<u16>, method: &str, path: &str) {
        self.errors[kind as usize].fetch_add(1, Relaxed);
        let at = Timestamp::now();
        let sample = Failing { at, method: method.to_owned(), path: path.to_owned(), kind, status };
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.first.get_or_insert(at);
        bad.last = Some(at);
        if bad.failing.len() == FAILING {
            bad.failing.pop_front();
        }
        bad.failing.push_back(sample);
        drop(bad);
        self.changed();
    }

    pub fn cancelled(&self) {
        self.cancelled.fetch_add(1, Relaxed);
        self.changed();
    }

    pub fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
        self.changed();
    }

    pub fn received(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    pub fn sent(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    pub fn tally(&self) -> Tally {
        let bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = self.latency.iter().enumerate();
        let latency = latency.map(|(bucket, count)| (bucket as u8, count.load(Relaxed)));
        let [status, connect, reset, timeout] = self.errors.each_ref().map(|n| n.load(Relaxed));
        Tally {
            service: self.owner.service.clone(),
            release: self.owner.release.clone(),
            instance: self.owner.instance.clone(),
            requests: self.requests.load(Relaxed),
            classes: self.classes.each_ref().map(|count| count.load(Relaxed)),
            errors: Errors { status, connect, reset, timeout },
            cancelled: self.cancelled.load(Relaxed),
            retries: self.retries.load(Relaxed),
            in_flight: self.in_flight(),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            latency: Histogram { buckets: latency.filter(|(_, count)| *count > 0).collect() },
            first_bad: bad.first,
            last_bad: bad.last,
            failing: bad.failing.iter().cloned().collect(),
        }
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Release);
    }
}

/// Wakes subscribers: soon when something changed, at once when a contested release failed.
#[derive(Debug, Default)]
pub(super) struct Hub {
    listening: AtomicUsize,
    signals: Mutex<Vec<Arc<Signal>>>,
}

/// One subscriber's bell.
#[derive(Debug, Default)]
pub(super) struct Signal {
    changed: AtomicBool,
    urgent: AtomicBool,
    bell: Notify,
}

impl Hub {
    pub fn ring(&self, urgent: bool) {
        if self.listening.load(Acquire) == 0 {
            return;
        }
        for signal in &*self.signals.lock().unwrap_or_else(PoisonError::into_inner) {
            let news = !signal.changed.swap(true, SeqCst);
            let alarm = urgent && !signal.urgent.swap(true, SeqCst);
            if news || alarm {
                signal.bell.notify_one();
            }
        }
    }

    pub fn subscribe(self: &Arc<Self>) -> Subscriber {
        let signal = Arc::new(Signal::default());
        let mut signals = self.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.push(Arc::clone(&signal));
        self.listening.store(signals.len(), Release);
        Subscriber { hub: Arc::clone(self), signal, seen: HashMap::new() }
    }
}

/// One who wants to know, and what it knows already.
#[derive(Debug)]
pub(super) struct Subscriber {
    hub: Arc<Hub>,
    signal: Arc<Signal>,
    seen: HashMap<Owner, u64>,
}

impl Subscriber {
    /// Waits until something urgent happened, or anything at all and `pause` is over.
    pub async fn news(&self, pause: tokio::time::Instant) {
        loop {
            let changed = self.signal.changed.load(SeqCst);
            if self.signal.urgent.load(SeqCst) || changed && tokio::time::Instant::now() >= pause {
                break;
            }
            let bell = self.signal.bell.notified();
            if changed {
                let _ = tokio::time::timeout_at(pause, bell).await;
            } else {
                bell.await;
            }
        }
        self.signal.urgent.store(false, SeqCst);
        self.signal.changed.store(false, SeqCst);
    }

    /// Returns the tallies that changed since they were last taken.
    pub fn take(&mut self, counters: &[Arc<Counters>]) -> Vec<Tally> {
        let mut fresh = Vec::new();
        for counter in counters {
            let changes = counter.changes.load(Acquire);
            if self.seen.get(&counter.owner) != Some(&changes) {
                self.seen.insert(counter.owner.clone(), changes);
                fresh.push(counter.tally());
            }
        }
        fresh
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut signals = self.hub.signals.lock().unwrap_or_else(PoisonError::into_inner);
        signals.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
        self.hub.listening.store(signals.len(), Release);
    }
}
