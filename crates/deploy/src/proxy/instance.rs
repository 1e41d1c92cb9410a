//! An instance that answers requests, and the connections kept open to it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    Target,
    count::{Counters, Owner},
    http1::Wire,
    upstream::Upstream,
};

/// Most idle connections kept to one instance.
const MOST_IDLE: usize = 256;

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_mins(1);

/// How long an instance that refused a connection is asked last.
const AVOID_MS: u64 = 1_000;

/// An instance that answers requests.
#[expect(clippy::vec_box, reason = "a connection is large and moves with every request")]
#[derive(Debug)]
pub(super) struct Instance {
    pub target: Target,
    pub counters: Arc<Counters>,
    /// Gets no new request. Set before anybody asks what is in flight, and read after entering.
    closed: AtomicBool,
    /// When it last refused a connection, in milliseconds of [`now_ms`]; 0 for never.
    refused: AtomicU64,
    /// How often in a row it failed, where that is watched.
    failures: AtomicU32,
    /// How often it was ejected.
    ejections: AtomicU32,
    /// Until when it is asked last because it failed, in milliseconds of [`now_ms`].
    ejected: AtomicU64,
    idle: Mutex<Vec<Box<Upstream>>>,
    wires: Mutex<Vec<Wire>>,
    emptied: Notify,
}

impl Instance {
    pub fn new(target: Target, counters: Arc<Counters>) -> Self {
        Self {
            target,
            counters,
            closed: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            ejected: AtomicU64::new(0),
            idle: Mutex::default(),
            wires: Mutex::default(),
            emptied: Notify::new(),
        }
    }

    pub fn owner(&self) -> &Owner {
        self.counters.owner()
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Gives the instance no new request from now on.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        self.lock().clear();
        self.wires().clear();
    }

    pub fn reopen(&self) {
        self.closed.store(false, SeqCst);
    }

    /// Counts a request in, or refuses it because the instance is closed.
    ///
    /// Counting first and looking then is what makes draining exact: whoever closes the instance
    /// afterwards sees the count, and whoever was late is turned away.
    pub fn enter(&self) -> bool {
        self.counters.enter();
        if !self.is_closed() {
            return true;
        }
        self.leave();
        false
    }

    pub fn leave(&self) {
        if self.counters.leave() {
            self.emptied.notify_waiters();
        }
    }

    /// Waits until no request is left, or until the deadline; returns how many are.
    pub async fn emptied(&self, deadline: tokio::time::Instant) -> u64 {
        loop {
            let emptied = self.emptied.notified();
            let left = self.counters.in_flight();
            if left == 0 || tokio::time::timeout_at(deadline, emptied).await.is_err() {
                return left;
            }
        }
    }

    /// Takes note that the instance cannot be connected to.
    pub fn refused(&self) {
        self.refused.store(now_ms().max(1), SeqCst);
    }

    pub fn is_avoided(&self) -> bool {
        let refused = self.refused.load(SeqCst);
        refused != 0 && now_ms() < refused + AVOID_MS || self.is_ejected()
    }

    /// Takes note of an answer that was no failure.
    pub fn does_well(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            if !self.is_ejected() {
                self.ejections.store(0, Relaxed);
            }
        }
    }

    /// Takes note of a failure, and says how many there are in a row.
    pub fn fails_again(&self) -> u32 {
        self.failures.fetch_add(1, Relaxed) + 1
    }

    /// Lets others be asked first, the longer the more often that had to be.
    pub fn eject(&self, base_ms: u64) {
        let times = u64::from(self.ejections.fetch_add(1, Relaxed) + 1);
        // An hour is enough to be seen; see also the cap of Envoy.
        let length = base_ms.saturating_mul(times).min(base_ms.max(3_600_000));
        self.failures.store(0, Relaxed);
        self.ejected.store(now_ms().saturating_add(length), SeqCst);
    }

    pub fn is_ejected(&self) -> bool {
        let until = self.ejected.load(Relaxed);
        until != 0 && now_ms() < until
    }

    /// Returns an idle connection that was alive a moment ago.
    pub fn take_idle(&self) -> Option<Box<Upstream>> {
        loop {
            let upstream = self.lock().pop()?;
            if upstream.is_alive() {
                return Some(upstream);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, mut upstream: Box<Upstream>) {
        if self.is_closed() {
            return;
        }
        upstream.rest();
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(upstream);
        }
    }

    /// Returns an idle connection of the short way that was alive a moment ago.
    pub fn take_idle_wire(&self) -> Option<Wire> {
        loop {
            let wire = self.wires().pop()?;
            if wire.is_alive() {
                return Some(wire);
            }
        }
    }

    /// Keeps a connection of the short way for the next request.
    pub fn keep_wire(&self, mut wire: Wire) {
        wire.rest();
        let mut wires = self.wires();
        // Looked at under the lock, so that whoever closes the instance finds what is kept.
        if wires.len() < MOST_IDLE && !self.is_closed() {
            wires.push(wire);
        }
    }

    /// Lets go of connections that were not needed for a while.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|upstream| upstream.rested(now) < IDLE && upstream.is_alive());
        self.wires().retain(|wire| wire.rested(now) < IDLE && wire.is_alive());
    }

    fn wires(&self) -> std::sync::MutexGuard<'_, Vec<Wire>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::vec_box, reason = "a connection is large and moves with every request")]
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Box<Upstream>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns milliseconds since this process first asked.
pub(super) fn now_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}
