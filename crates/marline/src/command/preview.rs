//! `marline run --plan`: what would run, and why the rest would not.

use std::collections::BTreeSet;

use pipeline::outlook::{JobOutlook, Would, outlook};
use pipeline::plan::Plan;
use serde_json::{Value, json};

use crate::project::Here;
use crate::runs::Started;

/// Prints what would run; of only one job and what it needs, if so asked.
pub fn show(here: &Here, started: &Started, only: Option<&str>) {
    let only = only.map(|job| BTreeSet::from([job.to_owned()]));
    let foreseen: Vec<(&Plan, Vec<JobOutlook>)> =
        started.plans.iter().map(|plan| (plan, outlook(plan, only.as_ref()))).collect();
    if here.json {
        println!("{}", value(started, &foreseen));
        return;
    }
    for (plan, jobs) in &foreseen {
        println!("{} ({})", plan.name, plan.workflow.path);
        for job in jobs {
            println!("  {}", line(plan, job));
            for step in job.steps.iter().filter(|step| step.would != Would::Run) {
                let why = step.why.as_deref().unwrap_or_default();
                println!("      {} {}. {}: {why}", sign(step.would), step.number, step.name);
            }
        }
    }
    for other in &started.not_triggered {
        println!("– {}: {}", other.workflow, other.reason);
    }
}

fn sign(would: Would) -> &'static str {
    match would {
        Would::Run => "·",
        Would::Skip => "↷",
        Would::Depends => "?",
    }
}

fn line(plan: &Plan, job: &JobOutlook) -> String {
    let is_open = plan.jobs.iter().any(|known| known.id == job.id && known.instances.is_none());
    let later = if is_open { " (its matrix is known when what it needs has run)" } else { "" };
    let after = if job.needs.is_empty() {
        String::new()
    } else {
        format!("  after {}", explain::words::list(&job.needs))
    };
    let why = job.why.as_deref().map(|why| format!("  {why}")).unwrap_or_default();
    format!("{} {}{later}{after}{why}", sign(job.would), job.job)
}

fn value(started: &Started, foreseen: &[(&Plan, Vec<JobOutlook>)]) -> Value {
    let event = &started.event;
    let judged = |path: &str| started.judged.get(path).map(|judged| json!(judged.parts));
    let workflows: Vec<Value> = foreseen
        .iter()
        .map(|(plan, jobs)| {
            json!({
                "workflow": plan.workflow.path,
                "name": plan.name,
                "would": "run",
                "filter": judged(&plan.workflow.path),
                "jobs": jobs,
            })
        })
        .collect();
    let others: Vec<Value> = started
        .not_triggered
        .iter()
        .map(|other| {
            json!({
                "workflow": other.workflow,
                "would": "skip",
                "reason": other.reason,
                "filter": judged(&other.workflow),
            })
        })
        .collect();
    json!({
        "event": {
            "name": event.name,
            "action": event.activity,
            "ref": event.git_ref,
            "sha": event.commit,
            "base_ref": event.base_ref,
            "head_ref": event.head_ref,
            "actor": event.actor,
            "repository": event.repository,
            "changed_files": event.changed_files.as_ref().map(|files| {
                files.iter().map(|file| String::from_utf8_lossy(file)).collect::<Vec<_>>()
            }),
        },
        "workflows": workflows,
        "not_triggered": others,
        "findings": started.findings,
    })
}
