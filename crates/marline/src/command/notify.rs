//! `marline notify test`: tells people that this is a test, and says what came back.

use std::collections::BTreeSet;
use std::time::Duration;

use explain::Standing;
use jiff::Timestamp;
use journal::{Actor, EventId, Labels};
use serde_json::json;
use source::alertmanager::{self, Receiver};
use watch::dispatch::{self, Alert, Notification, Why};
use watch::notify;

use super::run::account;
use super::timeline::{clean, sign, tell};
use crate::cli::{Global, NotifyCommand};
use crate::conductor::notify::{CONFIGURATION, Office};
use crate::exit::{Exit, Failure, Outcome};
use crate::project::Here;

/// How long each channel is tried.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tests receivers.
pub async fn run(command: &NotifyCommand, global: &Global) -> Outcome {
    let NotifyCommand::Test { receiver } = command;
    let here = Here::find(global)?;
    let root = here.repository.root().to_owned();
    let text = std::fs::read_to_string(root.join(CONFIGURATION)).map_err(|error| {
        Failure::new(Exit::NotFound, format!("could not read {CONFIGURATION}: {error}"))
            .help("it names the receivers and who is told of what, as for Alertmanager")
    })?;
    let (config, findings) = alertmanager::read(CONFIGURATION, &text);
    let is_wrong = findings.iter().any(source::Finding::is_error);
    let Some(config) = config.filter(|_| !is_wrong) else {
        return Err(Failure::new(Exit::Failed, format!("{CONFIGURATION} cannot be used"))
            .help("`marline alerts check` says what is wrong with it"));
    };
    let name = receiver.as_deref().unwrap_or(&config.route.receiver);
    let Some(receiver) = config.receiver(name).cloned() else {
        let known: Vec<&str> =
            config.receivers.iter().map(|receiver| receiver.name.value.as_str()).collect();
        return Err(Failure::new(Exit::NotFound, format!("no receiver is called `{name}`"))
            .help(format!("there are: {}", known.join(", "))));
    };
    here.state.make()?;
    let journal = here.journal()?;
    let office = Office::new(config, &root, &here.state, String::new());
    let mut results = Vec::new();
    let mut failed = BTreeSet::new();
    for notification in tests(&receiver) {
        // Nobody needs the end of what they were not told.
        if failed.contains(&notification.channel) {
            continue;
        }
        let now = Timestamp::now();
        let Some(letter) = office.letter(&notification, now) else { continue };
        let outcome = notify::deliver(letter, PATIENCE).await;
        let what = if notification.firing.is_empty() { "the end" } else { "the test" };
        let (fact, standing, said) = match outcome {
            Ok(receipt) => (notification.sent(receipt.clone()), Standing::Ok, receipt),
            Err(error) => {
                (notification.failed(error.to_string()), Standing::Failed, error.to_string())
            }
        };
        let is_told = standing == Standing::Ok;
        if !is_told {
            failed.insert(notification.channel.clone());
        }
        journal.append(Actor::Person(account()), None, fact).await?;
        let channel = &notification.channel;
        if here.json {
            results.push(json!({"channel": channel, "what": what, "told": is_told, "said": said}));
            continue;
        }
        let colon = if said.is_empty() { "" } else { ": " };
        let line = format!("{channel}  {what}{colon}{said}");
        tell(&format!("  {} {}\n", sign(here.colour, standing), clean(&line)))?;
    }
    if here.json {
        tell(&format!("{}\n", serde_json::Value::from(results)))?;
    } else if receiver.integrations.is_empty() {
        tell(&format!("  {} has no channel: nobody is told\n", clean(&receiver.name.value)))?;
    }
    Ok(if failed.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Returns what tells each channel of a test, and of its end where ends are told, so that nothing
/// is left open on the other side.
fn tests(receiver: &Receiver) -> Vec<Notification> {
    let now = Timestamp::now();
    let labels = [(dispatch::ALERT_NAME, "MarlineTest"), ("severity", "info")];
    let summary = "This is a test of notifications. Nothing is wrong, and nothing is to be done.";
    let alert = Alert {
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        annotations: Labels::from([("summary".to_owned(), summary.to_owned())]),
        value: "1".to_owned(),
        started: now,
        ended: None,
        event: EventId(0),
        incident: None,
        is_flapping: false,
    };
    let mut all = Vec::new();
    for (integration, (channel, tells_end)) in dispatch::channels(receiver).into_iter().enumerate()
    {
        let these = BTreeSet::from([alert.fingerprint()]);
        let test = Notification {
            receiver: receiver.name.value.clone(),
            integration,
            channel,
            // A group of its own, that no alert is in.
            group: format!("test:{now}"),
            group_labels: alert.labels.clone(),
            alerts: vec![alert.clone()],
            firing: these.clone(),
            resolved: BTreeSet::new(),
            why: Why::New,
            before: None,
            patience: PATIENCE,
        };
        let ended = Alert { ended: Some(now), ..alert.clone() };
        let end = tells_end.then(|| Notification {
            alerts: vec![ended],
            firing: BTreeSet::new(),
            resolved: these,
            why: Why::Ended,
            ..test.clone()
        });
        all.push(test);
        all.extend(end);
    }
    all
}
