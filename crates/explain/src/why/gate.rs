//! Why a commit may or may not become a release.

use journal::view::{Commit, Gate};
use journal::{Certainty, CommitId, Conclusion, View};

use super::{explanation, production_untouched};
use crate::Subject;
use crate::explanation::{Cause, Explanation, Line, Next, Standing};
use crate::words::{count, full_stop, list};

/// How many reasons are told one by one.
const REASONS_TOLD: usize = 8;

pub(super) fn explain(id: &CommitId, commit: &Commit, view: &View) -> Explanation {
    let subject = Subject::Commit(id.clone());
    let name = format!("Commit {} \u{201c}{}\u{201d}", id.short(), commit.subject);
    match &commit.gate {
        Gate::Held { event, reasons } => {
            let mut told = explanation(
                subject,
                Standing::Failed,
                format!(
                    "{name} is held at the gate: {}.",
                    count(reasons.len() as u64, "reason", "reasons")
                ),
            );
            let rules: Vec<&str> = distinct(reasons.iter().map(|reason| reason.rule.as_str()));
            told.cause = Some(Cause {
                text: match reasons.as_slice() {
                    [only] => full_stop(&crate::words::sentence_case(&only.message)),
                    _ => format!("The gate lets no commit pass with {}.", list(&rules)),
                },
                certainty: Certainty::Certain,
            });
            told.evidence = reasons
                .iter()
                .take(REASONS_TOLD)
                .map(|reason| {
                    Line::new(format!("{}: {}", reason.rule, reason.message), [*event])
                        .at(reason.place.clone())
                })
                .collect();
            if reasons.len() > REASONS_TOLD {
                told.evidence.push(Line::new(
                    format!("and {} more", reasons.len() - REASONS_TOLD),
                    [*event],
                ));
            }
            told.changed = super::commits_between(view, commit.before.as_ref(), id);
            told.affected = vec![production_untouched(view)];
            let helps = distinct(reasons.iter().filter_map(|reason| reason.help.as_deref()));
            told.next = helps.into_iter().take(3).map(Next::new).collect();
            if let Some(run) = failed_run(commit, view) {
                told.next
                    .push(Next::command("See why the run failed", Subject::Run(run).command()));
            }
            told.next.push(Next::command("Look again after mending it", "marline check"));
            told.for_manager = vec![
                Line::new(
                    "The latest change was stopped before its release, because a safety check found a problem.",
                    [*event],
                ),
                Line::new("Users are not affected.", [*event]),
                Line::new("A developer can mend it, or allow it and say why.", [*event]),
            ];
            told
        }
        Gate::Passed { event } => {
            let mut told = explanation(subject, Standing::Ok, format!("{name} passed the gate."));
            match &commit.release {
                Some(release) => {
                    let cut = view.releases.get(release).map(|release| release.cut);
                    told.evidence.push(Line::new(
                        format!("release {} was cut from it", release.short()),
                        cut,
                    ));
                }
                None => told.evidence.push(Line::new("no release was cut from it yet", [*event])),
            }
            told.for_manager =
                vec![Line::new("The change passed its checks and may be released.", [*event])];
            told
        }
        Gate::Open => {
            let errors = commit
                .plan
                .iter()
                .flat_map(|plan| &plan.findings)
                .filter(|finding| finding.is_error());
            let errors: Vec<Line> = errors
                .map(|finding| {
                    Line::new(format!("{}: {}", finding.rule, finding.message), [commit.seen])
                        .at(Some(finding.place.clone()))
                })
                .collect();
            if !errors.is_empty() {
                let mut told = explanation(
                    subject,
                    Standing::Failed,
                    format!(
                        "Nothing starts for {name}: {} in its files.",
                        count(errors.len() as u64, "error", "errors")
                    ),
                );
                told.cause = Some(Cause {
                    text: "Its workflow or Compose files cannot be understood.".to_owned(),
                    certainty: Certainty::Certain,
                });
                told.evidence = errors;
                told.next = vec![Next::command("See each error with its line", "marline check")];
                told.for_manager = vec![Line::new(
                    "The latest change cannot be checked, because a file that describes the checks has a mistake. A developer needs to mend it.",
                    [commit.seen],
                )];
                return told;
            }
            let mut told = explanation(
                subject,
                Standing::Running,
                format!("{name} is on its way to the gate."),
            );
            let waiting: Vec<String> = commit
                .runs
                .values()
                .filter_map(|run| view.runs.get(run))
                .filter(|run| run.conclusion.is_none())
                .map(|run| format!("run {} of {}", run.id, run.name))
                .collect();
            if !waiting.is_empty() {
                told.evidence
                    .push(Line::new(format!("it waits for {}", list(&waiting)), [commit.seen]));
            }
            told.for_manager =
                vec![Line::new("The latest change is being checked.", [commit.seen])];
            told
        }
    }
}

fn failed_run(commit: &Commit, view: &View) -> Option<journal::RunId> {
    let mut runs = commit.runs.values().filter_map(|run| view.runs.get(run));
    runs.find(|run| run.conclusion == Some(Conclusion::Failure)).map(|run| run.id)
}

fn distinct<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}
