//! `marline run`: what happened, which workflows that starts, and why not the others.

use crate::world::World;

/// A workflow that checks what it was told about the event.
fn asserting(on: &str, checks: &[&str]) -> String {
    let checks = checks.join("\n          ");
    format!(
        "name: Told
on: {on}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          set -x
          {checks}
"
    )
}

fn value(said: &crate::world::Said) -> serde_json::Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.out))
}

#[test]
fn a_pull_request_is_what_the_branch_adds_to_the_main_branch() {
    let world = World::with(&[("src/a.rs", "1"), ("README.md", "1")]);
    world.git(["checkout", "--quiet", "-b", "topic"]);
    world.commit("more", &[("docs/a.md", "1")]);
    let told = asserting(
        "{pull_request: {branches: [main], paths: ['docs/**']}}",
        &[
            "test \"$GITHUB_BASE_REF/$GITHUB_HEAD_REF\" = main/topic",
            "test \"$GITHUB_REF\" = refs/pull/1/merge",
            "test \"$GITHUB_REF_NAME\" = 1/merge",
            "test '${{ github.event.action }}' = opened",
            "test '${{ github.event.pull_request.head.sha }}' = \"$GITHUB_SHA\"",
            "test '${{ github.event.pull_request.base.ref }}' = main",
            "test '${{ github.event.pull_request.title }}' = more",
        ],
    );
    world.commit("more", &[(".github/workflows/told.yml", &told)]);
    // What the main branch got meanwhile is no part of it: the comparison has three dots.
    world.git(["checkout", "--quiet", "main"]);
    world.commit("other", &[("src/b.rs", "1")]);
    world.git(["checkout", "--quiet", "topic"]);
    world.marline(["run", "--event", "pull_request"]).ends(0);
    let plan = world.marline(["run", "-e", "pull_request", "--plan", "--json"]).ends(0);
    assert_eq!(
        value(&plan)["event"]["changed_files"],
        serde_json::json!([".github/workflows/told.yml", "docs/a.md"])
    );
    world
        .marline(["run", "-e", "pull_request.labeled"])
        .ends(5)
        .says("`types` is opened, synchronize, reopened (the default), and this is `labeled`");
}

#[test]
fn a_push_names_its_commits() {
    let world = World::with(&[("a", "1")]);
    let told = asserting(
        "push",
        &[
            "test '${{ github.event.after }}' = \"$GITHUB_SHA\"",
            "test '${{ github.event.before }}' != '${{ github.event.after }}'",
            "test '${{ github.event.head_commit.message }}' = second",
            "test '${{ github.event.commits[0].author.email }}' = ana@example.com",
            "test '${{ github.event.repository.default_branch }}' = main",
            "test -z \"$GITHUB_BASE_REF$GITHUB_HEAD_REF\"",
            "test \"$GITHUB_ACTOR\" = Ana",
        ],
    );
    world.commit("second", &[(".github/workflows/told.yml", &told)]);
    world.marline(["run"]).ends(0);
}

#[test]
fn a_schedule_a_release_and_a_dispatch_say_what_they_are() {
    let world = World::with(&[
        (
            ".github/workflows/schedule.yml",
            &asserting(
                "{schedule: [{cron: '5 4 * * *'}]}",
                &["test '${{ github.event.schedule }}' = '5 4 * * *'"],
            ),
        ),
        (
            ".github/workflows/release.yml",
            &asserting(
                "{release: {types: [published]}}",
                &[
                    "test \"$GITHUB_REF\" = refs/tags/v1.2",
                    "test \"$GITHUB_REF_TYPE\" = tag",
                    "test '${{ github.event.release.tag_name }}' = v1.2",
                ],
            ),
        ),
        (
            ".github/workflows/dispatch.yml",
            &asserting(
                "{repository_dispatch: {types: [deploy]}}",
                &[
                    "test '${{ github.event.action }}' = deploy",
                    "test '${{ github.event.client_payload.to }}' = prod",
                ],
            ),
        ),
        (
            ".github/workflows/queue.yml",
            &asserting(
                "{merge_group: {branches: [main]}}",
                &[
                    "test '${{ github.event.merge_group.base_ref }}' = refs/heads/main",
                    "case \"$GITHUB_REF\" in refs/heads/gh-readonly-queue/main/*) ;; *) exit 1;; esac",
                ],
            ),
        ),
        (
            ".github/workflows/branch.yml",
            &asserting("create", &["test '${{ github.event.ref }}' = main"]),
        ),
        (
            ".github/workflows/after.yml",
            &asserting(
                "{workflow_run: {workflows: [Build]}}",
                &["test '${{ github.event.workflow_run.head_branch }}' = main"],
            ),
        ),
    ]);
    world.git(["tag", "v1.2"]);
    world.marline(["run", "-e", "schedule"]).ends(0).says("1 passed");
    world.marline(["run", "-e", "release"]).ends(0).says("1 passed");
    world
        .marline(["run", "-e", "repository_dispatch.deploy", "--input", "to=prod"])
        .ends(0)
        .says("1 passed");
    world.marline(["run", "-e", "merge_group"]).ends(0).says("1 passed");
    world.marline(["run", "-e", "create"]).ends(0).says("1 passed");
    world.marline(["run", "-e", "workflow_run"]).ends(0).says("1 passed");
}

#[test]
fn a_file_says_what_git_cannot_know() {
    let world = World::with(&[(
        ".github/workflows/told.yml",
        &asserting(
            "{pull_request: {types: [labeled], branches: ['releases/**']}}",
            &[
                "test '${{ github.event.label.name }}' = urgent",
                "test '${{ github.event.number }}' = 42",
                "test \"$GITHUB_REF\" = refs/pull/42/merge",
                "test \"$GITHUB_BASE_REF\" = releases/3",
                "test '${{ github.event.repository.default_branch }}' = main",
                "grep -q urgent \"$GITHUB_EVENT_PATH\"",
            ],
        ),
    )]);
    world.write(
        "event.json",
        r#"{"action": "labeled", "number": 42, "label": {"name": "urgent"},
            "pull_request": {"base": {"ref": "releases/3"}}}"#,
    );
    world.marline(["run", "-e", "pull_request", "--event-file", "event.json"]).ends(0);
    world.write("event.json", "[1]");
    world
        .marline(["run", "-e", "pull_request", "--event-file", "event.json"])
        .ends(2)
        .says("it is not an object");
}

#[test]
fn inputs_have_their_types() {
    let world = World::with(&[(
        ".github/workflows/told.yml",
        &asserting(
            "{workflow_dispatch: {inputs: {on: {type: boolean}, n: {type: number, default: 2}, s: {default: x}}}}",
            &[
                "test '${{ inputs.on == true && inputs.n == 3 }}' = true",
                "test '${{ github.event.inputs.on }}' = true",
                "test '${{ github.event.inputs.s }}' = x",
            ],
        ),
    )]);
    let run = ["run", "-e", "workflow_dispatch", "--input", "on=true", "--input", "n=3"];
    world.marline(run).ends(0);
    world
        .marline(["run", "-e", "workflow_dispatch", "--input", "on=perhaps"])
        .ends(1)
        .says("the input `on` is `true` or `false`");
}

#[test]
fn workflows_may_lie_anywhere() {
    let world = World::with(&[("README.md", "1")]);
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("mine.yml");
    std::fs::write(&file, asserting("push", &["true"])).unwrap();
    world.write("ci/one.yml", &asserting("push", &["true"]));
    world.write("ci/two.yaml", &asserting("push", &["true"]));
    world.marline(["run", "--workflows", file.to_str().unwrap()]).ends(0).says("1 passed");
    world.marline(["run", "-W", "ci"]).ends(0).says("2 passed");
    // A path is looked for below the directory that is worked in.
    let mut elsewhere = world.command(["run", "-C"]);
    elsewhere.current_dir("/").arg(world.path()).args(["--workflows", "ci/one.yml"]);
    let said = elsewhere.output().unwrap();
    assert!(said.status.success(), "{said:?}");
    world.marline(["run", "-W", "nowhere"]).ends(5).says("there is no workflow at nowhere");
}

#[test]
fn a_plan_tells_each_part_of_a_filter_and_of_a_condition_with_its_value() {
    let world = World::with(&[
        (
            ".github/workflows/ci.yml",
            "name: ci
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: 'true'
      - {name: Late, run: 'true', if: failure()}
  b:
    needs: a
    if: github.ref == 'refs/heads/release'
    runs-on: ubuntu-latest
    steps: [{run: 'true'}]
",
        ),
        (
            ".github/workflows/docs.yml",
            "on: {push: {branches: [main], paths: ['docs/**']}}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}
",
        ),
    ]);
    world.commit("code", &[("src/a.rs", "1")]);
    let plan = value(&world.marline(["run", "--plan", "--json"]).ends(0));
    let docs = &plan["not_triggered"][0];
    assert_eq!(docs["reason"], "no changed file matches `paths`");
    assert_eq!(
        docs["filter"][2],
        serde_json::json!({
            "part": "on.push.paths", "written": ["docs/**"], "value": ["src/a.rs"], "holds": false,
        })
    );
    let jobs = &plan["workflows"][0]["jobs"];
    assert_eq!(jobs[0]["would"], "run");
    assert_eq!(jobs[0]["steps"][0]["would"], "run");
    assert_eq!(jobs[0]["steps"][1]["would"], "depends");
    assert_eq!(jobs[1]["would"], "skip");
    let parts = jobs[1]["if"]["parts"].as_array().unwrap();
    assert!(
        parts.contains(&serde_json::json!({
            "expression": "github.ref", "value": "\"refs/heads/main\"",
        })),
        "{parts:?}"
    );
    world
        .marline(["run", "--plan"])
        .ends(0)
        .says("↷ b  after a  its condition `github.ref == 'refs/heads/release'` does not hold")
        .says("? 2. Late: it depends on whether something before it fails");
    assert!(!world.state().exists(), "a plan writes nothing");
}
