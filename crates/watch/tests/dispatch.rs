//! Who is told of which alerts, and when: scenarios in seconds, in tables.

use std::fmt::Write as _;

use insta::assert_snapshot;
use jiff::{Timestamp, ToSpan as _};
use journal::{Actor, Affected, Event, EventId, Fact, IncidentId, Labels, ServiceName, View};
use source::alertmanager;
use watch::dispatch::{Alert, Dispatcher, Present, State, Why};

/// Midnight before Monday, the first of January 2024.
const START: i64 = 1_704_067_200;

/// Plays a script of `second what …` on a configuration and writes down who is told when.
///
/// | line | is |
/// |---|---|
/// | `10 + Errors service=web` | an alert fires |
/// | `20 - Errors service=web` | it ends |
/// | `0 incident web`, `9 resolve` | an incident of a service opens, and is over |
/// | `5 silence 60 service=web severity=~"a|b"` | a silence for 60 seconds; `expire` ends it |
/// | `0 unreachable CHANNEL`, `9 reachable CHANNEL` | notifications fail, and do not any more |
/// | `30 restart` | another process goes on from the journal |
fn play(config: &str, script: &str, seconds: i64) -> String {
    let (config, findings) = alertmanager::read("am.yml", config);
    assert!(findings.is_empty(), "{findings:?}");
    let dispatcher = Dispatcher::new(config.expect("a configuration"));
    let mut world = Played::default();
    let mut state = State::default();
    let lines: Vec<(i64, &str)> = (script.lines().map(str::trim).filter(|line| !line.is_empty()))
        .map(|line| {
            let (second, what) = line.split_once(' ').expect("a second and what happens");
            (second.parse().expect("a second"), what)
        })
        .collect();
    let mut out = String::new();
    let mut unreachable: Vec<&str> = Vec::new();
    for second in 0..=seconds {
        let now = Timestamp::from_second(START + second).expect("a time");
        for (_, what) in lines.iter().filter(|(at, _)| *at == second) {
            match what.split_once(' ').unwrap_or((what, "")) {
                ("restart", _) => state = State::resuming(&world.view),
                ("unreachable", channel) => unreachable.push(channel),
                ("reachable", channel) => unreachable.retain(|other| *other != channel),
                _ => world.happen(now, what),
            }
        }
        let present = Present::of(&world.view, now);
        let (next, notifications) = dispatcher.step(state, now, &present);
        state = next;
        for told in notifications {
            if unreachable.contains(&told.channel.as_str()) {
                writeln!(out, "{second:>4} {} cannot be told", told.channel).expect("a text");
                world.append(now, told.failed("unreachable".to_owned()));
                state.not_told(&told);
                continue;
            }
            let list = |is_over: bool| {
                let those = told.alerts.iter().filter(|alert| alert.ended.is_some() == is_over);
                let names: Vec<String> = those.map(named).collect();
                names.join(" ")
            };
            let why = match told.why {
                Why::New => "new",
                Why::Ended => "ended",
                Why::Repeated => "again",
                Why::NotSaid => "not said",
            };
            let (fires, over) = (list(false), list(true));
            let over = if over.is_empty() { over } else { format!("; over {over}") };
            let fires = if fires.is_empty() { fires } else { format!(" {fires}") };
            writeln!(out, "{second:>4} {} {why}:{fires}{over}", told.channel).expect("a text");
            let fact = match told.why {
                Why::NotSaid => told.skipped("ends are not told"),
                _ => told.sent(String::new()),
            };
            world.append(now, fact);
            state.told(&told, now, String::new());
        }
    }
    out
}

fn named(alert: &Alert) -> String {
    let labels = alert.labels.iter().filter(|(name, _)| *name != "alertname");
    let labels: Vec<&str> = labels.map(|(_, value)| value.as_str()).collect();
    format!("{}({})", alert.name(), labels.join(","))
}

#[derive(Default)]
struct Played {
    view: View,
    events: i64,
}

impl Played {
    fn append(&mut self, at: Timestamp, fact: Fact) {
        self.events += 1;
        let id = EventId(self.events.try_into().expect("a number"));
        // As the journal gives it back, not as it was put in.
        let fact = Fact::decode(fact.kind(), fact.version(), fact.encode());
        self.view.apply(&Event { id, at, actor: Actor::Conductor, cause: None, fact });
    }

    fn happen(&mut self, at: Timestamp, what: &str) {
        let words: Vec<&str> = what.split(' ').collect();
        let labels = |words: &[&str]| -> Labels {
            let pairs = words.iter().filter_map(|word| word.split_once('='));
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let fact = match words.as_slice() {
            ["+", alert, rest @ ..] => Fact::AlertFired {
                alert: (*alert).to_owned(),
                labels: labels(rest),
                annotations: Labels::new(),
                value: "1".to_owned(),
            },
            ["-", alert, rest @ ..] => {
                Fact::AlertResolved { alert: (*alert).to_owned(), labels: labels(rest) }
            }
            ["silence", seconds, rest @ ..] => {
                let seconds: i64 = seconds.parse().expect("seconds");
                Fact::SilenceSet {
                    matchers: Labels::new(),
                    more: rest.iter().map(|word| (*word).to_owned()).collect(),
                    reason: "asked to".to_owned(),
                    from_ms: None,
                    until_ms: (at + seconds.seconds()).as_millisecond(),
                }
            }
            ["incident", service] => Fact::IncidentOpened {
                incident: IncidentId(1),
                service: ServiceName::from(*service),
                title: "it fails".to_owned(),
                deployment: None,
                release: None,
                onset_ms: at.as_millisecond(),
                suspects: Vec::new(),
                affected: Affected::default(),
            },
            ["resolve"] => Fact::IncidentResolved {
                incident: IncidentId(1),
                resolution: "it is well".to_owned(),
                affected: Affected::default(),
            },
            ["expire"] => Fact::SilenceExpired {
                silence: *self.view.silences.keys().next().expect("a silence"),
            },
            _ => panic!("{what}"),
        };
        self.append(at, fact);
    }
}

/// Waits ten seconds, tells changes each minute, and the same each five minutes.
const SIMPLE: &str = "
route: {receiver: team, group_by: [service], group_wait: 10s, group_interval: 1m, repeat_interval: 5m}
receivers:
  - name: team
    webhook_configs: [{url: 'http://127.0.0.1/'}]
";

#[test]
fn alerts_of_a_group_are_told_together_and_again_and_their_end_is_told() {
    let script = "
        0 + Errors service=web
        5 + Slow service=web
        7 + Errors service=db
        30 + Full service=web
        100 - Errors service=db
        450 - Errors service=web
        451 - Slow service=web
        452 - Full service=web
    ";
    assert_snapshot!(play(SIMPLE, script, 900), @r#"
     10 team/webhook[0] new: Errors(web) Slow(web)
     17 team/webhook[0] new: Errors(db)
     70 team/webhook[0] new: Errors(web) Slow(web) Full(web)
    137 team/webhook[0] ended:; over Errors(db)
    370 team/webhook[0] again: Errors(web) Slow(web) Full(web)
    490 team/webhook[0] ended:; over Errors(web) Slow(web) Full(web)
    "#);
}

#[test]
fn what_ends_before_it_was_told_is_not_told() {
    assert_snapshot!(play(SIMPLE, "0 + Errors service=web\n 5 - Errors service=web", 900), @"");
}

#[test]
fn an_alert_that_comes_and_goes_between_two_looks_is_told_once() {
    let script = "
        0 + Errors service=web
        20 - Errors service=web
        30 + Errors service=web
        4000 - Errors service=web
    ";
    let config = SIMPLE.replace("repeat_interval: 5m", "repeat_interval: 1d");
    assert_snapshot!(play(&config, script, 4100), @r#"
      10 team/webhook[0] new: Errors(web)
    4030 team/webhook[0] ended:; over Errors(web)
    "#);
}

#[test]
fn a_restart_neither_tells_twice_nor_forgets_an_end() {
    let script = "
        0 + Errors service=web
        0 + Errors service=db
        20 restart
        25 - Errors service=db
        26 restart
        40 + Slow service=web
        41 restart
        100 - Errors service=web
        101 - Slow service=web
        102 restart
        140 restart
    ";
    assert_snapshot!(play(SIMPLE, script, 900), @r#"
     10 team/webhook[0] new: Errors(db)
     10 team/webhook[0] new: Errors(web)
     26 team/webhook[0] ended:; over Errors(db)
     50 team/webhook[0] new: Errors(web) Slow(web)
    102 team/webhook[0] ended:; over Errors(web) Slow(web)
    "#);
}

#[test]
fn what_could_not_be_told_is_told_as_soon_as_it_can_be() {
    let script = "
        0 unreachable team/webhook[0]
        0 + Errors service=web
        75 reachable team/webhook[0]
        140 unreachable team/webhook[0]
        150 - Errors service=web
        200 reachable team/webhook[0]
    ";
    assert_snapshot!(play(SIMPLE, script, 400), @r#"
     10 team/webhook[0] cannot be told
     70 team/webhook[0] cannot be told
    130 team/webhook[0] new: Errors(web)
    190 team/webhook[0] cannot be told
    250 team/webhook[0] ended:; over Errors(web)
    "#);
}

#[test]
fn an_alert_that_flaps_is_taken_to_fire_until_it_is_calm() {
    let mut script = String::new();
    for round in 0..6 {
        script += &format!("{} + Errors service=web\n", round * 300);
        script += &format!("{} - Errors service=web\n", round * 300 + 150);
    }
    script += "1700 restart\n";
    let config = SIMPLE.replace("repeat_interval: 5m", "repeat_interval: 1d");
    assert_snapshot!(play(&config, &script, 10_000), @r#"
      10 team/webhook[0] new: Errors(web)
     190 team/webhook[0] ended:; over Errors(web)
     310 team/webhook[0] new: Errors(web)
    7340 team/webhook[0] ended:; over Errors(web)
    "#);
}

#[test]
fn a_channel_gets_ten_messages_in_ten_minutes_and_the_rest_later() {
    let mut script = String::new();
    for service in 0..12 {
        script += &format!("{service} + Errors service=s{service:02}\n");
    }
    script += "20 + Errors service=urgent severity=page\n100 restart\n";
    let config = SIMPLE.replace("repeat_interval: 5m", "repeat_interval: 1d");
    assert_snapshot!(play(&config, &script, 700), @r#"
     10 team/webhook[0] new: Errors(s00)
     11 team/webhook[0] new: Errors(s01)
     12 team/webhook[0] new: Errors(s02)
     13 team/webhook[0] new: Errors(s03)
     14 team/webhook[0] new: Errors(s04)
     15 team/webhook[0] new: Errors(s05)
     16 team/webhook[0] new: Errors(s06)
     17 team/webhook[0] new: Errors(s07)
     18 team/webhook[0] new: Errors(s08)
     19 team/webhook[0] new: Errors(s09)
     30 team/webhook[0] new: Errors(urgent,page)
    611 team/webhook[0] new: Errors(s10)
    612 team/webhook[0] new: Errors(s11)
    "#);
}

#[test]
fn a_watchdog_is_told_each_minute() {
    let config = "
route:
  receiver: team
  routes:
    - {matchers: [alertname=Watchdog], receiver: heartbeat, group_wait: 0s, group_interval: 1m, repeat_interval: 1m}
receivers:
  - {name: team}
  - {name: heartbeat, webhook_configs: [{url: 'http://127.0.0.1/'}]}
";
    let told = play(config, "0 + Watchdog severity=none", 1800);
    assert_eq!(told.lines().count(), 31, "{told}");
}

#[test]
fn a_silence_keeps_alerts_quiet_until_it_ends() {
    let script = r#"
        0 silence 100 service=~"web|db"
        0 + Errors service=web
        0 + Errors service=other
        100 - Errors service=other
    "#;
    assert_snapshot!(play(SIMPLE, script, 250), @r#"
     10 team/webhook[0] new: Errors(other)
    130 team/webhook[0] ended:; over Errors(other)
    130 team/webhook[0] new: Errors(web)
    "#);
    let expired = r#"
        0 silence 900 service!="other"
        0 + Errors service=web
        60 expire
    "#;
    assert_snapshot!(play(SIMPLE, expired, 250), @"  70 team/webhook[0] new: Errors(web)");
}

#[test]
fn a_silence_that_cannot_be_read_mutes_nothing() {
    let script = "0 silence 900 service=~\"(\"\n 0 + Errors service=web";
    assert_snapshot!(play(SIMPLE, script, 20), @"  10 team/webhook[0] new: Errors(web)");
}

#[test]
fn an_alert_keeps_those_quiet_that_go_without_saying() {
    let config = format!(
        "{SIMPLE}
inhibit_rules:
  - source_matchers: [severity=page]
    target_matchers: [severity=~\"page|ticket\"]
    equal: [service]
"
    );
    let script = "
        0 + Down service=web severity=page
        0 + Slow service=web severity=ticket
        0 + Slow service=db severity=ticket
        0 + Gone service=web severity=page
        90 - Down service=web severity=page
        91 - Gone service=web severity=page
    ";
    assert_snapshot!(play(&config, script, 200), @r#"
     10 team/webhook[0] new: Slow(db,ticket)
     10 team/webhook[0] new: Down(web,page) Gone(web,page)
    130 team/webhook[0] new: Slow(web,ticket); over Down(web,page) Gone(web,page)
    "#);
}

#[test]
fn alerts_of_an_incident_are_told_with_it_if_the_same_people_are_told() {
    let config = "
route:
  receiver: team
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1m
  routes: [{matchers: [severity=page], receiver: pager}]
receivers:
  - {name: team, webhook_configs: [{url: 'http://127.0.0.1/'}]}
  - {name: pager, webhook_configs: [{url: 'http://127.0.0.1/'}]}
";
    let script = "
        0 incident web
        1 + Slow service=web severity=ticket
        1 + Errors service=web severity=page
        1 + Other service=db severity=ticket
        100 resolve
    ";
    assert_snapshot!(play(config, script, 200), @r#"
      0 team/webhook[0] new: Incident(1,web,critical)
      1 pager/webhook[0] new: Errors(web,page)
      1 team/webhook[0] new: Other(db,ticket)
    120 team/webhook[0] ended:; over Incident(1,web,critical)
    121 team/webhook[0] new: Slow(web,ticket)
    "#);
}

#[test]
fn channels_that_are_not_told_of_ends_are_told_of_a_new_firing() {
    let config = "
route: {receiver: team, group_wait: 10s, group_interval: 1m, repeat_interval: 5m}
receivers:
  - name: team
    webhook_configs: [{url: 'http://127.0.0.1/', send_resolved: false}, {url: 'http://127.0.0.1/2'}]
";
    let script = "
        0 + Errors service=web
        20 - Errors service=web
        71 restart
        100 + Errors service=web
    ";
    assert_snapshot!(play(config, script, 200), @r#"
     10 team/webhook[0] new: Errors(web)
     10 team/webhook[1] new: Errors(web)
     70 team/webhook[0] not said:
     70 team/webhook[1] ended:; over Errors(web)
    110 team/webhook[0] new: Errors(web)
    110 team/webhook[1] new: Errors(web)
    "#);
}

#[test]
fn each_route_has_its_groups_and_an_alert_may_take_two() {
    let config = "
route:
  receiver: team
  group_wait: 10s
  routes:
    - {matchers: [severity=page], receiver: pager, continue: true, group_by: ['...'], group_wait: 0s}
    - {matchers: [severity=page], receiver: team, group_by: [alertname], group_wait: 1s}
receivers:
  - {name: team, webhook_configs: [{url: 'http://127.0.0.1/'}]}
  - {name: pager, webhook_configs: [{url: 'http://127.0.0.1/'}, {url: 'http://127.0.0.1/2'}]}
";
    let script = "
        0 + Errors service=web severity=page
        0 + Errors service=db severity=page
        0 + Slow service=db severity=ticket
    ";
    assert_snapshot!(play(config, script, 60), @r#"
     0 pager/webhook[0] new: Errors(db,page)
     0 pager/webhook[1] new: Errors(db,page)
     0 pager/webhook[0] new: Errors(web,page)
     0 pager/webhook[1] new: Errors(web,page)
     1 team/webhook[0] new: Errors(db,page) Errors(web,page)
    10 team/webhook[0] new: Slow(db,ticket)
    "#);
}

#[test]
fn times_of_a_route_hold_its_notifications_back() {
    // The scenario begins at midnight.
    let config = "
route:
  receiver: team
  group_wait: 0s
  group_interval: 1m
  routes:
    - {matchers: [k=muted], receiver: team, mute_time_intervals: [night]}
    - {matchers: [k=active], receiver: team, active_time_intervals: [later]}
time_intervals:
  - {name: night, time_intervals: [{times: [{start_time: '00:00', end_time: '00:02'}]}]}
  - {name: later, time_intervals: [{times: [{start_time: '00:03', end_time: '24:00'}], weekdays: ['monday']}]}
receivers:
  - {name: team, webhook_configs: [{url: 'http://127.0.0.1/'}]}
";
    assert_snapshot!(play(config, "1 + A k=muted\n 1 + B k=active\n 1 + C k=", 300), @r#"
      1 team/webhook[0] new: C()
    121 team/webhook[0] new: A(muted)
    181 team/webhook[0] new: B(active)
    "#);
}

#[test]
fn it_is_said_why_an_alert_is_quiet() {
    let config = format!(
        "{SIMPLE}
inhibit_rules: [{{source_matchers: [alertname=Down], target_matchers: [alertname=Slow]}}]
"
    );
    let (config, _) = alertmanager::read("am.yml", &config);
    let dispatcher = Dispatcher::new(config.expect("a configuration"));
    let mut world = Played::default();
    let now = Timestamp::from_second(START).expect("a time");
    for what in ["+ Slow service=web", "+ Down service=db", "silence 60 service=web"] {
        world.happen(now, what);
    }
    let present = Present::of(&world.view, now);
    let mut said = String::new();
    for alert in present.alerts.values() {
        let muted = dispatcher.muted(alert, now, &present);
        let muted: Vec<String> = muted.iter().map(ToString::to_string).collect();
        writeln!(said, "{}: {}", named(alert), muted.join("; ")).expect("a text");
    }
    assert_snapshot!(said, @r#"
    Slow(web): silenced by 3; inhibited by {alertname="Down", service="db"}
    Down(db):
    "#);
}

#[test]
fn a_fingerprint_is_that_of_prometheus() {
    let alert = |pairs: &[(&str, &str)]| Alert {
        labels: pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        annotations: Labels::new(),
        value: String::new(),
        started: Timestamp::UNIX_EPOCH,
        ended: None,
        event: EventId(1),
        incident: None,
        is_flapping: false,
    };
    assert_eq!(alert(&[]).fingerprint(), "cbf29ce484222325");
    // `TestMetricToFingerprint` of prometheus/common.
    let known = [("name", "garland, briggs"), ("fear", "love is not enough")];
    assert_eq!(alert(&known).fingerprint(), format!("{:016x}", 5_799_056_148_416_392_346_u64));
}
