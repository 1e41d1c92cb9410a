//! How a service stands.

use journal::view::Service;
use journal::{Certainty, Event, Fact, Health, ServiceName, View};

use super::{WhyError, explanation, read_more};
use crate::explanation::{Cause, Explanation, Line, Standing};
use crate::words::{basis_points, count};
use crate::{Lookup, Subject};

/// How far back a crash loop is looked for.
const LOOPS_SEARCHED: usize = 20;

pub(super) fn explain(
    name: &ServiceName,
    service: &Service,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let subject = Subject::Service(name.clone());
    if let Some(incident) =
        view.open_incidents().filter(|incident| incident.service == *name).last()
    {
        let mut told = super::incident::explain(incident, view, events)?;
        told.subject = subject;
        return Ok(told);
    }
    if let Some(deployment) = view.deployment_of(name) {
        let mut told = super::deployment::explain(deployment, view, events)?;
        told.subject = subject;
        return Ok(told);
    }
    let (standing, sentence) = sentence(name, service);
    let mut told = explanation(subject, standing, sentence);
    if standing == Standing::Failed {
        if let Some((event, cause)) = crash_loop(name, events)? {
            told.cause =
                Some(Cause { text: crate::words::full_stop(&cause), certainty: Certainty::Likely });
            told.evidence.push(Line::new(cause, [event.id]));
        }
        let unwell =
            service.instances.values().find(|instance| instance.health == Health::Unhealthy);
        let gone = service.past.back();
        if let Some(instance) = unwell.or(gone) {
            let of_instance = super::instance::explain(&instance.id, view, events)?;
            told.cause = told.cause.or(of_instance.cause);
            told.evidence.extend(of_instance.evidence);
            told.next.push(read_more(&of_instance.subject));
            told.next.extend(of_instance.next);
        }
    }
    for instance in service.instances.values() {
        told.evidence.push(Line::new(
            format!("{} is {} on port {}", instance.id, instance.health, instance.port),
            [],
        ));
    }
    told.for_manager = vec![Line::new(
        match standing {
            Standing::Ok => "The service works. Nothing for you to do.",
            Standing::Off => "The service does not run.",
            Standing::Running => "The service is starting.",
            _ => "The service does not work as it should. A developer needs to look at it.",
        },
        [],
    )];
    Ok(told)
}

/// Returns how a service stands, and says so.
pub(super) fn sentence(name: &ServiceName, service: &Service) -> (Standing, String) {
    let total = service.instances.len() as u64;
    let of = |health: Health| {
        service.instances.values().filter(|instance| instance.health == health).count() as u64
    };
    let healthy = of(Health::Healthy);
    let release = service.release.as_ref().map_or("no release", |release| release.short());
    match (total, healthy) {
        (0, _) if service.release.is_some() && service.replicas > 0 => (
            Standing::Failed,
            format!("{name} should run release {release}, and no instance of it runs."),
        ),
        (0, _) => (Standing::Off, format!("{name} does not run.")),
        (total, healthy) if total == healthy => {
            let split = service.weights.iter().filter(|weight| weight.basis_points > 0).count() > 1;
            let traffic = if split {
                let shares: Vec<String> = service
                    .weights
                    .iter()
                    .map(|weight| {
                        format!(
                            "{} on {}",
                            basis_points(weight.basis_points),
                            weight.release.short()
                        )
                    })
                    .collect();
                format!(", traffic split {}", shares.join(", "))
            } else {
                String::new()
            };
            (
                Standing::Ok,
                format!(
                    "{name} is healthy: {} of release {release}{traffic}.",
                    count(total, "instance", "instances")
                ),
            )
        }
        (total, 0) if of(Health::Starting) == total => (
            Standing::Running,
            format!("{name} is starting: {}.", count(total, "instance", "instances")),
        ),
        (total, 0) => (
            Standing::Failed,
            format!(
                "{name} is down: none of its {} is healthy.",
                count(total, "instance", "instances")
            ),
        ),
        (total, healthy) => (
            Standing::Attention,
            format!(
                "{name} works with {healthy} of {} healthy.",
                count(total, "instance", "instances")
            ),
        ),
    }
}

fn crash_loop(
    name: &ServiceName,
    events: &(impl Lookup + ?Sized),
) -> Result<Option<(Event, String)>, WhyError> {
    let loops = events.of_kind("CrashLoopFound", LOOPS_SEARCHED)?;
    Ok(loops.into_iter().find_map(|event| match &event.fact {
        Fact::CrashLoopFound { service, cause, .. } if service == name => {
            let cause = cause.clone();
            Some((event, cause))
        }
        _ => None,
    }))
}
