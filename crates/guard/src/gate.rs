//! May this commit become a release?
//!
//! A pure function of what was found, how the runs ended, what the policies said and what somebody
//! allowed. Errors hold; so does whatever the gate depends on and could not learn.

use jiff::civil::Date;
use journal::view::Allowed;
use journal::{Conclusion, HoldReason, RunId};
use source::{Finding, Place};

use crate::policy::Evaluation;

/// The rule under which a failed run holds the gate.
pub const RUN: &str = "run";

/// Everything the gate looks at.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What was found in the commit.
    pub findings: &'a [Finding],
    /// What could not be checked, and why; it is said, and does not hold.
    pub not_checked: &'a [String],
    /// How the newest run of each workflow ended.
    pub runs: &'a [RunOutcome],
    /// What the policies said.
    pub policy: &'a Evaluation,
    /// What somebody allowed.
    pub allowed: &'a [Allowed],
    /// The day, to know which allowances have ended.
    pub today: Date,
}

/// How a run ended, as far as the gate needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOutcome {
    /// The run.
    pub id: RunId,
    /// The path of its workflow.
    pub workflow: String,
    /// Its name as shown.
    pub name: String,
    /// How it ended; `None` while it runs.
    pub conclusion: Option<Conclusion>,
}

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The commit may become a release.
    Passed {
        /// What would have held it and was allowed, with the reason given.
        allowed: Vec<HoldReason>,
        /// What could not be checked.
        not_checked: Vec<String>,
    },
    /// The commit may not become a release.
    Held {
        /// Every reason.
        reasons: Vec<HoldReason>,
    },
}

/// Decides whether a commit may become a release.
pub fn decide(question: &Question<'_>) -> Decision {
    let mut reasons = Vec::new();
    let mut allowed = Vec::new();
    let found = question.findings.iter().chain(&question.policy.findings);
    let mut seen: Vec<&Finding> = Vec::new();
    for finding in found.filter(|finding| finding.is_error()) {
        if seen.contains(&finding) {
            continue;
        }
        seen.push(finding);
        match permission(&finding.rule, &finding.place, question.allowed, question.today) {
            Permission::Given(allowance) => allowed.push(allowed_reason(finding, allowance)),
            Permission::Ended(allowance) => reasons.push(held(finding, Some(allowance))),
            Permission::Never => reasons.push(held(finding, None)),
        }
    }
    reasons.extend(question.policy.not_checked.iter().map(policy_not_checked));
    for run in question.runs {
        let Some(reason) = run_reason(run) else { continue };
        match permission(RUN, &Place::file(&run.workflow), question.allowed, question.today) {
            Permission::Given(allowance) => {
                allowed.push(HoldReason { help: Some(allowed_because(allowance)), ..reason });
            }
            Permission::Ended(_) | Permission::Never => reasons.push(reason),
        }
    }
    if reasons.is_empty() {
        Decision::Passed { allowed, not_checked: question.not_checked.to_vec() }
    } else {
        Decision::Held { reasons }
    }
}

/// The command that allows a rule in a file, ready to be completed with a reason.
pub fn how_to_allow(rule: &str, path: &str) -> String {
    format!(
        "marline check --allow {} --path {} --reason \"…\" [--until DATE]",
        word(rule),
        word(path)
    )
}

/// The allowance that lets a finding be on a day; the newest, if there are several.
pub fn allowance<'a>(
    finding: &Finding,
    allowed: &'a [Allowed],
    today: Date,
) -> Option<&'a Allowed> {
    match permission(&finding.rule, &finding.place, allowed, today) {
        Permission::Given(allowance) => Some(allowance),
        Permission::Ended(_) | Permission::Never => None,
    }
}

enum Permission<'a> {
    Given(&'a Allowed),
    Ended(&'a Allowed),
    Never,
}

/// Whether somebody allowed `rule` at `place`; the newest allowance that still counts wins.
fn permission<'a>(
    rule: &str,
    place: &Place,
    allowed: &'a [Allowed],
    today: Date,
) -> Permission<'a> {
    let line = place.span.map(|span| span.start.line);
    let covering: Vec<&Allowed> = allowed
        .iter()
        .rev()
        .filter(|allowance| allowance.rule == rule && allowance.path == place.path)
        .filter(|allowance| allowance.line.is_none() || allowance.line == line)
        .collect();
    match covering.iter().find(|allowance| counts_on(allowance, today)) {
        Some(allowance) => Permission::Given(allowance),
        None => covering.first().map_or(Permission::Never, |ended| Permission::Ended(ended)),
    }
}

/// Whether an allowance still counts; one whose day cannot be read does not.
fn counts_on(allowance: &Allowed, today: Date) -> bool {
    match &allowance.until {
        None => true,
        Some(until) => until.trim().parse::<Date>().is_ok_and(|last| today <= last),
    }
}

fn held(finding: &Finding, ended: Option<&Allowed>) -> HoldReason {
    let mut help = finding.help.clone().map(|help| help + "; or ").unwrap_or_default();
    help +=
        &format!("allow it with a reason: `{}`", how_to_allow(&finding.rule, &finding.place.path));
    if let Some(until) = ended.and_then(|allowance| allowance.until.as_deref()) {
        help = format!("it was allowed until {until}, which is over; {help}");
    }
    HoldReason {
        rule: finding.rule.clone(),
        message: finding.message.clone(),
        place: Some(finding.place.clone()),
        help: Some(help),
    }
}

fn allowed_reason(finding: &Finding, allowance: &Allowed) -> HoldReason {
    HoldReason {
        rule: finding.rule.clone(),
        message: finding.message.clone(),
        place: Some(finding.place.clone()),
        help: Some(allowed_because(allowance)),
    }
}

/// Says that something is allowed, until when, and why.
pub fn allowed_because(allowance: &Allowed) -> String {
    match &allowance.until {
        Some(until) => format!("allowed until {until}: {}", allowance.reason),
        None => format!("allowed: {}", allowance.reason),
    }
}

fn policy_not_checked(what: &crate::policy::NotEvaluated) -> HoldReason {
    HoldReason {
        rule: crate::policy::NOT_CHECKED.to_owned(),
        message: format!("not checked: {}", what.why),
        place: Some(what.place.clone()),
        help: Some("a policy that cannot be evaluated holds; mend it or take it out".to_owned()),
    }
}

fn run_reason(run: &RunOutcome) -> Option<HoldReason> {
    let (message, help) = match run.conclusion {
        Some(conclusion) if conclusion.is_good() => return None,
        Some(conclusion) => {
            let what = match conclusion {
                Conclusion::Cancelled => "was cancelled",
                Conclusion::Interrupted => "was interrupted",
                _ => "failed",
            };
            (format!("{} {what}", run.name), format!("`marline why {}` says why", run.id))
        }
        None => (format!("{} has not ended", run.name), "wait for it to end".to_owned()),
    };
    let help = format!("{help}; or allow it with a reason: `{}`", how_to_allow(RUN, &run.workflow));
    Some(HoldReason {
        rule: RUN.to_owned(),
        message,
        place: Some(Place::file(&run.workflow)),
        help: Some(help),
    })
}

/// A word for a shell, quoted only where it must be.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
