//! How much a service is asked at once, and how often in vain.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{CircuitBreakers, RetryBudget};

/// Over how long retries and requests are compared.
const WINDOW: Duration = Duration::from_secs(10);

/// Lets so many requests of a service through at once; some more may wait.
#[derive(Debug)]
pub(super) struct Breaker {
    pub asked: CircuitBreakers,
    room: Arc<Semaphore>,
    pending: AtomicU32,
}

/// The service has as many requests as it takes, and as many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tripped;

impl Breaker {
    pub fn new(asked: CircuitBreakers) -> Self {
        let room = Arc::new(Semaphore::new(asked.max_requests.max(1) as usize));
        Self { asked, room, pending: AtomicU32::new(0) }
    }

    /// Waits for room, if others may wait as well.
    pub async fn enter(&self, patience: Duration) -> Result<OwnedSemaphorePermit, Tripped> {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.pending, self.asked.max_pending_requests)?;
        let room = Arc::clone(&self.room).acquire_owned();
        match tokio::time::timeout(patience, room).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Tripped),
        }
    }
}

/// A place among a bounded number of others.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    pub fn take(taken: &'a AtomicU32, most: u32) -> Result<Self, Tripped> {
        let before = taken.fetch_add(1, SeqCst);
        let place = Self(taken);
        if before < most { Ok(place) } else { Err(Tripped) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Keeps retries a small part of the requests, so that they cannot bury a service that struggles.
///
/// It costs nothing until something is tried again: requests are counted anyway.
#[derive(Debug)]
pub(super) struct Budget {
    pub asked: RetryBudget,
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    since: Instant,
    /// How many requests there had been when it began.
    requests: u64,
    retries: u64,
}

impl Budget {
    pub fn new(asked: RetryBudget) -> Self {
        Self { asked, window: Mutex::default() }
    }

    /// Returns whether one more may be tried again, and counts it; `requests` is all so far.
    pub fn take(&self, requests: u64) -> bool {
        self.take_at(Instant::now(), requests)
    }

    fn take_at(&self, now: Instant, requests: u64) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match window.as_mut() {
            Some(known) if now.duration_since(known.since) < WINDOW => known,
            _ => window.insert(Window { since: now, requests, retries: 0 }),
        };
        let share = requests.saturating_sub(window.requests) * u64::from(self.asked.budget_percent);
        let always = u64::from(self.asked.min_retries_per_second) * WINDOW.as_secs();
        let may = window.retries < share / 100 + always;
        window.retries += u64::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_and_some_are_always_allowed() {
        let asked = RetryBudget { budget_percent: 20, min_retries_per_second: 1 };
        let budget = Budget::new(asked);
        let start = Instant::now();
        let allowed = |at: Duration, requests: u64| {
            (0..1_000).filter(|_| budget.take_at(start + at, requests)).count()
        };
        assert_eq!(allowed(Duration::ZERO, 50), 10, "one each second");
        assert_eq!(allowed(Duration::from_secs(1), 550), 100, "a fifth of five hundred");
        assert_eq!(allowed(Duration::from_secs(9), 550), 0);
        assert_eq!(allowed(WINDOW, 550), 10, "a new window");
        assert_eq!(allowed(WINDOW, 40), 0, "instances that are gone take their counts along");
    }

    #[tokio::test]
    async fn some_wait_and_who_comes_after_them_does_not() {
        let asked = CircuitBreakers { max_requests: 1, max_pending_requests: 1 };
        let breaker = Breaker::new(asked);
        let first = breaker.enter(Duration::ZERO).await.expect("there is room");
        let second = async {
            breaker.enter(Duration::from_secs(20)).await.expect("room is made").num_permits()
        };
        let third = async {
            assert!(breaker.enter(Duration::from_secs(20)).await.is_err(), "one waits already");
            drop(first);
        };
        assert_eq!(tokio::join!(second, third).0, 1);
        assert_eq!(breaker.pending.load(SeqCst), 0);
        let held = breaker.enter(Duration::ZERO).await.expect("it is free again");
        assert!(breaker.enter(Duration::from_millis(1)).await.is_err(), "nobody leaves in time");
        drop(held);
    }
}
