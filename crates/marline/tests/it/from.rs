//! `marline run --from`: a run that goes on from one of its steps.

use crate::world::World;

/// The second step gives something else each time, and the third fails until it is mended.
const CI: &str = "name: CI
on: push
jobs:
  lint:
    runs-on: ubuntu-latest
    steps:
      - run: echo linted
      - name: Report
        run: echo reported
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - id: fetch
        run: |
          date +%s%N > fetched
          echo \"seen=$(cat fetched)\" >> \"$GITHUB_OUTPUT\"
          echo FETCHED=yes >> \"$GITHUB_ENV\"
      - id: idle
        if: github.ref == 'refs/heads/other'
        run: 'true'
      - name: Test
        run: |
          echo \"$FETCHED: ${{ steps.fetch.outputs.seen }} $(cat fetched)\"
          cat mended
      - name: Report
        run: echo the end
";

fn fetched(out: &str) -> String {
    let line = out.lines().find(|line| line.contains("yes: ")).expect(out);
    line.split("yes: ").nth(1).unwrap().to_owned()
}

#[test]
fn a_run_goes_on_from_the_step_that_failed_with_all_as_it_was_before_it() {
    let world = World::with(&[(".github/workflows/ci.yml", CI)]);
    let before = fetched(&world.marline(["run", "--verbose"]).ends(1).out);
    world.write("mended", "mended text\n");
    let said = world.marline(["run", "--verbose", "--from", "Test"]).ends(0);
    let after = fetched(&said.out);
    assert_eq!(after, before, "{}", said.out);
    let (output, file) = after.split_once(' ').unwrap();
    assert_eq!(output, file);
    assert!(said.out.contains("mended text") && said.out.contains("the end"), "{}", said.out);
    assert!(!said.out.contains("linted"), "a job that is not needed ran: {}", said.out);
    // What the clock gives is not replayed unless it is asked for.
    let fresh = fetched(&world.marline(["run", "--verbose"]).ends(0).out);
    assert_ne!(fresh, before);
}

#[test]
fn a_step_that_is_not_there_or_could_be_two_is_refused_with_those_there_are() {
    let world = World::with(&[(".github/workflows/ci.yml", CI)]);
    world
        .marline(["run", "--from", "deploy"])
        .ends(5)
        .says("no step is called `deploy`")
        .says("build/fetch")
        .says("build/Test");
    world
        .marline(["run", "--from", "Report"])
        .ends(5)
        .says("more than one step is called `Report`")
        .says("lint/Report and build/Report");
    world.marline(["run"]).ends(1);
    world.marline(["run", "--from", "lint/Report"]).ends(0).says("1 step cached");
}

#[test]
fn nothing_goes_on_behind_a_step_without_a_recording() {
    let world = World::with(&[(".github/workflows/ci.yml", CI)]);
    world
        .marline(["run", "--from", "build/Test"])
        .ends(5)
        .says("the step “Run date +%s%N > fetched” before it has no recording")
        .says("build/fetch");
    world.marline(["run"]).ends(1);
    world
        .marline(["run", "--from", "build/5"])
        .ends(5)
        .says("the step “Test” before it has no recording");
    // The script that was recorded is another one by now.
    world.write(".github/workflows/ci.yml", &CI.replace("> fetched\n", "> fetched; true\n"));
    world
        .marline(["run", "--from", "Test"])
        .ends(1)
        .says("its script changed since it was recorded");
}
