//! Workflows: what is read, and what people are told.

use proptest::prelude::*;
use source::render::{Look, text};
use source::workflow::{
    self, Entries, Files, InputKind, Level, Literal, Part, Permissions, Reference, RunsOn, Setting,
    StepKind, Telling, Template, Work, Workflow, load, read,
};
use source::yaml::{LineIndex, Options};

fn told(workflow: &str) -> String {
    let (_, findings) = read("ci.yml", workflow);
    text(&findings, Look::Plain, |_| Some(workflow.to_owned()))
}

fn good(workflow: &str) -> Workflow {
    assert_eq!(told(workflow), "");
    read("ci.yml", workflow).0.expect("it was read")
}

fn job(body: &str) -> String {
    format!("on: push\njobs:\n  build:\n    runs-on: ubuntu-latest\n{body}")
}

#[test]
fn an_unknown_need_is_told_as_people_like_it() {
    let workflow = "on: push
jobs:
  build:
    runs-on: ubuntu-latest
  deploy:
    needs: [buidl]
    runs-on: ubuntu-latest
";
    insta::assert_snapshot!(told(workflow), @r#"
    error[job-needs-unknown]: Job 'deploy' depends on unknown job 'buidl'.
     --> ci.yml:6:13
      |
    6 |     needs: [buidl]
      |             ^^^^^ no job is called `buidl`
      = help: did you mean `build`?
    "#);
}

#[test]
fn all_faults_of_a_file_are_told_at_once_in_its_order() {
    let workflow = "on: [push, pul_request]
permissions: {contents: reed}
jobs:
  a:
    needs: b
    runs-on: ubuntu-latest
    step: []
  b:
    needs: a
    runs-on: ubuntu-latest
    timeout-minutes: soon
    steps:
      - run: echo
        uses: actions/checkout@v4
      - id: x
        run: echo ${{ }}
      - id: X
        uses: checkout
      - shell: bash
";
    insta::assert_snapshot!(told(workflow), @r#"
    error[event-unknown]: `pul_request` is not an event
     --> ci.yml:1:12
      |
    1 | on: [push, pul_request]
      |            ^^^^^^^^^^^
      = help: did you mean `pull_request`?

    error[unexpected-value]: Unexpected value 'reed'
     --> ci.yml:2:25
      |
    2 | permissions: {contents: reed}
      |                         ^^^^ it should be `read`, `write` or `none`
      = help: did you mean `read`?

    error[no-root-job]: The workflow must contain at least one job with no dependencies.
     --> ci.yml:4:3
      |
    4 |   a:
      |   ^ no job can start first
      = help: add a job without `needs`

    error[job-needs-cycle]: Job 'a' depends on job 'b' which creates a cycle in the dependency graph.
     --> ci.yml:5:12
      |
    5 |     needs: b
      |            ^ neither can ever start
      = help: remove one of the `needs` on the way around

    error[unknown-key]: Unexpected value 'step'
     --> ci.yml:7:5
      |
    7 |     step: []
      |     ^^^^ no key has this name here
      = help: did you mean `steps`?

    error[job-needs-cycle]: Job 'b' depends on job 'a' which creates a cycle in the dependency graph.
     --> ci.yml:9:12
      |
    9 |     needs: a
      |            ^ neither can ever start
      = help: remove one of the `needs` on the way around

    error[unexpected-value]: Unexpected value 'soon'
      --> ci.yml:11:22
       |
    11 |     timeout-minutes: soon
       |                      ^^^^ it should be a number

    error[misplaced-key]: Unexpected value 'uses'
      --> ci.yml:14:9
       |
    14 |         uses: actions/checkout@v4
       |         ^^^^ `uses` cannot stand beside `run`
       = help: keep `uses` or `run`

    error[expression-empty]: An expression was expected
      --> ci.yml:16:14
       |
    16 |         run: echo ${{ }}
       |              ^^^^^^^^^^^ `${{ }}` holds nothing
       = help: write an expression between the braces, or remove them

    error[id-taken]: The identifier 'X' may not be used more than once within the same scope.
      --> ci.yml:17:13
       |
    17 |       - id: X
       |             ^ it is already used at 15:13
       = help: choose another id; upper and lower case are the same

    error[uses-invalid]: Expected format {org}/{repo}[/path]@ref. Actual 'checkout'
      --> ci.yml:18:15
       |
    18 |         uses: checkout
       |               ^^^^^^^^ this names no action
       = help: write `owner/repository@ref`, `./path` or `docker://image`

    error[missing-key]: Required property is missing: run
      --> ci.yml:19:9
       |
    19 |       - shell: bash
       |         ^ in this mapping
       = help: add `run: …`
    "#);
}

#[test]
fn triggers_are_checked_beyond_their_shape() {
    let workflow = "on:
  push:
    branches: ['v[12']
    branches-ignore: [x]
    tags: ['!v1']
  pull_request:
    types: [synchronise]
    path: docs
  schedule:
    - cron: '0 25 * * *'
    - crn: '0 5 * * *'
  workflow_dispatch:
    inputs:
      level: {type: choice}
      dry: {type: boolean, default: maybe}
jobs:
  a: {runs-on: x, steps: []}
";
    insta::assert_snapshot!(told(workflow), @r#"
    error[pattern-invalid]: `v[12` is not a pattern: `[` is not closed by `]`
     --> ci.yml:3:16
      |
    3 |     branches: ['v[12']
      |                ^^^^^^
      = help: a character with a meaning stands for itself behind `\`

    error[filters-exclude]: `push` has both `branches` and `branches-ignore`
     --> ci.yml:4:5
      |
    4 |     branches-ignore: [x]
      |     ^^^^^^^^^^^^^^^
      = help: keep one; `branches` can exclude with `!pattern`

    warning[patterns-only-exclude]: `tags` only excludes, so nothing ever passes
     --> ci.yml:5:12
      |
    5 |     tags: ['!v1']
      |            ^^^^^
      = help: put a pattern without `!` first, or use `tags-ignore`

    warning[activity-unknown]: `pull_request` has no activity `synchronise`; it never happens
     --> ci.yml:7:13
      |
    7 |     types: [synchronise]
      |             ^^^^^^^^^^^
      = help: did you mean `synchronize`?

    warning[event-key-ignored]: `pull_request` has no key `path`; it is ignored
     --> ci.yml:8:5
      |
    8 |     path: docs
      |     ^^^^
      = help: did you mean `paths`?

    error[cron-invalid]: `0 25 * * *` is not a schedule: the hour is 0–23
      --> ci.yml:10:13
       |
    10 |     - cron: '0 25 * * *'
       |             ^^^^^^^^^^^^
       = help: write minute, hour, day of month, month and day of week: `30 5 * * 1-5`

    error[event-key-unknown]: `schedule` has no key `crn`
      --> ci.yml:11:7
       |
    11 |     - crn: '0 5 * * *'
       |       ^^^
       = help: did you mean `cron`?

    error[missing-key]: the key `cron` is missing
      --> ci.yml:11:7
       |
    11 |     - crn: '0 5 * * *'
       |       ^ in this entry
       = help: add `cron: …`

    error[input-without-options]: the choice `level` has no options
      --> ci.yml:14:7
       |
    14 |       level: {type: choice}
       |       ^^^^^
       = help: add `options: [ … ]`

    error[input-default]: the default of `dry` is not `true` or `false`
      --> ci.yml:15:37
       |
    15 |       dry: {type: boolean, default: maybe}
       |                                     ^^^^^
       = help: write `true` or `false`, or change the `type`
    "#);
}

#[test]
fn every_part_of_a_job_is_kept() {
    let workflow = good(
        "name: CI
run-name: by ${{ github.actor }}
on:
  push: {branches: [main], paths-ignore: ['docs/**']}
  workflow_call:
    inputs: {who: {type: string, required: true, default: you}}
    secrets: {token: {required: true}}
    outputs: {out: {value: '${{ jobs.build.outputs.x }}'}}
  schedule: [{cron: '0 5 * * *', timezone: Europe/Berlin}]
env: {A: 1.0, B: True, C: }
defaults: {run: {shell: bash}}
permissions: {contents: read, id-token: write}
concurrency: {group: ci, cancel-in-progress: '${{ true }}', queue: max}
jobs:
  build:
    name: Build
    if: github.ref == 'x'
    runs-on: {group: big, labels: [linux, x64]}
    timeout-minutes: 5
    cancel-timeout-minutes: 1
    continue-on-error: ${{ matrix.soft }}
    strategy: {fail-fast: false, max-parallel: 2, matrix: {os: [a, b], include: [{os: c}]}}
    container: {image: 'node:18', ports: [80], credentials: {username: u, password: p}}
    services: {db: {image: postgres, command: serve}}
    environment: {name: prod, url: https://x, deployment: false}
    outputs: {x: '${{ steps.a.outputs.x }}'}
    env: ${{ fromJSON(vars.ENV) }}
    snapshot: image
    steps:
      - {id: a, run: make, working-directory: sub, env: {K: v}, background: true}
      - {uses: actions/checkout@v4, with: {fetch-depth: 0}, timeout-minutes: 2}
      - uses: actions/checkout@v4
      - {wait: a, continue-on-error: true}
      - wait-all:
      - {cancel: a}
      - parallel: [{run: one}, {run: two}]
  call:
    needs: [build]
    uses: ./.github/workflows/other.yml
    with: {a: true}
    secrets: inherit
",
    );
    assert_eq!(
        workflow.env.get("A").map(|value| value.coerced().into_owned()).as_deref(),
        Some("1")
    );
    assert_eq!(workflow.env.get("b").map(|value| value.literal), Some(Literal::Boolean(true)));
    assert_eq!(
        workflow.env.get("C").map(|value| value.coerced().into_owned()).as_deref(),
        Some("")
    );
    let Some(Permissions::Scopes { scopes, .. }) = &workflow.permissions else { panic!("scopes") };
    assert_eq!(scopes[1].1.value, Level::Write);
    let call = workflow.trigger("workflow_call").expect("it is written");
    assert_eq!((call.inputs[0].kind, call.inputs[0].required), (InputKind::Text, true));
    assert!(call.secrets[0].required && call.outputs[0].value.is_some());
    let push = &workflow.trigger("push").expect("it is written").filters;
    assert_eq!(push.branches.as_ref().map(Vec::len), Some(1));
    assert_eq!(push.tags, None);

    let build = workflow.job("BUILD").expect("ids ignore case");
    let steps = build.steps().expect("it has steps");
    assert!(matches!(&steps.runs_on, Some(RunsOn::Group { labels, .. }) if labels.len() == 2));
    assert_eq!(steps.timeout_minutes.as_ref().and_then(Setting::written), Some(&5.0));
    assert!(matches!(steps.continue_on_error, Some(Setting::Computed(_))));
    assert!(matches!(steps.env, Entries::Computed(_)));
    let strategy = build.strategy.as_ref().and_then(Setting::written).expect("it is written");
    assert_eq!(strategy.fail_fast.as_ref().and_then(Setting::written), Some(&false));
    let services = steps.services.written().expect("they are written");
    assert!(services[0].container.command.is_some());
    let ids: Vec<&str> = steps.list.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "a",
            "__actions_checkout",
            "__actions_checkout_2",
            "__wait",
            "__wait-all",
            "__cancel",
            "__parallel"
        ]
    );
    assert!(steps.list[0].background);
    assert!(matches!(&steps.list[6].kind, StepKind::Parallel(inner) if inner.len() == 2));
    let called = workflow.job("call").expect("it is written");
    assert!(matches!(&called.work, Work::Call(call) if call.uses.value.starts_with("./")));
    assert_eq!(called.needs[0].value, "build");
}

#[test]
fn every_expression_is_listed_with_what_it_may_use() {
    let workflow = good(&job("    if: success()
    env:
      A: ${{ secrets.A }}
      ${{ insert }}: ${{ vars }}
    steps:
      - if: always() && true
        run: echo ${{ steps.x }}
"));
    let sites: Vec<(&str, bool, bool)> = workflow
        .expressions
        .iter()
        .map(|site| {
            let steps = site.contexts.contains(&"steps");
            (site.template.text.as_str(), site.condition, steps)
        })
        .collect();
    assert_eq!(
        sites,
        [
            ("success()", true, false),
            ("${{ secrets.A }}", false, false),
            ("${{ vars }}", false, false),
            ("always() && true", true, true),
            ("echo ${{ steps.x }}", false, true),
        ]
    );
    assert!(workflow.expressions[0].contexts.contains(&"success(0,MAX)"));
    assert!(workflow.expressions[1].contexts.contains(&"secrets"));
}

#[test]
fn a_job_without_a_first_or_a_mapping_without_a_meaning_is_refused() {
    insta::assert_snapshot!(told("on: push\njobs: {}\n"), @r#"
    error[no-root-job]: The workflow must contain at least one job with no dependencies.
     --> ci.yml:2:7
      |
    2 | jobs: {}
      |       ^ no job can start first
      = help: add a job without `needs`
    "#);
    insta::assert_snapshot!(told(&job("    steps:\n      - name: x\n")), @r#"
    error[unclear-mapping]: There's not enough info to determine what you meant. Add one of these properties: cancel, run, shell, uses, wait, wait-all, with, working-directory
     --> ci.yml:6:9
      |
    6 |       - name: x
      |         ^
      = help: for a step that is `run` or `uses`; for a job `runs-on` or `uses`
    "#);
    insta::assert_snapshot!(told("jobs: [a]\n"), @r#"
    error[no-trigger]: nothing starts this workflow
     --> ci.yml:1:1
      |
    1 | jobs: [a]
      | ^
      = help: add `on: push`, or another event

    error[unexpected-list]: A sequence was not expected
     --> ci.yml:1:7
      |
    1 | jobs: [a]
      |       ^^^ this is a list; it should be a mapping
      = help: remove the `-`, or the `[` and `]`
    "#);
    insta::assert_snapshot!(told(""), @r#"
    error[workflow-empty]: Expected document start parse event
     --> ci.yml:1:1
      |
    1 |
      | ^ the file holds no workflow
      = help: a workflow needs `on` and `jobs`
    "#);
}

#[test]
fn a_call_with_steps_says_which_two_keys_exclude_each_other() {
    let workflow = "on: push
jobs:
  a:
    uses: ./.github/workflows/b.yml
    steps: []
  b:
    uses: owner/repository/b.yml@v1
";
    insta::assert_snapshot!(told(workflow), @r#"
    error[misplaced-key]: Unexpected value 'steps'
     --> ci.yml:5:5
      |
    5 |     steps: []
      |     ^^^^^ `steps` cannot stand beside `uses`
      = help: keep `steps` or `uses`

    error[uses-invalid]: `owner/repository/b.yml@v1` names no workflow
     --> ci.yml:7:11
      |
    7 |     uses: owner/repository/b.yml@v1
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^
      = help: write `./.github/workflows/file.yml` or `owner/repository/.github/workflows/file.yml@ref`
    "#);
}

#[test]
fn an_unknown_name_in_an_expression_is_told_with_what_may_be_used() {
    let workflow = job("    if: env.X == 'y'
    timeout-minutes: ${{ \"5\" }}
    steps:
      - run: echo ${{ githb.sha }}
      - if: success('a')
        run: x
");
    insta::assert_snapshot!(told(&workflow), @r#"
    error[workflow-expression]: Unrecognized named-value: 'env'. Located at position 1 within expression: env.X == 'y'
     --> ci.yml:5:9
      |
    5 |     if: env.X == 'y'
      |         ^^^^^^^^^^^^
      = help: here you may use `github`, `inputs`, `vars`, `needs`, `always`, `failure`, `cancelled` and `success`

    error[workflow-expression]: Unexpected symbol: '"5"'. Located at position 1 within expression: "5"
     --> ci.yml:6:22
      |
    6 |     timeout-minutes: ${{ "5" }}
      |                      ^^^^^^^^^^ the fault is at 6:26
      = help: texts stand in single quotes: 'main'

    error[unexpected-value]: Unexpected value '${{ "5" }}'
     --> ci.yml:6:22
      |
    6 |     timeout-minutes: ${{ "5" }}
      |                      ^^^^^^^^^^ it should be a number

    error[workflow-expression]: Unrecognized named-value: 'githb'. Located at position 1 within expression: githb.sha
     --> ci.yml:8:14
      |
    8 |       - run: echo ${{ githb.sha }}
      |              ^^^^^^^^^^^^^^^^^^^^^ the fault is at 8:23
      = help: did you mean `github`?

    error[workflow-expression]: Too many parameters supplied: '('. Located at position 8 within expression: success('a')
     --> ci.yml:9:13
      |
    9 |       - if: success('a')
      |             ^^^^^^^^^^^^
    "#);
}

#[test]
fn a_tag_that_does_not_fit_ends_the_reading() {
    let read = |yaml: &str| {
        let (_, findings) = read("ci.yml", &job(yaml));
        findings.into_iter().map(|finding| finding.message).collect::<Vec<_>>()
    };
    assert_eq!(
        read("    name: !!int '12'\n"),
        ["The scalar style 'SingleQuoted' on line 5 and column 11 is not valid with the tag \
             'tag:yaml.org,2002:int'"]
    );
    assert_eq!(
        read("    name: 0xFFFFFFFFF\n"),
        ["The value '0xFFFFFFFFF' on line 5 and column 11 is invalid for the type \
             'tag:yaml.org,2002:int'"]
    );
    assert_eq!(read("    name: &x !own y\n"), ["Unexpected tag '!own'"]);
}

#[test]
fn merge_keys_are_no_keys_and_the_same_key_in_another_case_is_one_too_many() {
    let workflow = job(
        "    env: &base {A: x}\n    steps:\n      - run: x\n        env:\n          <<: *base\n          b: 1\n          B: 2\n",
    );
    let (_, findings) = read("ci.yml", &workflow);
    let told: Vec<String> =
        findings.iter().map(|one| format!("{} {}", one.place, one.message)).collect();
    assert_eq!(
        told,
        ["ci.yml:5:10 A mapping was not expected", "ci.yml:11:11 'B' is already defined"]
    );
}

/// Called workflows, by path.
struct Called(&'static [(&'static str, &'static str)]);

impl Files for Called {
    fn text(&self, reference: &Reference) -> Result<String, String> {
        let found = self.0.iter().find(|(name, _)| *name == reference.to_string());
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| "no such file".to_owned())
    }
}

const CALLER: &str = "on: push
permissions: {contents: read}
jobs:
  one:
    uses: ./.github/workflows/a.yml
    with: {count: many}
";

#[test]
fn a_called_workflow_is_read_and_what_it_is_given_is_checked() {
    let called = Called(&[(
        ".github/workflows/a.yml",
        "on: {workflow_call: {inputs: {count: {type: number}, name: {type: string, required: true}}}}
jobs:
  inner: {runs-on: x, permissions: {contents: write}, steps: [{run: x}]}
",
    )]);
    let loaded = load("ci.yml", CALLER, &called, &workflow::Options::default());
    assert_eq!(
        loaded.refusals,
        [
            "ci.yml (Line: 6, Col: 19): Unexpected value 'many'",
            "ci.yml (Line: 5, Col: 11): Input name is required, but not provided while calling.",
            "ci.yml (Line: 4, Col: 3): Error calling workflow './.github/workflows/a.yml'. The \
             nested job 'inner' is requesting 'contents: write', but is only allowed \
             'contents: read'.",
        ]
    );
    assert!(loaded.summary(Telling::default()).is_none());
}

#[test]
fn a_fault_of_a_called_workflow_names_who_called() {
    let called = Called(&[(".github/workflows/a.yml", "on: workflow_call\njob: {}\njobs: {}\n")]);
    let caller = "on: push\njobs:\n  one:\n    uses: ./.github/workflows/a.yml\n";
    let loaded = load("ci.yml", caller, &called, &workflow::Options::default());
    assert_eq!(
        loaded.refusals,
        ["In ci.yml (Line: 4, Col: 11): Error from called workflow .github/workflows/a.yml \
             (Line: 2, Col: 1): Unexpected value 'job'"]
    );
    assert_eq!(loaded.findings[0].why.as_deref(), Some("ci.yml:4:11 calls this workflow"));
    let missing = load("ci.yml", caller, &Called(&[]), &workflow::Options::default());
    assert_eq!(missing.refusals, ["ci.yml (Line: 4, Col: 11): Unable to find reusable workflow"]);
}

#[test]
fn workflows_that_call_each_other_are_followed_to_the_limit() {
    let called = Called(&[(
        "o/r/.github/workflows/a.yml@v1",
        "on: workflow_call\njobs:\n  again:\n    uses: ./.github/workflows/a.yml\n",
    )]);
    let caller = "on: push\njobs:\n  one:\n    uses: o/r/.github/workflows/a.yml@v1\n";
    let loaded = load("ci.yml", caller, &called, &workflow::Options::default());
    assert_eq!(loaded.refusals, ["Nested reusable workflow depth exceeded 9."]);
}

#[test]
fn no_more_than_ten_refusals_of_five_hundred_characters_are_told() {
    let keys: Vec<String> = (0..20).map(|at| format!("{}{at}: x\n", "k".repeat(600))).collect();
    let keys = keys.concat();
    let text = format!("on: push\njobs: {{a: {{runs-on: x}}}}\n{keys}");
    let loaded = load("ci.yml", &text, &Called(&[]), &workflow::Options::default());
    assert_eq!(loaded.refusals.len(), 10);
    assert!(loaded.refusals.iter().all(|line| line.chars().count() == 505));
    assert_eq!(loaded.findings.len(), 20);
}

#[test]
fn a_matrix_without_bounds_is_refused_before_it_is_made() {
    let vectors = ["a", "b", "c", "d", "e", "f", "g", "h"]
        .map(|name| format!("        {name}: [1,2,3,4,5,6,7,8]\n"))
        .concat();
    let text = job(&format!("    strategy:\n      matrix:\n{vectors}"));
    let (_, findings) = read("ci.yml", &text);
    assert_eq!(findings[0].message, "Maximum object size exceeded");
}

fn template(yaml: &str) -> Template {
    let (node, findings) = source::yaml::read("t.yml", yaml, &Options::default());
    assert_eq!(findings, []);
    Template::of(&node.expect("it holds a scalar")).expect("it is a scalar")
}

/// The parts of a template as they stand in the file.
fn parts(yaml: &str) -> Vec<String> {
    let lines = LineIndex::new(yaml);
    let written = |span| yaml[lines.range(yaml, span)].to_owned();
    let template = template(yaml);
    let parts = template.parts().expect("every expression is closed");
    parts
        .iter()
        .map(|part| match part {
            Part::Text { span, .. } => written(*span),
            Part::Expression { text, span, outer, range } => {
                assert_eq!(&template.text[range.clone()], *text);
                assert!(written(*outer).starts_with("${{") && written(*outer).ends_with("}}"));
                format!("<{}>", written(*span))
            }
        })
        .collect()
}

#[test]
fn a_template_splits_where_its_expressions_stand() {
    assert_eq!(parts("a ${{ b }} c"), ["a ", "<b>", " c"]);
    assert_eq!(parts("'it''s ${{ a }}${{b}}'"), ["it''s ", "<a>", "<b>"]);
    assert_eq!(parts("${{ format('}} {0}', 'it''s') }}"), ["<format('}} {0}', 'it''s')>"]);
    assert_eq!(parts("|\n  echo ${{ a }}\n  echo é ${{ b }}\n")[3], "<b>");
    assert_eq!(parts(">-\n  one ${{ a\n  || b }}\n  two")[1], "<a\n  || b>");
    assert_eq!(parts("plain"), ["plain"]);
    assert_eq!(parts("''"), Vec::<String>::new());
    assert_eq!(template("${{ a }}").as_expression(), Some("a"));
    assert_eq!(template("${{ a }} b").as_expression(), None);
    let unclosed = template("a ${{ 'x }}").parts().expect_err("the quote hides the braces");
    assert_eq!((unclosed.span.start.column, unclosed.span.end.column), (3, 6));
}

proptest! {
    #[test]
    fn splitting_loses_nothing(text in "([a-z é'}\\n]|\\$\\{\\{|\\}\\}){0,30}") {
        let template = template(&serde_json::to_string(&text).expect("a text is JSON"));
        if let Ok(parts) = template.parts() {
            let mut at = 0;
            for part in parts {
                match part {
                    Part::Text { text, .. } => {
                        prop_assert_eq!(&template.text[at..at + text.len()], text);
                        at += text.len();
                    }
                    Part::Expression { range, .. } => {
                        prop_assert!(template.text[at..].starts_with("${{"));
                        let end = &template.text[range.end..];
                        at = range.end + end.find("}}").expect("it is closed") + 2;
                    }
                }
            }
            prop_assert_eq!(at, template.text.len());
        }
    }

    #[test]
    fn any_workflow_is_read_or_refused(
        lines in prop::collection::vec(
            "( |  |    |      )(on|jobs|a|needs|if|runs-on|uses|steps|run|env|with|strategy|matrix|- run|- uses|permissions|schedule|cron|- a)(:|: )(|x|[a]|\\{a: b\\}|push|\\$\\{\\{ a \\}\\}|1|true|&a|\\*a)",
            0..14,
        ),
    ) {
        told(&lines.join("\n"));
    }
}
