use std::time::Instant;

use serde_json::json;

use super::*;

fn ask_with(text: &str, input: &Input, fence: &Fence) -> Evaluation {
    let file = PolicyFile { path: "policy/p.rego".to_owned(), text: text.to_owned() };
    evaluate(&[file], input, fence)
}

fn ask(text: &str) -> Evaluation {
    ask_with(text, &Input::default(), &Fence::default())
}

fn messages(evaluation: &Evaluation) -> Vec<String> {
    let found = evaluation.findings.iter();
    found.map(|f| format!("{} {}: {}", f.severity, f.place, f.message)).collect()
}

fn unsure(evaluation: &Evaluation) -> String {
    let what = evaluation.not_checked.iter();
    what.map(|what| format!("{}: {}", what.place, what.why)).collect::<Vec<_>>().join("\n")
}

/// As the policies of our examples are written.
const RELEASE: &str = r#"package main

import rego.v1

deny contains msg if {
	input.commit.branch != "main"
	msg := sprintf("releases come from main, this commit is on %s", [input.commit.branch])
}

deny contains msg if {
	some run in input.runs
	run.conclusion == "failure"
	msg := sprintf("%s failed", [run.name])
}

warn contains msg if {
	some name, service in input.compose.services
	not service.healthcheck
	msg := sprintf("%s has no healthcheck", [name])
}
"#;

#[test]
fn denials_are_errors_and_warnings_are_warnings() {
    let run =
        Run { name: "CI".to_owned(), conclusion: Some("failure".to_owned()), ..Run::default() };
    let input = Input {
        commit: Commit { branch: Some("topic".to_owned()), ..Commit::default() },
        runs: vec![run],
        compose: json!({"services": {"web": {"image": "a"}, "db": {"healthcheck": {}}}}),
        ..Input::default()
    };
    let evaluation = ask_with(RELEASE, &input, &Fence::default());
    assert_eq!(evaluation.not_checked, []);
    assert_eq!(
        messages(&evaluation),
        [
            "error policy/p.rego:5:1: CI failed",
            "error policy/p.rego:5:1: releases come from main, this commit is on topic",
            "warning policy/p.rego:16:1: web has no healthcheck",
        ]
    );
    assert_eq!(evaluation.findings[0].rule, "policy.main.deny");
}

#[test]
fn a_good_commit_passes_the_same_policy() {
    let input = Input {
        commit: Commit { branch: Some("main".to_owned()), ..Commit::default() },
        compose: json!({"services": {}}),
        ..Input::default()
    };
    assert_eq!(ask_with(RELEASE, &input, &Fence::default()), Evaluation::default());
}

#[test]
fn an_answer_may_point_at_a_line_and_say_how_to_mend_it() {
    let evaluation = ask(
        "package a.b\nviolation_x contains r if { r := {\"msg\": \"no\", \"path\": \"compose.yaml\", \
         \"line\": 3, \"help\": \"do\"} }",
    );
    assert_eq!(messages(&evaluation), ["error compose.yaml:3:1: no"]);
    assert_eq!(evaluation.findings[0].rule, "policy.a.b.violation_x");
    assert_eq!(evaluation.findings[0].help.as_deref(), Some("do"));
}

#[test]
fn policies_of_the_old_syntax_are_understood() {
    let evaluation = ask("package main\ndeny[msg] { msg := \"no\" }\n");
    assert_eq!(messages(&evaluation), ["error policy/p.rego:2:1: no"]);
}

#[test]
fn an_error_behind_tabs_and_wide_characters_is_told_at_its_character() {
    let evaluation = ask("package main\n\ndeny contains \"é\" if {\n\t\tx := \"é\" )\n}\n");
    let places: Vec<String> =
        evaluation.findings.iter().map(|finding| finding.place.to_string()).collect();
    assert_eq!(places, ["policy/p.rego:4:12"]);
    let evaluation = ask("package main\n\t\t\"");
    assert_eq!(evaluation.findings[0].place.to_string(), "policy/p.rego:2:3");
}

#[test]
fn a_name_in_a_comment_or_text_is_no_rule() {
    let evaluation = ask("package main\n# deny contains\nx := \"deny\"\nwarnings := 1\n");
    assert_eq!(evaluation, Evaluation::default());
}

#[test]
fn an_error_in_a_file_is_a_finding_and_nothing_is_asked() {
    let good = PolicyFile { path: "policy/a.rego".to_owned(), text: RELEASE.to_owned() };
    let bad = PolicyFile {
        path: "policy/b.rego".to_owned(),
        text: "package main\n\ndeny contains msg if {\n  msg := \n}\n".to_owned(),
    };
    let evaluation = evaluate(&[good, bad], &Input::default(), &Fence::default());
    assert_eq!(evaluation.findings.len(), 1);
    let finding = &evaluation.findings[0];
    assert_eq!((finding.rule.as_str(), finding.is_error()), (SYNTAX, true));
    assert_eq!(finding.place.path, "policy/b.rego");
    assert!(finding.place.span.is_some_and(|span| span.start.line >= 4), "{finding:?}");
    assert_eq!(
        unsure(&evaluation),
        "policy/a.rego: `policy/b.rego` cannot be read\npolicy/b.rego: `policy/b.rego` cannot be read"
    );
}

#[test]
fn what_the_evaluator_does_not_know_is_not_checked() {
    let evaluation = ask(
        "package main\ndeny contains \"x\" if { http.send({\"method\": \"get\", \"url\": \"x\"}) }\n",
    );
    assert_eq!(evaluation.findings, []);
    assert!(unsure(&evaluation).contains("could not find function http.send"), "{evaluation:?}");
    let exception = ask("package main\ndeny contains \"x\"\nexception contains [\"x\"]\n");
    assert!(unsure(&exception).contains("not supported"), "{exception:?}");
    let number = ask("package main\ndeny := 7\n");
    assert!(unsure(&number).contains("gave 7"), "{number:?}");
}

#[test]
fn a_panic_of_the_evaluator_is_survived_and_other_rules_still_answer() {
    let evaluation = ask(
        "package main\ndeny contains \"a\" if { object.subset([1], []) }\nwarn contains \"b\" if { true }\n",
    );
    assert_eq!(messages(&evaluation), ["warning policy/p.rego:3:1: b"]);
    assert!(unsure(&evaluation).contains("a fault of its own"), "{evaluation:?}");
}

#[test]
fn counting_the_empty_text_answers_as_opa_does() {
    let evaluation = ask(
        "package main\ndeny contains sprintf(\"%d %d\", [strings.count(\"abc\", \"\"), strings.count(\"aaaa\", \"aa\")]) if { true }\n",
    );
    assert_eq!(messages(&evaluation), ["error policy/p.rego:2:1: 4 2"]);
}

#[test]
fn a_range_without_end_does_not_fill_the_memory() {
    let evaluation =
        ask("package main\ndeny contains x if { x := count(numbers.range(1, 90000000000)) }\n");
    assert!(unsure(&evaluation).contains("may have 100000 items"), "{evaluation:?}");
    let evaluation =
        ask("package main\ndeny contains x if { x := json.marshal(numbers.range(3, 1)) }\n");
    assert_eq!(messages(&evaluation), ["error policy/p.rego:2:1: [3,2,1]"]);
}

#[test]
fn a_policy_without_end_is_stopped() {
    let text = "package main\ndeny contains \"x\" if {\n  n := numbers.range(1, 3000)\n  some a in n\n  \
                some b in n\n  some c in n\n  a + b + c == -1\n}\n";
    let fence = Fence { time: Duration::from_millis(200), ..Fence::default() };
    let started = Instant::now();
    let evaluation = ask_with(text, &Input::default(), &fence);
    assert_eq!(evaluation.findings, []);
    assert_eq!(evaluation.not_checked.len(), 1, "{evaluation:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_input_beyond_the_fence_is_not_asked_about() {
    let fence = Fence { bytes: 1000, ..Fence::default() };
    let input = Input { compose: json!("x".repeat(2000)), ..Input::default() };
    assert!(
        unsure(&ask_with("package main\ndeny contains \"x\"\n", &input, &fence)).contains("larger")
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(32))]
    #[test]
    fn any_text_is_read_or_said_to_be_wrong(text in "\\PC{0,60}|(package a\n)?[a-z{}\\[\\]:=\" \n]{0,60}") {
        let _ = ask(&text);
    }
}
