//! When an instance that ended starts again, and when that has become pointless.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long to wait before the next start.
///
/// The first restart is immediate; then the wait doubles from 0.4 s to a minute, give or take a
/// fifth so that many instances do not start in step. A while of good health starts it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
    usual_start: Duration,
}

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Backoff {
    /// Returns the back-off of an instance that usually needs this long to become ready.
    pub fn new(usual_start: Duration) -> Self {
        Self { failures: 0, usual_start }
    }

    /// Hears that the instance ended after it had been well for so long, and returns the wait
    /// before the next start. `dice` is a random number from 0 to 1.
    pub fn next(&mut self, well_for: Duration, dice: f64) -> Duration {
        if well_for >= self.well_after() {
            self.failures = 0;
        }
        self.failures += 1;
        if self.failures == 1 {
            return Duration::ZERO;
        }
        // 2^9 × 0.2 s is over a minute already.
        let doubled = FIRST_WAIT * (1 << (self.failures - 1).min(9));
        doubled.min(LONGEST_WAIT).mul_f64(0.8 + 0.4 * dice.clamp(0.0, 1.0))
    }

    /// How long an instance must be well for its past to be forgotten.
    pub fn well_after(&self) -> Duration {
        (self.usual_start * 10).max(Duration::from_mins(1))
    }

    /// How many times it ended since it was last well for a while.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// When instances start again at all; the words of Compose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    No,
    /// Unless it ended with exit code 0.
    OnFailure,
    /// Whatever happened.
    #[default]
    Always,
    /// Whatever happened, except that somebody stopped it.
    UnlessStopped,
}

/// An instance that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// How long it had run.
    pub ran: Duration,
    /// How it ended.
    pub exit: journal::Exit,
}

impl RestartPolicy {
    /// Whether an instance that ended like this starts again.
    pub fn restarts(self, exit: &journal::Exit) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure => !exited_well(exit),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

fn exited_well(exit: &journal::Exit) -> bool {
    exit.code == Some(0) && exit.signal.is_none() && !exit.out_of_memory
}

/// Whether the instances of a service end again and again.
///
/// Three ends in a row, each within twice the time a start usually takes, or five ends in ten
/// minutes.
#[derive(Debug, Clone)]
pub struct CrashLoop {
    policy: RestartPolicy,
    usual_start: Duration,
    ends: VecDeque<Timestamp>,
    early: u32,
}

/// What an end means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It ended as it may: nothing to do.
    Done,
    /// Start it again.
    Restart,
    /// Starting it again does not help: decide by cause.
    Loop {
        /// How many ends.
        exits: u32,
        /// Within how long.
        within: Duration,
    },
}

const EARLY_ENDS: u32 = 3;
const ENDS: usize = 5;
const WINDOW: Duration = Duration::from_mins(10);

impl CrashLoop {
    /// Returns the rule for a service whose instances usually need this long to become ready.
    pub fn new(policy: RestartPolicy, usual_start: Duration) -> Self {
        // A start that was never measured is taken for a second.
        let usual_start = usual_start.max(Duration::from_secs(1));
        Self { policy, usual_start, ends: VecDeque::new(), early: 0 }
    }

    /// Hears of an end and says what it means.
    pub fn observe(&mut self, ended: &Ended) -> Decision {
        if !self.policy.restarts(&ended.exit) {
            return Decision::Done;
        }
        if ended.ran <= self.usual_start * 2 {
            self.early += 1;
        } else {
            self.early = 0;
        }
        self.ends.push_back(ended.at);
        while self.ends.front().is_some_and(|first| between(*first, ended.at) > WINDOW) {
            self.ends.pop_front();
        }
        let exits = self.ends.len();
        if self.early >= EARLY_ENDS || exits >= ENDS {
            let within =
                self.ends.front().map_or(Duration::ZERO, |first| between(*first, ended.at));
            return Decision::Loop { exits: exits as u32, within };
        }
        Decision::Restart
    }
}

/// How long it is from one time to a later one.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// What is known at the moment a crash loop is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// How the last instance ended.
    pub exit: journal::Exit,
    /// How long ago the release got traffic, if an older one is there to go back to.
    pub release_age: Option<Duration>,
    /// How long a release is under suspicion after it got traffic.
    pub bake: Duration,
    /// A configuration or secret that changed within the bake time, in words.
    pub changed: Option<String>,
    /// A service this one needs whose own check fails.
    pub dependency_down: Option<String>,
    /// What it used and what it may use, when it ran out of memory: `512 MiB of 512 MiB`.
    pub memory: Option<String>,
}

/// Why instances end again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum Cause {
    /// The release is new.
    NewRelease,
    /// A configuration or secret is new.
    Changed {
        /// Which, in words.
        what: String,
    },
    /// Something it needs is down.
    Dependency {
        /// What.
        service: String,
    },
    /// It wants more memory than it may have.
    OutOfMemory {
        /// How much of how much, if known.
        memory: Option<String>,
    },
    /// Nothing that is known explains it.
    Unknown,
}

/// What is done about a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Go back to the release before.
    RollBack,
    /// Put the configuration or secret back.
    Revert,
    /// Do not start it until the other service is well.
    WaitForDependency,
    /// Start it again, and say what it lacks.
    RestartAndTell,
    /// Start it again with longer and longer waits, and call somebody.
    RestartAndPage,
}

impl Circumstances {
    /// Returns why instances end again and again, as far as can be known.
    ///
    /// The order matters: a release that cannot reach its database is not better when it is
    /// rolled back, so a dependency comes first; then what changed last; then what it lacks.
    pub fn cause(&self) -> Cause {
        if let Some(service) = &self.dependency_down {
            return Cause::Dependency { service: service.clone() };
        }
        if self.release_age.is_some_and(|age| age < self.bake) {
            return Cause::NewRelease;
        }
        if let Some(what) = &self.changed {
            return Cause::Changed { what: what.clone() };
        }
        if self.exit.out_of_memory {
            return Cause::OutOfMemory { memory: self.memory.clone() };
        }
        Cause::Unknown
    }
}

impl Cause {
    /// Returns what is done about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Cause::NewRelease => Remedy::RollBack,
            Cause::Changed { .. } => Remedy::Revert,
            Cause::Dependency { .. } => Remedy::WaitForDependency,
            Cause::OutOfMemory { .. } => Remedy::RestartAndTell,
            Cause::Unknown => Remedy::RestartAndPage,
        }
    }

    /// Says it in words.
    pub fn words(&self) -> String {
        match self {
            Cause::NewRelease => "it began with the new release".to_owned(),
            Cause::Changed { what } => format!("it began after {what} changed"),
            Cause::Dependency { service } => format!("`{service}`, which it needs, is down"),
            Cause::OutOfMemory { memory: Some(memory) } => {
                format!("it ran out of memory at {memory}")
            }
            Cause::OutOfMemory { memory: None } => "it ran out of memory".to_owned(),
            Cause::Unknown => "nothing that changed lately explains it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    fn ended(at: u64, ran: u64, code: i32) -> Ended {
        let exit = journal::Exit { code: Some(code), ..journal::Exit::default() };
        Ended { at: start() + Duration::from_secs(at), ran: Duration::from_secs(ran), exit }
    }

    #[test]
    fn waits_double_from_nothing_to_a_minute() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let waits: Vec<f64> =
            (0..11).map(|_| backoff.next(Duration::ZERO, 0.5).as_secs_f64()).collect();
        assert_eq!(waits, [0.0, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]);
    }

    #[test]
    fn waits_differ_by_a_fifth_at_most() {
        let mut low = Backoff::new(Duration::ZERO);
        let mut high = Backoff::new(Duration::ZERO);
        for _ in 0..40 {
            let (low, high) = (low.next(Duration::ZERO, 0.0), high.next(Duration::ZERO, 1.0));
            assert!(
                high <= Duration::from_secs(72) && low.mul_f64(1.49) <= high.max(low.mul_f64(1.5))
            );
        }
    }

    #[test]
    fn a_minute_of_health_starts_the_waits_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        for _ in 0..5 {
            backoff.next(Duration::from_secs(59), 0.5);
        }
        assert_eq!(backoff.failures(), 5);
        assert_eq!(backoff.next(Duration::from_mins(1), 0.5), Duration::ZERO);
        // A service that needs long to start must be well for longer.
        let mut slow = Backoff::new(Duration::from_secs(30));
        slow.next(Duration::ZERO, 0.5);
        assert!(slow.next(Duration::from_mins(2), 0.5) > Duration::ZERO);
    }

    #[test]
    fn three_early_ends_are_a_loop_and_three_late_ones_are_not() {
        let mut early = CrashLoop::new(RestartPolicy::Always, Duration::from_secs(2));
        assert_eq!(early.observe(&ended(0, 1, 1)), Decision::Restart);
        assert_eq!(early.observe(&ended(2, 1, 1)), Decision::Restart);
        let within = Duration::from_secs(4);
        assert_eq!(early.observe(&ended(4, 4, 1)), Decision::Loop { exits: 3, within });
        let mut late = CrashLoop::new(RestartPolicy::Always, Duration::from_secs(2));
        for at in 0..4 {
            assert_eq!(late.observe(&ended(at * 130, 120, 1)), Decision::Restart);
        }
        assert!(matches!(late.observe(&ended(599, 120, 1)), Decision::Loop { exits: 5, .. }));
    }

    #[test]
    fn ends_far_apart_are_forgotten() {
        let mut rule = CrashLoop::new(RestartPolicy::Always, Duration::from_secs(1));
        for at in 0..20 {
            assert_eq!(rule.observe(&ended(at * 200, 190, 1)), Decision::Restart, "end {at}");
        }
    }

    #[test]
    fn a_good_end_is_no_crash_when_only_failures_restart() {
        let mut rule = CrashLoop::new(RestartPolicy::OnFailure, Duration::from_secs(1));
        for at in 0..9 {
            assert_eq!(rule.observe(&ended(at, 0, 0)), Decision::Done);
        }
        assert_eq!(rule.observe(&ended(10, 0, 3)), Decision::Restart);
        assert_eq!(
            CrashLoop::new(RestartPolicy::No, Duration::ZERO).observe(&ended(0, 0, 3)),
            Decision::Done
        );
    }

    #[test]
    fn the_cause_decides_the_remedy() {
        let bake = Duration::from_mins(10);
        let fresh = Some(Duration::from_mins(1));
        let old = Some(Duration::from_hours(5));
        let oom = journal::Exit { out_of_memory: true, ..journal::Exit::default() };
        let some = |text: &str| Some(text.to_owned());
        let base = Circumstances { bake, ..Circumstances::default() };
        let table = [
            (Circumstances { release_age: fresh, ..base.clone() }, Remedy::RollBack),
            (Circumstances { release_age: old, ..base.clone() }, Remedy::RestartAndPage),
            (Circumstances { release_age: None, ..base.clone() }, Remedy::RestartAndPage),
            (
                Circumstances { release_age: fresh, dependency_down: some("db"), ..base.clone() },
                Remedy::WaitForDependency,
            ),
            (
                Circumstances { release_age: old, changed: some("DB_URL"), ..base.clone() },
                Remedy::Revert,
            ),
            (
                Circumstances { release_age: fresh, exit: oom.clone(), ..base.clone() },
                Remedy::RollBack,
            ),
            (Circumstances { release_age: old, exit: oom, ..base }, Remedy::RestartAndTell),
        ];
        for (circumstances, remedy) in table {
            assert_eq!(circumstances.cause().remedy(), remedy, "{circumstances:?}");
        }
    }
}
