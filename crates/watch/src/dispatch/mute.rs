//! What keeps an alert quiet: silences, other alerts, and the time of the day.

use std::fmt;

use jiff::Timestamp;
use journal::{EventId, IncidentId};
use source::alertmanager::{Inhibition, Matcher, Route};

use super::{Alert, Dispatcher, Present, told_labels};

/// Why an alert is not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Muted {
    /// Somebody silenced it, in this event.
    Silenced(EventId),
    /// Another alert fires that makes this one go without saying.
    Inhibited {
        /// The other alert, by its labels.
        by: String,
    },
    /// An incident of its service is open, and all who would be told of it are told of that.
    PartOf(IncidentId),
    /// Its route is muted in this time interval.
    OutOfTime(String),
    /// Its route is active in other time intervals only.
    NotActive(Vec<String>),
}

impl fmt::Display for Muted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Muted::Silenced(event) => write!(f, "silenced by {event}"),
            Muted::Inhibited { by } => write!(f, "inhibited by {by}"),
            Muted::PartOf(incident) => write!(f, "told with incident {incident}"),
            Muted::OutOfTime(name) => write!(f, "muted in the time interval {name}"),
            Muted::NotActive(names) => {
                write!(f, "told only in the time interval {}", names.join(" or "))
            }
        }
    }
}

impl Dispatcher {
    /// Says what keeps an alert quiet whichever route it takes.
    pub(super) fn muted_everywhere(
        &self,
        alert: &Alert,
        now: Timestamp,
        present: &Present,
    ) -> Vec<Muted> {
        let get = |name: &str| alert.get(name);
        let silences = present.silences.iter();
        let silenced = silences
            .filter(|(_, silence)| silence.is_active(now) && silence.fits(&get))
            .map(|(event, _)| Muted::Silenced(*event));
        let inhibited = (self.config.inhibitions.iter())
            .filter_map(|rule| inhibitor(rule, alert, present))
            .map(|by| Muted::Inhibited { by: told_labels(&by.labels) });
        let part_of = self.incident_of(alert, present).map(Muted::PartOf);
        silenced.chain(inhibited).chain(part_of).collect()
    }

    /// Finds the open incident that an alert is told with, so that one cause is one message: one
    /// of the same service, of which all are told who would be told of the alert.
    fn incident_of(&self, alert: &Alert, present: &Present) -> Option<IncidentId> {
        if alert.incident.is_some() || alert.get("service").is_empty() {
            return None;
        }
        let receivers = self.receivers(alert);
        present.firing().find_map(|incident| {
            let id = incident.incident?;
            let told = self.receivers(incident);
            let is_same = incident.get("service") == alert.get("service");
            (is_same && receivers.iter().all(|receiver| told.contains(receiver))).then_some(id)
        })
    }

    /// Says whether the times of a route keep it quiet.
    pub(super) fn out_of_time(&self, route: &Route, now: Timestamp) -> Option<Muted> {
        let is_on = |name: &&String| {
            let mut named = self.config.intervals.iter().filter(|own| own.name.value == **name);
            named.any(|interval| interval.is_on(now))
        };
        if let Some(name) = route.muted.iter().find(is_on) {
            return Some(Muted::OutOfTime(name.clone()));
        }
        let is_active = route.active.is_empty() || route.active.iter().any(|name| is_on(&name));
        (!is_active).then(|| Muted::NotActive(route.active.clone()))
    }
}

fn fit(matchers: &[Matcher], alert: &Alert) -> bool {
    matchers.iter().all(|matcher| matcher.fits(&alert.get(&matcher.name)))
}

/// Finds the alert that keeps another one quiet by a rule. One that is source and target of the
/// rule is not kept quiet by another of the kind, so that two cannot keep each other quiet.
fn inhibitor<'a>(rule: &Inhibition, target: &Alert, present: &'a Present) -> Option<&'a Alert> {
    if !fit(&rule.target, target) {
        return None;
    }
    let is_both = fit(&rule.source, target);
    present.firing().find(|source| {
        fit(&rule.source, source)
            && rule.equal.iter().all(|label| source.get(label) == target.get(label))
            && !(is_both && fit(&rule.target, source))
    })
}
