//! Why an instance runs, or does not.

use journal::view::Instance;
use journal::{Certainty, EventId, Fact, Health, InstanceId, ServiceName, View};

use super::{WhyError, changed_between, explanation};
use crate::explanation::{Cause, Explanation, Line, Next, Standing};
use crate::novelty;
use crate::words::{duration, full_stop, shorten};
use crate::{Lookup, Subject, exit, signature};

/// How many of the newest ends are searched for one instance.
const ENDS_SEARCHED: usize = 500;

pub(super) fn explain(
    id: &InstanceId,
    view: &View,
    events: &(impl Lookup + ?Sized),
) -> Result<Explanation, WhyError> {
    let subject = Subject::Instance(id.clone());
    let found = view.services.iter().find_map(|(name, service)| {
        let past = service.past.iter().rev().find(|past| past.id == *id);
        Some((name, service, service.instances.get(id).or(past)?))
    });
    let Some((name, service, instance)) = found else {
        return Err(WhyError::Unknown(subject));
    };
    let is_past = !service.instances.contains_key(id);
    if let Some(diagnosis) = &instance.diagnosis {
        let at = last_of(events, "InstanceFailed", id)?;
        let mut told = explanation(
            subject,
            Standing::Failed,
            format!("Instance {id} of {name} did not become ready."),
        );
        told.cause =
            Some(Cause { text: full_stop(&diagnosis.cause), certainty: diagnosis.certainty });
        told.evidence = quoted(&diagnosis.last_lines, &at);
        told.next.extend(diagnosis.help.as_deref().map(Next::new));
        finish(&mut told, name, instance, service, view, &at);
        told.for_manager = vec![
            Line::new("One copy of the service did not start.", at.clone()),
            Line::new(other_copies(service, id), at),
        ];
        return Ok(told);
    }
    if let Some(end) = &instance.exit {
        let log = events.of_kind("InstanceExited", ENDS_SEARCHED)?;
        let event = log.iter().find(
            |event| matches!(&event.fact, Fact::InstanceExited { instance, .. } if instance == id),
        );
        let at: Vec<EventId> = event.map(|event| event.id).into_iter().collect();
        let (ran_ms, lines) = match event.map(|event| &event.fact) {
            Some(Fact::InstanceExited { ran_ms, last_lines, .. }) => (*ran_ms, last_lines.clone()),
            _ => (0, Vec::new()),
        };
        let mut told = explanation(
            subject,
            Standing::Failed,
            format!("Instance {id} of {name} ended by itself after {}: {end}.", duration(ran_ms)),
        );
        told.cause = Some(cause_of_end(end, &lines, &mut told.next));
        told.evidence = quoted(&lines, &at);
        finish(&mut told, name, instance, service, view, &at);
        told.for_manager = vec![
            Line::new("One copy of the service stopped by itself.", at.clone()),
            Line::new(other_copies(service, id), at),
        ];
        return Ok(told);
    }
    if is_past {
        let at = last_of(events, "InstanceStopped", id)?;
        let sentence = format!("Instance {id} of {name} was stopped in good order.");
        let mut told = explanation(subject, Standing::Off, sentence);
        told.for_manager =
            vec![Line::new("This copy of the service was stopped in good order.", at)];
        return Ok(told);
    }
    let at = last_of(events, "HealthChanged", id)?;
    let (standing, state) = match instance.health {
        Health::Healthy => (Standing::Ok, "is healthy"),
        Health::Starting => (Standing::Running, "is starting"),
        Health::Unhealthy => (Standing::Failed, "does not answer as it should"),
        Health::Unknown => (Standing::Attention, "has not been heard of lately"),
    };
    let mut told = explanation(subject, standing, format!("Instance {id} of {name} {state}."));
    if !instance.evidence.is_empty() {
        let says = format!("the health check said: {}", instance.evidence);
        if instance.health == Health::Unhealthy {
            told.cause = Some(Cause {
                text: full_stop(&crate::words::sentence_case(&says)),
                certainty: Certainty::Certain,
            });
        }
        told.evidence.push(Line::new(says, at.clone()));
    }
    if instance.health == Health::Unhealthy {
        finish(&mut told, name, instance, service, view, &at);
    }
    told.for_manager = vec![Line::new(
        match instance.health {
            Health::Healthy => "This copy of the service works.",
            Health::Starting => "This copy of the service is starting.",
            _ => "This copy of the service does not answer as it should.",
        },
        at,
    )];
    Ok(told)
}

/// Adds what is the same for every instance that is not well.
fn finish(
    told: &mut Explanation,
    name: &ServiceName,
    instance: &Instance,
    service: &journal::view::Service,
    view: &View,
    at: &[EventId],
) {
    told.changed = changed_between(view, service.previous(), &instance.release);
    told.affected = vec![Line::new(other_copies(service, &instance.id), at.to_vec())];
    told.next.push(Next::command(
        "Read its output",
        format!("marline logs {}", crate::subject::quote(name.as_str())),
    ));
}

/// Returns what the end of a process and its last lines say, and adds how to mend it.
pub(super) fn cause_of_end(
    end: &journal::Exit,
    last_lines: &[String],
    next: &mut Vec<Next>,
) -> Cause {
    if end.out_of_memory {
        next.push(Next::new("Raise its memory limit in compose.yaml, or find what grows"));
        return Cause {
            text: "It went over its memory limit.".to_owned(),
            certainty: Certainty::Certain,
        };
    }
    if let Some(best) = signature::matches(&last_lines.join("\n"), &[]).first() {
        next.push(match &best.command {
            Some(command) => Next::command(best.help.clone(), command.clone()),
            None => Next::new(best.help.clone()),
        });
        return Cause {
            text: best.cause.clone(),
            certainty: best.certainty().min(Certainty::Likely),
        };
    }
    let meaning = end
        .signal
        .and_then(exit::meaning_of_signal)
        .or_else(|| end.code.and_then(exit::meaning_of_code));
    match meaning {
        Some(meaning) => {
            next.push(Next::new(meaning.help));
            Cause {
                text: format!("Its end says that {}.", meaning.text),
                certainty: meaning.certainty,
            }
        }
        None if end.code == Some(0) => Cause {
            text: "Its command ended in good order; a service should go on running.".to_owned(),
            certainty: Certainty::Likely,
        },
        None => Cause {
            text: format!("It ended with {end}; no known pattern fits its output."),
            certainty: Certainty::Unsure,
        },
    }
}

/// Returns the last lines that say something, quoted.
pub(super) fn quoted(lines: &[String], at: &[EventId]) -> Vec<Line> {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| novelty::plain(line))
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines
        .iter()
        .skip(lines.len().saturating_sub(5))
        .map(|line| Line::quote(shorten(line.trim_end(), 160), at.to_vec()))
        .collect()
}

fn other_copies(service: &journal::view::Service, id: &InstanceId) -> String {
    let ready =
        service.instances.values().filter(|instance| instance.is_ready && instance.id != *id);
    match ready.count() {
        0 => "No other copy is ready.".to_owned(),
        1 => "1 other copy is ready and takes the requests.".to_owned(),
        many => format!("{many} other copies are ready and take the requests."),
    }
}

fn last_of(
    events: &(impl Lookup + ?Sized),
    kind: &str,
    id: &InstanceId,
) -> Result<Vec<EventId>, WhyError> {
    let log = events.of_kind(kind, ENDS_SEARCHED)?;
    let found = log.iter().find(|event| match &event.fact {
        Fact::InstanceFailed { instance, .. }
        | Fact::HealthChanged { instance, .. }
        | Fact::InstanceStopped { instance, .. } => instance == id,
        _ => false,
    });
    Ok(found.map(|event| event.id).into_iter().collect())
}
