//! What was asked for, checked against the view before it is granted.

use std::collections::BTreeMap;

use journal::view::Gate;
use journal::{CommitId, DeploymentId, EventId, Fact, Labels, RunId, ServiceName, View};
use source::alertmanager::matcher;

use crate::state::Refusal;

/// The most instances of a service that one may ask for.
const MOST_INSTANCES: u32 = 64;

/// Checks a wish against the present: whether it is one, whether what it names is there, and
/// whether it still makes sense.
pub fn check(view: &View, fact: &Fact) -> Result<(), Refusal> {
    match fact {
        Fact::RunRequested { commit, workflow: _, .. } => {
            commit.as_ref().map_or(Ok(()), |commit| known_commit(view, commit))
        }
        Fact::CancelRequested { run } => {
            let found = known_run(view, *run)?;
            match found.conclusion {
                Some(end) => Err(Refusal::new(
                    format!("Run {run} has ended already: {end}."),
                    "Nothing needs to be done.",
                )),
                None => Ok(()),
            }
        }
        Fact::DeployRequested { release, commit, services, .. } => {
            if let Some(release) = release
                && view.releases.get(release).is_none_or(|release| release.is_removed)
            {
                return Err(Refusal::new(
                    format!("Release {} is not kept here.", release.short()),
                    "Choose one of the releases that are listed.",
                ));
            }
            if let Some(commit) = commit {
                known_commit(view, commit)?;
            }
            // A service may be new in this release, so that the view need not know it.
            let _ = services;
            Ok(())
        }
        Fact::RollbackRequested { service, to } => {
            if let Some(name) = service {
                let service = known_service(view, name)?;
                if to.is_none() && service.previous().is_none() && service.deployment.is_none() {
                    return Err(Refusal::new(
                        format!("{name} has no release before this one."),
                        "Deploy another commit instead.",
                    ));
                }
            }
            match to {
                Some(to) if view.releases.get(to).is_none_or(|release| release.is_removed) => {
                    Err(Refusal::new(
                        format!("Release {} is not kept here any more.", to.short()),
                        "Choose one of the releases that are listed.",
                    ))
                }
                _ => Ok(()),
            }
        }
        Fact::PromoteRequested { deployment } | Fact::AbortRequested { deployment } => {
            moving(view, *deployment)
        }
        Fact::ScaleRequested { service, count } => {
            known_service(view, service)?;
            if *count > MOST_INSTANCES {
                return Err(Refusal::new(
                    format!("{count} instances are more than one machine should have."),
                    format!("Ask for {MOST_INSTANCES} at most."),
                ));
            }
            Ok(())
        }
        Fact::RestartRequested { service } | Fact::MaintenanceRequested { service, .. } => {
            known_service(view, service).map(|_| ())
        }
        Fact::FindingAllowed { rule, path, reason, .. } => {
            needs_text("the rule", rule)?;
            needs_text("the path", path)?;
            needs_text("a reason", reason)
        }
        Fact::GateOverridden { commit, reason } => {
            needs_text("a reason", reason)?;
            known_commit(view, commit)?;
            match view.commits.get(commit).map(|commit| &commit.gate) {
                Some(Gate::Held { .. }) => Ok(()),
                _ => Err(Refusal::new(
                    format!("The gate does not hold {}.", commit.short()),
                    "Nothing needs to be done.",
                )),
            }
        }
        Fact::SilenceSet { matchers, more, reason, from_ms, until_ms } => {
            needs_text("a reason", reason)?;
            silence(matchers, more, *from_ms, *until_ms)
        }
        Fact::SilenceExpired { silence } => match view.silences.get(silence) {
            None => Err(Refusal::new(
                format!("There is no silence {silence}."),
                "`marline silence list` shows those that there are.",
            )),
            Some(known) if view.at.is_some_and(|at| known.until <= at) => Err(Refusal::new(
                format!("Silence {silence} is over already."),
                "Nothing needs to be done.",
            )),
            Some(_) => Ok(()),
        },
        Fact::Approved { request, .. } | Fact::Rejected { request, .. } => {
            if view.asked.get(request).is_some_and(|asked| asked.answer.is_none()) {
                Ok(())
            } else {
                Err(Refusal::new(
                    "Nothing waits for this answer any more.",
                    "Somebody else has answered, or the run has ended.",
                ))
            }
        }
        Fact::DownRequested {} => Ok(()),
        other => Err(Refusal::new(
            format!("{} is not something one can ask for.", other.kind()),
            "Ask for a run, a deployment, a roll-back, or another of the documented wishes.",
        )),
    }
}

/// Checks what a silence matches and when: as Alertmanager, one matcher must ask for something.
fn silence(
    matchers: &Labels,
    more: &[String],
    from_ms: Option<i64>,
    until_ms: i64,
) -> Result<(), Refusal> {
    let mut asks = matchers.values().any(|value| !value.is_empty());
    for text in more {
        let read = matcher::parse(text).map_err(|error| {
            Refusal::new(
                format!("`{text}` is no matcher: {error}."),
                "Write it as `name=\"value\"`, with `=`, `!=`, `=~` or `!~`.",
            )
        })?;
        asks |= read.iter().any(|matcher| !matcher.fits(""));
    }
    if !asks {
        return Err(Refusal::new(
            "The silence would mute every alert.",
            "Say which alerts: a label and its value, such as `service=web`.",
        ));
    }
    if from_ms.is_some_and(|from| from >= until_ms) {
        return Err(Refusal::new("The silence ends before it begins.", "Change one of the times."));
    }
    Ok(())
}

/// Reads the fields of a form as the wish that the last part of its path names.
pub(crate) fn of_form(action: &str, fields: &BTreeMap<String, String>) -> Result<Fact, Refusal> {
    let text = |name: &str| {
        fields.get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let needed = |name: &str| {
        text(name).ok_or_else(|| {
            Refusal::new(format!("The form needs `{name}`."), "Go back and fill it in.")
        })
    };
    let number = |name: &str| -> Result<u64, Refusal> {
        needed(name)?.parse().map_err(|_| {
            Refusal::new(format!("`{name}` must be a whole number."), "Go back and change it.")
        })
    };
    Ok(match action {
        "rollback" => Fact::RollbackRequested {
            service: text("service").map(ServiceName::from),
            to: text("to").map(Into::into),
        },
        "promote" => Fact::PromoteRequested { deployment: DeploymentId(number("deployment")?) },
        "abort" => Fact::AbortRequested { deployment: DeploymentId(number("deployment")?) },
        "scale" => Fact::ScaleRequested {
            service: ServiceName::from(needed("service")?),
            count: u32::try_from(number("count")?).unwrap_or(u32::MAX),
        },
        "restart" => Fact::RestartRequested { service: ServiceName::from(needed("service")?) },
        "run" => Fact::RunRequested {
            commit: text("commit").map(CommitId::from),
            workflow: text("workflow"),
            event: text("event").unwrap_or_else(|| "push".to_owned()),
            inputs: BTreeMap::new(),
            payload: None,
        },
        "approve" => Fact::Approved {
            request: EventId(number("request")?),
            note: text("reason").unwrap_or_default(),
        },
        "deny" => Fact::Rejected {
            request: EventId(number("request")?),
            note: text("reason").unwrap_or_default(),
        },
        "cancel" => Fact::CancelRequested { run: RunId(number("run")?) },
        "deploy" => Fact::DeployRequested {
            release: text("release").map(Into::into),
            commit: None,
            services: text("service").map(ServiceName::from).into_iter().collect(),
            strategy: None,
        },
        "allow" => Fact::FindingAllowed {
            rule: needed("rule")?,
            path: needed("path")?,
            line: text("line").and_then(|line| line.parse().ok()),
            reason: needed("reason")?,
            until: text("until"),
        },
        "override" => Fact::GateOverridden {
            commit: CommitId::from(needed("commit")?),
            reason: needed("reason")?,
        },
        _ => return Err(Refusal::new("There is no such form.", "Go back to the page before.")),
    })
}

/// Returns the page on which the answer to a wish is seen.
pub(crate) fn page_of(fact: &Fact) -> String {
    use explain::Subject;
    match fact {
        Fact::RollbackRequested { service: Some(service), .. }
        | Fact::ScaleRequested { service, .. }
        | Fact::MaintenanceRequested { service, .. }
        | Fact::RestartRequested { service } => Subject::Service(service.clone()).path(),
        Fact::PromoteRequested { deployment } | Fact::AbortRequested { deployment } => {
            Subject::Deployment(*deployment).path()
        }
        Fact::CancelRequested { run } => Subject::Run(*run).path(),
        Fact::RunRequested { .. } | Fact::Approved { .. } | Fact::Rejected { .. } => {
            "/runs".to_owned()
        }
        Fact::DeployRequested { .. } | Fact::RollbackRequested { .. } => "/deployments".to_owned(),
        Fact::GateOverridden { commit, .. } => Subject::Commit(commit.clone()).path(),
        _ => "/".to_owned(),
    }
}

fn known_run(view: &View, run: RunId) -> Result<&journal::view::Run, Refusal> {
    view.runs.get(&run).ok_or_else(|| {
        Refusal::new(format!("There is no run {run}."), "Choose one of the runs that are listed.")
    })
}

fn known_service<'v>(
    view: &'v View,
    name: &ServiceName,
) -> Result<&'v journal::view::Service, Refusal> {
    view.services.get(name).ok_or_else(|| {
        Refusal::new(
            format!("There is no service {name}."),
            "Choose one of the services that are listed.",
        )
    })
}

fn known_commit(view: &View, commit: &CommitId) -> Result<(), Refusal> {
    if view.commits.contains_key(commit) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("Commit {} was not seen here.", commit.short()),
        "Push it to the branch that Marline follows.",
    ))
}

fn moving(view: &View, id: DeploymentId) -> Result<(), Refusal> {
    match view.deployments.get(&id) {
        None => Err(Refusal::new(
            format!("There is no deployment {id}."),
            "Choose one of those that are listed.",
        )),
        Some(deployment) if deployment.is_over() => Err(Refusal::new(
            format!("Deployment {id} is over already."),
            "To go back now, roll the service back.",
        )),
        Some(_) => Ok(()),
    }
}

fn needs_text(what: &str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(Refusal::new(format!("This needs {what}."), "Go back and fill it in."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_wish_is_refused() {
        let forged =
            Fact::GatePassed { commit: "abc".into(), allowed: vec![], not_checked: vec![] };
        let refusal = check(&View::default(), &forged).expect_err("the gate alone says that");
        assert_eq!(refusal.why, "GatePassed is not something one can ask for.");
    }

    #[test]
    fn an_override_needs_a_reason_and_a_held_gate() {
        let of =
            |reason: &str| Fact::GateOverridden { commit: "abc".into(), reason: reason.into() };
        assert_eq!(
            check(&View::default(), &of("  ")).expect_err("no reason").why,
            "This needs a reason."
        );
        assert!(check(&View::default(), &of("hot fix")).is_err(), "an unknown commit");
    }

    #[test]
    fn a_form_that_is_not_complete_says_what_it_needs() {
        let refusal = of_form("scale", &BTreeMap::new()).expect_err("an empty form");
        assert_eq!(refusal.why, "The form needs `service`.");
        assert!(of_form("format-disk", &BTreeMap::new()).is_err());
    }
}
