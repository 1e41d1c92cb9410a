//! Bad input: what, where, why, how to mend; nothing started, nothing lost.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

use crate::carry::{compose, service};
use crate::world::{World, free_port, get};

const CI: &str = ".github/workflows/ci.yml";
const GOOD: &str = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - run: ls\n";

#[test]
fn a_directory_without_a_repository() {
    let directory = tempfile::tempdir().unwrap();
    for command in ["run", "up", "status", "config"] {
        let output = Command::new(env!("CARGO_BIN_EXE_marline"))
            .current_dir(directory.path())
            .env("GIT_CEILING_DIRECTORIES", directory.path().parent().unwrap())
            .arg(command)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_ne!(output.status.code(), Some(0), "{command}: {said}");
        assert!(said.contains("not in a Git repository") && said.contains("git init"), "{said}");
    }
}

#[test]
fn an_empty_repository() {
    let world = World::new();
    world.marline(["run"]).ends(1).says("has no commit yet").says("git commit");
    world.marline(["up"]).ends(1).says("has no commit yet");
}

#[test]
fn a_detached_head() {
    let world = World::with(&[(CI, GOOD)]);
    world.git(["checkout", "--quiet", "--detach"]);
    world.marline(["run"]).ends(0);
}

#[test]
fn a_shallow_clone() {
    let world = World::with(&[(CI, GOOD)]);
    world.commit("second", &[("x", "1")]);
    let shallow = World::new();
    let from = format!("file://{}", world.path().display());
    shallow.git(["fetch", "--quiet", "--depth=1", &from, "main"]);
    shallow.git(["checkout", "--quiet", "-B", "main", "FETCH_HEAD"]);
    shallow.marline(["run"]).ends(0);
}

#[test]
fn a_submodule() {
    let inner = World::with(&[("inside", "1")]);
    let world = World::with(&[(CI, GOOD)]);
    let path = inner.path().to_str().unwrap().to_owned();
    world.git(["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &path, "part"]);
    world.git(["commit", "--quiet", "--message", "a part"]);
    world.marline(["run"]).ends(0);
}

#[test]
fn file_names_of_every_kind() {
    let world = World::with(&[(CI, GOOD), ("with space", "1"), ("with\nnewline", "1")]);
    let name = std::ffi::OsStr::from_bytes(b"not-\xff-text");
    fs::write(world.path().join(name), "1").unwrap();
    world.commit("names", &[]);
    world.marline(["run"]).ends(0);
    world.marline(["check"]).ends(0);
    world.marline([] as [&str; 0]).ends(0);
}

#[test]
fn a_huge_file() {
    let world = World::with(&[(CI, GOOD)]);
    fs::write(world.path().join("huge"), vec![b'x'; 30 << 20]).unwrap();
    world.commit("huge", &[]);
    world.marline(["check"]).ends(0);
    world.marline([] as [&str; 0]).ends(0);
}

#[test]
fn every_error_of_every_file_at_once() {
    let world = World::with(&[
        (
            CI,
            "on: push\njobs:\n  deploy:\n    runs-on: ubuntu-latest\n    needs: [buidl]\n    steps: [{run: x}]\n  build:\n    runs-on: ubuntu-latest\n    stps: []\n",
        ),
        (
            ".github/workflows/other.yml",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: '${{ oops( }}'}]}}\n",
        ),
    ]);
    let said = world.marline(["run"]).ends(1);
    for text in ["ci.yml:5:", "ci.yml:9:", "other.yml:2:", "did you mean", "nothing was started"] {
        assert!(said.err.contains(text), "{text} is not in\n{}", said.err);
    }
}

#[test]
fn a_compose_file_with_errors_starts_nothing() {
    let world = World::with(&[(
        "compose.yaml",
        "services:\n  web:\n    build: .\n    comand: ./x\n    depends_on: [db]\n",
    )]);
    world.marline(["up"]).ends(1).says("compose.yaml:4:").says("`command`").says("compose.yaml:5:");
    world.marline(["config"]).ends(1).says("compose.yaml:4:");
}

#[test]
fn a_rule_file_and_a_policy_with_errors() {
    let world = World::with(&[
        ("rules/a.yml", "groups:\n  - name: a\n    rules:\n      - alert: x\n        expr: sum(\n"),
        ("policy/p.rego", "package main\n\ndeny contains msg if {\n"),
    ]);
    world.marline(["check"]).ends(1).says("rules/a.yml:5:").says("policy/p.rego:");
}

#[test]
fn a_port_that_is_taken() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let world =
        World::with(&[("web.py", &service("x", "False")), ("compose.yaml", &compose(port))]);
    world
        .marline(["up"])
        .ends(1)
        .says("another program listens on it")
        .says("compose.yaml:")
        .says("publish `web` on another port");
}

#[test]
fn a_missing_interpreter() {
    let port = free_port();
    let mut world = World::with(&[(
        "compose.yaml",
        &compose(port).replace("python3 web.py", "no-such-interpreter web.py"),
    )]);
    world.up();
    let cause = world.wait_for("a failed start", |fact| match fact {
        journal::Fact::DeploymentRolledBack { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(cause.contains("no-such-interpreter"), "{cause}");
}

#[test]
fn no_permission_to_keep_anything() {
    let world = World::with(&[(CI, GOOD)]);
    fs::write(world.path().join(".git/marline"), "in the way").unwrap();
    world.marline(["run"]).ends(1).says("marline").says("--state");
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let world = World::with(&[(CI, GOOD)]);
    world.marline(["run"]).ends(0);
    let Some(full) = FullDisk::mount(&world) else {
        println!("a_full_disk_is_said_and_loses_nothing: skipped, mounting needs root");
        return;
    };
    let state = full.0.join("state");
    let state = state.to_str().unwrap();
    let said = world.marline(["--state", state, "run"]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert!(said.err.to_lowercase().contains("space") || said.err.contains("full"), "{}", said.err);
    world.marline(["audit", "--verify"]).ends(0);
}

/// A tiny file system that is nearly full.
struct FullDisk(std::path::PathBuf);

impl FullDisk {
    fn mount(world: &World) -> Option<Self> {
        let path = world
            .path()
            .join("../")
            .canonicalize()
            .ok()?
            .join(format!("full-{}", std::process::id()));
        fs::create_dir_all(&path).ok()?;
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(&path)
            .output()
            .ok()?;
        if !done.status.success() {
            let _ = fs::remove_dir(&path);
            return None;
        }
        let _ = fs::write(path.join("filler"), vec![0; 48 << 10]);
        Some(Self(path))
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn nothing_runs_here() {
    let world = World::with(&[(CI, GOOD)]);
    world.marline(["status"]).ends(69).says("marline up");
    world.marline(["rollback"]).ends(5);
    world.marline(["run"]).ends(0);
    world.marline(["scale", "web=2"]).ends(69).says("marline up");
    world.marline(["scale", "web"]).ends(2).says("web=3");
    world.marline(["nonsense"]).ends(2);
    assert_eq!(get(1, "/"), None);
}
