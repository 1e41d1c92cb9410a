//! Alerts reach people: from a rule that fires to a server that is told, through crashes and
//! silences.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use journal::Fact;
use serde_json::Value as Json;

use crate::carry::{compose, service};
use crate::world::{World, free_port, get};

/// A team's webhook: it takes every message and remembers it.
struct Hook {
    port: u16,
    heard: Arc<Mutex<Vec<Json>>>,
}

impl Hook {
    fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                list.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
        });
        Self { port, heard }
    }

    /// Returns the status of each message and the alerts that it names.
    fn told(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let tell = |message: &Json| {
            let alerts = message["alerts"].as_array().unwrap().iter();
            let names: Vec<&str> =
                alerts.map(|alert| alert["labels"]["alertname"].as_str().unwrap()).collect();
            format!("{} {}", message["status"].as_str().unwrap(), names.join(" "))
        };
        heard.iter().map(tell).collect()
    }
}

fn receivers(port: u16) -> String {
    format!(
        "route:
  receiver: team
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  routes:
    - {{matchers: [severity=command], receiver: command}}
receivers:
  - name: team
    webhook_configs: [{{url: 'http://127.0.0.1:{port}/hook/hunter2'}}]
  - name: command
    command_configs: [{{command: [sh, -c, 'grep -o MarlineTest | head -n 1; ls web.py']}}]
  - name: secret
    ntfy_configs: [{{url: 'http://127.0.0.1:{port}', topic_file: /run/secrets/topic}}]
"
    )
}

const RULES: &str = "groups:
  - name: shop
    interval: 1s
    rules:
      - alert: Errors
        expr: sum(increase(marline_request_errors_total[10s])) > 0
        labels: {severity: page}
        annotations: {summary: 'requests fail'}
";

fn world(hook: &Hook, port: u16) -> World {
    World::with(&[
        ("web.py", &service("one", "self.path == '/bad'")),
        ("compose.yaml", &compose(port)),
        ("rules/shop.yml", RULES),
        ("alertmanager.yml", &receivers(hook.port)),
    ])
}

#[test]
fn people_are_told_once_through_a_crash_and_of_the_end() {
    let (hook, port) = (Hook::listening(), free_port());
    let mut world = world(&hook, port);
    world.up();
    world.wait_deployed();
    assert_eq!(get(port, "/bad").map(|(status, _)| status), Some(500));
    let sent = |fact: &Fact| match fact {
        Fact::NotificationSent { channel, firing, .. } => Some((channel.clone(), firing.len())),
        _ => None,
    };
    assert_eq!(world.wait_for("a receipt", sent), ("team/webhook[0]".to_owned(), 1));
    world.marline(["alerts"]).ends(0).says("told just now to team/webhook[0]");
    world.kill_conductor();
    world.up();
    assert_eq!(world.wait_for("the receipt of the end", sent), ("team/webhook[0]".to_owned(), 0));
    assert_eq!(hook.told(), ["firing Errors", "resolved Errors"]);
    world.marline(["alerts"]).ends(0).says("no alert fires");
}

#[test]
fn a_silenced_alert_is_not_told_until_the_silence_is_ended() {
    let (hook, port) = (Hook::listening(), free_port());
    let mut world = world(&hook, port);
    world.marline(["silence", "add", "Errors", "-c", "x"]).ends(69).says("marline up");
    world.up();
    world.wait_deployed();
    let add = ["silence", "add", "Errors", "severity=~p.*", "--comment", "we know", "-d", "1h"];
    let said = world.marline(add).ends(0).says("undo: marline silence expire ");
    let id = said.err.trim().rsplit(' ').next().unwrap().to_owned();
    get(port, "/bad");
    world.wait_for("an alert", |fact| matches!(fact, Fact::AlertFired { .. }).then_some(()));
    world.marline(["alerts"]).ends(0).says(&format!("silenced by {id}"));
    world.marline(["silence", "list"]).ends(0).says("severity=~\"p.*\"").says("we know");
    assert_eq!(hook.told(), [""; 0]);
    world.marline(["silence", "expire", &id]).ends(0);
    // Something goes on failing, so that there is something to be told of.
    world.wait_until("somebody is told", |_| {
        get(port, "/bad");
        !hook.told().is_empty()
    });
    assert_eq!(hook.told()[0], "firing Errors");
    world.marline(["silence", "list"]).ends(0).says("no alert is silenced");
    world.marline(["silence", "expire", &id]).ends(1).says("is over already");
    world.marline(["silence", "add", "service=~.*", "-c", "x"]).ends(1).says("every alert");
}

#[test]
fn receivers_are_tried_before_they_are_needed() {
    let hook = Hook::listening();
    let world = world(&hook, free_port());
    world.marline(["notify", "test"]).ends(0).says("team/webhook[0]  the test");
    assert_eq!(hook.told(), ["firing MarlineTest", "resolved MarlineTest"]);
    world
        .marline(["notify", "test", "command"])
        .ends(0)
        .says("command/command[0]  the test: web.py");
    world.marline(["notify", "test", "nobody"]).ends(5).says("there are: team, command, secret");
    world
        .marline(["notify", "test", "secret"])
        .ends(1)
        .says("there is no such file, and no secret `topic`");
    world.write("alertmanager.yml", &receivers(1));
    let said = world.marline(["notify", "test"]).ends(1).says("could not reach 127.0.0.1");
    assert!(!format!("{}{}{}", said.out, said.err, world.story()).contains("hunter2"));
}

#[test]
fn a_mistake_in_the_receivers_holds_the_gate() {
    let world = World::with(&[("alertmanager.yml", "route: {receiver: nobody}\nreceivers: []\n")]);
    world
        .marline(["check"])
        .ends(1)
        .says("no receiver is called `nobody`")
        .says("alertmanager.yml:1:19");
}

/// The real Alertmanager, on ports of its own; killed when it is dropped.
struct Alertmanager {
    port: u16,
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = "route: {receiver: none}\nreceivers: [{name: none}]\n";
        std::fs::write(folder.path().join("am.yml"), config).unwrap();
        let child = std::process::Command::new("prometheus-alertmanager")
            .current_dir(folder.path())
            .args(["--config.file=am.yml", "--storage.path=data", "--cluster.listen-address="])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stderr(std::process::Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { port, child, _folder: folder })
    }

    /// Returns the alerts that it knows.
    fn alerts(&self) -> Vec<Json> {
        let answer = get(self.port, "/api/v2/alerts").filter(|(status, _)| *status == 200);
        let body = answer.map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(&body).unwrap_or_default()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_alertmanager_is_sent_every_alert_and_its_end() {
    let Some(alertmanager) = Alertmanager::start() else {
        let test = "a_real_alertmanager_is_sent_every_alert_and_its_end";
        crate::world::peer_is_missing(test, "prometheus-alertmanager");
        return;
    };
    let port = free_port();
    let prometheus = format!(
        "global: {{external_labels: {{cluster: eu}}}}\nalerting:\n  alertmanagers:\n    \
         - static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        alertmanager.port
    );
    let mut world = World::with(&[
        ("web.py", &service("one", "self.path == '/bad'")),
        ("compose.yaml", &compose(port)),
        ("rules/shop.yml", RULES),
        ("prometheus.yml", &prometheus),
    ]);
    world.up();
    world.wait_deployed();
    get(port, "/bad");
    world.wait_until("Alertmanager knows of it", |_| !alertmanager.alerts().is_empty());
    let alert = alertmanager.alerts().remove(0);
    assert_eq!(alert["labels"]["alertname"], "Errors");
    assert_eq!(alert["labels"]["cluster"], "eu");
    assert_eq!(alert["annotations"]["summary"], "requests fail");
    world.wait_until("Alertmanager knows of its end", |_| alertmanager.alerts().is_empty());
}
