//! The life of a client's connection on the short way.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{
    super::{
        Guards, Limits,
        access_log::{Came, Entry, Log},
        forward::{Asked, Failure, MAINTAINED, MAINTAINED_FOR, MOST_TRIES, Pass, TOO_OFTEN},
        listen::{Client, PREFACE},
        page::{self, Said},
        table::LiveService,
        trace,
        ways::Seen,
    },
    exchange::{Exchange, Outcome},
    flow::Flow,
    head::{self, Framing, HeadError, Reading, Request},
    wire::Wire,
};

/// How long, and how much, is read from a client after the last answer, so that it can be heard.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1 << 20;

/// Serves a client for as long as it asks for ordinary things.
///
/// Returns the connection, with what was read and not answered, once it asks for something else.
pub(crate) async fn serve(
    client: &Arc<Client>,
    stream: TcpStream,
    guards: &Guards,
) -> Option<(TcpStream, Vec<u8>)> {
    let mut patience = Patience::new();
    let mut wire = Wire::new(stream);
    let mut out = Vec::with_capacity(1_024);
    let mut is_new = true;
    loop {
        if wire.is_empty() {
            wire.let_buffer_go();
            patience.allow(if is_new { guards.head_ms } else { guards.idle_ms });
            let came = patience.until(|context| wire.stream.poll_read_ready(context)).await;
            came.ok()?.ok()?;
        }
        patience.allow(guards.head_ms);
        let head = match read_head(&mut wire, &mut patience, guards, is_new).await {
            Head::Whole(end) => {
                let peer = client.peer.as_bytes();
                head::read_request(&wire.bytes()[..end], guards.headers, peer, &mut out)
                    .map(|reading| (end, reading))
            }
            Head::Refused(error) => Err(error),
            Head::Http2 => return Some(wire.into_parts()),
            Head::Gone => return None,
        };
        let (end, request) = match head {
            Ok((end, Reading::Ordinary(request))) => (end, request),
            Ok((_, Reading::Unusual)) => return Some(wire.into_parts()),
            Err(error) => {
                let said = Said {
                    status: error.status(),
                    words: &error.to_string(),
                    wants_json: false,
                    request_id: None,
                    retry_after: 1,
                    last: true,
                    is_head: false,
                    service: None,
                };
                say_and_part(&mut wire, &page::bytes(said), guards).await;
                return None;
            }
        };
        is_new = false;
        match answer(client, &mut wire, &mut patience, guards, end, &request, &mut out).await {
            Then::GoesOn => {}
            Then::Ends => return None,
            Then::GoesTheLongWay => return Some(wire.into_parts()),
        }
    }
}

enum Head {
    Whole(usize),
    Refused(HeadError),
    Http2,
    Gone,
}

async fn read_head(
    wire: &mut Wire,
    patience: &mut Patience,
    guards: &Guards,
    is_new: bool,
) -> Head {
    let mut seen = 0;
    loop {
        // An empty line before a request is a leftover of old clients; see RFC 9112, 2.2.
        while seen <= 2 && wire.bytes().starts_with(b"\r\n") {
            wire.consume(2);
            seen = 0;
        }
        let bytes = wire.bytes();
        if is_new && bytes.starts_with(PREFACE) {
            return Head::Http2;
        }
        match head::find_end(bytes, seen) {
            Ok(Some(end)) if end > guards.head_bytes => return Head::Refused(HeadError::TooLong),
            Ok(Some(end)) => return Head::Whole(end),
            Ok(None) if bytes.len() >= guards.head_bytes => {
                return Head::Refused(HeadError::TooLong);
            }
            Ok(None) => seen = bytes.len(),
            Err(error) => return Head::Refused(error),
        }
        match patience.until(|context| wire.poll_fill(context)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => return Head::Gone,
        }
    }
}

/// What becomes of a connection after a request.
enum Then {
    /// Another may follow.
    GoesOn,
    Ends,
    /// Nothing was answered: the service wants what only the long way does.
    GoesTheLongWay,
}

/// Answers one request, if it is one for the short way.
async fn answer(
    client: &Arc<Client>,
    wire: &mut Wire,
    patience: &mut Patience,
    guards: &Guards,
    end: usize,
    request: &Request,
    out: &mut Vec<u8>,
) -> Then {
    let bytes = wire.bytes();
    let text = |range: &std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range.clone()]);
    let mut asked = Asked::new(&text(&request.method), &text(&request.path));
    let found = find(client, &text(&request.host), &text(&request.path), &bytes[..end]).await;
    if found.as_ref().is_ok_and(|service| service.goes_the_long_way()) {
        return Then::GoesTheLongWay;
    }
    let id = out[request.id.clone()].to_vec();
    if let Ok(service) = &found {
        if service.trace {
            trace::settle(out, &id);
        }
        if let Some(log) = &service.log {
            let entry = begin_entry(log, client, &text(&request.host), &id, out);
            asked.entry = Some(Box::new(entry));
        }
    }
    wire.consume(end);
    let last = client.proxy.is_leaving() || !request.keeps_alive;
    let has_body = request.framing != Framing::Length(0);
    let said = Said {
        status: 0,
        words: "",
        wants_json: request.wants_json,
        request_id: std::str::from_utf8(&id).ok(),
        retry_after: 1,
        last: last || has_body,
        is_head: request.is_head,
        service: None,
    };
    let service = match found {
        Ok(service) => service,
        Err((status, words)) => {
            return say(wire, Said { status: status.as_u16(), words, ..said }, guards).await;
        }
    };
    let said = Said { service: Some(&service.asked), ..said };
    if let Err(seconds) = service.may_ask(client.address) {
        asked.answered(&service, StatusCode::TOO_MANY_REQUESTS);
        drop(asked);
        let said = Said { status: 429, words: TOO_OFTEN, retry_after: seconds, ..said };
        return say(wire, said, guards).await;
    }
    if service.asked.maintenance {
        asked.answered(&service, StatusCode::SERVICE_UNAVAILABLE);
        drop(asked);
        let said = Said { status: 503, words: MAINTAINED, retry_after: MAINTAINED_FOR, ..said };
        return say(wire, said, guards).await;
    }
    let limits = service.limits.clone();
    let most = limits.body_bytes.unwrap_or(u64::MAX);
    let failure = if matches!(request.framing, Framing::Length(length) if length > most) {
        asked.noted(Failure::TooLarge.status());
        drop(asked);
        Failure::TooLarge
    } else {
        let turn = Turn { client, guards, limits: &limits, request, head: out, last };
        match turn.pass_on(&service, asked, wire, patience).await {
            Passed::Answered { goes_on: true } => return Then::GoesOn,
            Passed::Answered { goes_on: false } => {
                part(wire).await;
                return Then::Ends;
            }
            Passed::Gone => return Then::Ends,
            Passed::Failed(failure) => failure,
        }
    };
    let said = Said { status: failure.status().as_u16(), words: failure.words(), ..said };
    say(wire, said, guards).await
}

/// Begins the line of a request, from the head that its instance will see.
fn begin_entry(log: &Arc<Log>, client: &Client, host: &str, id: &[u8], head: &[u8]) -> Entry {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let text = |name: &str| trace::header(head, name).map(String::from_utf8_lossy);
    let (agent, parent) = (text("user-agent"), text("traceparent"));
    let came = Came {
        client: client.peer.to_str().unwrap_or_default(),
        protocol: "HTTP/1.1",
        method,
        host,
        target,
        request_id: &String::from_utf8_lossy(id),
        traceparent: parent.as_deref().filter(|parent| trace::is_sound(parent.as_bytes())),
        user_agent: agent.as_deref(),
    };
    Entry::begin(log, came)
}

enum Passed {
    Answered { goes_on: bool },
    Gone,
    Failed(Failure),
}

/// One request and what it may take.
struct Turn<'a> {
    client: &'a Client,
    guards: &'a Guards,
    limits: &'a Limits,
    request: &'a Request,
    /// What is sent to the instance.
    head: &'a [u8],
    /// Whether the connection of the client ends with the answer.
    last: bool,
}

impl Turn<'_> {
    async fn pass_on(
        &self,
        service: &Arc<LiveService>,
        asked: Asked,
        wire: &mut Wire,
        patience: &mut Patience,
    ) -> Passed {
        let mut pass = match Pass::first(self.client, service, asked).await {
            Ok(pass) => pass,
            Err(failure) => return Passed::Failed(failure),
        };
        let has_body = self.request.framing != Framing::Length(0);
        let mut tried = Vec::new();
        let mut fresh = false;
        let mut up = Flow::new(self.head.to_vec(), self.request.framing, true);
        let mut left = MOST_TRIES;
        while left > 0 {
            left -= 1;
            let idle = if fresh { None } else { pass.instance.take_idle_wire() };
            let mut upstream = match idle {
                Some(upstream) => upstream,
                None => match dial(&pass, self.limits).await {
                    Some(upstream) => upstream,
                    None => {
                        if !pass.after_refusal(self.client, &mut tried, &mut left).await {
                            return Passed::Failed(pass.failed(Failure::NoConnection));
                        }
                        fresh = false;
                        continue;
                    }
                },
            };
            let was_used = upstream.was_used();
            let mut exchange = Exchange {
                client: &mut *wire,
                upstream: &mut upstream,
                request: self.request,
                pass: &mut pass,
                up: &mut up,
                down: Flow::new(Vec::with_capacity(512), Framing::Length(0), false),
                last: self.last,
                owner: self.client,
                most: self.limits.body_bytes.unwrap_or(u64::MAX),
                answer: None,
                sent: false,
                refused: false,
                seen: 0,
            };
            let outcome = run(&mut exchange, patience, self.limits, self.guards).await;
            let (sent, last) = (exchange.sent, exchange.last);
            let lives = exchange.answer.is_some_and(|answer| answer.keeps_alive);
            match outcome {
                Outcome::Done => {
                    if lives && sent && upstream.is_empty() {
                        pass.instance.keep_wire(upstream);
                    }
                    return Passed::Answered { goes_on: sent && !last };
                }
                Outcome::Cut | Outcome::Cancelled => return Passed::Gone,
                Outcome::Failed(failure) => return Passed::Failed(pass.failed(failure)),
                // Nothing was written, and so nothing of it is lost.
                Outcome::Unsent if left > 0 && pass.may_retry() => {}
                // The connection may have gone stale, and hearing it twice does no harm.
                Outcome::Silent
                    if left > 0
                        && was_used
                        && self.request.is_idempotent
                        && !has_body
                        && pass.may_retry() =>
                {
                    up = Flow::new(self.head.to_vec(), self.request.framing, true);
                }
                Outcome::Unsent | Outcome::Silent => {
                    return Passed::Failed(pass.failed(Failure::BrokenOff));
                }
            }
            fresh |= pass.again_elsewhere();
        }
        Passed::Failed(pass.failed(Failure::BrokenOff))
    }
}

async fn dial(pass: &Pass, limits: &Limits) -> Option<Wire> {
    let patience = Duration::from_millis(limits.connect_ms);
    let connecting = TcpStream::connect(pass.instance.target.address);
    let stream = tokio::time::timeout(patience, connecting).await.ok()?.ok()?;
    // Only a hint for the system; without it, requests are a little later.
    let _ = stream.set_nodelay(true);
    Some(Wire::new(stream))
}

/// Carries the exchange on for as long as something moves in time.
async fn run(
    exchange: &mut Exchange<'_>,
    patience: &mut Patience,
    limits: &Limits,
    guards: &Guards,
) -> Outcome {
    patience.allow(limits.answer_ms);
    let (mut moved, mut answered) = (0, false);
    poll_fn(|context| {
        if let Poll::Ready(outcome) = exchange.poll(context) {
            return Poll::Ready(outcome);
        }
        let now = (exchange.moved(), exchange.answer.is_some());
        if now != (moved, answered) {
            (moved, answered) = now;
            patience.allow(match (answered, exchange.down.is_blocked()) {
                (false, _) => limits.answer_ms,
                (true, true) => guards.idle_ms,
                (true, false) => limits.stall_ms,
            });
        }
        if patience.poll(context).is_ready() {
            return Poll::Ready(exchange.expired());
        }
        Poll::Pending
    })
    .await
}

/// A head that was read strictly, for the conditions of routes.
struct Lines<'a>(&'a [u8]);

impl Seen for Lines<'_> {
    fn method(&self) -> &[u8] {
        self.0.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        trace::header(self.0, name)
    }
}

/// Finds the service for a host and path, and waits with it where its requests are held.
async fn find(
    client: &Client,
    host: &str,
    path: &str,
    head: &[u8],
) -> Result<Arc<LiveService>, (http::StatusCode, &'static str)> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    client.find(&name, path, &Lines(head)).await
}

/// Writes an answer of ours.
async fn say(wire: &mut Wire, said: Said<'_>, guards: &Guards) -> Then {
    let text = page::bytes(said);
    if said.last {
        say_and_part(wire, &text, guards).await;
        return Then::Ends;
    }
    if say_only(wire, &text, guards).await { Then::GoesOn } else { Then::Ends }
}

async fn say_and_part(wire: &mut Wire, text: &[u8], guards: &Guards) {
    if say_only(wire, text, guards).await {
        part(wire).await;
    }
}

async fn say_only(wire: &mut Wire, text: &[u8], guards: &Guards) -> bool {
    let patience = Duration::from_millis(guards.idle_ms);
    let written = tokio::time::timeout(patience, wire.stream.write_all(text)).await;
    written.is_ok_and(|written| written.is_ok())
}

/// Ends a connection so that the client can read the last answer, though it may still be sending.
async fn part(wire: &mut Wire) {
    if wire.stream.shutdown().await.is_err() {
        return;
    }
    let mut rest = (&mut wire.stream).take(LINGER_BYTES);
    let _ = tokio::time::timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

/// Time that runs out. One timer for a connection, which is only set anew when it would be late.
struct Patience {
    ends: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// The time has run out.
struct Expired;

impl Patience {
    fn new() -> Self {
        Self { ends: Instant::now(), sleep: None }
    }

    /// Gives so much time from now on.
    fn allow(&mut self, milliseconds: u64) {
        // A limit of years is as good as one of a day, and cannot overflow the clock.
        self.ends = Instant::now() + Duration::from_millis(milliseconds.min(86_400_000));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ends = self.ends;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ends)));
        if ends < sleep.deadline() {
            sleep.as_mut().reset(ends);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if Instant::now() >= ends {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(ends);
        }
        Poll::Pending
    }

    /// Waits for something, for as long as there is time.
    async fn until<T>(
        &mut self,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Expired> {
        poll_fn(|context| match poll(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll(context).map(|()| Err(Expired)),
        })
        .await
    }
}
