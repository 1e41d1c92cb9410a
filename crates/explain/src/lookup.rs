//! Where explanations look things up.

use journal::{DeploymentId, Event, EventId, IncidentId, JobKey, Journal, JournalError, RunId};

/// Gives the events and logs an explanation asks for.
///
/// [`Journal`] is one without logs; whoever knows where logs are kept adds them.
pub trait Lookup {
    /// Returns an event by its id.
    fn event(&self, id: EventId) -> Result<Option<Event>, JournalError>;
    /// Returns everything about a run, oldest first.
    fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError>;
    /// Returns everything about a deployment, oldest first.
    fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError>;
    /// Returns everything about an incident, oldest first.
    fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError>;
    /// Returns the newest events of a kind, newest first.
    fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError>;
    /// Returns what a step wrote, if that is still kept.
    fn step_log(&self, run: RunId, job: &JobKey, step: u32) -> Option<String> {
        let _ = (run, job, step);
        None
    }
}

impl Lookup for Journal {
    fn event(&self, id: EventId) -> Result<Option<Event>, JournalError> {
        Journal::event(self, id)
    }

    fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError> {
        Journal::of_run(self, run)
    }

    fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError> {
        Journal::of_deployment(self, deployment)
    }

    fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError> {
        Journal::of_incident(self, incident)
    }

    fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError> {
        Journal::of_kind(self, kind, limit)
    }
}

/// Events in a plain list; what tests and `marline run` without a journal look things up in.
impl Lookup for [Event] {
    fn event(&self, id: EventId) -> Result<Option<Event>, JournalError> {
        Ok(self.iter().find(|event| event.id == id).cloned())
    }

    fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError> {
        Ok(naming(self, "run", run.0))
    }

    fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError> {
        Ok(naming(self, "deployment", deployment.0))
    }

    fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError> {
        Ok(naming(self, "incident", incident.0))
    }

    fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError> {
        let of_kind = self.iter().rev().filter(|event| event.fact.kind() == kind);
        Ok(of_kind.take(limit).cloned().collect())
    }
}

impl Lookup for Vec<Event> {
    fn event(&self, id: EventId) -> Result<Option<Event>, JournalError> {
        self.as_slice().event(id)
    }

    fn of_run(&self, run: RunId) -> Result<Vec<Event>, JournalError> {
        self.as_slice().of_run(run)
    }

    fn of_deployment(&self, deployment: DeploymentId) -> Result<Vec<Event>, JournalError> {
        self.as_slice().of_deployment(deployment)
    }

    fn of_incident(&self, incident: IncidentId) -> Result<Vec<Event>, JournalError> {
        self.as_slice().of_incident(incident)
    }

    fn of_kind(&self, kind: &str, limit: usize) -> Result<Vec<Event>, JournalError> {
        self.as_slice().of_kind(kind, limit)
    }
}

/// Returns the events whose fact has this number under this name, as the journal's index does.
fn naming(events: &[Event], name: &str, number: u64) -> Vec<Event> {
    events
        .iter()
        .filter(|event| {
            event.fact.encode().get(name).and_then(serde_json::Value::as_u64) == Some(number)
        })
        .cloned()
        .collect()
}
