//! Workflows that start at set times.
//!
//! A schedule counts for the newest commit of the branch that is followed, as on GitHub. What came
//! while no conductor ran is not made up for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use journal::{CommitId, Fact};
use source::workflow::Cron;

use super::Conductor;
use crate::tree::Written;

/// No entry starts a workflow more often; GitHub allows no less.
const LEAST: SignedDuration = SignedDuration::from_mins(5);

/// How far back it is looked for what came, as after a machine has slept.
const MOST: SignedDuration = SignedDuration::from_mins(10);

/// One entry of `schedule` of one workflow.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The path of the workflow.
    workflow: String,
    /// As it is written.
    text: String,
    cron: Cron,
    zone: TimeZone,
}

impl Entry {
    /// Whether its time comes after one moment and not after another.
    fn comes(&self, after: Timestamp, until: Timestamp) -> bool {
        let first = after.as_second().div_euclid(60) + 1;
        let last = until.as_second().div_euclid(60);
        (first..=last)
            .filter_map(|minute| Timestamp::from_second(minute * 60).ok())
            .any(|minute| self.cron.comes(&self.zone, minute))
    }
}

/// Reads the schedules of workflows; what has an error starts nothing and is told elsewhere.
fn entries(files: &[Written]) -> Vec<Entry> {
    let mut found = Vec::new();
    for file in files {
        let (workflow, findings) = source::workflow::read(&file.path, &file.text);
        let Some(workflow) = workflow else { continue };
        if findings.iter().any(source::Finding::is_error) {
            continue;
        }
        let schedules = workflow.trigger("schedule").map(|trigger| trigger.schedules.as_slice());
        for schedule in schedules.unwrap_or_default() {
            let Ok(cron) = Cron::parse(&schedule.cron.value) else { continue };
            let name = schedule.timezone.as_ref().map_or("UTC", |zone| zone.value.as_str());
            match TimeZone::get(name) {
                Ok(zone) => found.push(Entry {
                    workflow: file.path.clone(),
                    text: schedule.cron.value.clone(),
                    cron,
                    zone,
                }),
                Err(error) => {
                    tracing::warn!(%error, workflow = file.path, "a schedule starts nothing");
                }
            }
        }
    }
    found
}

/// What is due, and when each entry was due last.
#[derive(Debug)]
struct Diary {
    looked: Timestamp,
    last: BTreeMap<(String, String), Timestamp>,
}

impl Diary {
    /// Returns the entries whose time has come since the last look.
    fn due<'a>(&mut self, entries: &'a [Entry], now: Timestamp) -> Vec<&'a Entry> {
        let after = self.looked.max(now - MOST);
        self.looked = now;
        let mut due = Vec::new();
        for entry in entries.iter().filter(|entry| entry.comes(after, now)) {
            let key = (entry.workflow.clone(), entry.text.clone());
            if self.last.get(&key).is_none_or(|last| now.duration_since(*last) >= LEAST) {
                self.last.insert(key, now);
                due.push(entry);
            }
        }
        due
    }
}

impl Conductor {
    /// Starts workflows at their times until the process ends.
    pub(super) async fn keep_schedules(self: Arc<Self>) -> anyhow::Result<()> {
        let mut diary = Diary { looked: self.journal.now(), last: BTreeMap::new() };
        let mut known: (Option<CommitId>, Vec<Entry>) = (None, Vec::new());
        loop {
            let now = self.journal.now();
            let into = now.as_second().rem_euclid(60).unsigned_abs();
            // Not longer than a few seconds at once: a machine that sleeps stops its timers.
            tokio::time::sleep(Duration::from_secs((60 - into).clamp(1, 5))).await;
            let Some(commit) = self.view().newest_commit().map(|(id, _)| id.clone()) else {
                continue;
            };
            if known.0.as_ref() != Some(&commit) {
                let subject = self.subject(&commit)?;
                let read = move || subject.tree().workflows().map(|files| entries(&files));
                match tokio::task::spawn_blocking(read).await? {
                    Ok(entries) => known = (Some(commit.clone()), entries),
                    Err(error) => tracing::warn!(%error, "could not read the schedules"),
                }
            }
            for entry in diary.due(&known.1, self.journal.now()) {
                let fact = Fact::RunRequested {
                    commit: Some(commit.clone()),
                    workflow: Some(entry.workflow.clone()),
                    event: "schedule".to_owned(),
                    inputs: BTreeMap::new(),
                    payload: Some(serde_json::json!({ "schedule": entry.text })),
                };
                self.append(None, fact).await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Entry {
        let workflow = format!(
            "on:\n  schedule:\n    - {{cron: '{text}', timezone: Europe/Berlin}}\njobs: {{a: {{runs-on: linux, steps: [{{run: x}}]}}}}\n"
        );
        let file = Written { path: "w.yml".to_owned(), text: workflow };
        entries(&[file]).pop().expect("is a schedule")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("is a time")
    }

    #[test]
    fn what_came_since_the_last_look_is_due_once() {
        let entries = [entry("30 9 * * 1-5")];
        let mut diary = Diary { looked: at("2026-11-24T08:29:30Z"), last: BTreeMap::new() };
        assert_eq!(diary.due(&entries, at("2026-11-24T08:29:59Z")).len(), 0);
        assert_eq!(diary.due(&entries, at("2026-11-24T08:30:02Z")).len(), 1);
        assert_eq!(diary.due(&entries, at("2026-11-24T08:30:04Z")).len(), 0);
        // A machine that slept for a night is not late by a night.
        assert_eq!(diary.due(&entries, at("2026-11-25T10:00:00Z")).len(), 0);
    }

    #[test]
    fn nothing_is_due_more_often_than_every_five_minutes() {
        let entries = [entry("* * * * *")];
        let start = at("2026-11-24T08:00:30Z");
        let mut diary = Diary { looked: start, last: BTreeMap::new() };
        let minutes = 1..=20;
        let due = minutes
            .map(|minute| diary.due(&entries, start + SignedDuration::from_mins(minute)).len());
        assert_eq!(due.sum::<usize>(), 4);
    }
}
