//! The team's Prometheus rules, evaluated over the numbers.
//!
//! The rules are those of the newest release, and those that every service gets
//! ([`automatic_rules`]); another release brings its own. Alerts that fired
//! under rules that are gone are resolved, for nobody asks their question any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use journal::{Fact, Labels, ReleaseId, ServiceName, View};
use source::rules::RuleFile;
use watch::rule::{Rules, automatic};

use super::Conductor;

/// How often a group is evaluated that does not say it.
const INTERVAL: Duration = Duration::from_secs(15);

/// How often it is looked whether a group is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long after its start a conductor has enough numbers for what looks back a few minutes.
const NUMBERS_BACK_AFTER: Duration = Duration::from_mins(5);

impl Conductor {
    /// Evaluates rules until the process ends.
    pub(super) async fn evaluate_rules(self: Arc<Self>) -> anyhow::Result<()> {
        let begun = tokio::time::Instant::now();
        let mut of: Option<ReleaseId> = None;
        let mut rules = Rules::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let newest = self.view().newest_release().map(|(release, _)| release.clone());
            if newest != of {
                rules = newest.as_ref().map(|release| self.rules_of(release)).unwrap_or_default();
                of = newest;
                self.resolve_orphans(&rules, false).await?;
            }
            let now = self.journal.now();
            if rules.due().is_none_or(|due| due > now) {
                continue;
            }
            let evaluated = rules.evaluate(&self.store, now);
            for error in &evaluated.errors {
                tracing::warn!(?error, "a rule could not be evaluated");
            }
            if evaluated.errors.is_empty() {
                self.resolve_orphans(&rules, begun.elapsed() > NUMBERS_BACK_AFTER).await?;
            }
            for change in &evaluated.changes {
                let fact = change.recorded();
                if !self.is_on_record(&fact) {
                    self.append(None, fact).await?;
                }
            }
        }
    }

    /// Reads the rule files of a release, and those rules that every service gets unless there is
    /// one of the same name; what is wrong in the files was found before it was cut.
    fn rules_of(&self, release: &ReleaseId) -> Rules {
        let mut rules = Rules::default();
        let files = files(&self.releases.files(release).join("rules"));
        let taken = files.iter().flat_map(|(_, file)| automatic::alerts(file)).collect();
        for (name, file) in &files {
            rules.add(name, file, INTERVAL);
        }
        if let Some((file, _)) = automatic_rules(&self.view(), &taken) {
            rules.add(automatic::NAME, &file, INTERVAL);
        }
        rules.resuming()
    }

    /// Whether the journal says it already: alerts are kept over a restart of the conductor.
    fn is_on_record(&self, fact: &Fact) -> bool {
        let view = self.view();
        let holds = |alert: &String, labels: &Labels| {
            view.alerts.contains_key(&(alert.clone(), labels.clone()))
        };
        match fact {
            Fact::AlertFired { alert, labels, .. } => holds(alert, labels),
            Fact::AlertResolved { alert, labels } => !holds(alert, labels),
            _ => false,
        }
    }

    /// Resolves alerts whose rule is gone, and those that an earlier conductor saw fire and that
    /// did not fire again since the numbers are back.
    async fn resolve_orphans(&self, rules: &Rules, numbers_are_back: bool) -> anyhow::Result<()> {
        let known: BTreeSet<&str> = rules.alerts().collect();
        let active: BTreeSet<&str> = rules.active().map(|active| active.alert.as_str()).collect();
        let is_orphan =
            |alert: &str| !known.contains(alert) || (numbers_are_back && !active.contains(alert));
        let orphans: Vec<(String, Labels)> = {
            let view = self.view();
            view.alerts.keys().filter(|(alert, _)| is_orphan(alert)).cloned().collect()
        };
        for (alert, labels) in orphans {
            self.append(None, Fact::AlertResolved { alert, labels }).await?;
        }
        Ok(())
    }
}

/// Reads the rule files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<(String, RuleFile)> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "yml" || end == "yaml"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        let name = format!("rules/{}", path.file_name().unwrap_or_default().to_string_lossy());
        let (file, _) = source::rules::read(&name, &text);
        Some((name, file?))
    };
    paths.iter().filter_map(read).collect()
}

/// Returns the rules that the services of the newest release get, with the names of those that are
/// left out because the team has its own; nothing while there is no service.
pub fn automatic_rules(view: &View, taken: &BTreeSet<String>) -> Option<(RuleFile, Vec<String>)> {
    let text = automatic_text(view)?;
    let (file, _) = source::rules::read(automatic::NAME, &text);
    Some(automatic::without(file?, taken))
}

/// Returns the file of those rules.
pub fn automatic_text(view: &View) -> Option<String> {
    let (_, release) = view.newest_release()?;
    let services = release.services.iter().map(ServiceName::as_str);
    (!release.services.is_empty()).then(|| automatic::file(services))
}
