//! Who is told of which alerts, and when: Alertmanager's dispatcher without its clock and network.
//!
//! Alerts go down the routes into groups. A group waits a little for its first alerts
//! (`group_wait`), tells what changed not more often than `group_interval`, and says the same again
//! after `repeat_interval`. What is silenced, inhibited or outside its times is not told.
//! [`Dispatcher::step`] is the whole of it; what was told is in the journal, so that a
//! [`State`] made from a [`View`] goes on where another process ended.
//!
//! The rules are those of Alertmanager 0.34: `dispatch/dispatch.go`, `notify/notify.go`
//! (`DedupStage`), `inhibit/inhibit.go` and `silence/silence.go`.

mod mute;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use journal::view::{Incident, Notified, Silence};
use journal::{EventId, Fact, IncidentId, Labels, View};
use source::alertmanager::{Config, GroupBy, Receiver, Route};

pub use mute::Muted;

/// The label with the name of an alert.
pub const ALERT_NAME: &str = "alertname";

/// The name under which people are told of incidents.
pub const INCIDENT: &str = "Incident";

/// Something that fires, or fired until lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Its value, as PromQL prints it.
    pub value: String,
    /// Since when it fires.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The event in which it began.
    pub event: EventId,
    /// The incident, if it is one.
    pub incident: Option<IncidentId>,
    /// Whether it comes and goes so often that it is taken to fire all the time.
    pub is_flapping: bool,
}

impl Alert {
    /// Returns an incident as an alert, so that people are told of it as of any other:
    /// `Incident` with the labels `service`, `incident` and `severity="critical"`.
    fn of_incident(incident: &Incident) -> Self {
        let labels = [
            (ALERT_NAME, INCIDENT.to_owned()),
            ("service", incident.service.to_string()),
            ("incident", incident.id.to_string()),
            ("severity", "critical".to_owned()),
        ];
        let suspect = incident.suspects.first().map(|suspect| suspect.what.as_str());
        let mut annotations = Labels::from([("summary".to_owned(), incident.title.clone())]);
        annotations.extend(suspect.map(|what| ("description".to_owned(), what.to_owned())));
        Self {
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
            annotations,
            value: String::new(),
            started: incident.at,
            ended: incident.resolved.as_ref().map(|(at, _)| *at),
            event: incident.opened,
            incident: Some(incident.id),
            is_flapping: false,
        }
    }

    /// Returns the name of the rule.
    pub fn name(&self) -> &str {
        self.labels.get(ALERT_NAME).map_or("", String::as_str)
    }

    /// Returns the value of a label, empty if there is none.
    pub fn get(&self, name: &str) -> String {
        self.labels.get(name).cloned().unwrap_or_default()
    }

    /// Returns what tells it from every other alert: Prometheus' fingerprint of its labels.
    pub fn fingerprint(&self) -> String {
        // FNV-1a over names and values, each followed by a byte that is in no text.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for part in self.labels.iter().flat_map(|(name, value)| [name, value]) {
            for byte in part.bytes().chain([0xff]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        format!("{hash:016x}")
    }
}

/// What is said of an alert that flaps, in its annotation `flapping`.
const FLAPPING: &str = "it comes and goes; its end is told once it has been calm for a while";

/// The alerts and silences of a moment.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// What fires, and what ended lately.
    pub alerts: BTreeMap<String, Alert>,
    /// The silences.
    pub silences: BTreeMap<EventId, Silence>,
}

impl Present {
    /// Returns what the journal knows. An alert that flaps fires all the time, so that nobody is
    /// told of each of its ends.
    pub fn of(view: &View, now: Timestamp) -> Self {
        let alert = |name: &str,
                     labels: &Labels,
                     was: &journal::view::Alert,
                     ended: Option<Timestamp>| {
            let key = (name.to_owned(), labels.clone());
            let is_flapping = view.flaps.get(&key).is_some_and(|flap| flap.is_flapping(now));
            let ended = ended.filter(|_| !is_flapping);
            let mut labels = key.1;
            labels.insert(ALERT_NAME.to_owned(), name.to_owned());
            let (mut annotations, value) = (was.annotations.clone(), was.value.clone());
            if is_flapping {
                annotations.insert("flapping".to_owned(), FLAPPING.to_owned());
            }
            let (started, event) = (was.since, was.fired);
            let incident = None;
            let alert =
                Alert { labels, annotations, value, started, ended, event, incident, is_flapping };
            (alert.fingerprint(), alert)
        };
        let ended = view.ended.iter().map(|e| alert(&e.alert, &e.labels, &e.was, Some(e.at)));
        let firing = view.alerts.iter().map(|((name, labels), was)| alert(name, labels, was, None));
        let incidents = view.incidents.values().map(Alert::of_incident);
        let incidents = incidents.map(|alert| (alert.fingerprint(), alert));
        // One that fires again stands in the place of the same one that ended.
        Self {
            alerts: ended.chain(firing).chain(incidents).collect(),
            silences: view.silences.clone(),
        }
    }

    fn firing(&self) -> impl Iterator<Item = &Alert> {
        self.alerts.values().filter(|alert| alert.ended.is_none())
    }
}

/// What is to be told to one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// The receiver, by the name of the configuration.
    pub receiver: String,
    /// Which of its integrations.
    pub integration: usize,
    /// The channel, as receipts name it: `team/slack[0]`.
    pub channel: String,
    /// The group, as Alertmanager names it: `{}/{severity="page"}:{alertname="Errors"}`.
    pub group: String,
    /// The labels that all of the group have alike because they are grouped by them.
    pub group_labels: Labels,
    /// The alerts to tell of, those that fire first, at most as old as the group.
    pub alerts: Vec<Alert>,
    /// Fingerprints of all that fire.
    pub firing: BTreeSet<String>,
    /// Fingerprints of all that ended since the channel was told last.
    pub resolved: BTreeSet<String>,
    /// Why it is told now.
    pub why: Why,
    /// What the channel was told before about this group.
    pub before: Option<Notified>,
    /// How long it may be tried.
    pub patience: Duration,
}

/// Why a channel is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Something fires that it does not know of.
    New,
    /// Something ended.
    Ended,
    /// It was told long ago.
    Repeated,
    /// Something ended, and the channel is not told of ends: this is only to be put down.
    NotSaid,
}

impl Notification {
    /// Says in one line what it is about.
    pub fn subject(&self) -> String {
        let mut names: Vec<&str> = self.alerts.iter().map(Alert::name).collect();
        names.sort_unstable();
        names.dedup();
        let names = if names.is_empty() { "alerts".to_owned() } else { names.join(", ") };
        match (self.firing.len(), self.resolved.len()) {
            (0, _) => format!("{names}: over"),
            (firing, 0) => format!("{names}: {firing} firing"),
            (firing, ended) => format!("{names}: {firing} firing, {ended} over"),
        }
    }

    /// Returns the fact that it was told; `receipt` is what the other side gave for it.
    pub fn sent(&self, receipt: String) -> Fact {
        Fact::NotificationSent {
            channel: self.channel.clone(),
            subject: self.subject(),
            group: self.group.clone(),
            firing: self.firing.iter().cloned().collect(),
            resolved: self.resolved.iter().cloned().collect(),
            receipt,
        }
    }

    /// Returns the fact that it could not be told.
    pub fn failed(&self, error: String) -> Fact {
        let (channel, group) = (self.channel.clone(), self.group.clone());
        Fact::NotificationFailed { channel, subject: self.subject(), error, group }
    }

    /// Returns the fact that it was left out on purpose.
    pub fn skipped(&self, why: &str) -> Fact {
        Fact::NotificationSkipped {
            channel: self.channel.clone(),
            subject: self.subject(),
            why: why.to_owned(),
            group: self.group.clone(),
            firing: self.firing.iter().cloned().collect(),
            resolved: self.resolved.iter().cloned().collect(),
        }
    }
}

/// Groups, and what channels were told about them.
#[derive(Debug, Clone, Default)]
pub struct State {
    groups: BTreeMap<String, Group>,
    told: BTreeMap<(String, String), Notified>,
    /// Notifications that are on their way: their outcome is not known yet.
    on_the_way: BTreeSet<(String, String)>,
    /// When each channel was told of something new lately, oldest first.
    recent: BTreeMap<String, VecDeque<Timestamp>>,
}

/// How many messages about something new a channel gets at most, and within how long. What is
/// urgent is told all the same, and so is the same again, by which people see that we live.
const BUDGET: (usize, Duration) = (10, Duration::from_mins(10));

/// The values of the label `severity` that are told whatever the budget says.
const URGENT: [&str; 2] = ["page", "critical"];

#[derive(Debug, Clone, PartialEq)]
struct Group {
    /// When it is looked at next.
    due: Timestamp,
    labels: Labels,
    route: String,
    alerts: BTreeMap<String, Alert>,
}

impl State {
    /// Returns the state of a dispatcher that starts: what channels were told is in the journal.
    pub fn resuming(view: &View) -> Self {
        let mut recent: BTreeMap<String, VecDeque<Timestamp>> = BTreeMap::new();
        for ((channel, _), told) in &view.notified {
            recent.entry(channel.clone()).or_default().push_back(told.at);
        }
        for times in recent.values_mut() {
            times.make_contiguous().sort_unstable();
        }
        Self { told: view.notified.clone(), recent, ..Self::default() }
    }

    /// Takes what is known about channels over to another configuration; groups form anew.
    #[must_use]
    pub fn regrouped(self) -> Self {
        Self { groups: BTreeMap::new(), ..self }
    }

    /// Takes note that a notification arrived, or was left out on purpose.
    pub fn told(&mut self, notification: &Notification, at: Timestamp, receipt: String) {
        let key = (notification.channel.clone(), notification.group.clone());
        self.on_the_way.remove(&key);
        if matches!(notification.why, Why::New | Why::Ended) {
            self.recent.entry(key.0.clone()).or_default().push_back(at);
        }
        let firing = notification.firing.clone();
        let resolved = notification.resolved.clone();
        self.told.insert(key, Notified { at, firing, resolved, receipt });
        self.forget_ended(&notification.group);
    }

    /// Takes note that it did not arrive; it is due again with the next look at its group.
    pub fn not_told(&mut self, notification: &Notification) {
        self.on_the_way.remove(&(notification.channel.clone(), notification.group.clone()));
    }

    /// Returns when a group is to be looked at next.
    pub fn due(&self) -> Option<Timestamp> {
        self.groups.values().map(|group| group.due).min()
    }

    /// Returns until when a channel has had enough; nothing if it has not.
    fn is_full_until(&mut self, channel: &str, now: Timestamp) -> Option<Timestamp> {
        let (most, within) = BUDGET;
        let on_the_way = self.on_the_way.iter().filter(|(own, _)| own == channel).count();
        let times = self.recent.entry(channel.to_owned()).or_default();
        while times.front().is_some_and(|at| after(*at, within) <= now) {
            times.pop_front();
        }
        let is_full = times.len() + on_the_way >= most;
        is_full.then(|| after(times.front().copied().unwrap_or(now), within))
    }

    /// Whether a channel believes that an alert fires.
    fn is_owed(&self, group: &str, fingerprint: &str) -> bool {
        let of_group = self.told.iter().filter(|((_, known), _)| known == group);
        of_group.into_iter().any(|(_, told)| told.firing.contains(fingerprint))
    }

    /// Forgets the alerts of a group whose end nobody waits for.
    fn forget_ended(&mut self, key: &str) {
        let Some(group) = self.groups.get(key) else { return };
        let over = group.alerts.iter().filter(|(_, alert)| alert.ended.is_some());
        let over: Vec<String> = over
            .map(|(fingerprint, _)| fingerprint.clone())
            .filter(|fingerprint| !self.is_owed(key, fingerprint))
            .collect();
        if let Some(group) = self.groups.get_mut(key) {
            group.alerts.retain(|fingerprint, _| !over.contains(fingerprint));
        }
    }
}

/// A configuration, ready to be asked whom to tell.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    config: Config,
}

impl Dispatcher {
    /// Returns the dispatcher of a configuration.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Returns its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Says what is to be told now. Pure: the state goes in and comes out.
    pub fn step(
        &self,
        mut state: State,
        now: Timestamp,
        present: &Present,
    ) -> (State, Vec<Notification>) {
        let routes = self.keyed_routes();
        self.gather(&mut state, &routes, now, present);
        let due: Vec<String> = (state.groups.iter())
            .filter(|(_, group)| group.due <= now)
            .map(|(key, _)| key.clone())
            .collect();
        let mut notifications = Vec::new();
        for key in due {
            let Some(group) = state.groups.get_mut(&key) else { continue };
            let Some((_, route)) = routes.iter().find(|(known, _)| *known == group.route) else {
                state.groups.remove(&key);
                continue;
            };
            group.due = after(now, route.group_interval);
            let group = group.clone();
            let before = notifications.len();
            self.flush(&mut state, &key, &group, route, now, present, &mut notifications);
            if notifications.len() == before {
                state.forget_ended(&key);
            }
        }
        state.groups.retain(|_, group| !group.alerts.is_empty());
        (state, notifications)
    }

    /// Says why an alert is not told, by everything that keeps it quiet on all of its routes.
    pub fn muted(&self, alert: &Alert, now: Timestamp, present: &Present) -> Vec<Muted> {
        let mut muted = self.muted_everywhere(alert, now, present);
        let routes = self.config.routes_of(&|name: &str| alert.get(name));
        let quiet: Vec<_> =
            routes.iter().filter_map(|route| self.out_of_time(route, now)).collect();
        if quiet.len() == routes.len() {
            muted.extend(quiet);
        }
        muted
    }

    /// Returns the receivers that an alert goes to.
    pub fn receivers(&self, alert: &Alert) -> Vec<&str> {
        let routes = self.config.routes_of(&|name: &str| alert.get(name));
        routes.iter().map(|route| route.receiver.as_str()).collect()
    }

    /// Gives every route with its key.
    fn keyed_routes(&self) -> Vec<(String, &Route)> {
        let mut found = Vec::new();
        keyed(&self.config.route, "{}".to_owned(), &mut found);
        found
    }

    /// Brings alerts into their groups.
    fn gather(
        &self,
        state: &mut State,
        routes: &[(String, &Route)],
        now: Timestamp,
        present: &Present,
    ) {
        for group in state.groups.values_mut() {
            for (fingerprint, alert) in &mut group.alerts {
                match present.alerts.get(fingerprint) {
                    Some(known) => alert.clone_from(known),
                    None => drop(alert.ended.get_or_insert(now)),
                }
            }
        }
        for (fingerprint, alert) in &present.alerts {
            for route in self.config.routes_of(&|name: &str| alert.get(name)) {
                let Some((path, _)) = routes.iter().find(|(_, own)| std::ptr::eq(*own, route))
                else {
                    continue;
                };
                let labels = group_labels(route, alert);
                let key = format!("{path}:{}", told_labels(&labels));
                if alert.ended.is_some() && !state.is_owed(&key, fingerprint) {
                    continue;
                }
                let group = state.groups.entry(key).or_insert_with(|| Group {
                    due: after(alert.started, route.group_wait).max(now),
                    labels,
                    route: path.clone(),
                    alerts: BTreeMap::new(),
                });
                group.alerts.insert(fingerprint.clone(), alert.clone());
            }
        }
    }

    /// Says what the channels of a group are to be told.
    #[expect(clippy::too_many_arguments, reason = "one story, told in one place")]
    fn flush(
        &self,
        state: &mut State,
        key: &str,
        group: &Group,
        route: &Route,
        now: Timestamp,
        present: &Present,
        notifications: &mut Vec<Notification>,
    ) {
        let Some(receiver) = self.config.receiver(&route.receiver) else { return };
        if self.out_of_time(route, now).is_some() {
            return;
        }
        let alerts = group.alerts.iter();
        let mut loud: Vec<(&String, &Alert)> =
            alerts.filter(|(_, a)| self.muted_everywhere(a, now, present).is_empty()).collect();
        if loud.is_empty() {
            return;
        }
        loud.sort_by_key(|(_, alert)| (alert.ended.is_some(), alert.started));
        let of = |is_over: bool| -> BTreeSet<String> {
            let those = loud.iter().filter(|(_, alert)| alert.ended.is_some() == is_over);
            those.map(|(fingerprint, _)| (*fingerprint).clone()).collect()
        };
        let (firing, resolved) = (of(false), of(true));
        for (index, (channel, tells_end)) in channels(receiver).into_iter().enumerate() {
            let place = (channel.clone(), key.to_owned());
            let before = state.told.get(&place);
            let why = why(before, &firing, &resolved, tells_end, now, route.repeat_interval);
            let (Some(why), false) = (why, state.on_the_way.contains(&place)) else { continue };
            let before = before.cloned();
            if matches!(why, Why::New | Why::Ended)
                && !loud.iter().any(|(_, alert)| URGENT.contains(&alert.get("severity").as_str()))
                && let Some(until) = state.is_full_until(&channel, now)
            {
                if let Some(group) = state.groups.get_mut(key) {
                    group.due = group.due.min(until);
                }
                continue;
            }
            let shown = loud.iter().filter(|(_, alert)| tells_end || alert.ended.is_none());
            notifications.push(Notification {
                receiver: receiver.name.value.clone(),
                integration: index,
                channel,
                group: key.to_owned(),
                group_labels: group.labels.clone(),
                alerts: shown.map(|(_, alert)| (*alert).clone()).collect(),
                firing: firing.clone(),
                resolved: resolved.clone(),
                why,
                before,
                patience: route.group_interval,
            });
            state.on_the_way.insert(place);
        }
    }
}

/// Whether a channel is to be told, as Alertmanager's `DedupStage.needsUpdate` says.
fn why(
    before: Option<&Notified>,
    firing: &BTreeSet<String>,
    resolved: &BTreeSet<String>,
    tells_end: bool,
    now: Timestamp,
    repeat: Duration,
) -> Option<Why> {
    let Some(before) = before else {
        return (!firing.is_empty()).then_some(Why::New);
    };
    if !firing.is_subset(&before.firing) {
        return Some(Why::New);
    }
    if firing.is_empty() {
        let is_owed = !before.firing.is_empty();
        return is_owed.then_some(if tells_end { Why::Ended } else { Why::NotSaid });
    }
    if tells_end && !resolved.is_subset(&before.resolved) {
        return Some(Why::Ended);
    }
    (after(before.at, repeat) <= now).then_some(Why::Repeated)
}

/// Gives the channels of a receiver, as receipts name them, and whether they are told of ends.
pub fn channels(receiver: &Receiver) -> Vec<(String, bool)> {
    let mut of_kind: BTreeMap<&str, usize> = BTreeMap::new();
    let named = receiver.integrations.iter().map(|integration| {
        let count = of_kind.entry(integration.kind.name).or_default();
        let name = format!("{}/{}[{count}]", receiver.name.value, integration.kind.name);
        *count += 1;
        (name, integration.tells_end())
    });
    named.collect()
}

/// Names a route by what leads to it; routes that look alike are counted.
fn keyed<'a>(route: &'a Route, key: String, found: &mut Vec<(String, &'a Route)>) {
    let mut names: Vec<String> = Vec::new();
    for child in &route.routes {
        let matchers: Vec<String> = child.matchers.iter().map(ToString::to_string).collect();
        names.push(format!("{key}/{{{}}}", matchers.join(",")));
    }
    found.push((key, route));
    for (at, child) in route.routes.iter().enumerate() {
        let earlier = names[..at].iter().filter(|name| **name == names[at]).count();
        let more = if earlier == 0 { String::new() } else { format!("/{earlier}") };
        keyed(child, format!("{}{more}", names[at]), found);
    }
}

fn group_labels(route: &Route, alert: &Alert) -> Labels {
    match &route.group_by {
        GroupBy::Each => alert.labels.clone(),
        GroupBy::Labels(names) => (names.iter())
            .filter_map(|name| Some((name.clone(), alert.labels.get(name)?.clone())))
            .collect(),
    }
}

/// Writes labels as Prometheus does: `{a="1", b="2"}`.
pub fn told_labels(labels: &Labels) -> String {
    let mut out = String::from("{");
    for (at, (name, value)) in labels.iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(out, "{comma}{name}={value:?}");
    }
    out.push('}');
    out
}

fn after(at: Timestamp, duration: Duration) -> Timestamp {
    at.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
