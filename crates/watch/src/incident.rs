//! One cause, its alarms, who was affected and what is suspected.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use journal::{Affected, EventId, IncidentId, ServiceName, Suspect};
use series::Sample;

use crate::restart::between;

/// Something that says that users are, or may be, affected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alarm {
    /// The service.
    pub service: ServiceName,
    /// When it was raised.
    pub at: Timestamp,
    /// When what it is about began: the first failed request or exit.
    pub onset: Timestamp,
    /// Whether it is worth an incident by itself: a page, a ticket, or a healing action.
    pub serious: bool,
    /// What is wrong, in one line.
    pub title: String,
}

/// Which service needs which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    needs: BTreeMap<ServiceName, BTreeSet<ServiceName>>,
}

impl Topology {
    /// Notes that one service needs another: `depends_on`, a route, a call that was seen.
    pub fn needs(&mut self, service: ServiceName, needed: ServiceName) {
        self.needs.entry(service).or_default().insert(needed);
    }

    /// Returns how many steps lie between two services, in whichever direction; nothing when
    /// they have nothing to do with each other.
    pub fn hops(&self, from: &ServiceName, to: &ServiceName) -> Option<u32> {
        let mut seen = BTreeSet::from([from]);
        let mut next = VecDeque::from([(from, 0)]);
        while let Some((service, hops)) = next.pop_front() {
            if service == to {
                return Some(hops);
            }
            let needed = self.needs.get(service).into_iter().flatten();
            let needing =
                self.needs.iter().filter(|(_, needs)| needs.contains(service)).map(|(own, _)| own);
            for neighbour in needed.chain(needing) {
                if seen.insert(neighbour) {
                    next.push_back((neighbour, hops + 1));
                }
            }
        }
        None
    }

    /// Whether one service needs another, directly or through others.
    pub fn is_upstream(&self, needed: &ServiceName, of: &ServiceName) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![of];
        while let Some(service) = next.pop() {
            for own in self.needs.get(service).into_iter().flatten() {
                if own == needed {
                    return true;
                }
                if seen.insert(own) {
                    next.push(own);
                }
            }
        }
        false
    }
}

/// An incident that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Which one.
    pub incident: IncidentId,
    /// The service it is named after.
    pub service: ServiceName,
    /// The services that raised an alarm.
    pub services: Vec<ServiceName>,
    /// When it began.
    pub onset: Timestamp,
}

/// What becomes of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It opens an incident.
    Open {
        /// What is wrong, in one line.
        title: String,
        /// When it began.
        onset: Timestamp,
    },
    /// It belongs to one that is open.
    Join {
        /// Which one.
        incident: IncidentId,
        /// When the whole began, which may be earlier now.
        onset: Timestamp,
        /// The new title, if this service is what the others need.
        title: Option<String>,
    },
    /// It is worth a line in the timeline only.
    Note,
}

/// How far apart two onsets of one cause may lie.
const SAME_CAUSE: Duration = Duration::from_mins(5);

/// Says what becomes of an alarm, given the incidents that are open.
///
/// Alarms have one cause when their services are connected and their onsets lie within five
/// minutes, or when the same service alarms again while its incident is open.
pub fn place(alarm: &Alarm, open: &[Open], topology: &Topology) -> Placement {
    let belongs = |incident: &&Open| {
        if incident.services.contains(&alarm.service) {
            return true;
        }
        let apart = between(incident.onset, alarm.onset).max(between(alarm.onset, incident.onset));
        let connected =
            incident.services.iter().any(|own| topology.hops(own, &alarm.service).is_some());
        connected && apart <= SAME_CAUSE
    };
    if let Some(incident) = open.iter().find(belongs) {
        let upstream = topology.is_upstream(&alarm.service, &incident.service);
        return Placement::Join {
            incident: incident.incident,
            onset: incident.onset.min(alarm.onset),
            title: upstream.then(|| alarm.title.clone()),
        };
    }
    if alarm.serious {
        return Placement::Open { title: alarm.title.clone(), onset: alarm.onset };
    }
    Placement::Note
}

/// Returns when a value left its usual level for good: the last time the sum of what was over it
/// was nothing, looking forward to where the alarm fired (CUSUM).
///
/// `usual` is the level, `slack` how far over it is still usual. Gives the first sample's time if
/// it was high all along, nothing without a sample or if it is not high at the end.
pub fn onset(samples: &[Sample], usual: f64, slack: f64) -> Option<series::Millis> {
    let mut sum = 0.0;
    let mut since = None;
    for sample in samples.iter().filter(|sample| sample.value.is_finite()) {
        let before = sum;
        sum = (sum + sample.value - usual - slack).max(0.0);
        if sum == 0.0 {
            since = None;
        } else if before == 0.0 {
            since = Some(sample.at);
        }
    }
    since
}

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// A release got traffic.
    Release,
    /// A configuration changed.
    Configuration,
    /// A secret changed.
    Secret,
    /// The machine or network changed: a reboot, a certificate, a disk.
    Infrastructure,
    /// More or fewer instances.
    Scale,
    /// A scheduled job ran.
    Schedule,
}

impl ChangeKind {
    /// How often such a change is what broke something, relative to a release.
    fn weight(self) -> f64 {
        match self {
            Self::Release => 1.0,
            Self::Configuration | Self::Secret => 0.9,
            Self::Infrastructure => 0.6,
            Self::Scale => 0.4,
            Self::Schedule => 0.3,
        }
    }
}

/// Something that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its event.
    pub event: EventId,
    /// What kind.
    pub kind: ChangeKind,
    /// The service.
    pub service: ServiceName,
    /// When.
    pub at: Timestamp,
    /// What, in words: `release v3 of web got traffic`.
    pub what: String,
    /// What the numbers say, if what changed and what did not ran side by side.
    pub proof: Proof,
}

/// What the numbers say about a change.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Proof {
    /// Nothing.
    #[default]
    None,
    /// "With the change it fails more" explains them so many times better: the odds of a verdict.
    For(f64),
    /// What did not change fails as much.
    Against,
}

const BEFORE: Duration = Duration::from_hours(24);
const AFTER: Duration = Duration::from_mins(1);
/// The seconds in which a suspicion falls to 1/e.
const FADES_IN: f64 = 1800.0;
/// A score below which nothing explains it.
pub const NOTHING_EXPLAINS: u32 = 200;

/// Ranks what changed before an incident, best suspect first, three at most.
///
/// score = weight of the kind × e^(−Δt / 30 min) × 2^(−hops) × (1 + log₁₀ of the odds, 6 at most),
/// a tenth of it when the numbers speak against. If even the first one scores below
/// [`NOTHING_EXPLAINS`], no recent change explains the incident.
pub fn suspects(
    service: &ServiceName,
    onset: Timestamp,
    changes: &[Change],
    topology: &Topology,
) -> Vec<Suspect> {
    let mut ranked: Vec<(f64, &Change, String)> = Vec::new();
    for change in changes {
        let (before, after) = (between(change.at, onset), between(onset, change.at));
        let Some(hops) =
            topology.hops(service, &change.service).or((*service == change.service).then_some(0))
        else {
            continue;
        };
        if before > BEFORE || after > AFTER {
            continue;
        }
        let near = (-before.as_secs_f64() / FADES_IN).exp() * 0.5f64.powi(hops as i32);
        let proof = match change.proof {
            Proof::None => 1.0,
            Proof::For(odds) => 1.0 + odds.max(1.0).log10().clamp(0.0, 6.0),
            Proof::Against => 0.1,
        };
        ranked.push((
            change.kind.weight() * near * proof,
            change,
            because(change, before, after, hops),
        ));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked
        .into_iter()
        .take(3)
        .map(|(score, change, because)| Suspect {
            what: change.what.clone(),
            event: change.event,
            score: (score * 1000.0).round() as u32,
            because,
        })
        .collect()
}

fn because(change: &Change, before: Duration, after: Duration, hops: u32) -> String {
    let when = match (before.as_secs(), after.as_secs()) {
        (0, 0) => "at the moment it began".to_owned(),
        (0, after) => format!("{after} s after it began"),
        (before @ 0..120, _) => format!("{before} s before it began"),
        (before, _) => format!("{} min before it began", before / 60),
    };
    let place = match hops {
        0 => String::new(),
        1 => format!(", in `{}` next to it", change.service),
        _ => format!(", in `{}`, {hops} steps away", change.service),
    };
    let proof = match change.proof {
        Proof::None => String::new(),
        Proof::For(odds) if odds >= 10.0 => {
            "; with the change it fails clearly more often than without".to_owned()
        }
        Proof::For(_) => "; too few requests to compare with and without".to_owned(),
        Proof::Against => "; but without the change it fails as often".to_owned(),
    };
    format!("{when}{place}{proof}")
}

/// Who is affected: counted from the first failed request on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impact {
    requests: u64,
    failed: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Impact {
    /// Counts a request that ended.
    pub fn observe(&mut self, failed: bool, at: Timestamp) {
        self.observe_many(1, u64::from(failed), at);
    }

    /// Counts requests that ended together.
    pub fn observe_many(&mut self, requests: u64, failed: u64, at: Timestamp) {
        if failed > 0 {
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = Some(self.last.map_or(at, |last| last.max(at)));
        }
        if self.first.is_some() {
            self.requests += requests;
            self.failed += failed;
        }
    }

    /// Returns when the first request failed.
    pub fn onset(&self) -> Option<Timestamp> {
        self.first
    }

    /// Returns the count as the journal keeps it.
    pub fn affected(&self) -> Affected {
        let window =
            self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| between(first, last));
        Affected {
            requests: self.requests,
            failed: self.failed,
            milliseconds: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Whether it is over: the cause is gone, and for this long no request failed.
    pub fn is_over(&self, cause_gone: Option<Timestamp>, calm: Duration, now: Timestamp) -> bool {
        let Some(gone) = cause_gone else { return false };
        let quiet_since = self.last.map_or(gone, |last| last.max(gone));
        between(quiet_since, now) >= calm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        let start: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        start + jiff::SignedDuration::from_secs(seconds)
    }

    fn service(name: &str) -> ServiceName {
        name.into()
    }

    /// web needs api, api needs db; mail stands alone.
    fn topology() -> Topology {
        let mut topology = Topology::default();
        topology.needs(service("web"), service("api"));
        topology.needs(service("api"), service("db"));
        topology
    }

    fn alarm(name: &str, onset: i64) -> Alarm {
        let title = format!("{name} fails");
        Alarm { service: service(name), at: at(onset + 10), onset: at(onset), serious: true, title }
    }

    fn open(name: &str, onset: i64) -> Open {
        let incident = IncidentId(1);
        Open { incident, service: service(name), services: vec![service(name)], onset: at(onset) }
    }

    fn change(kind: ChangeKind, name: &str, seconds: i64, proof: Proof) -> Change {
        let what = format!("{kind:?} of {name}");
        Change { event: EventId(7), kind, service: service(name), at: at(seconds), what, proof }
    }

    #[test]
    fn a_serious_alarm_opens_an_incident_at_its_onset() {
        let placed = place(&alarm("web", 0), &[], &topology());
        assert_eq!(placed, Placement::Open { title: "web fails".to_owned(), onset: at(0) });
        let minor = Alarm { serious: false, ..alarm("web", 0) };
        assert_eq!(place(&minor, &[], &topology()), Placement::Note);
    }

    #[test]
    fn alarms_of_connected_services_join_and_the_one_that_others_need_names_it() {
        let placed = place(&alarm("db", -20), &[open("web", 0)], &topology());
        let Placement::Join { onset, title, .. } = placed else { panic!("{placed:?}") };
        assert_eq!((onset, title.as_deref()), (at(-20), Some("db fails")));
        let placed = place(&alarm("web", 10), &[open("db", 0)], &topology());
        assert!(matches!(placed, Placement::Join { title: None, .. }), "{placed:?}");
    }

    #[test]
    fn alarms_far_apart_or_unconnected_are_incidents_of_their_own() {
        let open = [open("web", 0)];
        assert!(matches!(place(&alarm("mail", 0), &open, &topology()), Placement::Open { .. }));
        assert!(matches!(place(&alarm("db", 301), &open, &topology()), Placement::Open { .. }));
        // The same service again is the same incident however late.
        assert!(matches!(place(&alarm("web", 3_000), &open, &topology()), Placement::Join { .. }));
    }

    #[test]
    fn the_onset_is_where_the_value_rose_for_good_and_not_where_the_alarm_fired() {
        let values = [0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 5.0, 7.0];
        let samples: Vec<Sample> = values
            .iter()
            .enumerate()
            .map(|(index, value)| Sample { at: index as i64 * 1000, value: *value })
            .collect();
        assert_eq!(onset(&samples, 0.0, 1.0), Some(11_000));
        assert_eq!(onset(&samples[..11], 0.0, 1.0), None);
        assert_eq!(onset(&[], 0.0, 1.0), None);
    }

    #[test]
    fn the_release_that_the_numbers_speak_against_is_the_first_suspect() {
        let changes = [
            change(ChangeKind::Secret, "web", -30, Proof::None),
            change(ChangeKind::Release, "web", -60, Proof::For(1e4)),
            change(ChangeKind::Release, "db", -10, Proof::None),
            change(ChangeKind::Release, "mail", -5, Proof::For(1e6)),
            change(ChangeKind::Release, "web", -90_000, Proof::None),
            change(ChangeKind::Scale, "api", 120, Proof::None),
        ];
        let ranked = suspects(&service("web"), at(0), &changes, &topology());
        let told: Vec<String> =
            ranked.iter().map(|s| format!("{} {}: {}", s.score, s.what, s.because)).collect();
        assert_eq!(
            told,
            [
                "4836 Release of web: 60 s before it began; with the change it fails clearly more often than without",
                "885 Secret of web: 30 s before it began",
                "249 Release of db: 10 s before it began, in `db`, 2 steps away",
            ]
        );
    }

    #[test]
    fn numbers_that_speak_for_a_change_clear_it() {
        let cleared = [change(ChangeKind::Release, "web", -60, Proof::Against)];
        let ranked = suspects(&service("web"), at(0), &cleared, &topology());
        assert!(ranked[0].score < NOTHING_EXPLAINS);
        assert!(suspects(&service("web"), at(0), &[], &topology()).is_empty());
    }

    #[test]
    fn the_impact_counts_from_the_first_failed_request() {
        let mut impact = Impact::default();
        impact.observe(false, at(0));
        assert_eq!(impact.affected(), Affected::default());
        impact.observe(true, at(1));
        impact.observe(false, at(2));
        impact.observe_many(10, 2, at(4));
        let affected = Affected { requests: 12, failed: 3, milliseconds: 3_000 };
        assert_eq!((impact.affected(), impact.onset()), (affected, Some(at(1))));
    }

    #[test]
    fn an_incident_is_over_when_its_cause_is_gone_and_it_stays_calm() {
        let calm = Duration::from_secs(10);
        let mut impact = Impact::default();
        impact.observe(true, at(0));
        assert!(!impact.is_over(None, calm, at(100)));
        assert!(!impact.is_over(Some(at(5)), calm, at(14)));
        assert!(impact.is_over(Some(at(5)), calm, at(15)));
        impact.observe(true, at(12));
        assert!(!impact.is_over(Some(at(5)), calm, at(21)));
        assert!(impact.is_over(Some(at(5)), calm, at(22)));
    }
}
