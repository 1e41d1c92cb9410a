//! The way of a commit: tests, gate, release, deployment, as one line of stations.

use explain::{Standing, Subject};
use journal::view::{Commit, DeploymentEnd, Gate, View};
use journal::{CommitId, Conclusion};
use maud::{Markup, html};

use super::{class_of, icon};

/// A station on the way.
struct Station {
    name: &'static str,
    standing: Standing,
    word: String,
    path: Option<String>,
}

/// Returns how far a commit came.
pub(crate) fn way(id: &CommitId, commit: &Commit, view: &View) -> Markup {
    let stations = stations(id, commit, view);
    html! {
        ol.way aria-label="The way of this commit" {
            @for station in &stations {
                li.(class_of(station.standing)) {
                    @let inner = html! {
                        (icon::of(station.standing))
                        span.what { b { (station.name) } span { (station.word) } }
                    };
                    @if let Some(path) = &station.path { a href=(path) { (inner) } } @else { span.stop { (inner) } }
                }
            }
        }
    }
}

fn stations(id: &CommitId, commit: &Commit, view: &View) -> Vec<Station> {
    let mut stations = vec![Station {
        name: "Commit",
        standing: Standing::Ok,
        word: id.short().to_owned(),
        path: Some(Subject::Commit(id.clone()).path()),
    }];
    let runs: Vec<_> = commit.runs.values().filter_map(|run| view.runs.get(run)).collect();
    let failed = runs.iter().find(|run| run.conclusion.is_some_and(|end| !end.is_good()));
    let running = runs.iter().find(|run| run.conclusion.is_none());
    let broken = commit.plan.as_ref().is_some_and(|plan| plan.findings.iter().any(journal_error));
    let tests = match (failed, running, runs.last()) {
        _ if broken => (Standing::Failed, "cannot be read".to_owned(), None),
        (Some(run), _, _) => {
            let word =
                if run.conclusion == Some(Conclusion::Failure) { "failed" } else { "stopped" };
            (Standing::Failed, word.to_owned(), Some(Subject::Run(run.id).path()))
        }
        (None, Some(run), _) => {
            let ended = run.jobs.values().filter(|job| job.conclusion.is_some()).count();
            (
                Standing::Running,
                format!("{ended} of {} jobs", run.jobs.len()),
                Some(Subject::Run(run.id).path()),
            )
        }
        (None, None, Some(run)) => {
            (Standing::Ok, "passed".to_owned(), Some(Subject::Run(run.id).path()))
        }
        (None, None, None) => match &commit.plan {
            Some(plan) if plan.workflows.is_empty() => (Standing::Off, "none".to_owned(), None),
            _ => (Standing::Off, "waiting".to_owned(), None),
        },
    };
    stations.push(Station { name: "Tests", standing: tests.0, word: tests.1, path: tests.2 });
    let gate = match &commit.gate {
        Gate::Open => (Standing::Off, "waiting"),
        Gate::Passed { .. } => (Standing::Ok, "passed"),
        Gate::Held { .. } => (Standing::Failed, "held"),
    };
    stations.push(Station {
        name: "Gate",
        standing: gate.0,
        word: gate.1.to_owned(),
        path: Some(format!("{}#gate", Subject::Commit(id.clone()).path())),
    });
    stations.push(match &commit.release {
        Some(release) => Station {
            name: "Release",
            standing: Standing::Ok,
            word: release.short().to_owned(),
            path: None,
        },
        None => Station {
            name: "Release",
            standing: Standing::Off,
            word: "not yet".to_owned(),
            path: None,
        },
    });
    let deployment = commit.release.as_ref().and_then(|release| {
        view.deployments.values().rev().find(|deployment| deployment.to == *release)
    });
    stations.push(match deployment {
        Some(deployment) => {
            let (standing, word) = match &deployment.end {
                None => (Standing::Running, explain::words::basis_points(deployment.share())),
                Some(DeploymentEnd::Finished { .. }) => (Standing::Ok, "all traffic".to_owned()),
                Some(DeploymentEnd::RolledBack { .. }) => {
                    (Standing::Failed, "rolled back".to_owned())
                }
            };
            Station {
                name: "Traffic",
                standing,
                word,
                path: Some(Subject::Deployment(deployment.id).path()),
            }
        }
        None => Station {
            name: "Traffic",
            standing: Standing::Off,
            word: "not yet".to_owned(),
            path: None,
        },
    });
    stations
}

fn journal_error(finding: &source::Finding) -> bool {
    finding.is_error()
}
