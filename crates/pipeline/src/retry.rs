//! Where a run goes on: at a step, above the layers that earlier runs recorded.
//!
//! What is before the step is taken from its last recording, whatever has changed since, and nothing
//! of it runs; the step and all behind it run. Steps that are built in, as `actions/checkout`, are
//! done again: they cost little, and bring what was mended in the work tree.

use std::path::Path;

use journal::JobKey;
use source::workflow::{Step, StepKind};

use crate::built_in::BuiltIn;
use crate::execute::{numbered, written_name};
use crate::plan::{JobPlan, Plan};
use crate::replay::quick::Quick;
use crate::replay::store::{LastCalls, Store};

/// A step that a run goes on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The path of its workflow.
    pub workflow: String,
    /// The key of its job under `jobs:`.
    pub job: String,
    /// Its number in the job.
    pub step: u32,
}

/// A step of a plan, and whether a run can go on from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The step.
    pub from: From,
    /// The job of the plan that it is part of: its own, or the one that calls its workflow.
    pub top: String,
    /// Its id, if it was given one.
    pub id: Option<String>,
    /// Its name as written.
    pub name: String,
    /// The name of an earlier step without a recording: nothing can go on behind it.
    pub missing: Option<String>,
}

impl Candidate {
    /// Returns what names it among all steps of a workflow, as `job/step`.
    pub fn address(&self) -> String {
        format!("{}/{}", self.from.job, self.id.as_deref().unwrap_or(&self.name))
    }

    /// Whether somebody means it by a step's id or name, or by `job/step`, where the step may be its
    /// number as well.
    pub fn is_meant(&self, wanted: &str) -> bool {
        let is_step = |text: &str| {
            self.id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(text)) || self.name == text
        };
        let in_job = wanted
            .strip_prefix(self.from.job.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| is_step(rest) || rest == self.from.step.to_string());
        in_job || is_step(wanted)
    }
}

/// Lists the steps of a plan in their order, those of called workflows included.
///
/// `recordings` is [`crate::execute::Surroundings::replay`]. `was_skipped` tells whether a step was
/// skipped the last time: such a step left nothing that could be missing.
pub fn candidates(
    plan: &Plan,
    recordings: &Path,
    was_skipped: &dyn Fn(&JobKey, u32) -> bool,
) -> Vec<Candidate> {
    let store = Store::new(recordings.join("store"));
    let mut found = Vec::new();
    for job in &plan.jobs {
        list(plan, job, &job.id, &store, was_skipped, &mut found);
    }
    found
}

fn list(
    plan: &Plan,
    job: &JobPlan,
    top: &str,
    store: &Store,
    was_skipped: &dyn Fn(&JobKey, u32) -> bool,
    found: &mut Vec<Candidate>,
) {
    for called in job.instances.iter().flatten().filter_map(|instance| instance.called.as_ref()) {
        for inner in &called.jobs {
            list(called, inner, top, store, was_skipped, found);
        }
    }
    let Some(steps) =
        plan.workflow.jobs.iter().find(|one| one.id.value == job.id).and_then(|one| one.steps())
    else {
        return;
    };
    let keys: Vec<(JobKey, LastCalls, Quick)> = job
        .instances
        .iter()
        .flatten()
        .map(|instance| {
            let name = format!("{}\n{}", plan.workflow.path, instance.key);
            (instance.key.clone(), store.last_calls(&name), store.quick(&name))
        })
        .collect();
    let mut missing = None;
    for (number, step) in numbered(plan.actions.as_ref(), &steps.list) {
        let from = From { workflow: plan.workflow.path.clone(), job: job.id.clone(), step: number };
        let name = written_name(step);
        let has = |(key, calls, quick): &(JobKey, LastCalls, Quick)| {
            was_skipped(key, number)
                || calls.any(&format!("{}\n{key}\n{number} ", plan.workflow.path), store, quick)
        };
        let is_kept = !is_program(step) || keys.iter().all(has);
        found.push(Candidate {
            from,
            top: top.to_owned(),
            id: step.id_span.is_some().then(|| step.id.clone()),
            name: name.clone(),
            missing: missing.clone(),
        });
        if missing.is_none() && !is_kept {
            missing = Some(name);
        }
    }
}

/// Whether a step is one whose doing is recorded.
fn is_program(step: &Step) -> bool {
    match &step.kind {
        StepKind::Run { .. } => true,
        StepKind::Uses { action, .. } => !BuiltIn::is_named(&action.value),
        StepKind::Wait(_) | StepKind::WaitAll(_) | StepKind::Cancel(_) | StepKind::Parallel(_) => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_meant_by_its_id_its_name_or_both_with_its_job() {
        let from = From { workflow: "ci.yml".into(), job: "build".into(), step: 3 };
        let step = Candidate {
            from,
            top: "build".into(),
            id: Some("unit".into()),
            name: "Test a/b".into(),
            missing: None,
        };
        for (wanted, is_meant) in [
            ("unit", true),
            ("UNIT", true),
            ("Test a/b", true),
            ("build/unit", true),
            ("build/Test a/b", true),
            ("build/3", true),
            ("3", false),
            ("build", false),
            ("buildunit", false),
            ("other/unit", false),
            ("test a/b", false),
        ] {
            assert_eq!(step.is_meant(wanted), is_meant, "{wanted}");
        }
        assert_eq!(step.address(), "build/unit");
    }
}
