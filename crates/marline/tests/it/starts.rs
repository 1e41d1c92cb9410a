//! What the conductor starts besides pushes: at set times, by the runs of others, by somebody's word.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use journal::Fact;

use crate::clock::fake_clock;
use crate::world::{PATIENCE, World, pause, peer_is_missing};

/// What `marline up` has to run besides.
const PROCFILE: &str = "web: sleep 1000\n";

fn job(script: &str) -> String {
    format!("jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: {script}\n")
}

/// Waits for the end of a run of a workflow and returns its event.
fn ended(world: &mut World, workflow: &str) -> String {
    let path = format!(".github/workflows/{workflow}");
    world.wait_until(&format!("{workflow} has run"), |world| {
        let view = world.view();
        view.runs.values().any(|run| run.workflow == path && run.conclusion.is_some())
    });
    let view = world.view();
    let run = view.runs.values().find(|run| run.workflow == path).unwrap();
    assert_eq!(run.conclusion, Some(journal::Conclusion::Success), "{}", world.story());
    run.event.clone()
}

#[test]
fn the_end_of_a_run_starts_those_that_wait_for_it() {
    let of = |name: &str| {
        format!(
            "name: After {name}\non: {{workflow_run: {{workflows: [{name}], types: [completed]}}}}\n"
        )
    };
    let told = "'test \"${{ github.event.workflow_run.conclusion }} ${{ github.event.workflow_run.name }} ${{ github.event.workflow_run.head_branch }}\" = \"success Build main\"'";
    let mut world = World::with(&[
        ("Procfile", PROCFILE),
        (".github/workflows/build.yml", &format!("name: Build\non: push\n{}", job("'true'"))),
        (".github/workflows/second.yml", &(of("Build") + &job(told))),
        (".github/workflows/third.yml", &(of("After Build") + &job("'true'"))),
        (".github/workflows/other.yml", &(of("Elsewhere") + &job("'true'"))),
    ]);
    world.up();
    assert_eq!(ended(&mut world, "second.yml"), "workflow_run");
    assert_eq!(ended(&mut world, "third.yml"), "workflow_run");
    let view = world.view();
    assert!(!view.runs.values().any(|run| run.workflow.ends_with("other.yml")));
}

#[test]
fn a_word_from_outside_starts_those_that_wait_for_it() {
    let on = "on: {repository_dispatch: {types: [deploy-docs]}}\n";
    let told = "'test \"${{ github.event.action }} ${{ github.event.client_payload.ref }}\" = \"deploy-docs v1\"'";
    let mut world = World::with(&[
        ("Procfile", PROCFILE),
        (".github/workflows/docs.yml", &format!("{on}{}", job(told))),
    ]);
    world.marline(["dispatch", "deploy-docs"]).ends(69);
    world.up();
    world.wait_for("the commit", |fact| matches!(fact, Fact::CommitPlanned { .. }).then_some(()));
    world
        .marline(["dispatch", "deploy-docs", "--input", "ref=v1"])
        .ends(0)
        .says("deploy-docs starts .github/workflows/docs.yml");
    assert_eq!(ended(&mut world, "docs.yml"), "repository_dispatch");
    world
        .marline(["dispatch", "other"])
        .ends(5)
        .says("no workflow starts for `repository_dispatch.other`");
}

/// The clock of the conductor stands shortly before a full minute.
#[test]
fn a_workflow_starts_when_its_time_has_come() {
    let Some(library) = fake_clock() else {
        return peer_is_missing("a_workflow_starts_…", "libfaketime");
    };
    let on = "on:\n  schedule:\n    - cron: '* * * * *'\n    - {cron: '0 0 1 1 *', timezone: Europe/Berlin}\n";
    let told = "'test \"${{ github.event.schedule }}\" = \"* * * * *\"'";
    let mut world = World::with(&[
        ("Procfile", PROCFILE),
        (".github/workflows/nightly.yml", &format!("{on}{}", job(told))),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let offset = format!("+{}", (55 + 60 - now % 60) % 60);
    world.up_in(
        &[],
        &[
            ("LD_PRELOAD", library.as_os_str()),
            ("FAKETIME", offset.as_ref()),
            // Or else who waits for a moment waits until the kernel's own clock has come to it.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".as_ref()),
        ],
    );
    // A conductor that took longer to start than those seconds waits for the minute after.
    let deadline = Instant::now() + PATIENCE;
    while world.view().runs.is_empty() && Instant::now() < deadline {
        pause();
    }
    assert_eq!(ended(&mut world, "nightly.yml"), "schedule");
}
