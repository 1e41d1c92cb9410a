//! The team's Prometheus rules, evaluated over the numbers.
//!
//! The rules are those of the newest release; another release brings its own. Alerts that fired
//! under rules that are gone are resolved, for nobody asks their question any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use journal::{Fact, Labels, ReleaseId};
use watch::rule::Rules;

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

    /// Reads the rule files of a release; what is wrong in them was found before it was cut.
    fn rules_of(&self, release: &ReleaseId) -> Rules {
        let mut rules = Rules::default();
        let folder = self.releases.files(release).join("rules");
        let Ok(entries) = std::fs::read_dir(folder) else { return rules };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let is_yaml = path.extension().is_some_and(|end| end == "yml" || end == "yaml");
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            let name = format!("rules/{}", path.file_name().unwrap_or_default().to_string_lossy());
            if let (true, (Some(file), _)) = (is_yaml, source::rules::read(&name, &text)) {
                rules.add(&name, &file, INTERVAL);
            }
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
