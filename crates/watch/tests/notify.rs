//! Each kind of channel against a server of its kind on loopback: what is sent, what comes back,
//! and that no secret is in what is said about it.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use journal::view::Notified;
use journal::{Event, EventId, Fact, Labels, View};
use serde_json::{Value as Json, json};
use source::alertmanager;
use watch::dispatch::{Dispatcher, Notification, Present, State};
use watch::notify::{self, Desk, Letter, TellError};
use watch::probe::CommandOutput;

/// What a server was asked.
#[derive(Debug, Clone, Default)]
struct Asked {
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Asked {
    fn json(&self) -> Json {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A server that gives these answers, one to each request, and remembers what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn answering<const N: usize>(answers: [(u16, &str); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<(u16, String)> =
            answers.into_iter().map(|(status, body)| (status, body.to_owned())).collect();
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            while let Some((status, body)) = answers.pop_front() {
                let Ok((mut stream, _)) = listener.accept() else { return };
                // Who has the answer looks at once what was asked.
                let asked = hear(&stream);
                seen.lock().expect("no panic").push(asked);
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).expect("an answer");
            }
        });
        Self { port, asked }
    }

    fn only(&self) -> Asked {
        let asked = self.asked.lock().expect("no panic");
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }

    fn count(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

fn hear(stream: &TcpStream) -> Asked {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked::default();
    reader.read_line(&mut asked.line).expect("a request");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        asked.headers.push(line.trim().to_owned());
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).expect("a body");
    asked.body = String::from_utf8(bytes).expect("text");
    asked.line.truncate(asked.line.trim_end().len());
    asked
}

/// What fires when people are told.
#[derive(Clone, Copy, PartialEq)]
enum Case {
    Firing,
    Over,
}

/// Returns what is due for one receiver with these integrations.
fn letter(case: Case, receiver: &str, global: &str) -> Letter {
    let text = format!(
        "global: {{{global}}}\nroute: {{receiver: team, group_by: [alertname], group_wait: 0s}}\n\
         receivers:\n  - name: team\n{receiver}"
    );
    let (config, findings) = alertmanager::read("am.yml", &text);
    assert!(findings.is_empty(), "{findings:?}\n{text}");
    let config = config.expect("a configuration");
    let at = |second: i64| Timestamp::from_second(1_704_067_200 + second).expect("a time");
    let mut view = View::default();
    let labels = Labels::from([("service".to_owned(), "web".to_owned())]);
    let fired = Fact::AlertFired {
        alert: "Errors".to_owned(),
        labels: labels.clone(),
        annotations: Labels::from([("summary".to_owned(), "5 % of requests fail".to_owned())]),
        value: "0.05".to_owned(),
    };
    let mut apply = |id: u64, fact: Fact| {
        let actor = journal::Actor::Conductor;
        let event = Event { id: EventId(id), at: at(id as i64), actor, cause: None, fact };
        view.apply(&event);
    };
    apply(1, fired);
    let dispatcher = Dispatcher::new(config.clone());
    let mut present = Present::of(&view, at(2));
    if case == Case::Over {
        let told = dispatcher.step(State::default(), at(2), &present).1;
        view.apply(&Event {
            id: EventId(2),
            at: at(2),
            actor: journal::Actor::Conductor,
            cause: None,
            fact: told[0].sent("C1 17.5".to_owned()),
        });
        view.apply(&Event {
            id: EventId(3),
            at: at(3),
            actor: journal::Actor::Conductor,
            cause: None,
            fact: Fact::AlertResolved { alert: "Errors".to_owned(), labels },
        });
        present = Present::of(&view, at(400));
    }
    let state = State::resuming(&view);
    let (_, notifications) = dispatcher.step(state, at(400), &present);
    let [notification]: [Notification; 1] =
        notifications.try_into().expect("exactly one notification");
    Letter::new(&config, notification, &desk(), at(400)).expect("the channel is there")
}

fn desk() -> Desk {
    Desk {
        external_url: "http://127.0.0.1:4200".to_owned(),
        definitions: Arc::new(notify::definitions([]).expect("the default texts")),
        read: Arc::new(|path| match path.to_str() {
            Some("/run/secrets/token") => Ok("hunter2-of-file\n".to_owned()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }),
        run: Some(Arc::new(|words, input| {
            let said = format!("{} {}", words.join(" "), input.len() > 100);
            let exit = if words[0] == "false" { Ok(1) } else { Ok(0) };
            Box::pin(async move { CommandOutput { exit, output: said } })
        })),
    }
}

async fn deliver(letter: Letter) -> Result<String, TellError> {
    notify::deliver(letter, Duration::from_secs(5)).await
}

#[tokio::test]
async fn a_webhook_gets_alertmanagers_message_of_version_4() {
    let server = Server::answering([(200, "")]);
    let url = format!("http://127.0.0.1:{}/hook?key=hunter2", server.port);
    let receiver = format!(
        "    webhook_configs: [{{url: '{url}', http_config: {{authorization: {{credentials_file: /run/secrets/token}}}}}}]"
    );
    deliver(letter(Case::Firing, &receiver, "")).await.expect("it is told");
    let asked = server.only();
    assert_eq!(asked.line, "POST /hook?key=hunter2 HTTP/1.1");
    assert_eq!(asked.header("authorization"), Some("Bearer hunter2-of-file"));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    let fingerprint = asked.json()["alerts"][0]["fingerprint"].clone();
    let wanted = json!({
        "receiver": "team",
        "status": "firing",
        "alerts": [{
            "status": "firing",
            "labels": {"alertname": "Errors", "service": "web"},
            "annotations": {"summary": "5 % of requests fail"},
            "startsAt": "2024-01-01T00:00:01Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://127.0.0.1:4200",
            "fingerprint": fingerprint,
        }],
        "groupLabels": {"alertname": "Errors"},
        "commonLabels": {"alertname": "Errors", "service": "web"},
        "commonAnnotations": {"summary": "5 % of requests fail"},
        "externalURL": "http://127.0.0.1:4200",
        "version": "4",
        "groupKey": "{}:{alertname=\"Errors\"}",
        "truncatedAlerts": 0,
    });
    assert_eq!(asked.json(), wanted);

    let server = Server::answering([(200, "")]);
    let receiver = format!("    webhook_configs: [{{url: 'http://127.0.0.1:{}/'}}]", server.port);
    deliver(letter(Case::Over, &receiver, "")).await.expect("it is told");
    let said = server.only().json();
    assert_eq!(
        (&said["status"], &said["alerts"][0]["endsAt"]),
        (&json!("resolved"), &json!("2024-01-01T00:00:03Z"),)
    );
}

/// A kind of channel: its settings (PORT is that of the server), the server's answer, the receipt,
/// what it is asked, and parts of the body by their JSON pointers.
struct Kind {
    settings: &'static str,
    case: Case,
    answer: &'static str,
    receipt: &'static str,
    line: &'static str,
    header: Option<(&'static str, &'static str)>,
    body: &'static [(&'static str, &'static str)],
}

const KINDS: &[Kind] = &[
    Kind {
        settings: "slack_configs: [{api_url: 'http://127.0.0.1:PORT/services/T/hunter2', channel: '#ops'}]",
        case: Case::Firing,
        answer: "ok",
        receipt: "",
        line: "POST /services/T/hunter2",
        header: None,
        body: &[
            ("/channel", "#ops"),
            ("/username", "Marline"),
            ("/attachments/0/color", "danger"),
            ("/attachments/0/title", "[FIRING:1] Errors (web)"),
            ("/attachments/0/title_link", "http://127.0.0.1:4200"),
        ],
    },
    Kind {
        settings: "slack_configs: [{app_token: hunter2, app_url: 'http://127.0.0.1:PORT/api/chat.postMessage', \
                   channel: ops, title: 'T {{ .CommonLabels.service }}', send_resolved: true}]",
        case: Case::Firing,
        answer: r#"{"ok": true, "channel": "C1", "ts": "17.5"}"#,
        receipt: "C1 17.5",
        line: "POST /api/chat.postMessage",
        header: Some(("authorization", "Bearer hunter2")),
        body: &[("/attachments/0/title", "T web")],
    },
    Kind {
        settings: "slack_configs: [{app_token: hunter2, app_url: 'http://127.0.0.1:PORT/api/chat.postMessage', \
                   channel: ops, update_message: true, send_resolved: true}]",
        case: Case::Over,
        answer: r#"{"ok": true, "channel": "C1", "ts": "17.5"}"#,
        receipt: "C1 17.5",
        line: "POST /api/chat.update",
        header: None,
        body: &[("/ts", "17.5"), ("/channel", "C1"), ("/attachments/0/color", "good")],
    },
    Kind {
        settings: "mattermost_configs: [{webhook_url: 'http://127.0.0.1:PORT/hooks/hunter2', channel: town}]",
        case: Case::Firing,
        answer: "ok",
        receipt: "",
        line: "POST /hooks/hunter2",
        header: None,
        body: &[("/channel", "town"), ("/attachments/0/title", "[FIRING:1] Errors (web)")],
    },
    Kind {
        settings: "discord_configs: [{webhook_url: 'http://127.0.0.1:PORT/api/webhooks/1/hunter2'}]",
        case: Case::Over,
        answer: "",
        receipt: "",
        line: "POST /api/webhooks/1/hunter2",
        header: None,
        body: &[("/embeds/0/title", "[RESOLVED] Errors (web)")],
    },
    Kind {
        settings: "msteamsv2_configs: [{webhook_url: 'http://127.0.0.1:PORT/workflows/hunter2'}]",
        case: Case::Firing,
        answer: "",
        receipt: "",
        line: "POST /workflows/hunter2",
        header: None,
        body: &[
            ("/attachments/0/content/type", "AdaptiveCard"),
            ("/attachments/0/content/body/0/text", "[FIRING:1] Errors (web)"),
            ("/attachments/0/content/body/0/color", "Attention"),
        ],
    },
    Kind {
        settings: "msteams_configs: [{webhook_url: 'http://127.0.0.1:PORT/hunter2'}]",
        case: Case::Firing,
        answer: "1",
        receipt: "",
        line: "POST /hunter2",
        header: None,
        body: &[("/@type", "MessageCard"), ("/title", "[FIRING:1] Errors (web)")],
    },
    Kind {
        settings: "telegram_configs: [{bot_token: '1:hunter2', chat_id: -100, api_url: 'http://127.0.0.1:PORT'}]",
        case: Case::Firing,
        answer: r#"{"ok": true, "result": {"message_id": 42}}"#,
        receipt: "42",
        line: "POST /bot1:hunter2/sendMessage",
        header: None,
        body: &[("/chat_id", "-100")],
    },
    Kind {
        settings: "ntfy_configs: [{url: 'http://127.0.0.1:PORT', topic: ops, token: hunter2}]",
        case: Case::Firing,
        answer: r#"{"id": "xyz"}"#,
        receipt: "xyz",
        line: "POST / HTTP",
        header: Some(("authorization", "Bearer hunter2")),
        body: &[("/topic", "ops"), ("/priority", "4"), ("/title", "[FIRING:1] Errors (web)")],
    },
    Kind {
        settings: "gotify_configs: [{url: 'http://127.0.0.1:PORT/', token_file: /run/secrets/token}]",
        case: Case::Over,
        answer: r#"{"id": 7}"#,
        receipt: "7",
        line: "POST /message",
        header: Some(("x-gotify-key", "hunter2-of-file")),
        body: &[("/title", "[RESOLVED] Errors (web)"), ("/priority", "4")],
    },
    Kind {
        settings: "matrix_configs: [{homeserver_url: 'http://127.0.0.1:PORT', access_token: hunter2, room_id: '!a:b.c'}]",
        case: Case::Firing,
        answer: r#"{"event_id": "$e"}"#,
        receipt: "$e",
        line: "PUT /_matrix/client/v3/rooms/%21a%3Ab%2Ec/send/m.room.message/",
        header: Some(("authorization", "Bearer hunter2")),
        body: &[("/msgtype", "m.text")],
    },
    Kind {
        settings: "pagerduty_configs: [{routing_key: hunter2, url: 'http://127.0.0.1:PORT/v2/enqueue', details: {more: 'x'}}]",
        case: Case::Over,
        answer: r#"{"status": "success", "dedup_key": "k"}"#,
        receipt: "k",
        line: "POST /v2/enqueue",
        header: None,
        body: &[
            ("/event_action", "resolve"),
            ("/routing_key", "hunter2"),
            ("/payload/severity", "error"),
            ("/payload/custom_details/num_resolved", "1"),
            ("/payload/custom_details/more", "x"),
        ],
    },
    Kind {
        settings: "pagerduty_configs: [{service_key: hunter2, url: 'http://127.0.0.1:PORT/v1'}]",
        case: Case::Firing,
        answer: r#"{"status": "success", "incident_key": "k"}"#,
        receipt: "k",
        line: "POST /v1",
        header: None,
        body: &[("/event_type", "trigger"), ("/description", "[FIRING:1] Errors (web)")],
    },
    Kind {
        settings: "opsgenie_configs: [{api_key: hunter2, api_url: 'http://127.0.0.1:PORT/', tags: 'a, b', priority: P1}]",
        case: Case::Firing,
        answer: r#"{"requestId": "r"}"#,
        receipt: "r",
        line: "POST /v2/alerts HTTP",
        header: Some(("authorization", "GenieKey hunter2")),
        body: &[("/message", "[FIRING:1] Errors (web)"), ("/tags/1", "b"), ("/priority", "P1")],
    },
    Kind {
        settings: "opsgenie_configs: [{api_key: hunter2, api_url: 'http://127.0.0.1:PORT/'}]",
        case: Case::Over,
        answer: r#"{"requestId": "r"}"#,
        receipt: "r",
        line: "POST /v2/alerts/",
        header: None,
        body: &[("/source", "http://127.0.0.1:4200")],
    },
];

#[tokio::test]
async fn each_kind_of_channel_is_told_in_its_own_way() {
    for kind in KINDS {
        let server = Server::answering([(200, kind.answer)]);
        let receiver = format!("    {}", kind.settings.replace("PORT", &server.port.to_string()));
        let receipt = deliver(letter(kind.case, &receiver, "")).await;
        let receipt = receipt.unwrap_or_else(|error| panic!("{receiver}: {error}"));
        assert_eq!(receipt, kind.receipt, "{receiver}");
        let asked = server.only();
        assert!(asked.line.starts_with(kind.line), "{}", asked.line);
        if let Some((name, value)) = kind.header {
            assert_eq!(asked.header(name), Some(value), "{receiver}");
        }
        let body = asked.json();
        for (pointer, wanted) in kind.body {
            let got = body.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {body}"));
            let got = got.as_str().map_or_else(|| got.to_string(), str::to_owned);
            assert_eq!(got, *wanted, "{pointer} of {receiver}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    let server = Server::answering([(503, "busy"), (429, ""), (200, "ok")]);
    let receiver = format!("    webhook_configs: [{{url: 'http://127.0.0.1:{}/'}}]", server.port);
    deliver(letter(Case::Firing, &receiver, "")).await.expect("the third time it is told");
    assert_eq!(server.count(), 3);

    let server = Server::answering([(404, "no_service"), (200, "ok")]);
    let receiver = format!("    webhook_configs: [{{url: 'http://127.0.0.1:{}/'}}]", server.port);
    let error = deliver(letter(Case::Firing, &receiver, "")).await.expect_err("it is refused");
    assert_eq!(error.to_string(), "127.0.0.1 answered 404 Not Found: no_service");
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_a_receipt() {
    let server = Server::answering([(
        400,
        "no hook /hunter2/x, key hunter2-of-file, http://127.0.0.1/hunter2/x",
    )]);
    let receiver = format!(
        "    webhook_configs: [{{url: 'http://u:hunter2@127.0.0.1:{}/hunter2/x', http_config: {{bearer_token_file: /run/secrets/token}}}}]",
        server.port
    );
    let error = deliver(letter(Case::Firing, &receiver, "")).await.expect_err("it is refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");

    let receiver = "    webhook_configs: [{url: 'http://127.0.0.1:1/hunter2'}]";
    let told = notify::deliver(letter(Case::Firing, receiver, ""), Duration::ZERO).await;
    let error = told.expect_err("nobody listens there");
    assert_eq!(error.to_string(), "could not reach 127.0.0.1: connection refused");

    let server = Server::answering([(200, r#"{"id": "hunter2"}"#)]);
    let receiver = format!(
        "    ntfy_configs: [{{url: 'http://127.0.0.1:{}', topic: ops, token: hunter2}}]",
        server.port
    );
    assert_eq!(deliver(letter(Case::Firing, &receiver, "")).await.expect("it is told"), "•••");
}

#[tokio::test]
async fn a_setting_that_is_not_honoured_tells_nobody_and_says_so() {
    let table = [
        ("webhook_configs: [{url: 'http://127.0.0.1:1/', payload: 'x'}]", "`payload`"),
        (
            "webhook_configs: [{url: 'http://127.0.0.1:1/', http_config: {proxy_url: 'http://p'}}]",
            "http_config.proxy_url",
        ),
        (
            "webhook_configs: [{url_file: /nowhere}]",
            "could not read /nowhere, which `url_file` names",
        ),
        ("webhook_configs: [{url: 'ftp://127.0.0.1'}]", "neither http nor https"),
        ("pushover_configs: [{user_key: a, token: b}]", "Marline cannot tell pushover yet"),
        (
            "discord_configs: [{webhook_url: 'http://127.0.0.1:1', title: '{{ nope }}'}]",
            "the template of `title`",
        ),
        ("command_configs: [{command: ['false']}]", "it ended with exit code 1: false true"),
    ];
    for (receiver, wanted) in table {
        let letter = letter(Case::Firing, &format!("    {receiver}"), "");
        let told = notify::deliver(letter, Duration::ZERO).await;
        let error = told.expect_err(receiver).to_string();
        assert!(error.contains(wanted), "{receiver}: {error}");
    }
}

#[test]
fn what_marline_cannot_do_is_found_before_it_is_needed() {
    let text = "global: {http_config: {proxy_url: 'http://p'}}\nroute: {receiver: a}\nreceivers:\n  \
                - name: a\n    jira_configs: [{api_url: 'http://x', project: P, issue_type: T}]\n    \
                webhook_configs: [{url: 'http://x', payload: x}]\n    \
                discord_configs: [{webhook_url: 'http://x', title: '{{ .Status | nope }}', http_config: {}}]\n";
    let (config, _) = alertmanager::read("am.yml", text);
    let found = notify::findings("am.yml", &config.expect("a configuration"));
    let said: Vec<String> =
        found.iter().map(|finding| format!("{} {}", finding.place, finding.message)).collect();
    let wanted =
        ["cannot tell jira", "`payload`", "http_config.proxy_url", "the template of `title`"];
    for wanted in wanted {
        assert!(said.iter().any(|said| said.contains(wanted)), "{wanted} is not in {said:#?}");
    }
    assert_eq!(found.len(), 4, "{said:#?}");
}

#[tokio::test]
async fn a_command_gets_the_message_on_its_standard_input() {
    let receiver = "    command_configs: [{command: [tell, everybody]}]";
    let receipt = deliver(letter(Case::Firing, receiver, "")).await.expect("it is told");
    assert_eq!(receipt, "tell everybody true");
}

/// A server for mail that takes one message and gives what it heard.
fn mail_server(says: &'static str) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes());
        say("220 mail").expect("a greeting");
        let mut heard = String::new();
        let mut is_data = false;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return heard;
            }
            heard.push_str(&line);
            let answer = match line.trim_end() {
                "." if is_data => {
                    is_data = false;
                    says
                }
                _ if is_data => continue,
                "DATA" => {
                    is_data = true;
                    "354 go on"
                }
                "QUIT" => "221 bye",
                line if line.starts_with("EHLO") => "250-mail\r\n250 AUTH PLAIN LOGIN",
                line if line.starts_with("AUTH") => "235 welcome",
                _ => "250 ok",
            };
            if say(answer).is_err() {
                return heard;
            }
        }
    });
    (port, heard)
}

#[tokio::test]
async fn mail_is_sent_by_smtp() {
    let (port, heard) = mail_server("250 2.0.0 queued as 17");
    let receiver =
        "    email_configs: [{to: 'ops@example.com, boss@example.com', send_resolved: true}]";
    let global = format!(
        "smtp_smarthost: '127.0.0.1:{port}', smtp_from: 'Marline <marline@example.com>', \
         smtp_require_tls: false, smtp_auth_username: me, smtp_auth_password: hunter2"
    );
    let receipt = deliver(letter(Case::Over, receiver, &global)).await.expect("it is told");
    assert_eq!(receipt, "2.0.0 queued as 17");
    let heard = heard.join().expect("no panic");
    for wanted in [
        "MAIL FROM:<marline@example.com>",
        "RCPT TO:<boss@example.com>",
        "Subject: [RESOLVED] Errors (web)",
        "5 % of requests fail",
        "AUTH PLAIN",
    ] {
        assert!(heard.contains(wanted), "{wanted} is not in\n{heard}");
    }
}

#[tokio::test]
async fn mail_that_is_refused_for_good_is_not_tried_again() {
    let (port, heard) = mail_server("554 we do not want hunter2 here");
    let receiver =
        "    email_configs: [{to: 'ops@example.com', auth_username: me, auth_password: hunter2}]";
    let global = format!(
        "smtp_smarthost: '127.0.0.1:{port}', smtp_from: 'm@example.com', smtp_require_tls: false"
    );
    let error = deliver(letter(Case::Firing, receiver, &global)).await.expect_err("it is refused");
    assert!(error.to_string().contains("we do not want ••• here"), "{error}");
    drop(heard);
    let told = notify::deliver(
        letter(Case::Firing, "    email_configs: [{to: 'nobody'}]", &global),
        Duration::ZERO,
    );
    let error = told.await.expect_err("that is no address").to_string();
    assert_eq!(error, "`to` must be an address such as a@example.com");
}

#[test]
fn a_receipt_is_kept_with_what_was_told() {
    let letter = letter(Case::Over, "    webhook_configs: [{url: 'http://127.0.0.1:1/'}]", "");
    let before: Option<Notified> = letter.notification.before;
    assert_eq!(before.expect("it was told before").receipt, "C1 17.5");
}
