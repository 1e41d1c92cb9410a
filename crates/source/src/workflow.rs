//! GitHub Actions workflows, read whole and with positions.
//!
//! A [`Workflow`] is what somebody wrote, in types: nothing is evaluated and nothing is left out.
//! Every value that may hold `${{ … }}` is a [`Template`], which knows where each of its parts
//! stands; every value that GitHub also takes as one expression is a [`Setting`].
//!
//! What the language allows is the table in `schema`; what it means beyond shape (who needs whom,
//! whether ids are unique) is checked in `check`; the words for what is wrong are in `message`.

mod model;
mod number;
mod template;
mod trigger;

pub use model::{
    Call, Concurrency, Container, Credentials, Defaults, Entries, Entry, Environment, Job, Level,
    Permissions, RunsOn, Secrets, Service, Setting, Snapshot, Spanned, Step, StepKind, Steps,
    Strategy, Work, Workflow,
};
pub use template::{Literal, Part, Template, Unclosed};
pub use trigger::{CallOutput, CallSecret, Filters, Input, InputKind, Schedule, Trigger};
