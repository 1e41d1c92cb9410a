//! What other runners get wrong, one question each.

use crate::world::World;

fn run(jobs: &str) -> crate::world::Said {
    let text = format!("name: ci\non: push\njobs:\n{jobs}");
    let world = World::with(&[(".github/workflows/ci.yml", text.as_str())]);
    world.marline(["run", "--verbose"])
}

#[test]
fn a_failure_cancels_the_rest_of_its_matrix() {
    // The second combination would wait for ever.
    run("  a:
    runs-on: ubuntu-latest
    strategy: {max-parallel: 2, matrix: {i: [1, 2]}}
    steps: [{run: 'test ${{ matrix.i }} = 2 && sleep 1000'}]
")
    .ends(1)
    .says("✗ a (1)")
    .says("– a (2)");
}

#[test]
fn an_allowed_failure_is_a_success_for_others_and_is_shown() {
    run("  a:
    runs-on: ubuntu-latest
    continue-on-error: true
    steps: [{run: exit 1}]
  b:
    needs: a
    runs-on: ubuntu-latest
    steps: [{run: \"test '${{ needs.a.result }}' = success\"}]
")
    .ends(0)
    .says("1 failed and allowed to, 1 passed");
}

#[test]
fn a_job_over_its_time_is_cancelled() {
    run("  a:
    runs-on: ubuntu-latest
    timeout-minutes: ${{ fromJSON('0.01') }}
    steps: [{run: sleep 1000}, {if: always(), run: echo cleaned up}]
")
    .ends(3)
    .says("– a")
    .says("cleaned up");
}

#[test]
fn the_last_job_of_a_matrix_gives_the_output() {
    run("  a:
    runs-on: ubuntu-latest
    outputs: {o: '${{ steps.s.outputs.o }}'}
    strategy: {max-parallel: 1, matrix: {i: [1, 2]}}
    steps: [{id: s, run: 'echo o=v${{ matrix.i }} >> \"$GITHUB_OUTPUT\"'}]
  b:
    needs: a
    runs-on: ubuntu-latest
    steps: [{run: \"test '${{ needs.a.outputs.o }}' = v2\"}]
")
    .ends(0);
}

#[test]
fn a_label_nobody_has_is_an_error() {
    run("  a: {runs-on: my-special, steps: [{run: exit 1}]}\n")
        .ends(1)
        .says("no machine here has the label `my-special`");
}

#[test]
fn jobs_of_one_group_never_run_side_by_side() {
    run("  a:
    runs-on: ubuntu-latest
    concurrency: {group: g, queue: max}
    steps: [{run: 'mkdir \"$HOME/taken\" && sleep 0.2 && rmdir \"$HOME/taken\"'}]
  b:
    runs-on: ubuntu-latest
    concurrency: {group: g, queue: max}
    steps: [{run: 'mkdir \"$HOME/taken\" && sleep 0.2 && rmdir \"$HOME/taken\"'}]
")
    .ends(0)
    .says("2 passed");
}

#[test]
fn a_group_inside_its_own_group_is_told_in_place_of_waiting_for_ever() {
    let world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: push
concurrency: g
jobs:
  a: {runs-on: ubuntu-latest, concurrency: G, steps: [{run: 'true'}]}
",
    )]);
    world.marline(["run"]).ends(1).says("✗ a");
}

#[test]
fn a_newer_run_cancels_the_one_of_another_process_in_its_group() {
    let mut world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: [push, workflow_dispatch]
concurrency: {group: '${{ github.ref }}', cancel-in-progress: true}
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - if: github.event_name == 'push'
        run: sleep 1000
",
    )]);
    let mut first = world.command(["run"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    world.wait_until("there is a journal", |world| world.state().join("journal.db").exists());
    world.wait_for("the first run's step", |fact| {
        matches!(fact, journal::Fact::StepStarted { .. }).then_some(())
    });
    world.marline(["run", "-e", "workflow_dispatch"]).ends(0);
    assert_eq!(first.wait().unwrap().code(), Some(3), "the first run was cancelled");
}

#[test]
fn a_workflow_whose_filters_do_not_fit_does_not_run() {
    let world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: {push: {branches: [nowhere], paths: ['nothing/**']}}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: exit 1}]}}
",
    )]);
    world.marline(["run"]).ends(5).says("no pattern of `branches` matches `main`");
}

/// Annotations of a world, as level, message, title and place.
fn annotations(world: &World) -> Vec<String> {
    let events = world.journal().read(journal::EventId(0), 10_000).unwrap();
    let told = events.iter().filter_map(|event| match &event.fact {
        journal::Fact::AnnotationMade { level, message, title, place, .. } => Some(format!(
            "{level:?} {message} [{}] {}",
            title.as_deref().unwrap_or("-"),
            place.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        )),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_problem_matcher_finds_problems_in_the_output() {
    let matcher = r#"{"problemMatcher": [{"owner": "x", "severity": "warning", "pattern": [
        {"regexp": "^(.+):(\\d+):(\\d+): (\\w+): (.*)$", "file": 1, "line": 2, "column": 3, "code": 4, "message": 5}]}]}"#;
    let world = World::with(&[
        (".github/x.json", matcher),
        ("src/a.c", "int main;\n"),
        (
            ".github/workflows/ci.yml",
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: |
          echo '{\"problemMatcher\":[{\"owner\":\"y\",\"pattern\":[{\"regexp\":\"^bad (.*)$\",\"message\":1}]}]}' > /tmp/y.json
          echo \"::add-matcher::/tmp/y.json\"
          sleep 0.2
          echo 'bad thing'
          echo '::add-matcher::.github/x.json'
          printf '\\033[1msrc/a.c\\033[0m:1:4: C4: not a function\\n'
          echo '/etc/passwd:1:1: C5: elsewhere'
      - run: |
          echo 'src/a.c:0:x: late: no numbers'
          echo 'bad again'
          echo '::remove-matcher owner=Y::'
          echo 'bad no more'
          echo '::remove-matcher owner=x::'
          echo 'src/a.c:1:1: C6: nobody looks'
",
        ),
    ]);
    world.marline(["run"]).ends(0);
    assert_eq!(
        annotations(&world),
        [
            "Error thing [-] -",
            "Warning not a function [C4] src/a.c:1:4",
            "Warning elsewhere [C5] -",
            "Error again [-] -",
        ]
    );
    world.marline(["logs", "1"]).says("nobody looks");
}

#[test]
fn an_action_brings_its_problem_matchers_for_the_job() {
    let world = World::with(&[
        (
            ".github/actions/tool/action.yml",
            "name: tool
runs:
  using: composite
  steps:
    - shell: bash
      run: |
        echo \"::add-matcher::$GITHUB_ACTION_PATH/eslint.json\"
",
        ),
        (
            ".github/actions/tool/eslint.json",
            r#"{"problemMatcher": [{"owner": "eslint", "pattern": [
                {"regexp": "^([^\\s].*)$", "file": 1},
                {"regexp": "^\\s+(\\d+):(\\d+)\\s+(error|warning)\\s+(.*)\\s\\s+(.*)$",
                 "line": 1, "column": 2, "severity": 3, "message": 4, "code": 5, "loop": true}]}]}"#,
        ),
        ("app.js", "x\n"),
        (
            ".github/workflows/ci.yml",
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: ./.github/actions/tool
      - run: |
          echo app.js
          echo '  1:2  error  Missing x  strict'
          echo '  3:4  warning  Unused y  no-unused'
      - run: echo '  5:6  error  no file here  lost'
",
        ),
    ]);
    world.marline(["run"]).ends(0);
    assert_eq!(
        annotations(&world),
        ["Error Missing x [strict] app.js:1:2", "Warning Unused y [no-unused] app.js:3:4"]
    );
}

#[test]
fn a_problem_matcher_that_cannot_be_used_fails_the_step_and_says_why() {
    run("  a:
    runs-on: ubuntu-latest
    steps: [{run: \"echo '::add-matcher::none.json'\"}]
")
    .ends(1)
    .says("could not read the problem matchers in `none.json`");
    run("  a:
    runs-on: ubuntu-latest
    steps: [{run: \"echo '{\\\"problemMatcher\\\": [{}]}' > m.json; echo '::add-matcher::m.json'\"}]
")
    .ends(1)
    .says("Owner must not be empty");
}

#[test]
fn what_steps_made_is_known_to_later_steps() {
    let hash = "e".repeat(64);
    let image = format!("ghcr.io/a/b:1@sha256:{hash}");
    run(&format!(
        "  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          test \"$(cat \"$GITHUB_ARTIFACTS_LIST\")\" = '{{\"version\":1,\"subjects\":[]}}'
          mkdir dist; printf x > dist/app.tar
          {{ echo '# made'; echo dist/app.tar; echo '{image}'; }} >> \"$GITHUB_ARTIFACTS\"
      - run: |
          cat \"$GITHUB_ARTIFACTS_LIST\"
          sum=$(sha256sum dist/app.tar | cut -d' ' -f1)
          grep -F '{{\"name\":\"app.tar\",\"digest\":\"sha256:'$sum'\",\"kind\":\"file\"}}' \"$GITHUB_ARTIFACTS_LIST\"
          grep -F '{{\"name\":\"ghcr.io/a/b:1\",\"digest\":\"sha256:{hash}\",\"kind\":\"oci\"}}' \"$GITHUB_ARTIFACTS_LIST\"
"
    ))
    .ends(0)
    .says("Captured 2 artifact subject(s) from this step (job total: 2).");
    run("  a:
    runs-on: ubuntu-latest
    steps: [{run: 'echo none >> \"$GITHUB_ARTIFACTS\"'}]
")
    .ends(1)
    .says("Unable to process file command 'artifacts' successfully. line 1: file 'none' does not exist");
}

#[test]
fn outputs_of_more_than_a_megabyte_fail_their_job() {
    run("  a:
    runs-on: ubuntu-latest
    outputs: {big: '${{ steps.s.outputs.big }}'}
    steps: [{id: s, run: 'echo \"big=$(head -c 600000 /dev/zero | tr \"\\\\0\" x)\" >> \"$GITHUB_OUTPUT\"'}]
")
    .ends(1)
    .says("The outputs of the job have more than 1 MB with 'big'");
}

/// Runs steps of one job, as they are written below `steps:`.
fn steps(text: &str) -> crate::world::Said {
    run(&format!("  a:\n    runs-on: ubuntu-latest\n    steps:\n{text}"))
}

#[test]
fn a_job_starts_when_its_own_needs_have_ended_whatever_else_runs() {
    // The slow job waits for what the job after the fast one makes.
    run("  fast: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}
  slow:
    runs-on: ubuntu-latest
    timeout-minutes: 1
    steps: [{run: 'until [ -e ~/started ]; do sleep 0.05; done'}]
  after_fast:
    needs: fast
    runs-on: ubuntu-latest
    steps: [{run: touch ~/started}]
")
    .ends(0)
    .says("3 passed");
}

#[test]
fn an_expression_that_fails_fails_its_step() {
    steps("      - run: echo \"${{ format('{0} {1}', 'a') }}\"\n").ends(1).says("✗ a");
}

#[test]
fn an_empty_line_and_leading_newlines_are_kept_apart_in_variables() {
    steps(
        "      - run: |
          { echo A=1; echo; echo B=2; echo 'V<<EOF'; echo; echo; echo ' x'; echo; echo EOF; } >> \"$GITHUB_ENV\"
      - run: test \"$A$B\" = 12 && test \"$V\" = $'\\n\\n x\\n'
        shell: bash
",
    )
    .ends(0);
}

#[test]
fn what_steps_of_an_action_give_stays_in_it() {
    let action = "name: leaky
outputs: {declared: {value: '${{ steps.i.outputs.declared }}'}}
runs:
  using: composite
  steps:
    - id: i
      shell: bash
      run: |
        echo declared=1 >> \"$GITHUB_OUTPUT\"
        echo undeclared=LEAKED >> \"$GITHUB_OUTPUT\"
";
    let text = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - {id: c, uses: ./leaky}\n      - run: test '[${{ steps.c.outputs.declared }}] [${{ steps.c.outputs.undeclared }}]' = '[1] []'\n";
    World::with(&[(".github/workflows/ci.yml", text), ("leaky/action.yml", action)])
        .marline(["run"])
        .ends(0);
}

#[test]
fn a_mask_holds_though_it_was_indented_and_in_base64() {
    let said = steps(
        "      - run: |
          printf '   ::add-mask::%s\\n' hunter2$((1+1))secret
          echo value is hunter2$((1+1))secret
          printf hunter2%ssecret 2 | base64
",
    )
    .ends(0);
    assert!(!said.out.contains("hunter22secret"), "{}", said.out);
    assert!(!said.out.contains("aHVudGVyMjJzZWNyZXQ"), "{}", said.out);
    assert!(said.out.contains("│ value is ***"), "{}", said.out);
}

#[test]
fn a_command_ends_at_its_second_pair_of_colons() {
    steps(
        "      - id: s
        run: |
          echo '::set-output name=x::a::b'
          echo '::error::foo::bar'
      - run: test '${{ steps.s.outputs.x }}' = a::b
",
    )
    .ends(0)
    .says("│ foo::bar");
}

#[test]
fn steps_have_pipes_and_the_runner_has_a_name() {
    steps(
        "      - run: test ! -t 0 && test ! -t 1 && test ! -t 2 && test -n \"$RUNNER_NAME\" && test -n \"$RUNNER_ENVIRONMENT\"
      - run: false | true
      - run: '[[ -o pipefail ]]'
        shell: bash
",
    )
    .ends(0);
}

/// The official times: an interrupt, 7.5 s later a termination, 2.5 s later the end of everything.
#[test]
fn a_step_that_hears_nothing_is_ended_with_all_its_processes_after_ten_seconds() {
    use std::io::{BufRead as _, BufReader};
    use std::time::{Duration, Instant};
    let world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: |
          trap 'echo GOT_INT' INT
          trap 'echo GOT_TERM' TERM
          (trap '' INT TERM; exec setsid sleep 86399.25) &
          echo READY
          while :; do sleep 0.1 || true; done
      - {if: always(), run: echo ALWAYS}
",
    )]);
    let mut child =
        world.command(["run", "--verbose"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("│ READY")));
    let began = Instant::now();
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let rest: Vec<String> = lines.collect();
    let took = began.elapsed();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{rest:#?}");
    let at = |text: &str| rest.iter().position(|line| line.contains(text));
    let heard = (at("│ GOT_INT"), at("│ GOT_TERM"), at("│ ALWAYS"));
    assert!(heard.0.is_some() && heard.0 < heard.1 && heard.1 < heard.2, "{rest:#?}");
    assert!(took >= Duration::from_millis(9_900), "{took:?}");
    let left = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words.windows(8).any(|window| window == b"86399.25")
    });
    assert!(!left, "a process of the step still runs");
}
