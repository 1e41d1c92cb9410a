//! How the whole repository stands.

use journal::View;
use journal::view::{DeploymentEnd, Gate};

use super::{explanation, read_more, service};
use crate::Subject;
use crate::explanation::{Explanation, Line, Next, Standing};
use crate::words::{count, list};

pub(super) fn explain(view: &View) -> Explanation {
    let services: Vec<(Standing, String)> =
        view.services.iter().map(|(name, of)| service::sentence(name, of)).collect();
    let healthy = services.iter().filter(|(standing, _)| *standing == Standing::Ok).count();
    let incidents = view.open_incidents().count() as u64;
    let (standing, sentence) = if incidents > 0 {
        (Standing::Failed, format!("{} open.", count(incidents, "incident is", "incidents are")))
    } else if services.is_empty() {
        match view.newest_commit() {
            Some((id, _)) => {
                (Standing::Off, format!("Nothing runs yet; the newest commit is {}.", id.short()))
            }
            None => match view.runs.values().next_back() {
                Some(run) => {
                    let end =
                        run.conclusion.map_or("goes on".to_owned(), |end| format!("ended: {end}"));
                    (Standing::Ok, format!("Nothing runs here; the newest run, {}, {end}.", run.id))
                }
                None => (Standing::Off, "Nothing has happened yet.".to_owned()),
            },
        }
    } else if healthy == services.len() {
        let all = match healthy {
            1 => "The service is healthy".to_owned(),
            2 => "Both services are healthy".to_owned(),
            many => format!("All {many} services are healthy"),
        };
        (Standing::Ok, format!("{all}."))
    } else {
        let unwell: Vec<&str> = services
            .iter()
            .filter(|(standing, _)| *standing != Standing::Ok)
            .map(|(_, sentence)| sentence.trim_end_matches('.'))
            .collect();
        let worst = services.iter().map(|(standing, _)| *standing).max().unwrap_or(Standing::Off);
        (worst, format!("{}.", list(&unwell)))
    };
    let mut told = explanation(Subject::Everything, standing, sentence);
    told.evidence = services
        .into_iter()
        .map(|(_, sentence)| Line::new(sentence.trim_end_matches('.'), []))
        .collect();
    for incident in view.open_incidents() {
        told.evidence.push(Line::new(
            format!("incident {}: {}", incident.id, incident.title),
            [incident.opened],
        ));
        told.next.push(read_more(&Subject::Incident(incident.id)));
    }
    if let Some((id, commit)) = view.newest_commit() {
        match &commit.gate {
            Gate::Held { event, reasons } => {
                told.evidence.push(Line::new(
                    format!(
                        "commit {} is held at the gate: {}",
                        id.short(),
                        count(reasons.len() as u64, "reason", "reasons")
                    ),
                    [*event],
                ));
                told.next.push(read_more(&Subject::Commit(id.clone())));
            }
            Gate::Open => told
                .evidence
                .push(Line::new(format!("commit {} is being checked", id.short()), [commit.seen])),
            Gate::Passed { .. } => {}
        }
    }
    if let Some(deployment) = view.deployments.values().next_back() {
        match &deployment.end {
            Some(DeploymentEnd::RolledBack { event, reason, .. }) => told.evidence.push(Line::new(
                format!(
                    "the last deployment, {}, was rolled back: {}",
                    deployment.id,
                    reason.trim_end_matches('.')
                ),
                [*event],
            )),
            Some(DeploymentEnd::Finished { event, .. }) => told.evidence.push(Line::new(
                format!(
                    "the last deployment, {}, put {} on release {}",
                    deployment.id,
                    deployment.service,
                    deployment.to.short()
                ),
                [*event],
            )),
            None => told.evidence.push(Line::new(
                format!(
                    "deployment {} moves {} to release {}",
                    deployment.id,
                    deployment.service,
                    deployment.to.short()
                ),
                [deployment.started],
            )),
        }
    }
    if view.commits.is_empty() {
        told.next.push(Next::command("Carry this repository into a running service", "marline up"));
    }
    told.for_manager = vec![Line::new(
        match standing {
            Standing::Ok => "Everything works. Nothing for you to do.",
            Standing::Off => "Nothing runs yet.",
            Standing::Running => "The service is starting.",
            _ => "Something does not work as it should. A developer needs to look at it.",
        },
        view.newest,
    )];
    told
}
