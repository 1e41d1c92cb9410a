//! Jobs with an environment wait for somebody's yes.

use std::process::Stdio;

use journal::{Conclusion, Fact, RunId};

use crate::world::World;

const CI: &str = "name: CI
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo built
  ship:
    needs: build
    runs-on: ubuntu-latest
    environment:
      name: ${{ github.ref_name == 'main' && 'production' || 'preview' }}
      url: https://shop.example/${{ steps.where.outputs.path }}
    steps:
      - id: where
        run: echo path=new >> \"$GITHUB_OUTPUT\"; echo shipped
";

fn world() -> World {
    World::with(&[(".github/workflows/ci.yml", CI)])
}

#[test]
fn a_job_with_an_environment_is_held_until_somebody_approves_the_commit() {
    let world = world();
    let said = world.marline(["run", "--verbose"]).ends(6).says("marline approve 1");
    assert!(said.out.contains("│ built") && !said.out.contains("│ shipped"), "{}", said.out);
    world.marline(["approve", "1", "staging"]).ends(5).says("it waits for environment production");
    world.marline(["approve", "1", "production", "--dry-run"]).ends(0).says("ship of run 1 runs");
    world.marline(["run"]).ends(6);
    world.marline(["approve", "1", "production"]).ends(0).says("approved environment production");
    world
        .marline(["run", "--verbose"])
        .ends(0)
        .says("│ shipped")
        .says("environment production: https://shop.example/new");
    world.marline(["approve", "1"]).ends(5).says("nothing of run 1 waits");
    // Another commit is another question.
    world.commit("second", &[("more", "")]);
    world.marline(["run"]).ends(6);
}

#[test]
fn yes_may_be_said_before_it_is_asked_and_not_for_another_environment() {
    let world = world();
    world.marline(["run", "--approve", "staging"]).ends(6);
    world.marline(["run", "--approve", "Production"]).ends(0);
    world.write("change", "");
    world.marline(["run"]).ends(6).says("run it with `--approve production`");
    world.marline(["approve", "3"]).ends(5).says("was not committed");
    world.marline(["run", "--wait", "soon"]).ends(2).says("--wait 90s, 10m or 2h");
}

#[test]
fn a_run_that_waits_hears_no_and_why() {
    let mut world = world();
    let run = world
        .command(["run", "--wait", "1m"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    world.wait_until("the job asks", |world| {
        world.state().join("journal.db").exists()
            && world.view().asked_by(RunId(1)).next().is_some()
    });
    world.marline(["approve", "1", "--deny", "--note", "not today"]).ends(0).says("denied");
    let ended = run.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(1), "{out}");
    assert!(out.contains("said no: not today"), "{out}");
}

#[test]
fn the_conductor_waits_as_long_as_it_takes() {
    let mut world =
        World::with(&[(".github/workflows/ci.yml", CI), ("Procfile", "web: sleep 1000\n")]);
    world.up();
    let run = world.wait_for("the question", |fact| match fact {
        Fact::ApprovalRequested { run, .. } => *run,
        _ => None,
    });
    world.marline(["approve", &run.to_string()]).ends(0);
    let conclusion = world.wait_for("the end of the run", |fact| match fact {
        Fact::RunFinished { conclusion, .. } => Some(*conclusion),
        _ => None,
    });
    assert_eq!(conclusion, Conclusion::Success);
    world.marline(["approve", &run.to_string()]).ends(5);
}
