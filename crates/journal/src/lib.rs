//! What happened, who did it, and what led to it.
//!
//! The journal is the spine of Marline: whatever a page, a report, an explanation or an audit
//! shows is derived from it. Asking is an event too: a wish is checked against the [`View`],
//! appended as a `…Requested` [`Fact`], and its answer is read from the events that follow.
//!
//! - [`fact`]: the closed list of things that can happen, in past tense.
//! - [`event`]: a fact with its place in the journal, its time, its actor and its cause.
//! - [`store`]: the event table in SQLite, one hash chain, group commit, following.
//! - [`clock`]: the time that events are stamped with.
//! - [`view`]: the present, a fold of all events; it can be rebuilt at any time.
//! - [`id`] and [`word`]: the nouns that facts are made of.
//!
//! # Glossary
//!
//! - **event**: one thing that happened; its id is its position and only grows.
//! - **cause**: the event that led to this one; following causes backwards is how `why` explains.
//! - **fact**: what an event says, typed; stored with its kind and a version.
//! - **fold**: everything else; the view, the pages and the reports can be thrown away.

pub mod clock;
pub mod event;
pub mod fact;
pub mod id;
pub mod store;
pub mod view;
pub mod word;

pub use clock::Clock;
pub use event::{Actor, Event};
pub use fact::Fact;
pub use id::{
    CommitId, DeploymentId, EventId, IncidentId, InstanceId, JobKey, ReleaseId, RunId, ServiceName,
};
pub use store::{Journal, JournalError};
pub use view::View;
pub use word::{
    Affected, AnnotationLevel, Certainty, Conclusion, Diagnosis, Evidence, Exit, Explained,
    ExplainedPart, Healing, Health, HoldReason, Labels, NotTriggered, StepFailure, StrategyKind,
    Suspect, Verdict, Weight,
};
