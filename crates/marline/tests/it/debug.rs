//! `marline run --debug`: the box of a step that failed, as it left it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::world::World;

/// A job whose second step fails, with what only that step knows.
fn failing(more: &str) -> World {
    World::with(&[(
        ".github/workflows/ci.yml",
        &format!(
            "name: CI
on: push
env: {{WIDE: all of it}}
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: |
          mkdir deep
          echo made > deep/by-first
          echo LATER=from-first >> \"$GITHUB_ENV\"
      - name: Break
        working-directory: deep
        env: {{OWN: only here}}
        run: |
          echo half > by-second
          echo private > /tmp/notes
          exit 3
{more}"
        ),
    )])
}

#[test]
fn a_command_sees_the_failed_step_as_it_was() {
    let world = failing("      - if: always()\n        run: test -f fixed && echo the-end\n");
    let said = world
        .marline([
            "run",
            "--verbose",
            "--debug-command",
            "echo $OWN, $LATER, $WIDE; pwd; cat by-first by-second /tmp/notes; touch ../fixed; exit 9",
        ])
        .ends(1);
    for text in [
        "build failed at step “Break”",
        "Process completed with exit code 3.",
        "build ┆ only here, from-first, all of it",
        "/deep\n",
        "build ┆ made",
        "build ┆ half",
        "build ┆ private",
        // What was changed there stays for the steps that still run.
        "│ the-end",
    ] {
        assert!(said.out.contains(text), "{text}: {}", said.out);
    }
    assert_eq!(said.out.matches("build ┆ half").count(), 1, "{}", said.out);
}

#[test]
fn the_script_that_failed_is_there_to_be_run_again() {
    let world = failing("");
    world
        .marline([
            "run",
            "--debug-command",
            "rm by-second; bash -e \"$RUNNER_TEMP\"/*.sh; ls; echo $?",
        ])
        .ends(1)
        .says("build ┆ by-second");
}

#[test]
fn steps_that_may_fail_and_those_that_do_not_are_not_shown() {
    let world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: exit 1\n        continue-on-error: true\n      - run: 'true'\n",
    )]);
    let said = world.marline(["run", "--debug-command", "echo looked"]).ends(0);
    assert!(!said.out.contains("looked"), "{}", said.out);
}

#[test]
fn a_step_that_fails_before_any_program_is_shown_in_the_workspace() {
    let world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo x > there\n      - run: echo ${{ fromJSON('{') }}\n",
    )]);
    world
        .marline(["run", "--debug-command", "echo found $(cat there)"])
        .ends(1)
        .says("a ┆ found x");
}

#[test]
fn steps_inside_an_action_are_shown_once() {
    let world = World::with(&[
        (
            ".github/actions/inner/action.yml",
            "name: Inner\nruns:\n  using: composite\n  steps:\n    - run: exit 1\n      shell: bash\n      continue-on-error: true\n    - run: echo in > deep; exit 4\n      shell: bash\n      env: {INNER: 'yes'}\n",
        ),
        (
            ".github/workflows/ci.yml",
            "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - uses: ./.github/actions/inner\n",
        ),
    ]);
    let said = world.marline(["run", "--debug-command", "echo inner $INNER $(cat deep)"]).ends(1);
    assert_eq!(said.out.matches("a ┆ inner yes in").count(), 1, "{}", said.out);
    assert_eq!(said.out.matches("a ┆").count(), 1, "{}", said.out);
}

#[test]
fn a_secret_is_masked_in_what_a_command_prints() {
    let world = World::with(&[(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: exit 1\n        env: {TOKEN: '${{ secrets.TOKEN }}'}\n",
    )]);
    let mut set = world.command(["secret", "set", "TOKEN"]).stdin(Stdio::piped()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"hunter2-hunter2").unwrap();
    assert!(set.wait().unwrap().success());
    let said = world.marline(["run", "--debug-command", "echo token $TOKEN"]).ends(1);
    assert!(said.out.contains("a ┆ token ***"), "{}", said.out);
    assert!(!said.out.contains("hunter2"), "{}", said.out);
}

#[test]
fn a_shell_without_a_terminal_is_refused() {
    let world = failing("");
    world.marline(["run", "--debug"]).ends(2).says("there is no terminal").says("--debug-command");
}

/// Asks `script` of util-linux for a terminal.
#[test]
fn a_shell_has_a_terminal_of_its_own() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: a_shell_has_a_terminal_of_its_own needs `script`");
        return;
    }
    let world = failing("");
    let line = format!("{} run --debug", env!("CARGO_BIN_EXE_marline"));
    let mut marline = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .current_dir(world.path())
        .env("NO_COLOR", "1")
        .env("TERM", "xterm")
        .env_remove("MARLINE_STATE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut typed = marline.stdin.take().unwrap();
    // The terminal keeps what is typed until the shell is there to read it. Job control works only in a
    // session that has the terminal.
    typed.write_all(b"tty | sed s,/dev/pts/.*,own-terminal,; set -o | grep monitor; echo $OWN $((40+2)); exit\n").unwrap();
    let ended = marline.wait_with_output().unwrap();
    drop(typed);
    let out = String::from_utf8_lossy(&ended.stdout).replace('\r', "");
    assert_eq!(ended.status.code(), Some(1), "{out}");
    for text in ["This is its box", "monitor        \ton", "only here 42"] {
        assert!(out.contains(text), "{text}: {out}");
    }
    assert!(!out.contains("no job control"), "{out}");
    assert!(out.contains("1 failed in"), "{out}");
}
