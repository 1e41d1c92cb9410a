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
