//! What only some services want of the proxy: an access log, a trace, limits, patience.

use std::{
    io::Read as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use deploy::proxy::{
    AccessLog, CircuitBreakers, LogFormat, OutlierDetection, RateLimit, RetryBudget, Route, Routes,
    Service,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    app::App,
    world::{Line, World, eventually, http2},
};

/// A proxy before apps that want something of it.
async fn wanted(apps: &[&App], want: impl FnOnce(&World, &mut Service)) -> World {
    let world = World::start().await;
    let weights: Vec<_> = apps.iter().map(|app| (*app, 10_000 / apps.len() as u16)).collect();
    let mut routes = world.table(&weights);
    want(&world, only(&mut routes));
    world.client.set_routes(&routes).await.expect("the table is sound");
    world
}

fn only(routes: &mut Routes) -> &mut Service {
    routes.services.values_mut().next().expect("one service")
}

/// Gives two apps to one release, so that one may answer for the other.
fn one_release(service: &mut Service) {
    for target in &mut service.targets {
        target.release = "both".into();
    }
    service.weights.clear();
}

fn log_in(world: &World, format: LogFormat) -> AccessLog {
    let file = world.dir().join("access/web.log");
    AccessLog { file, format, max_bytes: 1 << 20, max_files: 2 }
}

/// Waits until the log has so many lines.
async fn lines(file: &PathBuf, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(file).unwrap_or_default();
    eventually(|| read().lines().count() >= count).await;
    let lines: Vec<_> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

#[tokio::test]
async fn each_request_leaves_one_line_and_no_secret_in_it() {
    let app = App::start("one").await;
    let world = wanted(&[&app], |world, service| {
        service.access_log = Some(log_in(world, LogFormat::Json));
        service.limits.body_bytes = Some(4);
    })
    .await;
    let mut line = Line::connect(world.address()).await;
    let request = "GET /status/404?page=2&access_token=abc HTTP/1.1\r\nHost: shop.test\r\n\
                   User-Agent: \"me\"\r\nX-Request-Id: id-1\r\n\r\n";
    assert_eq!(line.ask(request).await.status, 404);
    assert_eq!(
        line.ask("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n").await.status,
        413
    );
    let told = http2(world.address(), &["/echo"]).await;
    assert!(told[0].starts_with("413 Payload Too Large"), "six bytes are too many: {told:?}");
    let file = world.dir().join("access/web.log");
    let lines = lines(&file, 3).await;
    let first: serde_json::Value = serde_json::from_str(&lines[0]).expect("JSON");
    let mut rest = first.as_object().expect("an object").clone();
    for varies in ["time", "duration_ms"] {
        assert!(rest.remove(varies).is_some(), "{first}");
    }
    let expected = serde_json::json!({
        "client": "127.0.0.1", "method": "GET", "host": "shop.test", "path": "/status/404",
        "query": "page=2&access_token=***", "protocol": "HTTP/1.1", "request_id": "id-1",
        "user_agent": "\"me\"", "status": 404, "bytes": 3, "service": "web", "release": "one",
        "instance": "one-1",
    });
    assert_eq!(serde_json::Value::Object(rest), expected);
    assert!(lines[1].contains("\"status\":413"), "{}", lines[1]);
    assert!(lines[2].contains("\"protocol\":\"HTTP/2.0\""), "{}", lines[2]);
}

#[tokio::test]
async fn the_common_format_is_that_of_web_servers_and_what_is_cancelled_is_noted() {
    let app = App::start("one").await;
    let want = |world: &World, service: &mut Service| {
        service.access_log = Some(log_in(world, LogFormat::Common));
    };
    let world = wanted(&[&app], want).await;
    let mut line = Line::connect(world.address()).await;
    line.get("/a?key=1&b=%22").await;
    line.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(|| app.requests() == 2).await;
    drop(line);
    let lines = lines(&world.dir().join("access/web.log"), 2).await;
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{lines:?}");
    assert!(lines[0].ends_with(" +0000] \"GET /a?key=***&b=%22 HTTP/1.1\" 200 3"), "{lines:?}");
    assert!(lines[1].ends_with("\"GET /gate HTTP/1.1\" 499 -"), "{lines:?}");
}

#[tokio::test]
async fn a_trace_begins_here_unless_it_began_before() {
    let app = App::start("one").await;
    let world = wanted(&[&app], |_, service| service.trace = true).await;
    let mut line = Line::connect(world.address()).await;
    let parent = |body: &str| {
        let mut found = body.lines().filter_map(|line| line.strip_prefix("traceparent: "));
        let parent = found.next().expect("a parent").to_owned();
        assert_eq!(found.next(), None, "one only");
        parent
    };
    let own = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    // The second way is the long one: it asks to change the protocol.
    for more in ["", "Connection: upgrade\r\nUpgrade: other\r\n"] {
        let ask = |header: &str| format!("GET /headers HTTP/1.1\r\nHost: a\r\n{more}{header}\r\n");
        let new = line.ask(&ask("")).await.body;
        let id = new.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
        assert_eq!(&parent(&new)[..36], format!("00-{id}-"), "the id of the request");
        let known = line.ask(&ask(&format!("traceparent: {own}\r\ntracestate: a=b\r\n"))).await;
        assert_eq!(parent(&known.body), own);
        assert!(known.body.contains("tracestate: a=b"));
        let odd = line.ask(&ask("traceparent: 00-odd\r\ntracestate: a=b\r\n")).await.body;
        assert!(parent(&odd).ends_with("-01"), "{odd}");
        assert!(!odd.contains("tracestate"), "{odd}");
    }
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again() {
    let app = App::start("one").await;
    let limit = RateLimit { average: 2, period_ms: 3_600_000, burst: 2 };
    let world = wanted(&[&app], |_, service| service.rate_limit = Some(limit)).await;
    let mut line = Line::connect(world.address()).await;
    for status in [200, 200, 429, 429] {
        let answer = line.get("/").await;
        assert_eq!(answer.status, status);
        if status == 429 {
            let wait: u64 = answer.header("retry-after").expect("it is told").parse().expect("s");
            assert!((1..=1_800).contains(&wait), "{wait}");
        }
    }
    let told = http2(world.address(), &["/"]).await;
    assert!(told[0].starts_with("429 Too Many Requests"), "{told:?}");
    // A new table that limits in the same way does not forget.
    let mut routes = world.table(&[(&app, 10_000)]);
    only(&mut routes).rate_limit = Some(limit);
    world.client.set_routes(&routes).await.expect("the table is sound");
    assert_eq!(line.get("/").await.status, 429);
    assert_eq!(app.requests(), 2);
}

#[tokio::test]
async fn a_service_gets_no_more_at_once_than_it_takes() {
    let app = App::start("one").await;
    let breakers = CircuitBreakers { max_requests: 1, max_pending_requests: 1 };
    let world = wanted(&[&app], |_, service| {
        service.circuit_breakers = Some(breakers);
        service.limits.connect_ms = 20_000;
    })
    .await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        lines.push(Line::connect(world.address()).await);
    }
    let [first, second, third] = &mut lines[..] else { unreachable!("three were opened") };
    first.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(|| app.requests() == 1).await;
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // Which of the two waits is nobody's promise; one of them must, and the other must not.
    third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let refused = tokio::select! {
        answer = second.hear() => answer,
        answer = third.hear() => answer,
    };
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(app.requests(), 1, "one waits");
    app.open_gate();
    assert_eq!(first.hear().await.status, 200);
    eventually(|| app.requests() == 2).await;
}

#[tokio::test]
async fn an_instance_that_fails_in_a_row_is_left_out_but_never_the_last_one() {
    let (good, bad) = (App::start("one").await, App::start("two").await);
    let world = wanted(&[&good, &bad], |_, service| {
        one_release(service);
        service.outlier_detection = Some(OutlierDetection {
            consecutive_5xx: 3,
            base_ejection_ms: 600_000,
            max_ejection_percent: 100,
        });
    })
    .await;
    bad.fail_with(500);
    let mut line = Line::connect(world.address()).await;
    let end = Instant::now() + Duration::from_secs(20);
    while bad.requests() < 3 {
        line.get("/").await;
        assert!(Instant::now() < end, "the bad one is never asked");
    }
    for _ in 0..50 {
        assert_eq!(line.get("/").await.status, 200);
    }
    assert_eq!(bad.requests(), 3);
    let status = world.client.status().await.expect("the proxy runs");
    let ejected = status.instances.iter().filter(|one| one.ejected);
    assert_eq!(ejected.map(|one| &one.instance).collect::<Vec<_>>(), [&bad.instance()]);
    good.fail_with(500);
    for _ in 0..10 {
        assert_eq!(line.get("/").await.status, 500, "the last one stays in");
    }
    assert_eq!(bad.requests(), 3);
}

#[tokio::test]
async fn retries_end_with_their_budget() {
    let none = RetryBudget { budget_percent: 0, min_retries_per_second: 0 };
    for (budget, fails) in [(RetryBudget::default(), false), (none, true)] {
        let (gone, good) = (App::start("one").await, App::start("two").await);
        let world = wanted(&[&gone, &good], |_, service| {
            one_release(service);
            service.retry_budget = budget;
        })
        .await;
        gone.kill();
        let mut line = Line::connect(world.address()).await;
        let mut failed = 0;
        for _ in 0..30 {
            failed += u32::from(line.get("/").await.status == 502);
        }
        // After one refusal, it is asked last for a second.
        assert_eq!(failed > 0, fails, "{budget:?}");
    }
}

#[tokio::test]
async fn requests_wait_while_the_only_instance_starts_again() {
    let app = App::start("one").await;
    let world = wanted(&[&app], |_, service| service.hold_ms = 20_000).await;
    app.kill();
    let mut posts = Vec::new();
    for _ in 0..3 {
        let mut line = Line::connect(world.address()).await;
        line.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody").await;
        posts.push(line);
    }
    let two = App::start("two").await;
    let mut routes = world.table(&[(&two, 10_000)]);
    only(&mut routes).hold_ms = 20_000;
    world.client.set_routes(&routes).await.expect("the table is sound");
    for mut line in posts {
        let answer = line.hear().await;
        assert_eq!((answer.status, &*answer.body), (200, "body"));
    }
    assert_eq!(two.requests(), 3);
}

#[tokio::test]
async fn requests_wait_for_a_service_without_instances_but_not_for_ever() {
    let app = App::start("one").await;
    let world = wanted(&[], |_, service| service.hold_ms = 100).await;
    let mut line = Line::connect(world.address()).await;
    assert_eq!(line.get("/").await.status, 503);
    let mut routes = world.table(&[]);
    only(&mut routes).hold_ms = 20_000;
    world.client.set_routes(&routes).await.expect("the table is sound");
    line.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    world.route(&[(&app, 10_000)]).await;
    assert_eq!(line.hear().await.status, 200);
}

#[tokio::test]
async fn a_client_stays_with_the_instance_that_answered_it() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let sticky = |_: &World, service: &mut Service| {
        one_release(service);
        service.sticky = Some("stay".into());
    };
    let world = wanted(&[&one, &two], sticky).await;
    let mut line = Line::connect(world.address()).await;
    let first = line.get("/").await;
    let cookie = first.header("set-cookie").expect("it gets one").to_owned();
    assert!(cookie.ends_with("; path=/; httponly; samesite=lax"), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair");
    let ask = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; {cookie}\r\n\r\n");
    for _ in 0..20 {
        let again = line.ask(&ask).await;
        assert_eq!((&again.body, again.header("set-cookie")), (&first.body, None));
    }
    // Once its instance is gone from the table, another answers and keeps it.
    let left = if first.body == "one" { &two } else { &one };
    let mut routes = world.table(&[(left, 10_000)]);
    sticky(&world, only(&mut routes));
    world.client.set_routes(&routes).await.expect("the table is sound");
    let moved = line.ask(&ask).await;
    assert_eq!(moved.body, left.name);
    assert!(moved.header("set-cookie").is_some());
}

#[tokio::test]
async fn answers_are_compressed_for_clients_that_can_read_them() {
    let app = App::start("one").await;
    let world = wanted(&[&app], |_, service| service.compress = true).await;
    let mut line = Line::connect(world.address()).await;
    let ask = |path: &str, encodings: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {encodings}\r\n\r\n")
    };
    let plain = line.ask(&ask("/prose", "identity")).await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    let prose = plain.body.clone();
    assert!(prose.len() > 50_000, "{}", prose.len());
    for encoding in ["gzip", "zstd", "br"] {
        line.send(&ask("/prose", encoding)).await;
        let (heard, body) = line.hear_bytes().await;
        assert_eq!(heard.header("content-encoding"), Some(encoding));
        assert_eq!(heard.header("content-length"), None);
        assert!(body.len() < prose.len() / 10, "{encoding}: {}", body.len());
        let mut text = String::new();
        let read = match encoding {
            "gzip" => flate2::read::GzDecoder::new(&*body).read_to_string(&mut text),
            "zstd" => zstd::Decoder::new(&*body).expect("zstd").read_to_string(&mut text),
            _ => brotli::Decompressor::new(&*body, 4_096).read_to_string(&mut text),
        };
        read.expect(encoding);
        assert_eq!(text, prose, "{encoding}");
    }
    let small = line.ask(&ask("/", "gzip")).await;
    assert_eq!((&*small.body, small.header("content-encoding")), ("one", None));
}

#[tokio::test]
async fn what_is_compressed_arrives_when_it_is_sent() {
    let app = App::start("one").await;
    let world = wanted(&[&app], |_, service| service.compress = true).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /told HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let head = line.read_until("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    for number in 0..3 {
        app.open_gate();
        // The event is one chunk, or the head of the stream and it are two.
        let mut chunk = line.read_chunk().await;
        if number == 0 && chunk.len() <= 10 {
            chunk = line.read_chunk().await;
        }
        assert!(!chunk.is_empty());
    }
}

#[tokio::test]
async fn a_page_of_the_service_is_shown_with_the_status_that_is_true() {
    let app = App::start("one").await;
    let page = |service: &mut Service| {
        service.error_pages.insert("5xx".into(), "<p>Soon back</p>".into());
    };
    let world = wanted(&[], |_, service| page(service)).await;
    let mut line = Line::connect(world.address()).await;
    let answer = line.get("/").await;
    assert_eq!((answer.status, &*answer.body), (503, "<p>Soon back</p>"));
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let json = line.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    assert!(json.body.starts_with('{'), "a program gets no page: {}", json.body);
    assert_eq!(http2(world.address(), &["/"]).await, ["<p>Soon back</p>"]);
    let mut routes = world.table(&[(&app, 10_000)]);
    page(only(&mut routes));
    only(&mut routes).maintenance = true;
    world.client.set_routes(&routes).await.expect("the table is sound");
    let answer = line.get("/").await;
    assert_eq!((answer.status, &*answer.body), (503, "<p>Soon back</p>"));
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(app.requests(), 0, "nobody is asked");
    let mut routes = world.table(&[(&app, 10_000)]);
    page(only(&mut routes));
    world.client.set_routes(&routes).await.expect("the table is sound");
    let own = line.get("/status/500").await;
    assert_eq!((own.status, &*own.body), (500, "one"), "what the instance says is its own");
}

#[tokio::test]
async fn routes_may_depend_on_methods_and_headers() {
    let (plain, posts, beta) =
        (App::start("plain").await, App::start("posts").await, App::start("beta").await);
    let world = World::start().await;
    let mut routes = world.table(&[]);
    routes.services.clear();
    routes.listeners[0].routes.clear();
    for app in [&plain, &posts, &beta] {
        let target = world.table(&[(app, 10_000)]);
        let service = target.services.into_values().next().expect("one service");
        routes.services.insert(app.name.into(), service);
        routes.listeners[0].routes.push(Route::new(None, "/".into(), app.name.into()));
    }
    routes.version = world.table(&[]).version;
    routes.listeners[0].routes[1].methods = vec!["POST".into(), "PUT".into()];
    routes.listeners[0].routes[2].headers.insert("x-beta".into(), "1".into());
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    // The second way is the long one: it asks to change the protocol.
    for more in ["", "Connection: upgrade\r\nUpgrade: other\r\n"] {
        for (method, header, name) in [
            ("GET", "", "plain"),
            ("PUT", "", "posts"),
            ("GET", "X-Beta: 1\r\n", "beta"),
            ("GET", "X-Beta: 2\r\n", "plain"),
        ] {
            let ask = format!("{method} / HTTP/1.1\r\nHost: a\r\n{more}{header}\r\n");
            assert_eq!(line.ask(&ask).await.body, name, "{method} {header}");
        }
    }
}

#[tokio::test]
async fn a_load_balancer_before_us_says_who_the_client_is() {
    let app = App::start("one").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&app, 10_000)]);
    routes.listeners[0].proxy_protocol = true;
    world.client.set_routes(&routes).await.expect("the table is sound");
    let ask = "GET /headers HTTP/1.1\r\nHost: a\r\n\r\n";
    for (header, client) in [
        (&b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n"[..], "192.0.2.7"),
        (&b"PROXY UNKNOWN\r\n"[..], "127.0.0.1"),
        (
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\x0a\0\0\x01\0\x50\x01\xbb"[..],
            "192.0.2.8",
        ),
    ] {
        let mut line = Line::connect(world.address()).await;
        line.stream.write_all(header).await.expect("the proxy reads");
        let heard = line.ask(ask).await.body;
        assert!(heard.contains(&format!("x-forwarded-for: {client}\n")), "{heard}");
    }
    let mut line = Line::connect(world.address()).await;
    line.send(ask).await;
    let mut rest = Vec::new();
    // It may be a reset, because what was sent was not read.
    let _ = line.stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "who does not say it hears nothing");
    assert_eq!(app.requests(), 3);
}
