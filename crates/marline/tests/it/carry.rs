//! `marline up`: a commit is carried to a watched service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use journal::{Fact, ServiceName};

use crate::world::{World, free_port, get};

/// A web service in Python that says its version, and fails as it is told.
pub fn service(version: &str, fails: &str) -> String {
    format!(
        r#"
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = 500 if ({fails}) and self.path != "/up" else 200
        body = b"{version}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 128

print("listening", flush=True)
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#
    )
}

/// Its Compose file.
pub fn compose(port: u16) -> String {
    format!(
        r#"services:
  web:
    build: .
    command: python3 web.py
    ports: ["{port}:8000"]
    deploy:
      replicas: 2
      update_config: {{monitor: 1s, failure_action: rollback}}
    x-marline: {{http: /up, canary: [10%, 50%]}}
"#
    )
}

/// Users that ask again and again, until they are stopped.
pub struct Users {
    stop: Arc<AtomicBool>,
    failed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    pub fn ask(port: u16, many: usize) -> Self {
        let (stop, failed) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let threads = (0..many)
            .map(|_| {
                let (stop, failed) = (stop.clone(), failed.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let is_good = get(port, "/").is_some_and(|(status, _)| status < 500);
                        failed.fetch_add(u64::from(!is_good), Ordering::Relaxed);
                        std::thread::park_timeout(std::time::Duration::from_millis(10));
                    }
                })
            })
            .collect();
        Self { stop, failed, threads }
    }

    /// Stops them and says how many requests failed.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.failed.load(Ordering::Relaxed)
    }
}

fn deployed(port: u16) -> World {
    let mut world = World::new();
    world
        .commit("first", &[("web.py", &service("one", "False")), ("compose.yaml", &compose(port))]);
    world.up();
    world.wait_deployed();
    world
}

#[test]
fn a_commit_becomes_a_service_and_the_next_one_replaces_it_without_a_lost_request() {
    let port = free_port();
    let mut world = deployed(port);
    assert_eq!(get(port, "/"), Some((200, "one".into())));
    let users = Users::ask(port, 4);
    world.commit("second", &[("web.py", &service("two", "False"))]);
    world.wait_deployed();
    assert_eq!(get(port, "/"), Some((200, "two".into())));
    assert_eq!(users.stop(), 0, "{}", world.story());
}

#[test]
fn a_release_that_fails_is_taken_back_and_the_incident_says_why() {
    let port = free_port();
    let mut world = deployed(port);
    let users = Users::ask(port, 4);
    world.commit("third", &[("web.py", &service("bad", "True"))]);
    let reason = world.wait_for("a roll-back", |fact| match fact {
        Fact::DeploymentRolledBack { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("requests to the new release failed"), "{reason}");
    world.wait_for("the end of the incident", |fact| {
        matches!(fact, Fact::IncidentResolved { .. }).then_some(())
    });
    let failed = users.stop();
    assert!((1..40).contains(&failed), "{failed} requests failed");
    assert_eq!(get(port, "/"), Some((200, "one".into())));
    world.marline(["why"]).ends(0).says("rolled back");
    world.marline(["why", "incident", "1", "--for", "manager"]).ends(0);
    world.marline(["incidents"]).ends(0).says("web");
    world.marline(["audit", "--verify"]).ends(0);
}

#[test]
fn a_release_that_does_not_start_gets_no_traffic_and_says_why() {
    let port = free_port();
    let mut world = deployed(port);
    let users = Users::ask(port, 2);
    world.commit("broken", &[("web.py", "import not_there\n")]);
    let reason = world.wait_for("a roll-back", |fact| match fact {
        Fact::DeploymentRolledBack { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("exit code 1"), "{reason}");
    assert_eq!(users.stop(), 0);
    world.marline(["why", "web"]).ends(0);
}

#[test]
fn people_deploy_go_back_scale_and_restart_from_the_command_line() {
    let port = free_port();
    let mut world = deployed(port);
    world.commit("second", &[("web.py", &service("two", "False"))]);
    world.wait_deployed();
    let users = Users::ask(port, 2);
    world.marline(["status"]).ends(0).says("web");
    world.marline(["rollback", "web"]).ends(0).says("undo: marline deploy");
    assert_eq!(get(port, "/"), Some((200, "one".into())));
    world.marline(["deploy"]).ends(0);
    assert_eq!(get(port, "/"), Some((200, "two".into())));
    world.marline(["scale", "web=3"]).ends(0).says("undo: marline scale web=2");
    let ready = |world: &World| {
        let view = world.view();
        let web = &view.services[&ServiceName::from("web")];
        web.instances.values().filter(|instance| instance.is_ready).count()
    };
    assert_eq!(ready(&world), 3);
    world.marline(["scale", "web=1"]).ends(0);
    assert_eq!(ready(&world), 1);
    world.marline(["restart", "web"]).ends(0);
    world.marline(["logs", "web"]).ends(0).says("listening");
    world.marline(["rollback", "nothing"]).ends(1).says("nothing");
    assert_eq!(users.stop(), 0, "{}", world.story());
    world.marline(["release", "list"]).ends(0);
    world.marline(["timeline"]).ends(0);
    world.marline(["down"]).ends(0);
    assert_eq!(get(port, "/"), None);
}

#[test]
fn an_instance_that_dies_is_started_again() {
    let port = free_port();
    let mut world = deployed(port);
    let pid = {
        let view = world.view();
        let web = &view.services[&ServiceName::from("web")];
        web.instances.values().next().unwrap().pid
    };
    assert_ne!(pid, 0, "the number of no process: {}", world.story());
    let killed =
        std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let worked = world.wait_for("healing", |fact| match fact {
        Fact::HealingFinished { worked, .. } => Some(*worked),
        _ => None,
    });
    assert!(worked, "{}", world.story());
    assert_eq!(get(port, "/"), Some((200, "one".into())));
}

#[test]
fn without_a_compose_file_what_was_detected_runs() {
    let port = free_port();
    let mut world = World::new();
    let app = service("found", "False");
    world.commit("first", &[("Procfile", "web: python3 app.py\n"), ("app.py", &app)]);
    world.marline(["up", "--plan"]).ends(0).says("python3 app.py");
    let _ = port;
    world.up();
    world.wait_deployed();
}

#[test]
fn a_service_with_only_an_image_says_that_it_needs_docker() {
    let world = World::with(&[("compose.yaml", "services:\n  db:\n    image: postgres:16\n")]);
    world.marline(["up"]).ends(1).says("compose.yaml:3:").says("Docker engine");
}

#[test]
fn a_rule_of_the_team_fires_and_is_resolved() {
    let port = free_port();
    let mut world = World::new();
    let rules = "groups:
  - name: shop
    interval: 1s
    rules:
      - record: shop:errors
        expr: sum(increase(marline_request_errors_total[10s]))
      - alert: Errors
        expr: shop:errors > 0
        labels: {severity: page}
        annotations: {summary: 'errors: {{ $value }}'}
";
    let fails = "self.path == '/bad'";
    world.commit(
        "first",
        &[
            ("web.py", &service("one", fails)),
            ("compose.yaml", &compose(port)),
            ("rules/shop.yml", rules),
        ],
    );
    world.up();
    world.wait_deployed();
    let bad = get(port, "/bad");
    assert_eq!(bad.map(|(status, _)| status), Some(500));
    let summary = world.wait_for("an alert", |fact| match fact {
        Fact::AlertFired { alert, annotations, .. } if alert == "Errors" => {
            annotations.get("summary").cloned()
        }
        _ => None,
    });
    assert!(summary.starts_with("errors: "), "{summary}");
    world.wait_for("its end", |fact| matches!(fact, Fact::AlertResolved { .. }).then_some(()));
}

#[test]
fn a_service_that_prints_its_secret_does_not_show_it() {
    let port = free_port();
    let mut world = World::new();
    let app = service("one", "False").replace(
        "print(\"listening\", flush=True)",
        "print(\"token\", open(os.environ[\"TOKEN_FILE\"]).read(), flush=True)",
    );
    let file = format!(
        "{}    secrets: [token]\nsecrets:\n  token: {{file: ./no-such-file}}\n",
        compose(port)
    );
    world.commit("first", &[("web.py", &app), ("compose.yaml", &file)]);
    let mut set = world.command(["secret", "set", "token"]);
    let mut child = set.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"correct-horse-battery").unwrap();
    assert!(child.wait().unwrap().success());
    world.up();
    world.wait_deployed();
    let said = world.marline(["logs", "web"]).ends(0).says("token ***");
    assert!(!said.out.contains("correct-horse"), "{}", said.out);
}

#[test]
fn a_crash_loop_in_peace_time_is_an_incident_until_it_stays_well() {
    let port = free_port();
    let mut world = World::new();
    let deadly = "self.path == '/die' and os._exit(3)";
    world.commit("first", &[("web.py", &service("one", deadly)), ("compose.yaml", &compose(port))]);
    world.up();
    world.wait_deployed();
    let mut opened = None;
    world.wait_until("an incident is open", |world| {
        get(port, "/die");
        opened = world.view().open_incidents().next().cloned();
        opened.is_some()
    });
    let incident = opened.expect("it was waited for");
    assert!(incident.title.contains("web crashes again and again"), "{incident:?}");
    assert_eq!(incident.deployment, None);
    assert!(incident.suspects[0].what.contains("“first”"), "{incident:?}");
    world
        .marline(["why", &format!("incident {}", incident.id)])
        .ends(0)
        .says("crashes again and again");
    let affected = world.wait_for("the end of the incident", |fact| match fact {
        Fact::IncidentResolved { affected, .. } => Some(*affected),
        _ => None,
    });
    assert!(affected.failed > 0, "{affected:?}");
}
