//! The proxy from outside: real sockets, real requests, and real processes where one must die.

#[path = "proxy/app.rs"]
mod app;
#[path = "proxy/encrypted.rs"]
mod encrypted;
#[path = "proxy/http.rs"]
mod http_rules;
#[path = "proxy/wanted.rs"]
mod wanted;
#[path = "proxy/world.rs"]
mod world;

use std::time::{Duration, Instant};

use app::App;
use deploy::proxy::{
    ClientError, ErrorKind, Guards, Hold, Limits, Listener, Refusal, Route, Routes, Tally,
    TallyReport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Line, Load, World, eventually, serve_if_told_to};

/// Not a test: the process that other tests start, kill and replace.
#[test]
fn a_proxy_process_for_the_other_tests() {
    serve_if_told_to();
}

#[tokio::test]
async fn a_switch_under_load_loses_no_request() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let load = Load::start(world.address(), 16);
    load.until(|seen| seen["one"] > 500).await;
    world.route(&[(&two, 10_000)]).await;
    let drained = world.client.drain(&one.instance(), Duration::from_secs(5)).await;
    assert_eq!(drained.expect("the proxy drains").in_flight, 0);
    // The old release dies as rudely as can be, the moment it is drained.
    let heard = one.requests();
    one.kill();
    load.until(|seen| seen["two"] > 500).await;
    let seen = load.stop().await;
    assert_eq!(seen["failed"], 0, "{seen:?}");
    assert_eq!(seen["one"], heard, "every request the old release heard was answered");
}

#[tokio::test]
async fn a_switch_cuts_no_idle_connection() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    assert_eq!(line.get("/").await.body, "one");
    world.route(&[(&two, 10_000)]).await;
    one.kill();
    assert_eq!(line.get("/").await.body, "two");
}

#[tokio::test]
async fn one_percent_of_a_hundred_requests_is_one() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let world = World::start().await;
    world.route(&[(&one, 9_900), (&two, 100)]).await;
    let mut line = Line::connect(world.address()).await;
    for hundred in 1..=5 {
        for _ in 0..100 {
            line.get("/").await;
        }
        assert_eq!((one.requests(), two.requests()), (99 * hundred, hundred));
    }
}

#[tokio::test]
async fn a_release_without_instances_is_never_chosen() {
    let one = App::start("one").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 5_000)]);
    let service = routes.services.values_mut().next().expect("one service");
    service.weights.insert("two".into(), 5_000);
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    for _ in 0..50 {
        assert_eq!(line.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn draining_waits_for_the_requests_under_way() {
    let one = App::start("one").await;
    let two = App::start("two").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(|| one.requests() == 1).await;
    world.route(&[(&two, 10_000)]).await;

    let drained = world.client.drain(&one.instance(), Duration::from_millis(30)).await;
    assert_eq!(drained.expect("the proxy answers").in_flight, 1, "the deadline passed");

    let (client, instance) = (world.client.clone(), one.instance());
    let drain = tokio::spawn(async move { client.drain(&instance, Duration::from_secs(10)).await });
    one.open_gate();
    assert_eq!(line.hear().await.body, "one");
    assert_eq!(drain.await.expect("no panic").expect("the proxy answers").in_flight, 0);
}

#[tokio::test]
async fn a_drained_instance_gets_nothing_until_a_newer_table_names_it() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let drained = world.client.drain(&one.instance(), Duration::from_secs(1)).await;
    assert_eq!(drained.expect("the proxy drains").in_flight, 0);
    let mut line = Line::connect(world.address()).await;
    assert_eq!(line.get("/").await.status, 503);
    world.route(&[(&one, 10_000)]).await;
    assert_eq!(line.get("/").await.status, 200);
}

#[tokio::test]
async fn held_requests_wait_and_go_on_with_the_new_table() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let hold = Hold { for_ms: 60_000, waiting: 1 };
    world.client.hold(&"web".into(), hold).await.expect("the service is known");
    let mut line = Line::connect(world.address()).await;
    line.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    world.until_status(|status| status.held == [("web".into(), 1)]).await;

    let mut other = Line::connect(world.address()).await;
    let crowded = other.get("/").await;
    assert_eq!((crowded.status, crowded.header("retry-after")), (503, Some("1")));

    world.route(&[(&two, 10_000)]).await;
    world.client.release(&"web".into()).await.expect("the service is known");
    assert_eq!(line.hear().await.body, "two");
    assert_eq!(one.requests(), 0);
}

#[tokio::test]
async fn a_hold_ends_by_itself() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let hold = Hold { for_ms: 50, waiting: 10 };
    world.client.hold(&"web".into(), hold).await.expect("the service is known");
    let begun = Instant::now();
    assert_eq!(Line::connect(world.address()).await.get("/").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_refused_connection_moves_to_another_instance_of_the_same_release() {
    let (one, dead) = (App::start("one").await, App::start("dead").await);
    let other = App::start("other").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 5_000), (&dead, 0), (&other, 5_000)]);
    let service = routes.services.values_mut().next().expect("one service");
    service.weights.remove(&"dead".into());
    service.targets[1].release = "one".into();
    world.client.set_routes(&routes).await.expect("the table is sound");
    dead.kill();
    let mut line = Line::connect(world.address()).await;
    for _ in 0..200 {
        let post = line.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!(post.status, 200);
    }
    assert_eq!((one.requests(), other.requests()), (100, 100), "the share stays with the release");
    let tally = world.tally(&dead).await;
    assert!(tally.retries >= 1);
    assert_eq!((tally.requests, tally.errors.total()), (0, 0), "no client saw it");
}

#[tokio::test]
async fn a_request_that_may_have_been_heard_is_not_sent_twice() {
    let one = App::start("one").await;
    let two = App::start("two").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 10_000), (&two, 0)]);
    let service = routes.services.values_mut().next().expect("one service");
    service.weights.remove(&"two".into());
    service.targets[1].release = "one".into();
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    // Warm connections, so that a retry would be tempting.
    for _ in 0..20 {
        line.get("/").await;
    }
    let before = one.requests() + two.requests();
    let post = line.ask("POST /hang-up HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(post.status, 502);
    assert!(post.body.contains("may or may not have done"), "{}", post.body);
    assert_eq!(one.requests() + two.requests(), before + 1);
    let errors = world.tally(&one).await.errors.reset + world.tally(&two).await.errors.reset;
    assert_eq!(errors, 1);
}

#[tokio::test]
async fn an_instance_that_closes_idle_connections_fails_nobody() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    for _ in 0..20 {
        let post = line.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(post.status, 200);
        one.close_idle().await;
    }
    assert_eq!(one.requests(), 20);
}

#[tokio::test]
async fn an_upgrade_is_passed_through_both_ways() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    let hello =
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = line.ask(hello).await;
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    for word in ["ping", "pong"] {
        line.send(word).await;
        assert_eq!(line.read_exactly(4).await, word.as_bytes());
    }
    world.until_status(|status| status.instances[0].in_flight == 1).await;
    drop(line);
    world.until_status(|status| status.instances[0].in_flight == 0).await;
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for number in 0..3 {
        // The app sends the next event only when told to: a proxy that gathers would hang here.
        one.open_gate();
        line.read_until(&format!("data: {number}\n\n")).await;
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off_and_a_resting_client_is_not() {
    let one = App::start("one").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 10_000)]);
    routes.listeners[0].guards = Guards { head_ms: 150, ..Guards::default() };
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut resting = Line::connect(world.address()).await;
    assert_eq!(resting.get("/").await.status, 200);

    let mut slow = Line::connect(world.address()).await;
    slow.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let begun = Instant::now();
    let mut drip = tokio::time::interval(Duration::from_millis(20));
    let cut = loop {
        drip.tick().await;
        let sent = slow.stream.write_all(b"X-Slow: 1\r\n").await;
        let mut byte = [0];
        let closed = matches!(slow.stream.try_read(&mut byte), Ok(0));
        if sent.is_err() || closed {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "never cut off");
    };
    assert!(cut >= Duration::from_millis(140), "{cut:?}");
    let mut silent = Line::connect(world.address()).await;
    assert_eq!(silent.stream.read(&mut [0]).await.unwrap_or(0), 0, "a client that says nothing");
    assert_eq!(resting.get("/").await.status, 200);
}

#[tokio::test]
async fn an_idle_client_is_let_go_in_the_end() {
    let one = App::start("one").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 10_000)]);
    routes.listeners[0].guards = Guards { idle_ms: 100, head_ms: 100, ..Guards::default() };
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    assert_eq!(line.get("/").await.status, 200);
    assert_eq!(line.stream.read(&mut [0]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn big_bodies_stream_both_ways_without_being_kept() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let line = Line::connect(world.address()).await;
    let (mut read, mut write) = line.stream.into_split();
    const CHUNK: usize = 1 << 20;
    const CHUNKS: usize = 100;
    let before = world::resident_bytes(std::process::id());
    let sender = tokio::spawn(async move {
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", CHUNK * CHUNKS);
        write.write_all(head.as_bytes()).await.expect("the proxy reads");
        let chunk = vec![b'x'; CHUNK];
        for _ in 0..CHUNKS {
            write.write_all(&chunk).await.expect("the proxy reads");
        }
        write
    });
    let (mut all, mut most, mut buffer) = (0, 0, vec![0; CHUNK]);
    while all < CHUNK * CHUNKS {
        let bytes = read.read(&mut buffer).await.expect("the proxy writes");
        assert!(bytes > 0, "broke off after {all}");
        all += bytes;
        most = most.max(world::resident_bytes(std::process::id()));
    }
    sender.await.expect("no panic");
    // The app and the client live in this process, too; all of them stay far below the body.
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 40, "{grown} MiB for a body of {CHUNKS} MiB");
    eventually_tally(&world, &one, |tally| tally.bytes_in == (CHUNK * CHUNKS) as u64).await;
}

#[tokio::test]
async fn a_body_larger_than_allowed_is_refused() {
    let one = App::start("one").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 10_000)]);
    let service = routes.services.values_mut().next().expect("one service");
    service.limits = Limits { body_bytes: Some(1_000), ..Limits::default() };
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    let declared = line.ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n").await;
    assert_eq!(declared.status, 413);
    assert_eq!(one.requests(), 0);

    let mut line = Line::connect(world.address()).await;
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1_024));
    line.send("POST /swallow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    line.send(&chunk).await;
    assert_eq!(line.hear().await.status, 413);
}

#[tokio::test]
async fn a_late_answer_becomes_504_and_a_late_body_408() {
    let one = App::start("one").await;
    let world = World::start().await;
    let mut routes = world.table(&[(&one, 10_000)]);
    let service = routes.services.values_mut().next().expect("one service");
    service.limits = Limits { answer_ms: 60, ..Limits::default() };
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    assert_eq!(line.get("/gate").await.status, 504);
    let mut line = Line::connect(world.address()).await;
    line.send("POST /swallow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc").await;
    assert_eq!(line.hear().await.status, 408);
    let tally = world.tally(&one).await;
    assert_eq!((tally.errors.timeout, tally.errors.total()), (1, 1), "the second is not its fault");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_and_counts() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /break-off HTTP/1.1\r\nHost: a\r\n\r\n").await;
    line.read_until("half").await;
    one.open_gate();
    let mut rest = Vec::new();
    let _ = line.stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    eventually_tally(&world, &one, |tally| tally.errors.reset == 1).await;
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_spoken() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let answers = world::http2(world.address(), &["/", "/headers", "/echo"]).await;
    assert_eq!(answers[0], "one");
    assert!(answers[1].contains("x-forwarded-proto: http\n"), "{}", answers[1]);
    assert!(answers[1].contains("cookie: a=1; b=2\n"), "{}", answers[1]);
    assert!(answers[1].contains("host: shop.test\n"), "{}", answers[1]);
    assert_eq!(answers[2], "a body");
}

#[tokio::test]
async fn trailers_and_expectations_get_through() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n").await;
    line.read_until("x-checksum: 42\r\n\r\n").await;

    let mut line = Line::connect(world.address()).await;
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    line.send(head).await;
    line.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    line.send("body").await;
    assert_eq!(line.hear().await.body, "body");
}

#[tokio::test]
async fn an_answer_without_a_body_leaves_the_connection_usable() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    for _ in 0..10 {
        line.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = line.read_until("\r\n\r\n").await;
        assert!(head.contains("content-length: 3"), "{head}");
        assert_eq!(line.get("/status/204").await.status, 204);
        assert_eq!(line.get("/").await.body, "one");
    }
    assert_eq!(one.connections(), 1, "one kept connection served them all");
}

#[tokio::test]
async fn headers_say_who_asked_and_for_what() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    let request = "GET http://real.test/headers?x HTTP/1.1\r\nHost: fake.test\r\nConnection: x-own\r\nX-Own: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    let body = line.ask(request).await.body;
    assert!(body.starts_with("GET /headers?x\n"), "{body}");
    for line in
        ["host: real.test\n", "x-forwarded-for: 127.0.0.1\n", "x-forwarded-host: real.test\n"]
    {
        assert!(body.contains(line), "{line} in {body}");
    }
    assert!(body.contains("x-request-id: ") && !body.contains("x-own"), "{body}");
}

#[tokio::test]
async fn odd_requests_never_reach_an_instance() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let odd = [
        (
            "differing lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            400,
        ),
        ("a signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        (
            "an unknown coding last",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "chunks in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "length and chunks",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "chunks and length",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("a space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n", 400),
        ("a folded header", "GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n 2\r\n\r\n", 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("garbage", "\x16\x03\x01\r\n\r\n", 400),
    ];
    for (name, text, status) in odd {
        let mut line = Line::connect(world.address()).await;
        line.send(text).await;
        assert_eq!(line.hear().await.status, status, "{name}");
    }
    let many = "X-Many: 1\r\n".repeat(200);
    let mut line = Line::connect(world.address()).await;
    line.send(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert_eq!(line.hear().await.status, 431);
    assert_eq!(one.requests(), 0);
}

#[tokio::test]
async fn a_page_of_ours_is_words_or_json_as_the_client_likes() {
    let world = World::start().await;
    world.route(&[]).await;
    let mut line = Line::connect(world.address()).await;
    let words = line.get("/").await;
    assert_eq!(words.status, 503);
    assert!(words.body.contains("not running right now"), "{}", words.body);
    let json = line.ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n").await;
    let json: serde_json::Value = serde_json::from_str(&json.body).expect("it is JSON");
    assert_eq!(json["status"], 503);
}

#[tokio::test]
async fn hosts_and_paths_lead_to_their_services() {
    let (shop, api) = (App::start("shop").await, App::start("api").await);
    let world = World::start().await;
    let mut routes = world.table(&[(&shop, 10_000)]);
    let mut other = world.table(&[(&api, 10_000)]);
    let service = other.services.remove(&"web".into()).expect("one service");
    routes.services.insert("api".into(), service);
    routes.listeners[0].routes = vec![
        Route::new(Some("shop.test".into()), "/".into(), "web".into()),
        Route::new(Some("shop.test".into()), "/api".into(), "api".into()),
    ];
    world.client.set_routes(&routes).await.expect("the table is sound");
    let mut line = Line::connect(world.address()).await;
    for (host, path, body) in [("shop.test", "/", "shop"), ("SHOP.test:80", "/api/x", "api")] {
        let answer = line.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(answer.body, body);
    }
    assert_eq!(line.get("/").await.status, 404, "another host");
}

#[tokio::test]
async fn tallies_are_exact_under_concurrency() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut reports = world.client.subscribe().await.expect("the proxy runs");
    assert!(reports.next().await.expect("a report").expect("it runs").full);
    let address = world.address();
    let clients = (0..16).map(|_| {
        tokio::spawn(async move {
            let mut line = Line::connect(address).await;
            for number in 0..200 {
                let path = ["/", "/status/500", "/status/404", "/"][number % 4];
                line.get(path).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no panic");
    }
    let tally = loop {
        let report = reports.next().await.expect("a report").expect("it runs");
        let tally = of(&report, &one).cloned();
        if let Some(tally) = tally.filter(|tally| tally.requests == 3_200 && tally.in_flight == 0) {
            break tally;
        }
    };
    assert_eq!(tally.classes, [0, 1_600, 0, 800, 800]);
    assert_eq!((tally.errors.status, tally.errors.total()), (800, 800));
    assert_eq!(tally.latency.count(), 3_200);
    assert_eq!(tally.failing.len(), 8);
    assert_eq!(tally.failing[0].path, "/status/500");
    assert_eq!((tally.failing[0].kind, tally.failing[0].status), (ErrorKind::Status, Some(500)));
    assert!(tally.first_bad <= tally.last_bad && tally.first_bad.is_some());
    // Whoever subscribes later has missed nothing.
    assert_eq!(world.tally(&one).await, tally);
}

#[tokio::test]
async fn a_failure_of_a_contested_release_is_told_at_once() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let world = World::start().await;
    world.route(&[(&one, 5_000), (&two, 5_000)]).await;
    let mut reports = world.client.subscribe().await.expect("the proxy runs");
    reports.next().await.expect("a report");
    let mut line = Line::connect(world.address()).await;
    let mut fastest = Duration::MAX;
    for bad in 1..=5 {
        line.get("/status/500").await;
        let begun = Instant::now();
        let mut seen = 0;
        while seen < bad {
            let report = reports.next().await.expect("a report").expect("it runs");
            assert!(!report.full);
            seen = world.bad(&one, &report) + world.bad(&two, &report);
        }
        fastest = fastest.min(begun.elapsed());
    }
    // The best of five, because the machine may be busy with other things.
    assert!(fastest < Duration::from_millis(5), "{fastest:?}");
}

#[tokio::test]
async fn tables_are_versioned() {
    let one = App::start("one").await;
    let world = World::start().await;
    let routes = world.table(&[(&one, 10_000)]);
    world.client.set_routes(&routes).await.expect("it is newer");
    world.client.set_routes(&routes).await.expect("setting it again is harmless");
    assert_eq!(world.client.routes().await.expect("the proxy runs"), routes);
    let refusal = async |routes: &Routes| match world.client.set_routes(routes).await {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, not {other:?}"),
    };
    let mut other = routes.clone();
    other.listeners[0].behind_proxy = true;
    let version = routes.version;
    assert_eq!(refusal(&other).await, Refusal::SameVersion { version });
    other.version = version - 1;
    let stale = Refusal::Stale { given: version - 1, current: version };
    assert_eq!(refusal(&other).await, stale);
    other.version = version + 1;
    other.listeners[0].routes[0].service = "nobody".into();
    assert!(matches!(refusal(&other).await, Refusal::Table { .. }));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().map(|at| (taken, at)).expect("it is bound");
    other = routes.clone();
    other.version = version + 1;
    other.listeners.push(Listener::all_to(taken.1, "web"));
    assert!(matches!(refusal(&other).await, Refusal::Listen { .. }));
    assert_eq!(world.client.routes().await.expect("the proxy runs"), routes, "nothing changed");
}

#[tokio::test]
async fn the_control_socket_works_under_a_long_path_and_shrugs_off_garbage() {
    let world = World::start_in(&"long-name/".repeat(20)).await;
    assert!(world.dir().as_os_str().len() > 150);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\xff\xfe\n", b"{\"set_routes\":[]}\n", b"{"]
    {
        let mut stream = world.control().await;
        stream.write_all(garbage).await.expect("the proxy reads");
        stream.shutdown().await.expect("the proxy reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("the proxy answers");
        assert!(answer.starts_with(r#"{"refused":{"malformed""#), "{answer}");
    }
    let one = App::start("one").await;
    world.route(&[(&one, 10_000)]).await;
    assert_eq!(Line::connect(world.address()).await.get("/").await.body, "one");
}

#[tokio::test]
async fn a_killed_proxy_serves_its_last_table_when_it_starts_again() {
    let one = App::start("one").await;
    let mut world = World::start_process().await;
    world.route(&[(&one, 10_000)]).await;
    let version = world.client.status().await.expect("it runs").version;
    assert_eq!(Line::connect(world.address()).await.get("/").await.body, "one");
    world.kill_process();
    world.start_another_process().await;
    assert_eq!(world.client.status().await.expect("it runs").version, version);
    assert_eq!(Line::connect(world.address()).await.get("/").await.body, "one");
}

#[tokio::test]
async fn a_broken_table_on_disk_is_set_aside() {
    let world = World::start_with_file("routes.json", b"{\"version\":").await;
    assert_eq!(world.client.status().await.expect("it runs").version, 0);
    assert!(world.dir().join("routes.json.broken").exists());
}

#[tokio::test]
async fn a_hand_over_under_load_loses_no_request() {
    let (one, two) = (App::start("one").await, App::start("two").await);
    let mut world = World::start_process().await;
    world.route(&[(&one, 10_000)]).await;
    let first = world.client.status().await.expect("it runs");
    let mut resting = Line::connect(world.address()).await;
    resting.get("/").await;
    let kept = Load::start(world.address(), 12);
    let fresh = Load::start_without_keep_alive(world.address(), 4);
    kept.until(|seen| seen["one"] > 300).await;
    world.start_another_process().await;
    let second = world.client.status().await.expect("it runs");
    assert_ne!((first.pid, &first.epoch), (second.pid, &second.epoch));
    assert_eq!(first.listeners, second.listeners);
    kept.until(|seen| seen["one"] > 600).await;

    // Clients of the old process follow the new one's table, and are drained with it.
    world.route(&[(&two, 10_000)]).await;
    let drained = world.client.drain(&one.instance(), Duration::from_secs(5)).await;
    assert_eq!(drained.expect("both drain").in_flight, 0);
    one.kill();
    let last = resting.get("/").await;
    assert_eq!((last.body.as_str(), last.header("connection")), ("two", Some("close")));
    kept.until(|seen| seen["two"] > 300).await;
    fresh.until(|seen| seen["two"] > 50).await;
    let (kept, fresh) = (kept.stop().await, fresh.stop().await);
    assert_eq!((kept["failed"], fresh["failed"]), (0, 0), "{kept:?} {fresh:?}");
    world.until_gone(first.pid).await;
}

#[tokio::test]
async fn a_failed_hand_over_leaves_the_old_proxy_serving() {
    let one = App::start("one").await;
    let world = World::start().await;
    world.route(&[(&one, 10_000)]).await;
    let mut stream = world.control().await;
    stream.write_all(b"\"hand_over\"\n").await.expect("the proxy reads");
    let mut byte = [0];
    stream.read_exact(&mut byte).await.expect("the sockets come");
    drop(stream);
    assert_eq!(Line::connect(world.address()).await.get("/").await.body, "one");
}

#[tokio::test]
async fn a_proxy_that_is_told_to_stop_answers_what_it_has_first() {
    let one = App::start("one").await;
    let mut world = World::start_process().await;
    world.route(&[(&one, 10_000)]).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(|| one.requests() == 1).await;
    let pid = world.client.status().await.expect("it runs").pid;
    world.client.shut_down().await.expect("it obeys");
    eventually(|| std::net::TcpStream::connect(world.address()).is_err()).await;
    one.open_gate();
    let answer = line.hear().await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("one", Some("close")));
    world.until_gone(pid).await;
}

fn of<'a>(report: &'a TallyReport, app: &App) -> Option<&'a Tally> {
    let is_it = |tally: &&Tally| tally.instance.as_ref() == Some(&app.instance());
    report.tallies.iter().find(is_it)
}

async fn eventually_tally(world: &World, app: &App, holds: impl Fn(&Tally) -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let tally = world.tally(app).await;
        if holds(&tally) {
            return;
        }
        assert!(Instant::now() < end, "still {tally:?}");
        tokio::task::yield_now().await;
    }
}
