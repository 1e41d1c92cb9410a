//! RFC 9110 and 9112 at the edge: what is unclear gets a safe answer and reaches nobody.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use deploy::proxy::Target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    app::App,
    world::{Line, World, eventually},
};

/// An instance that answers every head with the same bytes, whatever they are.
struct Raw {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    connections: Arc<Mutex<usize>>,
}

impl Raw {
    /// Answers with `answer`, and closes the connection after it if `closes`.
    async fn start(answer: &'static [u8], closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let connections = Arc::<Mutex<usize>>::default();
        let (all, count) = (Arc::clone(&heard), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                *count.lock().expect("nobody panicked") += 1;
                let all = Arc::clone(&all);
                tokio::spawn(async move {
                    let mut unanswered = Vec::new();
                    let mut bytes = [0; 4_096];
                    while let Ok(read) = stream.read(&mut bytes).await {
                        if read == 0 {
                            return;
                        }
                        all.lock().expect("nobody panicked").extend_from_slice(&bytes[..read]);
                        unanswered.extend_from_slice(&bytes[..read]);
                        if unanswered.windows(4).any(|four| four == b"\r\n\r\n") {
                            unanswered.clear();
                            let _ = stream.write_all(answer).await;
                            if closes {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { address, heard, connections }
    }

    async fn route(&self, world: &World) {
        let mut routes = world.table(&[]);
        let service = routes.services.values_mut().next().expect("one service");
        let (release, instance) = ("raw".into(), "raw-1".into());
        service.targets.push(Target { release, instance, address: self.address });
        world.client.set_routes(&routes).await.expect("the table is sound");
    }

    fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("nobody panicked")).into_owned()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().expect("nobody panicked")
    }
}

async fn world_of(app: &App) -> World {
    let world = World::start().await;
    world.route(&[(app, 10_000)]).await;
    world
}

/// Sends bytes and returns everything that comes back until the proxy closes.
async fn all_of(world: &World, text: &str) -> String {
    let mut line = Line::connect(world.address()).await;
    line.send(text).await;
    let mut all = Vec::new();
    let _ = line.stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_request_that_hides_another_gets_one_refusal_and_nothing_after_it() {
    let one = App::start("one").await;
    let world = world_of(&one).await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    let lines = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 36",
        "Content-Length: 0, 36",
        "Transfer-Encoding: identity, chunked, identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length : 36",
        "X: 1\r\n Content-Length: 36",
        "X: 1\nContent-Length: 36",
        "X: 1\rContent-Length: 36",
        "Content-Length: 0x24",
        "Content-Length: +36",
        "Content-Length: 36\x0b",
        "Content-Length: 18446744073709551652",
        "X\x00: 1",
        "Expect: 200-ok",
        "Host: b",
    ];
    for line in lines {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n0\r\n\r\n{hidden}");
        let answers = all_of(&world, &text).await;
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{line}: {answers}");
        assert!(answers.starts_with("HTTP/1.1 4") || answers.starts_with("HTTP/1.1 501"), "{line}");
        assert!(answers.contains("connection: close"), "{line}: {answers}");
    }
    assert_eq!(one.requests(), 0);
}

#[tokio::test]
async fn chunks_that_are_not_well_formed_end_the_connection_at_both_sides() {
    for chunks in
        ["3\nabc\r\n", "+3\r\nabc\r\n", "3\r\nabcX\r\n", "fffffffffffffffff\r\n", "3 \r\nabc"]
    {
        let raw = Raw::start(b"", false).await;
        let world = World::start().await;
        raw.route(&world).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answers =
            all_of(&world, &format!("{head}{chunks}0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n")).await;
        assert!(answers.starts_with("HTTP/1.1 400 "), "{chunks}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{chunks}: {answers}");
        assert!(!raw.heard().contains("hidden"), "{}", raw.heard());
    }
}

#[tokio::test]
async fn chunks_are_framed_anew_without_extensions_and_with_harmless_trailers() {
    let raw = Raw::start(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false).await;
    let world = World::start().await;
    raw.route(&world).await;
    let mut line = Line::connect(world.address()).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "003;name=\"value\"\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
    line.send(&format!("{head}{body}")).await;
    eventually(|| raw.heard().ends_with("\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")).await;
    assert!(raw.heard().contains("transfer-encoding: chunked\r\n"), "{}", raw.heard());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let one = App::start("one").await;
    let world = world_of(&one).await;
    let mut line = Line::connect(world.address()).await;
    line.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfirstGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /status/404 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(line.hear().await.body, "first");
    assert_eq!(line.hear().await.body, "one");
    assert_eq!(line.hear().await.status, 404);
}

#[tokio::test]
async fn an_answer_that_could_be_read_in_two_ways_is_not_passed_on() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    ] {
        let raw = Raw::start(answer, false).await;
        let world = World::start().await;
        raw.route(&world).await;
        let heard = Line::connect(world.address()).await.get("/").await;
        assert_eq!(heard.status, 502, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn what_follows_an_answer_unasked_is_never_taken_for_the_next() {
    let raw = Raw::start(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        false,
    )
    .await;
    let world = World::start().await;
    raw.route(&world).await;
    let mut line = Line::connect(world.address()).await;
    for _ in 0..5 {
        assert_eq!(line.get("/").await.body, "ok");
    }
    assert_eq!(raw.connections(), 5);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_leaves_that_of_the_client_open() {
    let raw = Raw::start(b"HTTP/1.1 200 OK\r\n\r\nto the end", true).await;
    let world = World::start().await;
    raw.route(&world).await;
    let mut line = Line::connect(world.address()).await;
    for _ in 0..3 {
        let heard = line.get("/").await;
        assert_eq!(
            (heard.body.as_str(), heard.header("transfer-encoding")),
            ("to the end", Some("chunked"))
        );
    }
}

#[tokio::test]
async fn early_hints_are_passed_on_and_a_continuation_nobody_asked_for_is_not() {
    let raw = Raw::start(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        false,
    )
    .await;
    let world = World::start().await;
    raw.route(&world).await;
    let mut line = Line::connect(world.address()).await;
    let hints = line.get("/").await;
    assert_eq!((hints.status, hints.header("link")), (103, Some("</a.css>")));
    let heard = line.hear().await;
    assert_eq!((heard.status, heard.body.as_str()), (200, "ok"));
}

#[tokio::test]
async fn answers_that_have_no_body_are_followed_by_the_next() {
    for head in ["204 No Content", "304 Not Modified"] {
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: 9\r\n\r\n");
        let raw = Raw::start(text.leak().as_bytes(), false).await;
        let world = World::start().await;
        raw.route(&world).await;
        let mut line = Line::connect(world.address()).await;
        for _ in 0..3 {
            line.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let heard = line.read_until("\r\n\r\n").await;
            assert!(heard.starts_with(&format!("HTTP/1.1 {head}\r\n")), "{heard}");
        }
        assert_eq!(raw.connections(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_is_heard_whole() {
    let raw = Raw::start(b"HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop", true).await;
    let world = World::start().await;
    raw.route(&world).await;
    let mut line = Line::connect(world.address()).await;
    line.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin").await;
    let heard = line.hear().await;
    assert_eq!((heard.status, heard.body.as_str()), (413, "stop"));
    assert_eq!(line.stream.read(&mut [0]).await.expect("an orderly end"), 0);
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_counts_as_cancelled() {
    let one = App::start("one").await;
    let world = world_of(&one).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").await;
    eventually(|| one.requests() == 1).await;
    drop(line);
    world.until_status(|status| status.instances[0].in_flight == 0).await;
    let tally = world.tally(&one).await;
    assert_eq!((tally.cancelled, tally.requests, tally.errors.total()), (1, 0, 0));
}

#[tokio::test]
async fn old_clients_are_served_and_kept_only_if_they_ask() {
    let one = App::start("one").await;
    let world = world_of(&one).await;
    let once = all_of(&world, "GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(once.contains(" 200 OK\r\n") && once.ends_with("one"), "{once}");
    let mut line = Line::connect(world.address()).await;
    for _ in 0..3 {
        let kept = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(line.ask(kept).await.body, "one");
    }
}

#[tokio::test]
async fn methods_that_are_for_proxies_alone_go_no_further() {
    let one = App::start("one").await;
    let world = world_of(&one).await;
    for (text, status) in [
        ("TRACE / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n", 405),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405),
        ("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", 200),
    ] {
        let heard = Line::connect(world.address()).await.ask(text).await;
        assert_eq!(heard.status, status, "{text}");
        assert_eq!(heard.header("allow").is_some(), status == 405);
        assert!(!heard.body.contains("secret"));
    }
    assert_eq!(one.requests(), 0);
    let text = "OPTIONS /headers HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n";
    let heard = Line::connect(world.address()).await.ask(text).await;
    assert!(heard.body.contains("max-forwards: 2\n"), "{}", heard.body);
}

#[tokio::test]
async fn a_connection_that_asks_for_something_unusual_goes_on_where_it_was() {
    let one = App::start("one").await;
    let world = world_of(&one).await;
    let mut line = Line::connect(world.address()).await;
    line.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for _ in 0..3 {
        assert_eq!(line.hear().await.body, "one");
    }
}
