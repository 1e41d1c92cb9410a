//! Failed starts of real processes, explained.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use deploy::deployment::{Command, Deployment, Limits, Signal};
use deploy::diagnosis::{Symptoms, diagnose};
use deploy::engine::EngineSettings;
use deploy::engine::process::ProcessEngine;
use deploy::{Engine, EngineError, Instance, InstanceState};
use journal::{Certainty, Diagnosis};

struct Place {
    dir: tempfile::TempDir,
    engine: ProcessEngine,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        fs::create_dir(dir.path().join("files")).expect("make a directory");
        let settings = EngineSettings {
            directory: dir.path().join("instances"),
            shim: vec![shim(), "__shim".into()],
            hidden: Vec::new(),
            boxed: false,
        };
        Self { engine: ProcessEngine::open(settings).expect("open the engine"), dir }
    }

    fn script(&self, name: &str, text: &str, mode: u32) {
        let path = self.dir.path().join("files").join(name);
        fs::write(&path, text).expect("write a script");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("set its mode");
    }

    /// Runs a command until `is_sick` and says what ails it.
    async fn diagnose(
        &self,
        command: Command,
        is_sick: impl Fn(&Instance, &Symptoms) -> bool,
    ) -> Diagnosis {
        let web = Deployment {
            service: "web".into(),
            release: "r1".into(),
            files: self.dir.path().join("files"),
            command,
            directory: PathBuf::new(),
            environment: BTreeMap::new(),
            peers: BTreeMap::new(),
            secrets: Vec::new(),
            volumes: Vec::new(),
            stop_signal: Signal::TERM,
            stop_grace: Duration::from_secs(1),
            user: None,
            limits: Limits::default(),
        };
        match self.engine.scale(&web, 1).await {
            Ok(()) | Err(EngineError::NotStarted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let instance = self.engine.instances(&web.service).await.expect("list").remove(0);
            let symptoms = Symptoms::of(&self.engine, &web, &instance).await.expect("look");
            if is_sick(&instance, &symptoms) {
                self.engine.scale(&web, 0).await.expect("stop");
                return diagnose(&symptoms);
            }
            assert!(Instant::now() < until, "never sick: {symptoms:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ended(&self, command: Command) -> Diagnosis {
        self.diagnose(command, |i, _| matches!(i.state, InstanceState::Ended(_))).await
    }
}

fn words(words: &[&str]) -> Command {
    Command::Words(words.iter().map(|word| (*word).to_owned()).collect())
}

fn shell(line: &str) -> Command {
    Command::Shell(line.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_program_is_named_with_who_asked_for_it() {
    let place = Place::new();
    let told = place.ended(words(&["no-such-server"])).await;
    assert_eq!(told.certainty, Certainty::Certain);
    assert_eq!(
        told.cause,
        "the program `no-such-server` is missing, which the command of the service asks for"
    );
    let place = Place::new();
    let told = place.ended(shell("no-such-server --port 1")).await;
    assert!(told.cause.starts_with("the program `no-such-server` is missing"), "{}", told.cause);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_interpreter_is_named_with_the_file_that_asks_for_it() {
    let place = Place::new();
    place.script("serve", "#!/opt/none/python9\n", 0o755);
    let told = place.ended(words(&["./serve"])).await;
    assert_eq!(
        told.cause,
        "`/opt/none/python9` is missing, which the first line of `./serve` asks for"
    );
    let place = Place::new();
    place.script("serve", "#!/usr/bin/env node9\n", 0o755);
    let told = place.ended(words(&["./serve"])).await;
    assert_eq!(
        told.cause,
        "the program `node9` is missing, which the first line of the script asks for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_may_not_be_executed_is_told_with_how_to_mend_it() {
    let place = Place::new();
    place.script("serve", "#!/bin/sh\n", 0o644);
    let told = place.ended(words(&["./serve"])).await;
    assert_eq!(told.cause, "`./serve` may not be executed");
    assert!(told.help.is_some_and(|help| help.contains("chmod=+x ./serve")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_mismatch_is_seen_in_the_running_process() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound").port();
    let server = format!("exec python3 -m http.server --bind 127.0.0.1 {free}");
    let told = place.diagnose(shell(&server), |_, seen| !seen.listening.is_empty()).await;
    assert_eq!(told.certainty, Certainty::Certain);
    assert!(
        told.cause.starts_with(&format!("`web` listens on port {free}, but PORT was ")),
        "{}",
        told.cause
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told() {
    let place = Place::new();
    let held = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = held.local_addr().expect("bound").port();
    let server = format!("exec python3 -m http.server --bind 127.0.0.1 {port}");
    let told = place.ended(shell(&server)).await;
    assert!(told.cause.contains("is taken"), "{}", told.cause);
    assert!(told.help.is_some_and(|help| help.contains("PORT")));
    let place = Place::new();
    let server = format!("echo 'listen EADDRINUSE: address already in use :::{port}'; exit 1");
    let told = place.ended(shell(&server)).await;
    assert_eq!(told.certainty, Certainty::Certain);
    assert!(
        told.cause.contains(&format!("wants port {port}, which is taken by `")),
        "{}",
        told.cause
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_code_and_a_signal_are_told_with_the_last_lines() {
    let place = Place::new();
    let told = place.ended(shell("echo 'cannot reach the database'; exit 3")).await;
    assert_eq!(told.cause, "`web` ended with exit code 3");
    assert_eq!(told.last_lines, ["cannot reach the database"]);
    assert_eq!(told.certainty, Certainty::Unsure);
    let place = Place::new();
    let told = place.ended(shell("kill -SEGV $$")).await;
    assert_eq!(told.cause, "`web` was ended by SIGSEGV");
    let place = Place::new();
    let told = place.ended(shell("true")).await;
    assert_eq!(told.cause, "`web` ended by itself without an error");
}

/// Returns the program that plays the shim; `cargo test` builds examples beside the tests.
///
/// It is no binary of the package, so that `cargo run` has only one to choose from.
fn shim() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let built = test.parent().and_then(std::path::Path::parent).expect("it lies in target/*/deps");
    built.join("examples/deploy-shim")
}
