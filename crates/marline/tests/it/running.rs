//! `marline run`: workflows run here.

use crate::world::World;

const CI: &str = ".github/workflows/ci.yml";

fn workflow(jobs: &str) -> World {
    World::with(&[(CI, &format!("name: ci\non: [push, workflow_dispatch]\njobs:\n{jobs}"))])
}

#[test]
fn jobs_run_in_order_and_pass() {
    let world = workflow(
        "  a:
    runs-on: ubuntu-latest
    outputs: {word: '${{ steps.say.outputs.word }}'}
    steps:
      - id: say
        run: echo word=rope >> \"$GITHUB_OUTPUT\"
  b:
    needs: a
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: test \"${{ needs.a.outputs.word }}\" = rope && test -f .github/workflows/ci.yml
",
    );
    world.marline(["run"]).ends(0).says("✓ a").says("✓ b").says("2 passed");
    world.marline(["logs", "1"]).ends(0).says("echo word=rope");
}

#[test]
fn a_failed_step_is_repeated_at_the_end_with_its_cause_and_explained() {
    let world = workflow(
        "  test:
    runs-on: ubuntu-latest
    steps:
      - name: Unit tests
        run: |
          echo 'AssertionError: 240.0 == 225.0'
          exit 3
  publish:
    needs: test
    if: github.ref == 'refs/heads/main' && success()
    runs-on: ubuntu-latest
    steps: [{run: 'true'}]
",
    );
    world
        .marline(["run"])
        .ends(1)
        .says("✗ test")
        .says("failed at step “Unit tests”")
        .says("AssertionError: 240.0 == 225.0")
        .says("exit code 3")
        .says("↷ publish");
    world.marline(["why"]).ends(0).says("Unit tests");
    world.marline(["why", "job", "1", "publish"]).ends(0).says("success()").says("false");
    world.marline(["why", "run", "1", "--for", "manager"]).ends(0);
}

#[test]
fn secrets_reach_only_those_that_name_them_and_no_log() {
    let world = workflow(
        "  use:
    runs-on: ubuntu-latest
    steps:
      - run: echo \"it is $TOKEN\"; printf %s \"$TOKEN\" | base64
        env: {TOKEN: '${{ secrets.TOKEN }}'}
      - run: test -z \"$TOKEN\"
",
    );
    let mut set = world.command(["secret", "set", "TOKEN"]);
    let mut child = set.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"correct-horse-battery").unwrap();
    assert!(child.wait().unwrap().success());
    world.marline(["secret", "list"]).ends(0).says("TOKEN");
    let said = world.marline(["run", "--verbose"]).ends(0).says("it is ***");
    for text in [&said.out, &said.err] {
        assert!(!text.contains("correct-horse"), "{text}");
        assert!(!text.contains("Y29ycmVjdC1ob3JzZS"), "{text}");
    }
    let journal = std::fs::read(world.state().join("journal.db")).unwrap();
    assert!(!String::from_utf8_lossy(&journal).contains("correct-horse"));
}

#[test]
fn what_is_not_supported_is_refused_before_anything_starts() {
    let world = workflow(
        "  ok:
    runs-on: ubuntu-latest
    steps: [{run: 'touch started'}]
  no:
    runs-on: ubuntu-latest
    steps:
      - uses: docker/build-push-action@v6
",
    );
    world.marline(["run"]).ends(1).says("ci.yml:10:").says("nothing was started");
    assert!(!world.path().join("started").exists());
}

#[test]
fn a_plan_says_what_would_run_and_why_the_rest_would_not() {
    let world = World::with(&[
        (
            CI,
            "name: ci\non: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'true'}]\n",
        ),
        (
            ".github/workflows/docs.yml",
            "on: {push: {branches: [docs]}}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'true'}]\n",
        ),
    ]);
    world
        .marline(["run", "--plan"])
        .ends(0)
        .says("ci")
        .says("no pattern of `branches` matches `main`");
    assert!(!world.state().exists(), "a plan writes nothing");
}

#[test]
fn a_job_cannot_read_the_state_or_write_outside_its_workspace() {
    let world = workflow(
        "  nosy:
    runs-on: ubuntu-latest
    steps:
      - run: |
          ! cat \"$STATE/journal.db\" 2>/dev/null
          ! touch /etc/marline-was-here 2>/dev/null
          ! kill -0 1000000 2>/dev/null
          test ! -e /etc/marline-was-here
        env: {STATE: '${{ vars.STATE }}'}
",
    );
    let state = format!("STATE={}", world.state().display());
    world.marline(["run", "--var", &state]).ends(0);
}

#[test]
fn uncommitted_changes_are_run_and_can_be_left_out() {
    let world = workflow(
        "  look:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: cat note.txt
",
    );
    world.write("note.txt", "not committed");
    world.marline(["run", "--verbose"]).ends(0).says("not committed");
    world.marline(["run", "--committed"]).ends(1);
}

#[test]
fn every_example_passes_its_own_workflow() {
    for (name, needs) in [("guestbook-python", "python3"), ("quotes-node", "npm")] {
        if std::process::Command::new(needs).arg("--version").output().is_err() {
            println!("every_example_passes_its_own_workflow: {name} skipped, {needs} is missing");
            continue;
        }
        World::of_example(name).marline(["run"]).ends(0);
    }
}
