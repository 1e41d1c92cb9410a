//! The process engine with real processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deploy::deployment::{Command, Deployment, Limits, Secret, SecretGiven, Signal};
use deploy::engine::conformance::{CASES, World};
use deploy::engine::process::ProcessEngine;
use deploy::engine::{EndReason, Ended, EngineSettings, LogCursor};
use deploy::shim::processes;
use deploy::{Engine, EngineError, Instance, InstanceState};
use nix::sys::signal::{Signal as Kill, kill};
use nix::unistd::Pid;

/// An engine in a directory of its own; whatever it runs ends with it.
struct Place {
    dir: tempfile::TempDir,
    engine: ProcessEngine,
    boxed: bool,
}

impl Place {
    fn new(boxed: bool) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        // Longer than a socket's path may be.
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir_all(deep.join("files/bin")).expect("make directories");
        let engine = open(&deep, boxed);
        Self { dir, engine, boxed }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("d".repeat(120))
    }

    async fn one(&self, deployment: &Deployment) -> Instance {
        self.engine.scale(deployment, 1).await.expect("start one");
        let all = self.engine.instances(&deployment.service).await.expect("list");
        all.into_iter().find(Instance::is_running).expect("one runs")
    }

    async fn ended(&self, deployment: &Deployment) -> Ended {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            for instance in self.engine.instances(&deployment.service).await.expect("list") {
                if let InstanceState::Ended(ended) = instance.state {
                    return ended;
                }
            }
            assert!(Instant::now() < until, "no instance ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn output(&self, instance: &Instance, lines: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.engine.logs(&instance.id, LogCursor::Start).await.expect("read");
            if log.lines.len() >= lines {
                return log.lines.into_iter().map(|line| line.text).collect();
            }
            assert!(Instant::now() < until, "got only {:?}", log.lines);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn open(root: &Path, boxed: bool) -> ProcessEngine {
    let settings = EngineSettings {
        directory: root.join("instances"),
        shim: vec![shim(), "__shim".into()],
        hidden: vec![root.join("instances")],
        boxed,
    };
    ProcessEngine::open(settings).expect("open the engine")
}

impl World for Place {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn deployment(&self, service: &str, release: &str, script: &str) -> Deployment {
        Deployment {
            service: service.into(),
            release: release.into(),
            files: self.root().join("files"),
            command: Command::Shell(script.to_owned()),
            directory: PathBuf::new(),
            environment: BTreeMap::new(),
            peers: BTreeMap::new(),
            secrets: Vec::new(),
            volumes: Vec::new(),
            stop_signal: Signal::TERM,
            stop_grace: Duration::from_secs(5),
            user: None,
            limits: Limits::default(),
        }
    }

    fn again(&self) -> Box<dyn Engine> {
        Box::new(open(&self.root(), self.boxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed must not leave processes behind.
        let Ok(entries) = fs::read_dir(self.root().join("instances")) else { return };
        for entry in entries.flatten() {
            let state = fs::read_to_string(entry.path().join("state.json")).unwrap_or_default();
            let state: serde_json::Value = serde_json::from_str(&state).unwrap_or_default();
            if !entry.path().join("exit.json").exists()
                && let Some(shim) = state["shim"].as_i64()
            {
                let _ = kill(Pid::from_raw(shim as i32), Kill::SIGKILL);
            }
        }
    }
}

fn is_alive(pid: u32) -> bool {
    processes::read(pid).is_some_and(|process| !process.is_zombie)
}

#[expect(clippy::disallowed_methods, reason = "it looks again, with a bound")]
fn until(what: &str, mut look: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !look() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_engine_keeps_every_promise_of_engines() {
    for case in CASES {
        println!("{}", case.name);
        (case.show)(&Place::new(false)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_them_with_a_box_too() {
    for case in CASES {
        println!("{}", case.name);
        (case.show)(&Place::new(true)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_shim_ends_the_instance_and_is_seen() {
    for boxed in [false, true] {
        let place = Place::new(boxed);
        let web = place.deployment("web", "r1", "sleep 1000 & echo $!; exec sleep 1000");
        let one = place.one(&web).await;
        place.output(&one, 1).await;
        let directory = place.engine.directory_of(&one.id);
        let state = fs::read_to_string(directory.join("state.json")).expect("it started");
        let state: serde_json::Value = serde_json::from_str(&state).expect("it is JSON");
        let shim = state["shim"].as_u64().expect("it names the shim") as u32;
        let family: Vec<u32> = processes::descendants(shim).iter().map(|p| p.pid).collect();
        assert!(family.len() >= 2, "two sleep: {family:?}");
        kill(Pid::from_raw(shim as i32), Kill::SIGKILL).expect("kill the shim");
        let ended = place.ended(&web).await;
        assert_eq!(ended.reason, EndReason::ShimLost);
        place.engine.scale(&web, 0).await.expect("clear away");
        until("the end of all", || family.iter().all(|pid| !is_alive(*pid)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_asks_first_and_then_takes_the_whole_tree() {
    for boxed in [false, true] {
        let place = Place::new(boxed);
        let polite = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let web = place.deployment("web", "r1", polite);
        let one = place.one(&web).await;
        place.output(&one, 1).await;
        place.engine.scale(&web, 0).await.expect("stop");
        assert_eq!(place.output(&one, 2).await, ["up", "bye"]);
        let ended = place.ended(&web).await;
        assert_eq!((ended.exit.code, ended.asked), (Some(0), true));

        let rude =
            "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo up; while :; do sleep 1; done";
        let mut deaf = place.deployment("deaf", "r1", rude);
        deaf.stop_grace = Duration::from_millis(100);
        let one = place.one(&deaf).await;
        place.output(&one, 1).await;
        let InstanceState::Running { pid, .. } = one.state else { panic!("it runs") };
        let mut family: Vec<u32> = processes::descendants(pid).iter().map(|p| p.pid).collect();
        family.push(pid);
        place.engine.scale(&deaf, 0).await.expect("stop");
        assert!(family.iter().all(|pid| !is_alive(*pid)), "some survive");
        let ended = place.ended(&deaf).await;
        assert_eq!((ended.exit.signal, ended.asked), (Some(9), true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_does_not_mind_signals_that_are_not_for_it() {
    let place = Place::new(false);
    let web = place.deployment("web", "r1", "echo up; exec sleep 1000");
    let one = place.one(&web).await;
    place.output(&one, 1).await;
    let state =
        fs::read_to_string(place.engine.directory_of(&one.id).join("state.json")).expect("started");
    let state: serde_json::Value = serde_json::from_str(&state).expect("it is JSON");
    let shim = Pid::from_raw(state["shim"].as_i64().expect("a process") as i32);
    for signal in [Kill::SIGTERM, Kill::SIGINT, Kill::SIGHUP] {
        kill(shim, signal).expect("signal the shim");
    }
    // It answers after the signals were delivered, so it survived them.
    let all = place.engine.instances(&web.service).await.expect("list");
    assert!(matches!(all[0].state, InstanceState::Running { usage, .. } if usage.rss_bytes > 0));
    place.engine.scale(&web, 0).await.expect("stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_missing_is_named() {
    for boxed in [false, true] {
        let place = Place::new(boxed);
        let mut web = place.deployment("web", "r1", "");
        web.command = Command::Words(vec!["./bin/nope".to_owned()]);
        // In a box that is known at once, without one only when it has ended.
        match place.engine.scale(&web, 1).await {
            Ok(()) | Err(EngineError::NotStarted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match place.ended(&web).await.reason {
            EndReason::NotStarted { errno, .. } => assert_eq!(errno, Some(2)),
            other => panic!("ended by {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_only_who_names_them_and_leave_no_file() {
    for boxed in [false, true] {
        let place = Place::new(boxed);
        let script = "echo \"$TOKEN\"; cat \"$KEY_FILE\"; echo; exec sleep 1000";
        let mut web = place.deployment("web", "r1", script);
        let secret = |name: &str, given| Secret {
            name: name.to_owned(),
            value: format!("value of {name}").into_bytes(),
            given,
        };
        web.secrets = vec![
            secret("token", SecretGiven::Variable("TOKEN".to_owned())),
            secret("key", SecretGiven::File),
        ];
        let one = place.one(&web).await;
        assert_eq!(place.output(&one, 2).await, ["value of token", "value of key"]);
        let directory = place.engine.directory_of(&one.id);
        let spec = fs::read_to_string(directory.join("spec.json")).expect("read");
        assert!(!spec.contains("value of"), "a secret is in spec.json");
        place.engine.scale(&web, 0).await.expect("stop");
        assert!(!directory.join("secrets").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_keeps_the_instance_from_our_state() {
    let place = Place::new(true);
    let hidden = place.root().join("instances");
    let script = format!(
        "ls {} | grep -v -e \"$INSTANCE\"; cat {}/*/spec.json; echo done; exec sleep 1000",
        hidden.display(),
        hidden.display()
    );
    let web = place.deployment("web", "r1", &script);
    let one = place.one(&web).await;
    let out = place.output(&one, 2).await.join("\n");
    if one.unprotected.iter().any(|reason| reason.contains("hidden")) {
        println!("skipped a_box_keeps_the_instance_from_our_state: {:?}", one.unprotected);
    } else {
        assert!(!out.contains("stop_signal"), "it reads our state: {out}");
    }
    place.engine.scale(&web, 0).await.expect("stop");
}

/// Returns the program that plays the shim; `cargo test` builds examples beside the tests.
///
/// It is no binary of the package, so that `cargo run` has only one to choose from.
fn shim() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let built = test.parent().and_then(std::path::Path::parent).expect("it lies in target/*/deps");
    built.join("examples/deploy-shim")
}
