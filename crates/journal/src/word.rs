//! The nouns that facts are made of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use source::Place;

use crate::{InstanceId, ReleaseId};

/// How a run, a job or a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// It did what it should.
    Success,
    /// It failed.
    Failure,
    /// It failed, and its workflow allows that.
    AllowedFailure,
    /// Somebody or a time limit stopped it.
    Cancelled,
    /// Its condition did not hold, or something it needs did not succeed.
    Skipped,
    /// Marline was stopped before it ended; it is run again.
    Interrupted,
}

impl Conclusion {
    /// Whether what depends on it may go on.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Success | Self::AllowedFailure | Self::Skipped)
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::AllowedFailure => "allowed failure",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::Interrupted => "interrupted",
        })
    }
}

/// A condition and what each part of it gave, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The condition as written.
    pub expression: String,
    /// What it gave, as JSON text.
    pub value: String,
    /// Each part of it that has a value of its own.
    pub parts: Vec<ExplainedPart>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// A part of a condition and what it gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedPart {
    /// The part as written.
    pub expression: String,
    /// What it gave, as JSON text.
    pub value: String,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// One sentence, as in `Process completed with exit code 1.`
    pub message: String,
    /// The exit code, if the process ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The last lines of its output, masked.
    pub last_lines: Vec<String>,
    /// The script or action that failed, and where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// How loud an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationLevel {
    /// For information.
    Notice,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
}

/// A workflow that would not start for this event, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTriggered {
    /// Path of the workflow file.
    pub workflow: String,
    /// Why, in words.
    pub reason: String,
}

/// One reason for which a gate holds a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldReason {
    /// The rule, the policy or `run` when a run failed.
    pub rule: String,
    /// What is wrong.
    pub message: String,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// How to mend it, or how to allow it with a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How traffic is moved from one release to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyKind {
    /// All at once, the old release kept warm.
    BlueGreen,
    /// In growing shares, each judged against the old release.
    Canary,
    /// Instance by instance.
    Rolling,
}

impl fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlueGreen => "blue/green",
            Self::Canary => "canary",
            Self::Rolling => "rolling",
        })
    }
}

/// The share of a service's requests that a release gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Weight {
    /// The release.
    pub release: ReleaseId,
    /// Its share in hundredths of a percent; all shares of a service add up to 10,000.
    pub basis_points: u32,
}

/// What the numbers say about a canary against its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The new release is as good as the old one, or better.
    NotWorse,
    /// The new release is worse.
    Worse,
    /// Not enough traffic to tell.
    NotEnough,
}

/// The numbers behind a verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// One sentence with the numbers that decided.
    pub summary: String,
    /// Requests that the new release answered since it got traffic.
    pub canary_requests: u64,
    /// Of these, how many failed.
    pub canary_failed: u64,
    /// Requests that the old release answered meanwhile.
    pub baseline_requests: u64,
    /// Of these, how many failed.
    pub baseline_failed: u64,
    /// The failing paths seen most, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// Milliseconds from the first bad answer to the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// Who was affected and for how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affected {
    /// Requests in the window.
    pub requests: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Milliseconds from the first failed request to the last one.
    pub milliseconds: u64,
}

/// What is known about the health of an instance or a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It has not answered yet, and need not have.
    Starting,
    /// It answers.
    Healthy,
    /// It does not answer as it should.
    Unhealthy,
    /// Nothing is known at the moment.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        })
    }
}

/// Why an instance did not start or did not become ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// One sentence: what went wrong.
    pub cause: String,
    /// How sure that is.
    pub certainty: Certainty,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The last lines of its output.
    pub last_lines: Vec<String>,
}

/// How sure a cause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It may be something else.
    Unsure,
    /// The evidence points there.
    Likely,
    /// The evidence proves it.
    Certain,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsure => "unsure",
            Self::Likely => "likely",
            Self::Certain => "certain",
        })
    }
}

/// How a process of an instance ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether it went over its memory limit.
    #[serde(default)]
    pub out_of_memory: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.out_of_memory, self.code, self.signal) {
            (true, _, _) => f.write_str("out of memory"),
            (_, Some(code), _) => write!(f, "exit code {code}"),
            (_, _, Some(signal)) => write!(f, "signal {signal}"),
            _ => f.write_str("an unknown end"),
        }
    }
}

/// Something that changed shortly before an incident and may have caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// What changed, in words.
    pub what: String,
    /// The event of the change.
    pub event: crate::EventId,
    /// How much speaks for it, in thousandths; compare only within one incident.
    pub score: u32,
    /// Why it is suspected, in words.
    pub because: String,
}

/// What Marline does on its own to make a service well again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Healing {
    /// Start the instance again.
    Restart {
        /// The instance that ended or hangs.
        instance: InstanceId,
        /// How long to wait first.
        after_ms: u64,
    },
    /// Give the traffic back to an older release.
    RollBack {
        /// The release that gets the traffic.
        to: ReleaseId,
    },
    /// Leave it to people: a brake holds.
    Page {
        /// Which brake, in words.
        brake: String,
    },
    /// Wait for something this service depends on.
    WaitFor {
        /// What it waits for.
        dependency: crate::ServiceName,
    },
}

/// Labels of an alert or a series, sorted by name.
pub type Labels = BTreeMap<String, String>;
