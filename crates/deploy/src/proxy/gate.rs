//! Lets the requests of a service wait for a while.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::Hold;

/// A gate that is open but for the time of a [`Hold`].
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Whether to look closer; spares every request the lock.
    closed: AtomicBool,
    hold: Mutex<Option<(Instant, u32)>>,
    waiting: AtomicU32,
    opened: Notify,
}

/// More requests wait than the hold allows.
#[derive(Debug)]
pub(super) struct Crowded;

impl Gate {
    pub fn close(&self, hold: Hold) {
        // A hold of years is as good as one of a day, and cannot overflow the clock.
        let length = Duration::from_millis(hold.for_ms.min(86_400_000));
        *self.lock() = Some((Instant::now() + length, hold.waiting));
        self.closed.store(true, SeqCst);
    }

    pub fn open(&self) {
        *self.lock() = None;
        self.closed.store(false, SeqCst);
        self.opened.notify_waiters();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Waits until the gate is open.
    pub async fn wait(&self) -> Result<(), Crowded> {
        let mut place = None;
        loop {
            let opened = self.opened.notified();
            let Some((until, most)) = *self.lock() else {
                return Ok(());
            };
            if Instant::now() >= until {
                self.open();
                return Ok(());
            }
            if place.is_none() {
                place = Some(Place::take(&self.waiting, most).ok_or(Crowded)?);
            }
            let _ = tokio::time::timeout_at(until, opened).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Instant, u32)>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue, free again when the request goes on or its client goes away.
struct Place<'gate>(&'gate AtomicU32);

impl<'gate> Place<'gate> {
    fn take(waiting: &'gate AtomicU32, most: u32) -> Option<Self> {
        let taken = waiting.fetch_add(1, SeqCst);
        let place = Self(waiting);
        (taken < most).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
