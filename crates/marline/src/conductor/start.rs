//! Workflows that are started by what others did: by the runs of other workflows, or by somebody's
//! word.

use std::sync::Arc;

use journal::{CommitId, EventId, Fact};

use super::Conductor;
use super::action::Occasion;

/// How many runs may start each other in a row, as on GitHub.
const MOST_IN_A_ROW: usize = 3;

impl Conductor {
    /// Asks for a run of each workflow that an event starts.
    pub(super) async fn start(
        self: &Arc<Self>,
        commit: &CommitId,
        occasion: &Occasion,
        cause: Option<EventId>,
    ) -> anyhow::Result<()> {
        let is_about_a_run = occasion.event.starts_with("workflow_run");
        if is_about_a_run && self.runs_in_a_row(cause)? > MOST_IN_A_ROW {
            tracing::info!(
                "runs have started each other {MOST_IN_A_ROW} times in a row; that is all"
            );
            return Ok(());
        }
        let subject = self.subject(commit)?;
        let given = self.given_by(occasion)?;
        let started = tokio::task::spawn_blocking(move || subject.plan(&given)).await??;
        for plan in &started.plans {
            let fact = Fact::RunRequested {
                commit: Some(commit.clone()),
                workflow: Some(plan.workflow.path.clone()),
                event: occasion.event.clone(),
                inputs: occasion.inputs.iter().cloned().collect(),
                payload: occasion.payload()?,
            };
            self.append(cause, fact).await?;
        }
        if started.plans.is_empty()
            && !is_about_a_run
            && let Some(request) = cause
        {
            let reasons: Vec<String> = started
                .not_triggered
                .iter()
                .map(|other| format!("{}: {}", other.workflow, other.reason))
                .collect();
            let why =
                format!("no workflow starts for `{}`: {}", occasion.event, reasons.join("; "));
            self.append(cause, Fact::RequestRefused { request, why }).await?;
        }
        Ok(())
    }

    /// Counts the ends of runs that led to an event, itself included.
    fn runs_in_a_row(&self, from: Option<EventId>) -> anyhow::Result<usize> {
        let mut count = 0;
        let mut at = from;
        while let Some(id) = at.filter(|_| count <= MOST_IN_A_ROW) {
            let event = self.journal.read(EventId(id.0.saturating_sub(1)), 1)?.into_iter().next();
            let Some(event) = event else { break };
            count += usize::from(matches!(event.fact, Fact::RunFinished { .. }));
            at = event.cause;
        }
        Ok(count)
    }
}
