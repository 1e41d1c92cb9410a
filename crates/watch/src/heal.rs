//! Brakes on healing: what keeps Marline from making it worse.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::restart::between;

/// What is about to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start an instance again.
    Restart,
    /// Give the traffic back to an older release.
    RollBack,
    /// Put a configuration or secret back.
    Revert,
    /// Run more or fewer instances.
    Scale,
}

/// What is known when something is about to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Situation<'a> {
    /// Now.
    pub now: Timestamp,
    /// When healing actions began on this service.
    pub actions: &'a [Timestamp],
    /// Whether one of them has no outcome yet.
    pub in_flight: bool,
    /// When the numbers that speak for the action were taken.
    pub data_from: Timestamp,
    /// How often such numbers are taken.
    pub interval: Duration,
    /// How many services are watched.
    pub services: usize,
    /// How many of them turned bad within the last minutes.
    pub turned_bad: usize,
    /// Whether the release brought a change of the database that the older one does not know.
    pub migrated: bool,
    /// Whether actions are only said and not done.
    pub dry_run: bool,
}

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many actions on one service in an hour.
    pub actions_per_hour: usize,
}

impl Default for Limits {
    /// Three an hour, then people.
    fn default() -> Self {
        Self { actions_per_hour: 3 }
    }
}

/// Whether it may be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "permit")]
pub enum Permit {
    /// Do it.
    Go,
    /// Say what would be done.
    DryRun,
    /// Do nothing yet: something is being done.
    Wait {
        /// What for, in words.
        brake: String,
    },
    /// Do nothing and call somebody.
    Page {
        /// Why, in words.
        brake: String,
    },
}

const HOUR: Duration = Duration::from_hours(1);
/// From how many services on a fault of most of them is ours or the network's.
const MANY: usize = 3;

/// Says whether something may be done now.
pub fn permit(action: Action, situation: &Situation, limits: &Limits) -> Permit {
    let page = |brake: String| Permit::Page { brake };
    if situation.in_flight {
        return Permit::Wait {
            brake: "another action on this service has no outcome yet".to_owned(),
        };
    }
    let age = between(situation.data_from, situation.now);
    if age > situation.interval * 3 {
        return page(format!(
            "the newest numbers are {} s old, and fresh ones come every {} s",
            age.as_secs(),
            situation.interval.as_secs()
        ));
    }
    let Situation { services, turned_bad, .. } = *situation;
    if services >= MANY && turned_bad * 2 > services {
        return page(format!(
            "{turned_bad} of {services} services turned bad at once, which is rather the machine, the network or Marline itself"
        ));
    }
    if situation.migrated && action == Action::RollBack {
        return page(
            "the release changed the database, and the older one may not be able to read it"
                .to_owned(),
        );
    }
    let recent = |at: &&Timestamp| **at <= situation.now && between(**at, situation.now) < HOUR;
    let done = situation.actions.iter().filter(recent).count();
    if done >= limits.actions_per_hour {
        return page(format!(
            "{done} actions on this service in the last hour did not make it well"
        ));
    }
    if situation.dry_run { Permit::DryRun } else { Permit::Go }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        start + Duration::from_secs(seconds)
    }

    fn calm(actions: &[Timestamp]) -> Situation<'_> {
        Situation {
            now: at(10_000),
            actions,
            in_flight: false,
            data_from: at(9_999),
            interval: Duration::from_secs(1),
            services: 5,
            turned_bad: 1,
            migrated: false,
            dry_run: false,
        }
    }

    fn brake(action: Action, situation: &Situation) -> String {
        match permit(action, situation, &Limits::default()) {
            Permit::Go => "go".to_owned(),
            Permit::DryRun => "dry run".to_owned(),
            Permit::Wait { brake } | Permit::Page { brake } => brake,
        }
    }

    #[test]
    fn each_brake_holds_and_says_why() {
        let recent = [at(7_000), at(8_000), at(9_000)];
        let old = [at(0), at(100), at(9_000)];
        let table = [
            (calm(&[]), "go"),
            (calm(&old), "go"),
            (calm(&recent), "3 actions on this service in the last hour did not make it well"),
            (
                Situation { in_flight: true, ..calm(&[]) },
                "another action on this service has no outcome yet",
            ),
            (
                Situation { data_from: at(9_990), ..calm(&[]) },
                "the newest numbers are 10 s old, and fresh ones come every 1 s",
            ),
            (
                Situation { turned_bad: 3, ..calm(&[]) },
                "3 of 5 services turned bad at once, which is rather the machine, the network or Marline itself",
            ),
            (Situation { dry_run: true, ..calm(&[]) }, "dry run"),
            // With one or two services, one being bad says nothing about the others.
            (Situation { services: 1, turned_bad: 1, ..calm(&[]) }, "go"),
        ];
        for (situation, wanted) in table {
            assert_eq!(brake(Action::RollBack, &situation), wanted);
        }
    }

    #[test]
    fn a_migration_keeps_from_going_back_but_not_from_starting_again() {
        let migrated = Situation { migrated: true, ..calm(&[]) };
        assert_eq!(brake(Action::Restart, &migrated), "go");
        assert!(brake(Action::RollBack, &migrated).starts_with("the release changed the database"));
    }
}
