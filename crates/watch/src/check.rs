//! What is known about health, out of what probes saw.

use std::time::Duration;

use jiff::Timestamp;
use journal::Health;
use serde::{Deserialize, Serialize};

use crate::restart::between;

/// When a probe asks and how much it takes to believe it; the words of Compose's `healthcheck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// How long after one answer the next question is asked.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How many failures in a row make it unhealthy.
    pub retries: u32,
    /// How long failures do not count after the start.
    pub start_period: Duration,
    /// How long after one answer the next question is asked during the start.
    pub start_interval: Duration,
}

impl Default for Schedule {
    /// Every 2 s, 5 s to answer, 3 retries, 20 s to start, during which it is asked every 200 ms:
    /// quicker than Compose's 30 s, because waiting is what deployments mostly do.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(20),
            start_interval: Duration::from_millis(200),
        }
    }
}

/// What one question to an instance gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Whether it answered as it should.
    pub well: bool,
    /// What it said, in words: `200 OK in 3 ms`, `connection refused`.
    pub said: String,
    /// How long it took.
    pub took: Duration,
}

/// The health of one instance.
#[derive(Debug, Clone)]
pub struct Check {
    schedule: Schedule,
    started: Timestamp,
    health: Health,
    failures: u32,
    heard: Timestamp,
    said: String,
    flap: Flap,
}

/// Health that became another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it was.
    pub from: Health,
    /// What it is.
    pub to: Health,
    /// What the probe said.
    pub evidence: String,
}

impl Check {
    /// Returns the check of an instance that started now.
    pub fn new(schedule: Schedule, now: Timestamp) -> Self {
        Self {
            schedule,
            started: now,
            health: Health::Starting,
            failures: 0,
            heard: now,
            said: String::new(),
            flap: Flap::default(),
        }
    }

    /// Returns what is known.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Returns what the last probe said.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Whether its health changes too often to be told each time.
    pub fn is_flapping(&self, now: Timestamp) -> bool {
        self.flap.is_flapping(now)
    }

    /// Hears what a probe saw; says so if that changes the health.
    pub fn observe(&mut self, probed: &Probed, now: Timestamp) -> Option<Change> {
        self.heard = now;
        self.said.clone_from(&probed.said);
        if probed.well {
            self.failures = 0;
            return self.turn(Health::Healthy, now);
        }
        // Until it was well once, failures within the start period are what starting looks like.
        let starting = between(self.started, now) < self.schedule.start_period;
        if self.health == Health::Starting && starting {
            return None;
        }
        self.failures += 1;
        if self.failures < self.schedule.retries.max(1) {
            return None;
        }
        self.turn(Health::Unhealthy, now)
    }

    /// Hears that time passed: what was not asked for three turns is not known any more.
    pub fn tick(&mut self, now: Timestamp) -> Option<Change> {
        let turn = self.schedule.interval + self.schedule.timeout;
        if self.health == Health::Starting || between(self.heard, now) <= turn * 3 {
            return None;
        }
        self.said =
            format!("no answer and no failure for {} s", between(self.heard, now).as_secs());
        self.turn(Health::Unknown, now)
    }

    /// Returns when the next question is due.
    pub fn due(&self) -> Timestamp {
        let wait = match self.health {
            Health::Starting => self.schedule.start_interval,
            _ => self.schedule.interval,
        };
        self.heard.saturating_add(wait).unwrap_or(Timestamp::MAX)
    }

    fn turn(&mut self, health: Health, now: Timestamp) -> Option<Change> {
        if self.health == health {
            return None;
        }
        let from = std::mem::replace(&mut self.health, health);
        if from != Health::Starting {
            self.flap.change(now);
        }
        Some(Change { from, to: health, evidence: self.said.clone() })
    }
}

/// Returns the health of a service out of that of its instances.
///
/// One that is well serves; without one, it is down if one is known to be down, and not known
/// otherwise.
pub fn of_service(instances: impl IntoIterator<Item = Health>) -> Health {
    let mut all = [0; 4];
    for health in instances {
        all[health as usize] += 1;
    }
    let has = |health: Health| all[health as usize] > 0;
    [Health::Healthy, Health::Starting, Health::Unhealthy]
        .into_iter()
        .find(|health| has(*health))
        .unwrap_or(Health::Unknown)
}

/// How often something changed lately: each change counts one and loses half of it in half an hour.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flap {
    score: f64,
    at: Option<Timestamp>,
    flapping: bool,
    changes: u32,
    since: Option<Timestamp>,
}

/// The seconds in which a score halves.
const HALVES_IN: f64 = 1800.0;
const FLAPPING_ABOVE: f64 = 3.0;
const CALM_BELOW: f64 = 1.0;

impl Flap {
    /// Counts a change; whether it flaps as of now.
    pub fn change(&mut self, now: Timestamp) -> bool {
        self.flapping = self.is_flapping(now);
        self.score = self.score(now) + 1.0;
        self.at = Some(now);
        self.changes += 1;
        self.since.get_or_insert(now);
        if self.score > FLAPPING_ABOVE {
            self.flapping = true;
        }
        if !self.flapping && self.score <= CALM_BELOW {
            self.changes = 1;
            self.since = Some(now);
        }
        self.flapping
    }

    /// Returns the score as of now.
    pub fn score(&self, now: Timestamp) -> f64 {
        let passed = self.at.map_or(Duration::ZERO, |at| between(at, now));
        self.score * (-passed.as_secs_f64() / HALVES_IN).exp2()
    }

    /// Whether it flaps: from a score above 3 until it has fallen below 1.
    pub fn is_flapping(&self, now: Timestamp) -> bool {
        self.flapping && self.score(now) >= CALM_BELOW
    }

    /// Says how often it changed since when, for the one message that replaces the many.
    pub fn words(&self, now: Timestamp) -> String {
        let minutes = self.since.map_or(0, |since| between(since, now).as_secs().div_ceil(60));
        format!("flapping, {} changes in {minutes} min", self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        start + Duration::from_secs(seconds)
    }

    fn probed(well: bool) -> Probed {
        let said = if well { "200 OK" } else { "connection refused" };
        Probed { well, said: said.to_owned(), took: Duration::from_millis(1) }
    }

    fn check() -> Check {
        Check::new(Schedule::default(), at(0))
    }

    #[test]
    fn failures_while_it_starts_do_not_count() {
        let mut check = check();
        for second in 0..20 {
            assert_eq!(check.observe(&probed(false), at(second)), None);
        }
        assert_eq!(check.health(), Health::Starting);
        let change = check.observe(&probed(true), at(20)).expect("a change");
        assert_eq!((change.from, change.to), (Health::Starting, Health::Healthy));
    }

    #[test]
    fn one_that_never_gets_well_is_unhealthy_after_its_start_period_and_retries() {
        let mut check = check();
        let changes: Vec<u64> = (18..30)
            .filter(|second| check.observe(&probed(false), at(*second)).is_some())
            .collect();
        assert_eq!(changes, [22]);
        assert_eq!(check.said(), "connection refused");
    }

    #[test]
    fn a_single_failure_is_forgiven_and_three_are_not() {
        let mut check = check();
        check.observe(&probed(true), at(1));
        for (second, well) in [(2, false), (3, false), (4, true), (5, false), (6, false)] {
            assert_eq!(check.observe(&probed(well), at(second)), None, "{second}");
        }
        let change = check.observe(&probed(false), at(7)).expect("a change");
        assert_eq!(change.to, Health::Unhealthy);
    }

    #[test]
    fn after_it_was_well_the_start_period_is_over() {
        let mut check = check();
        check.observe(&probed(true), at(1));
        for second in 2..5 {
            check.observe(&probed(false), at(second));
        }
        assert_eq!(check.health(), Health::Unhealthy);
    }

    #[test]
    fn what_is_not_asked_any_more_is_unknown_and_not_well() {
        let mut check = check();
        check.observe(&probed(true), at(1));
        assert_eq!(check.tick(at(22)), None);
        assert_eq!(check.tick(at(23)).expect("a change").to, Health::Unknown);
    }

    #[test]
    fn a_start_is_asked_about_more_often() {
        let mut check = check();
        assert_eq!(check.due(), at(0) + Duration::from_millis(200));
        check.observe(&probed(true), at(1));
        assert_eq!(check.due(), at(3));
    }

    #[test]
    fn health_that_changes_four_times_flaps_until_it_is_calm() {
        let mut flap = Flap::default();
        let flapping: Vec<bool> = (0..5).map(|change| flap.change(at(change * 60))).collect();
        assert_eq!(flapping, [false, false, false, true, true]);
        assert_eq!(flap.words(at(300)), "flapping, 5 changes in 5 min");
        assert!(flap.is_flapping(at(30 * 60)));
        assert!(!flap.is_flapping(at(90 * 60)));
    }

    #[test]
    fn one_change_an_hour_is_no_flapping() {
        let mut flap = Flap::default();
        assert!((0..50).all(|hour| !flap.change(at(hour * 3600))));
    }

    #[test]
    fn a_service_is_as_well_as_its_best_instance() {
        use Health::{Healthy, Starting, Unhealthy, Unknown};
        let table: [(&[Health], Health); 5] = [
            (&[Unhealthy, Healthy, Unknown], Healthy),
            (&[Unhealthy, Starting], Starting),
            (&[Unknown, Unhealthy], Unhealthy),
            (&[Unknown], Unknown),
            (&[], Unknown),
        ];
        for (instances, health) in table {
            assert_eq!(of_service(instances.iter().copied()), health, "{instances:?}");
        }
    }
}
