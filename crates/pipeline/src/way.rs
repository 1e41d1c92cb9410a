//! How far it is from each job to the end of the run, by how long jobs took before.

use std::collections::BTreeMap;

use journal::JobKey;

use crate::plan::{Instance, JobPlan, Plan};

/// What a job is taken to need when no job is known, in milliseconds: then the most jobs in a row
/// are the longest way.
const UNKNOWN: u64 = 1_000;

/// How long jobs took in earlier runs, in milliseconds.
pub type Durations = BTreeMap<JobKey, u64>;

/// Returns for each entry of `jobs:` the longest way behind it: what has to run, one after the
/// other, when it has ended. In milliseconds.
pub fn behind(plan: &Plan, durations: &Durations) -> Vec<u64> {
    let own: Vec<u64> = plan.jobs.iter().map(|job| of_job(job, durations)).collect();
    let mut behind = vec![0; plan.jobs.len()];
    // Jobs may stand before those that they need; a way has at most as many jobs as there are.
    for _ in 0..plan.jobs.len() {
        for (at, job) in plan.jobs.iter().enumerate() {
            for need in &job.needs {
                behind[*need] = behind[*need].max(own[at] + behind[at]);
            }
        }
    }
    behind
}

/// Returns how long a job with one combination of its matrix is taken to need, in milliseconds.
pub fn of_instance(instance: &Instance, durations: &Durations) -> u64 {
    if let Some(called) = &instance.called {
        let behind = behind(called, durations);
        let ways = called.jobs.iter().zip(behind);
        return ways.map(|(job, behind)| of_job(job, durations) + behind).max().unwrap_or(0);
    }
    durations.get(&instance.key).copied().unwrap_or_else(|| usual(durations))
}

fn of_job(job: &JobPlan, durations: &Durations) -> u64 {
    let instances = job.instances.iter().flatten();
    let longest = instances.map(|instance| of_instance(instance, durations)).max();
    longest.unwrap_or_else(|| usual(durations))
}

/// The mean of all that are known.
fn usual(durations: &Durations) -> u64 {
    let count = durations.len() as u64;
    durations.values().sum::<u64>().checked_div(count).unwrap_or(UNKNOWN)
}
