use std::collections::BTreeSet;

use source::compose::{ComposeFile, Environment};

use super::*;

fn workflow(text: &str) -> Vec<Finding> {
    let (workflow, findings) = source::workflow::read(".github/workflows/ci.yml", text);
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).collect();
    assert_eq!(errors, [] as [&Finding; 0], "{text}");
    look_at_workflow(&workflow.expect("has no errors"))
}

fn compose(text: &str) -> Vec<Finding> {
    let environment = Environment::new([("POSTGRES_PASSWORD", "from outside")]).in_directory("app");
    let files = [ComposeFile::new("compose.yaml", text)];
    let (project, findings) = source::compose::read(&files, &environment);
    let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).collect();
    assert_eq!(errors, [] as [&Finding; 0], "{text}");
    look_at_compose(&project.expect("has no errors"), &files)
}

fn of_rule(id: &str, findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.rule == id).collect()
}

fn said(id: &str, findings: Vec<Finding>) -> Vec<String> {
    let found = of_rule(id, findings).into_iter();
    found.map(|f| format!("{} {}: {}", f.severity, f.place, f.message)).collect()
}

/// A workflow of one job with these steps.
fn steps_of(on: &str, steps: &str) -> Vec<Finding> {
    workflow(&format!("on: {on}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"))
}

#[test]
fn every_rule_finds_its_bad_example_and_lets_the_good_one_be() {
    for rule in RULES {
        let look = |text| match rule.look {
            Look::Workflow(_) => of_rule(rule.id, workflow(text)),
            Look::Compose(_) => of_rule(rule.id, compose(text)),
        };
        let bad = look(rule.bad);
        assert!(!bad.is_empty(), "{} lets its bad example be", rule.id);
        assert!(bad.iter().any(|finding| finding.severity == rule.severity), "{}", rule.id);
        for finding in bad {
            assert!(finding.place.span.is_some(), "{} has no place", rule.id);
            assert!(finding.why.is_some() && finding.help.is_some(), "{}", rule.id);
        }
        assert_eq!(look(rule.good), [], "{} finds its good example", rule.id);
    }
}

#[test]
fn rules_have_ids_of_their_own() {
    let ids: BTreeSet<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(ids.len(), RULES.len());
    assert!(ids.iter().all(|id| id.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
}

#[test]
fn what_is_only_compared_is_not_pasted() {
    let id = "script-injection";
    let ask = |expression: &str| {
        said(id, steps_of("issues", &format!("      - run: echo ${{{{ {expression} }}}}\n"))).len()
    };
    assert_eq!(ask("github.event.issue.title == 'a'"), 0);
    assert_eq!(ask("contains(github.event.issue.title, 'a')"), 0);
    assert_eq!(ask("github.event.issue.title && 'yes' || 'no'"), 0);
    assert_eq!(ask("github.event.issue.number"), 0);
    assert_eq!(ask("github.event.repository.name"), 0);
    assert_eq!(ask("format('{0}', github.event.issue.title)"), 1);
    assert_eq!(ask("github.event['issue'].body"), 1);
    assert_eq!(ask("github.head_ref || github.ref"), 1);
    assert_eq!(ask("toJSON(github.event)"), 1);
}

#[test]
fn a_variable_brings_the_danger_along() {
    let steps = "      - run: echo ${{ env.TITLE }}\n        env:\n          TITLE: ${{ github.event.issue.title }}\n";
    assert_eq!(
        said("script-injection", steps_of("issues", steps)),
        ["error .github/workflows/ci.yml:6:23: `env.title` is pasted into a script"]
    );
}

#[test]
fn a_script_for_github_is_a_script() {
    let steps = "      - uses: actions/github-script@v7\n        with:\n          \
                 script: console.log(\"${{ github.event.comment.body }}\")\n";
    assert_eq!(said("script-injection", steps_of("issue_comment", steps)).len(), 1);
}

#[test]
fn a_typed_text_is_a_lesser_danger() {
    let on = "{workflow_dispatch: {inputs: {name: {type: string}, count: {type: number}}}}";
    let steps = "      - run: echo ${{ inputs.name }} ${{ inputs.count }}\n";
    assert_eq!(
        said("script-injection", steps_of(on, steps)),
        ["warning .github/workflows/ci.yml:6:23: `inputs.name` is pasted into a script"]
    );
}

#[test]
fn the_heads_of_pull_requests_are_known_in_every_spelling() {
    for given in [
        "ref: ${{ github.head_ref }}",
        "ref: refs/pull/${{ github.event.number }}/merge",
        "ref: ${{ github['event'].pull_request.head.ref }}",
        "repository: ${{ github.event.pull_request.head.repo.full_name }}",
    ] {
        let steps =
            format!("      - uses: actions/checkout@v4\n        with:\n          {given}\n");
        assert_eq!(
            said("untrusted-checkout", steps_of("pull_request_target", &steps)).len(),
            1,
            "{given}"
        );
        assert_eq!(
            said("untrusted-checkout", steps_of("pull_request", &steps)).len(),
            0,
            "{given}"
        );
    }
    let after = "      - uses: actions/checkout@v4\n        with:\n          \
                 ref: ${{ github.event.workflow_run.head_sha }}\n";
    assert_eq!(
        said("untrusted-checkout", steps_of("{workflow_run: {workflows: [a]}}", after)).len(),
        1
    );
    let own = "      - uses: actions/checkout@v4\n";
    assert_eq!(said("untrusted-checkout", steps_of("pull_request_target", own)).len(), 0);
    let by_hand = "      - run: gh pr checkout 1\n";
    assert_eq!(said("untrusted-checkout", steps_of("pull_request_target", by_hand)).len(), 1);
}

#[test]
fn actions_of_github_by_tag_are_only_a_note() {
    let steps = "      - uses: actions/checkout@v4\n      - uses: ./local\n      - uses: a/b@main\n      \
                 - uses: docker://alpine:3\n";
    let severities: Vec<String> = of_rule("unpinned-action", steps_of("push", steps))
        .into_iter()
        .map(|finding| finding.severity.to_string())
        .collect();
    assert_eq!(severities, ["note", "warning", "warning"]);
}

#[test]
fn a_line_end_beside_an_expression_is_text() {
    let block =
        |style: &str| format!("      - run: a\n        if: {style}\n          ${{{{ false }}}}\n");
    assert_eq!(said("always-true-condition", steps_of("push", &block("|"))).len(), 1);
    assert_eq!(said("always-true-condition", steps_of("push", &block("|-"))).len(), 0);
    let whole = "      - run: a\n        if: ${{ false }}\n";
    assert_eq!(said("always-true-condition", steps_of("push", whole)).len(), 0);
}

#[test]
fn a_secret_is_told_when_the_log_gets_it() {
    let told = |line: &str| {
        let steps = format!(
            "      - run: |\n          {line}\n        env:\n          KEY: ${{{{ secrets.KEY }}}}\n"
        );
        said("secret-in-log", steps_of("push", &steps)).len()
    };
    for line in [
        "echo $KEY",
        "echo \"${KEY}\"",
        "echo ${{ secrets.KEY }}",
        "echo $KEY | base64",
        "printf %s $KEY",
    ] {
        assert_eq!(told(line), 1, "{line}");
    }
    for line in [
        "echo $KEYS",
        "echo $KEY > file",
        "echo $KEY | docker login --password-stdin",
        "echo \"::add-mask::$KEY\"",
        "echo ${KEY:+set}",
        "deploy --key $KEY",
    ] {
        assert_eq!(told(line), 0, "{line}");
    }
}

#[test]
fn a_variable_in_compose_is_not_a_written_secret() {
    let id = "secret-in-environment";
    let service = |line: &str| {
        said(
            id,
            compose(&format!("services:\n  a:\n    image: a:1\n    environment:\n      {line}\n")),
        )
        .len()
    };
    assert_eq!(service("- API_TOKEN=0d1f2a3b4c5d"), 1);
    assert_eq!(service("- API_TOKEN=${POSTGRES_PASSWORD}"), 0);
    assert_eq!(service("DATABASE_URL: postgres://app:hunter2hunter2@db/app"), 1);
    assert_eq!(service("API_TOKEN_FILE: /run/secrets/token"), 0);
    assert_eq!(service("API_TOKEN: changeme"), 0);
}

#[test]
fn a_digest_or_version_keeps_an_image_still() {
    let id = "floating-image";
    let image = |image: &str| {
        said(id, compose(&format!("services:\n  a:\n    image: \"{image}\"\n"))).len()
    };
    assert_eq!(image("host:5000/app"), 1);
    assert_eq!(image("app:latest"), 1);
    assert_eq!(image("host:5000/app:1"), 0);
    let digest = format!("app@sha256:{}", "0".repeat(64));
    assert_eq!(image(&digest), 0);
}
