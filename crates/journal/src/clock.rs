//! The time that events are stamped with: the machine's, without its jumps.
//!
//! People set clocks, and time servers set them back. A deployment that waits ten seconds must then
//! neither end at once nor wait an hour, so what is decided by time is decided by this clock.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// How much faster or slower than time itself the clock may go to come back to the machine's: one
/// part in so many.
const SLEW: i32 = 10;

/// A last event that is further ahead than this was stamped by a clock that was wrong.
const BELIEVED: SignedDuration = SignedDuration::from_hours(24);

/// A clock that goes after the machine's and never jumps, nor goes back.
#[derive(Debug)]
pub struct Clock {
    last: Mutex<Reading>,
}

impl Clock {
    /// Returns a clock that shows what the machine's shows, or when the newest event happened if
    /// the machine's was set back since.
    pub fn start(newest_event: Option<Timestamp>) -> Self {
        let wall = Timestamp::now();
        let believed = newest_event.filter(|at| at.duration_since(wall) < BELIEVED);
        let shown = believed.map_or(wall, |at| at.max(wall));
        Self { last: Mutex::new(Reading { since_boot: since_boot(), shown }) }
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = last.next(since_boot(), Timestamp::now());
        last.shown
    }
}

/// What the clock showed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    since_boot: Duration,
    shown: Timestamp,
}

impl Reading {
    /// Returns the reading after this one: time passes as it passes since boot, and what the
    /// machine's clock is ahead or behind is made up for at one part in [`SLEW`].
    fn next(self, since_boot: Duration, wall: Timestamp) -> Self {
        let passed = since_boot.saturating_sub(self.since_boot);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let even = self.shown.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let most = passed / SLEW;
        let made_up = wall.duration_since(even).clamp(-most, most);
        let shown = even.saturating_add(made_up).unwrap_or(Timestamp::MAX);
        Self { since_boot: since_boot.max(self.since_boot), shown }
    }
}

/// Returns how long the machine has been on, asleep or awake.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).expect("it is a time")
    }

    fn reading(since_boot: u64, shown: i64) -> Reading {
        Reading { since_boot: Duration::from_secs(since_boot), shown: at(shown) }
    }

    #[track_caller]
    fn check(begin: Reading, since_boot: u64, wall: i64, shown: i64) {
        let next = begin.next(Duration::from_secs(since_boot), at(wall));
        assert_eq!(next, reading(since_boot, shown));
    }

    #[test]
    fn it_shows_what_the_machine_shows() {
        check(reading(50, 0), 60, 10, 10);
        check(reading(50, 0), 60, 11, 11);
        check(reading(50, 0), 60, 9, 9);
    }

    #[test]
    fn a_clock_that_is_set_ahead_makes_nothing_end_early() {
        check(reading(50, 0), 60, 3_610, 11);
        check(reading(50, 0), 50, 3_600, 0);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_wait() {
        check(reading(50, 0), 60, -3_590, 9);
    }

    #[test]
    fn it_comes_back_to_the_machine_in_time() {
        let mut reading = reading(0, 0);
        for second in 1..=1_200_u64 {
            let before = reading.shown;
            reading = reading.next(Duration::from_secs(second), at(second as i64 - 100));
            assert!(reading.shown > before);
        }
        assert_eq!(reading.shown, at(1_100));
    }

    #[test]
    fn it_begins_behind_no_event_that_can_be_believed() {
        let now = Timestamp::now();
        let hour = SignedDuration::from_hours(1);
        assert!(Clock::start(Some(now + hour)).now() >= now + hour);
        assert!(Clock::start(Some(now + hour * 48)).now() < now + hour);
        assert!(Clock::start(None).now() < now + hour);
    }
}
