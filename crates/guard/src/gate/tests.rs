use journal::EventId;
use source::{Position, Span};

use super::*;
use crate::policy::{NOT_CHECKED, NotEvaluated};

fn finding(rule: &str, path: &str, line: u32) -> Finding {
    Finding::error(rule, "is wrong", Place::at(path, Span::at(Position::new(line, 1))))
}

fn allowance(rule: &str, path: &str, line: Option<u32>, until: Option<&str>) -> Allowed {
    Allowed {
        event: EventId(1),
        rule: rule.to_owned(),
        path: path.to_owned(),
        line,
        reason: "known".to_owned(),
        until: until.map(str::to_owned),
    }
}

fn run(conclusion: Option<Conclusion>) -> RunOutcome {
    RunOutcome {
        id: RunId(7),
        workflow: ".github/workflows/ci.yml".to_owned(),
        name: "CI".to_owned(),
        conclusion,
    }
}

/// Asks on 2026-11-23.
fn ask(
    findings: &[Finding],
    runs: &[RunOutcome],
    policy: &Evaluation,
    allowed: &[Allowed],
) -> Decision {
    decide(&Question {
        findings,
        not_checked: &["dependencies: no advisory data".to_owned()],
        runs,
        policy,
        allowed,
        today: jiff::civil::date(2026, 11, 23),
    })
}

fn reasons(decision: Decision) -> Vec<HoldReason> {
    match decision {
        Decision::Held { reasons } => reasons,
        Decision::Passed { .. } => Vec::new(),
    }
}

#[test]
fn nothing_wrong_passes_and_says_what_was_not_checked() {
    let warning = Finding::warning("a", "might be wrong", Place::file("a"));
    let runs = [run(Some(Conclusion::Success))];
    assert_eq!(
        ask(&[warning], &runs, &Evaluation::default(), &[]),
        Decision::Passed {
            allowed: vec![],
            not_checked: vec!["dependencies: no advisory data".to_owned()]
        }
    );
}

#[test]
fn an_error_holds_and_says_where_and_how_to_allow_it() {
    let reasons =
        reasons(ask(&[finding("github-pat", "a b.env", 3)], &[], &Evaluation::default(), &[]));
    assert_eq!(reasons.len(), 1);
    assert_eq!(reasons[0].place.as_ref().expect("has a place").to_string(), "a b.env:3:1");
    assert_eq!(
        reasons[0].help.as_deref(),
        Some(
            "allow it with a reason: `marline check --allow github-pat --path 'a b.env' --reason \
             \"…\" [--until DATE]`"
        )
    );
}

#[test]
fn what_is_allowed_passes_with_its_reason() {
    let findings = [finding("a", "f", 3)];
    let policy = Evaluation::default();
    let ask_with = |allowance: Allowed| ask(&findings, &[], &policy, &[allowance]);
    let Decision::Passed { allowed, .. } = ask_with(allowance("a", "f", None, None)) else {
        panic!("is allowed")
    };
    assert_eq!(allowed[0].help.as_deref(), Some("allowed: known"));
    assert!(reasons(ask_with(allowance("a", "f", Some(3), None))).is_empty());
    for other in [
        allowance("a", "f", Some(4), None),
        allowance("a", "g", None, None),
        allowance("b", "f", None, None),
    ] {
        assert_eq!(reasons(ask_with(other)).len(), 1);
    }
}

#[test]
fn an_allowance_ends_after_its_day() {
    let ask_until = |until: &str| {
        let allowed = [allowance("a", "f", None, Some(until))];
        reasons(ask(&[finding("a", "f", 1)], &[], &Evaluation::default(), &allowed))
    };
    assert!(ask_until("2026-11-23").is_empty());
    let ended = ask_until("2026-11-22");
    assert!(
        ended[0].help.as_deref().expect("has help").starts_with("it was allowed until 2026-11-22")
    );
    assert_eq!(ask_until("some day").len(), 1, "a day nobody can read is over");
}

#[test]
fn a_newer_allowance_counts_when_the_older_has_ended() {
    let allowed = [allowance("a", "f", None, None), allowance("a", "f", None, Some("2020-01-01"))];
    assert!(
        reasons(ask(&[finding("a", "f", 1)], &[], &Evaluation::default(), &allowed)).is_empty()
    );
}

#[test]
fn a_run_that_failed_or_has_not_ended_holds() {
    for (conclusion, message) in [
        (Some(Conclusion::Failure), "CI failed"),
        (Some(Conclusion::Cancelled), "CI was cancelled"),
        (Some(Conclusion::Interrupted), "CI was interrupted"),
        (None, "CI has not ended"),
    ] {
        let reasons = reasons(ask(&[], &[run(conclusion)], &Evaluation::default(), &[]));
        assert_eq!(reasons.len(), 1);
        assert_eq!((reasons[0].rule.as_str(), reasons[0].message.as_str()), (RUN, message));
    }
    for good in [Conclusion::Success, Conclusion::AllowedFailure, Conclusion::Skipped] {
        assert!(reasons(ask(&[], &[run(Some(good))], &Evaluation::default(), &[])).is_empty());
    }
}

#[test]
fn a_policy_that_denies_or_cannot_be_evaluated_holds() {
    let policy = Evaluation {
        findings: vec![finding("policy.main.deny", "policy/release.rego", 6)],
        not_checked: vec![NotEvaluated {
            place: Place::file("policy/other.rego"),
            why: "it took longer than 5 s".to_owned(),
        }],
    };
    let allowed = [allowance(NOT_CHECKED, "policy/other.rego", None, None)];
    let reasons = reasons(ask(&[], &[], &policy, &allowed));
    let rules: Vec<&str> = reasons.iter().map(|reason| reason.rule.as_str()).collect();
    assert_eq!(rules, ["policy.main.deny", NOT_CHECKED]);
    assert_eq!(reasons[1].message, "not checked: it took longer than 5 s");
}

#[test]
fn what_the_check_and_the_policy_both_found_holds_once() {
    let same = finding("a", "f", 1);
    let policy = Evaluation { findings: vec![same.clone()], not_checked: vec![] };
    assert_eq!(reasons(ask(&[same], &[], &policy, &[])).len(), 1);
}
