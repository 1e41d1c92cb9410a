//! The way of one request: find the service, choose an instance, pass everything on, count.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, LOCATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, UPGRADE},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::TrySendError, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use journal::InstanceId;
use tokio::{io::AsyncWriteExt, sync::OwnedSemaphorePermit, time::Sleep};

use super::{
    ErrorKind,
    access_log::{Came, Entry, Log},
    breaker::{Place, Tripped},
    encoding::{self, Encoder, Encoding},
    headers::{
        forwards_left, host_name, join_cookies, origin_form, remove_hop_by_hop, request_id,
        rewrite_request, settle_host, wanted_upgrade,
    },
    instance::Instance,
    listen::{Busy, Client},
    page::{page, page_of},
    table::LiveService,
    trace,
    upstream::{BodyError, Outgoing, Upload, Upstream},
    ways::Seen,
};

/// How often a request is tried at most. Only what cannot have been heard is tried again.
pub(super) const MOST_TRIES: usize = 4;

/// Answers one request, whatever happens.
pub(super) async fn answer(
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    let busy = client.watch.busy();
    let is_http2 = request.version() == Version::HTTP_2;
    let mut response = if busy.is_ambiguous {
        let words = "The request says in two ways where its body ends.";
        page(StatusCode::BAD_REQUEST, words, request.headers(), None)
    } else {
        find_and_forward(&client, request).await
    };
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let must_close = busy.is_ambiguous || client.proxy.is_leaving();
    if must_close && !is_http2 && !switches {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(seconds) = client.hsts_seconds()
        && let Ok(value) = HeaderValue::from_str(&format!("max-age={seconds}"))
    {
        response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert(value);
    }
    response.body_mut().busy = Some(busy);
    Ok(response)
}

/// Returns the same address by HTTPS. 308 keeps the method and the body; see RFC 9110, 15.4.9.
fn sent_on_to_https(host: &HeaderValue, port: u16, parts: &Parts) -> Response<Reply> {
    let words = "This is served encrypted only. Please ask at the address given.";
    let mut response = page(StatusCode::PERMANENT_REDIRECT, words, &parts.headers, None);
    let name = host_name(host);
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let place = format!("https://{name}{port}{}", origin_form(&parts.uri));
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

async fn find_and_forward(client: &Arc<Client>, request: Request<Incoming>) -> Response<Reply> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        let words = "This is not a proxy for other places: CONNECT is not served here.";
        return page(StatusCode::METHOD_NOT_ALLOWED, words, &parts.headers, None);
    }
    if parts.method == Method::TRACE {
        let words = "TRACE would show headers that are not for everybody, and is not served here.";
        return page(StatusCode::METHOD_NOT_ALLOWED, words, &parts.headers, None);
    }
    if parts.method == Method::OPTIONS && forwards_left(&mut parts.headers) == Some(0) {
        let words = "This is the proxy. The request was to go no further.";
        return page(StatusCode::OK, words, &parts.headers, None);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        let words = "Only http and https addresses are served here.";
        return page(StatusCode::BAD_REQUEST, words, &parts.headers, None);
    }
    let host = match settle_host(&parts.uri, &mut parts.headers) {
        Ok(host) => host,
        Err(error) => {
            let words = error.to_string();
            return page(StatusCode::BAD_REQUEST, &words, &parts.headers, None);
        }
    };
    if let Some(port) = client.redirect() {
        return sent_on_to_https(&host, port, &parts);
    }
    let id = request_id(&mut parts.headers);
    let service = match client.find(&host_name(&host), parts.uri.path(), &parts).await {
        Ok(service) => service,
        Err((status, words)) => return page(status, words, &parts.headers, Some(&id)),
    };

    if service.trace {
        settle_trace(&mut parts.headers, &id);
    }
    let mut asked = Asked::new(parts.method.as_str(), parts.uri.path());
    asked.entry =
        service.log.as_ref().map(|log| Box::new(begin_entry(log, client, &parts, &host, &id)));
    if let Err(seconds) = service.may_ask(asked_by(client, &parts.headers)) {
        asked.answered(&service, StatusCode::TOO_MANY_REQUESTS);
        let status = StatusCode::TOO_MANY_REQUESTS;
        let headers = &parts.headers;
        return page_of(&service.asked, status, TOO_OFTEN, headers, Some(&id), seconds);
    }
    if service.asked.maintenance {
        let (status, headers) = (StatusCode::SERVICE_UNAVAILABLE, &parts.headers);
        asked.answered(&service, status);
        return page_of(&service.asked, status, MAINTAINED, headers, Some(&id), MAINTAINED_FOR);
    }
    asked.stays_with = service.sticky.as_ref().and_then(|sticky| sticky.find(&parts.headers));
    asked.reads = if service.asked.compress { Encoding::wanted(&parts.headers) } else { None };
    let most = service.limits.body_bytes;
    if body.size_hint().lower() > most.unwrap_or(u64::MAX) {
        let failure = Failure::TooLarge;
        asked.noted(failure.status());
        let (status, words) = (failure.status(), failure.words());
        return page_of(&service.asked, status, words, &parts.headers, Some(&id), 1);
    }

    let protocol = wanted_upgrade(&parts.headers);
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let upgrade = upgrade.filter(|_| protocol.is_some());
    let behind_proxy = client.is_behind_proxy();
    rewrite_request(&mut parts.headers, &host, &client.peer, client.scheme(), behind_proxy);
    if let Some(protocol) = protocol.filter(|_| upgrade.is_some()) {
        let headers = &mut parts.headers;
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.uri = origin_form(&parts.uri);
    parts.version = Version::HTTP_11;

    let (body, upload) = if body.is_end_stream() {
        (Outgoing::Empty, None)
    } else {
        let upload = Arc::new(Upload::new(most));
        let body = Outgoing::Streaming { body, upload: Arc::clone(&upload) };
        (body, Some(upload))
    };
    let accept = parts.headers.get(http::header::ACCEPT).cloned();
    let request = Request::from_parts(parts, body);
    match forward(client, &service, asked, request, upload.as_deref(), upgrade).await {
        Ok(response) => response,
        Err(failure) => {
            let mut headers = http::HeaderMap::new();
            headers.extend(accept.map(|accept| (http::header::ACCEPT, accept)));
            let (status, words) = (failure.status(), failure.words());
            page_of(&service.asked, status, words, &headers, Some(&id), 1)
        }
    }
}

/// What a client that asks too often reads.
pub(super) const TOO_OFTEN: &str = "You ask more often than this service allows. Please wait.";

/// What a client of a service that is being maintained reads, if there is no page.
pub(super) const MAINTAINED: &str = "The service is being maintained. Please come back later.";

/// After how many seconds such a client may come again.
pub(super) const MAINTAINED_FOR: u64 = 60;

/// Sees that a request has one sound `traceparent`.
fn settle_trace(headers: &mut HeaderMap, id: &HeaderValue) {
    let mut parents = headers.get_all("traceparent").iter();
    let sound = parents.next().is_some_and(|parent| trace::is_sound(parent.as_bytes()));
    if sound && parents.next().is_none() {
        return;
    }
    headers.remove("tracestate");
    let parent = HeaderValue::from_str(&trace::new_parent(id.as_bytes()));
    headers.insert("traceparent", parent.expect("digits and hyphens are allowed in headers"));
}

/// Returns who asks: the client, or whom the proxy before us names last.
fn asked_by(client: &Client, headers: &HeaderMap) -> IpAddr {
    let named = || {
        let all = headers.get_all("x-forwarded-for").iter().next_back()?;
        all.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
    };
    let named = if client.is_behind_proxy() { named() } else { None };
    named.unwrap_or(client.address)
}

fn begin_entry(
    log: &Arc<Log>,
    client: &Client,
    parts: &Parts,
    host: &HeaderValue,
    id: &HeaderValue,
) -> Entry {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let header = |name: &str| parts.headers.get(name).map(text);
    let (agent, parent) = (header("user-agent"), header("traceparent"));
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let came = Came {
        client: &asked_by(client, &parts.headers).to_canonical().to_string(),
        protocol: match parts.version {
            Version::HTTP_2 => "HTTP/2.0",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        },
        method: parts.method.as_str(),
        host: &text(host),
        target,
        request_id: &text(id),
        traceparent: parent.as_deref().filter(|parent| trace::is_sound(parent.as_bytes())),
        user_agent: agent.as_deref(),
    };
    Entry::begin(log, came)
}

impl Client {
    /// Finds the service for a host and path, and waits with it where its requests are held.
    pub async fn find(
        &self,
        host: &str,
        path: &str,
        seen: &dyn Seen,
    ) -> Result<Arc<LiveService>, (StatusCode, &'static str)> {
        loop {
            let table = self.proxy.table.load();
            let Some(service) = table.find(self.listener, host, path, seen) else {
                let words = "Nothing is served at this address.";
                return Err((StatusCode::NOT_FOUND, words));
            };
            let service = Arc::clone(service);
            drop(table);
            if !service.gate.is_closed() {
                return Ok(service);
            }
            if service.gate.wait().await.is_err() {
                let words = "The service is busy being changed, and too many wait. Please try again in a moment.";
                return Err((StatusCode::SERVICE_UNAVAILABLE, words));
            }
        }
    }
}

/// Why the client gets an answer of ours instead of the instance's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    NoInstance,
    /// The service has as many requests as it takes.
    Crowded,
    NoConnection,
    BrokenOff,
    TooSlow,
    TooLarge,
    ClientTooSlow,
    ClientBrokeOff,
}

impl Failure {
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoInstance | Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoConnection | Self::BrokenOff => StatusCode::BAD_GATEWAY,
            Self::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::ClientBrokeOff => StatusCode::BAD_REQUEST,
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::NoInstance => {
                "The service is not running right now. Please try again in a moment."
            }
            Self::Crowded => {
                "The service has as many requests as it takes. Please try again in a moment."
            }
            Self::NoConnection => {
                "The service cannot be reached right now. Please try again in a moment."
            }
            Self::BrokenOff => {
                "The service broke off before it answered. It may or may not have done what you asked."
            }
            Self::TooSlow => {
                "The service took too long to answer. It may or may not have done what you asked."
            }
            Self::TooLarge => "The body of the request is larger than this service takes.",
            Self::ClientTooSlow => "The body of the request did not arrive in time.",
            Self::ClientBrokeOff => "The body of the request broke off or was not well formed.",
        }
    }

    /// Returns what the instance did wrong; nothing where it was the client.
    fn kind(self) -> Option<ErrorKind> {
        match self {
            Self::NoInstance | Self::NoConnection => Some(ErrorKind::Connect),
            Self::BrokenOff => Some(ErrorKind::Reset),
            Self::TooSlow => Some(ErrorKind::Timeout),
            Self::Crowded | Self::TooLarge | Self::ClientTooSlow | Self::ClientBrokeOff => None,
        }
    }
}

async fn forward(
    client: &Arc<Client>,
    service: &Arc<LiveService>,
    asked: Asked,
    mut request: Request<Outgoing>,
    upload: Option<&Upload>,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Reply>, Failure> {
    let mut pass = Pass::first(client, service, asked).await?;
    let limits = service.limits.clone();
    let patience = Duration::from_millis(limits.answer_ms);
    let mut tried: Vec<InstanceId> = Vec::new();
    let mut fresh = false;
    let mut left = MOST_TRIES;
    while left > 0 {
        left -= 1;
        let idle = if fresh { None } else { pass.instance.take_idle() };
        let mut upstream = match idle {
            Some(upstream) => upstream,
            None => {
                let patience = Duration::from_millis(limits.connect_ms);
                match Upstream::dial(pass.instance.target.address, patience).await {
                    Ok(upstream) => upstream,
                    Err(_) => {
                        if !pass.after_refusal(client, &mut tried, &mut left).await {
                            return Err(pass.failed(Failure::NoConnection));
                        }
                        fresh = false;
                        continue;
                    }
                }
            }
        };
        if let Some(upload) = upload {
            upload.count_for(&pass.instance.counters);
        }
        let spare = spare_copy(&request, &upstream);
        match exchange(&mut upstream, request, upload, patience).await {
            Ok(response) => return Ok(pass_on(client, pass, upstream, response, upgrade).await),
            Err(Unanswered::Unsent(unsent)) if left > 0 && pass.may_retry() => request = *unsent,
            Err(Unanswered::Failed(Failure::BrokenOff))
                if left > 0 && spare.is_some() && pass.may_retry() =>
            {
                request = spare.expect("just seen");
            }
            Err(Unanswered::Unsent(_)) => return Err(pass.failed(Failure::BrokenOff)),
            Err(Unanswered::Failed(failure)) => return Err(pass.failed(failure)),
        }
        // The connection had gone stale. Another instance, or a new connection to this one.
        fresh |= pass.again_elsewhere();
    }
    Err(pass.failed(Failure::BrokenOff))
}

/// Returns a copy of a request that may be sent twice: idempotent, without a body, and on its way
/// over a connection that may have gone stale.
fn spare_copy(request: &Request<Outgoing>, upstream: &Upstream) -> Option<Request<Outgoing>> {
    let may = upstream.was_used()
        && request.method().is_idempotent()
        && matches!(request.body(), Outgoing::Empty);
    may.then(|| {
        let mut copy = Request::new(Outgoing::Empty);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}

enum Unanswered {
    /// Not a byte of it was sent.
    Unsent(Box<Request<Outgoing>>),
    Failed(Failure),
}

async fn exchange(
    upstream: &mut Upstream,
    request: Request<Outgoing>,
    upload: Option<&Upload>,
    patience: Duration,
) -> Result<Response<Incoming>, Unanswered> {
    let mut exchange = pin!(upstream.exchange(request));
    let mut seen = 0;
    let result = loop {
        if let Ok(result) = tokio::time::timeout(patience, exchange.as_mut()).await {
            break result;
        }
        match upload {
            // A long upload is fine as long as it moves.
            Some(upload) if upload.bytes() > seen => seen = upload.bytes(),
            Some(upload) if !upload.has_ended() => {
                return Err(Unanswered::Failed(Failure::ClientTooSlow));
            }
            _ => return Err(Unanswered::Failed(Failure::TooSlow)),
        }
    };
    result.map_err(|error| unanswered(error, upload))
}

fn unanswered(mut error: TrySendError<Request<Outgoing>>, upload: Option<&Upload>) -> Unanswered {
    if let Some(request) = error.take_message() {
        return Unanswered::Unsent(Box::new(request));
    }
    Unanswered::Failed(match upload {
        Some(upload) if upload.is_too_large() => Failure::TooLarge,
        Some(upload) if upload.is_broken() => Failure::ClientBrokeOff,
        _ => Failure::BrokenOff,
    })
}

async fn pass_on(
    client: &Arc<Client>,
    mut pass: Pass,
    mut upstream: Box<Upstream>,
    mut response: Response<Incoming>,
    upgrade: Option<OnUpgrade>,
) -> Response<Reply> {
    pass.answered(response.status().as_u16());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(ours) = upgrade {
            return switch(client, pass, upstream, response, ours);
        }
        pass.broken(ErrorKind::Reset);
        let words = "The service changed the protocol, which nobody had asked it to do.";
        return page(StatusCode::BAD_GATEWAY, words, &http::HeaderMap::new(), None);
    }
    remove_hop_by_hop(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    stay(client, &pass, response.headers_mut());
    let encoder = encoder(&pass, &mut response);
    if response.body().is_end_stream() {
        if poll_fn(|context| Poll::Ready(upstream.is_reusable(context))).await {
            pass.instance.keep(upstream);
        }
        return response.map(|_| Reply::from(Kind::Own(None)));
    }
    let stall = Duration::from_millis(pass.service.limits.stall_ms);
    response.map(|body| {
        let upstream = Some(upstream);
        let answered = Box::new(Answered { body, upstream, pass, stall, still: None });
        Reply::from(match encoder {
            None => Kind::Instance(answered),
            Some(encoder) => Kind::Encoded(Box::new(Encoded::new(answered, encoder))),
        })
    })
}

/// Gives a client the cookie that keeps it with its instance, unless it has it.
fn stay(client: &Client, pass: &Pass, headers: &mut HeaderMap) {
    let Some(sticky) = &pass.service.sticky else { return };
    let is_known =
        pass.asked.stays_with.as_ref().is_some_and(|one| Arc::ptr_eq(one, &pass.instance));
    if !is_known {
        let cookie = sticky.cookie(&pass.instance.target.instance, client.is_encrypted());
        headers.extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    }
}

/// Returns what compresses an answer, if it shall be.
fn encoder(pass: &Pass, response: &mut Response<Incoming>) -> Option<Encoder> {
    if !pass.service.asked.compress {
        return None;
    }
    let reads = pass.asked.reads.filter(|_| !response.body().is_end_stream());
    let (status, is_head) = (response.status(), pass.asked.method == "HEAD");
    // Made first: once the headers say so, it must be.
    let encoder = reads.and_then(|encoding| Encoder::new(encoding).ok());
    let reads = reads.filter(|_| encoder.is_some());
    encoding::apply(reads, is_head, status, response.headers_mut()).and(encoder)
}

/// Joins client and instance for as long as both like, as for a WebSocket.
fn switch(
    client: &Arc<Client>,
    pass: Pass,
    upstream: Box<Upstream>,
    mut response: Response<Incoming>,
    ours: OnUpgrade,
) -> Response<Reply> {
    let client = Arc::clone(client);
    tokio::spawn(async move {
        if let (Ok(ours), Some((mut theirs, early))) = join(ours, upstream.into_stream()).await {
            let mut ours = TokioIo::new(ours);
            let counters = &pass.instance.counters;
            // Either side may break off at any time: that is how these end.
            if ours.write_all(&early).await.is_ok() {
                let copied = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
                let (received, sent) = copied.unwrap_or_default();
                counters.received(received);
                counters.sent(sent + early.len() as u64);
            }
        }
        drop((pass, client));
    });
    let protocol = response.headers().get(UPGRADE).cloned();
    remove_hop_by_hop(response.headers_mut());
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().extend(protocol.map(|protocol| (UPGRADE, protocol)));
    response.map(|_| Reply::from(Kind::Own(None)))
}

/// What a request asked for, as far as an explanation needs it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    method: String,
    path: String,
    /// Its line in the access log, where there is one.
    pub entry: Option<Box<Entry>>,
    /// The instance that its client stays with.
    stays_with: Option<Arc<Instance>>,
    /// How its client can read a compressed answer, where that is wanted.
    reads: Option<Encoding>,
}

impl Asked {
    /// How much of a path is kept.
    const PATH: usize = 200;

    pub fn new(method: &str, path: &str) -> Self {
        let path = &path[..path.floor_char_boundary(Self::PATH)];
        Self { method: method.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// Notes in the access log that the client got an answer of ours.
    pub fn noted(&mut self, status: StatusCode) {
        if let Some(entry) = &mut self.entry {
            entry.answered(status.as_u16(), None);
        }
    }

    /// Counts an answer of ours for which no instance was asked.
    pub fn answered(&mut self, service: &LiveService, status: StatusCode) {
        self.noted(status);
        service.unserved.answered(status.as_u16(), Duration::ZERO);
        service.hub.ring(false);
    }

    /// Counts a request for which there was no instance.
    fn unserved(mut self, service: &LiveService, failure: Failure) -> Failure {
        let status = failure.status();
        self.answered(service, status);
        if let Some(kind) = failure.kind() {
            let status = Some(status.as_u16());
            service.unserved.failed(kind, status, &self.method, &self.path);
            service.hub.ring(service.is_contested());
        }
        failure
    }
}

/// One request under way at one instance; counts it out when it is dropped.
pub(super) struct Pass {
    service: Arc<LiveService>,
    pub instance: Arc<Instance>,
    asked: Asked,
    started: Instant,
    state: State,
    /// Its part of what the service takes at once.
    room: Option<OwnedSemaphorePermit>,
}

#[derive(PartialEq, Eq)]
enum State {
    /// No answer is known.
    Open,
    /// The answer is counted.
    Answered,
    /// It went wrong and is counted so.
    Bad,
    /// Another instance has it now.
    Moved,
}

impl Pass {
    /// Chooses an instance by the table in force *now*, once the service has room for the request.
    pub async fn first(
        client: &Client,
        service: &Arc<LiveService>,
        asked: Asked,
    ) -> Result<Self, Failure> {
        let mut room = None;
        if let Some(breaker) = &service.breaker {
            let patience = Duration::from_millis(service.limits.connect_ms);
            match breaker.enter(patience).await {
                Ok(permit) => room = Some(permit),
                Err(Tripped) => return Err(asked.unserved(service, Failure::Crowded)),
            }
        }
        let started = Instant::now();
        let stays = asked.stays_with.as_ref().filter(|one| !one.is_avoided() && one.enter());
        let found = match stays {
            Some(instance) => Some((Arc::clone(service), Arc::clone(instance))),
            None => choose(client, service),
        };
        let found = match found {
            None if !service.hold.is_zero() => {
                somebody(client, service, started + service.hold).await
            }
            found => found,
        };
        let Some((service, instance)) = found else {
            return Err(asked.unserved(service, Failure::NoInstance));
        };
        Ok(Self { service, instance, asked, started, state: State::Open, room })
    }

    /// Returns whether the request may be tried again, by the budget of its service.
    pub fn may_retry(&self) -> bool {
        self.service.may_retry()
    }

    /// Moves on to another instance of the same release, if there is one.
    fn elsewhere(&mut self, tried: &[InstanceId]) -> Option<Self> {
        let release = &self.instance.target.release;
        let instance = self.service.enter_again(release, tried)?;
        Some(self.moved(Arc::clone(&self.service), instance))
    }

    /// Returns the request as it goes on at another instance.
    fn moved(&mut self, service: Arc<LiveService>, instance: Arc<Instance>) -> Self {
        self.instance.counters.retried();
        self.state = State::Moved;
        Self {
            service,
            instance,
            asked: std::mem::take(&mut self.asked),
            started: self.started,
            state: State::Open,
            room: self.room.take(),
        }
    }

    /// Moves on after an instance could not be connected to: to another one at once, or to any, as
    /// long as the service lets requests wait for one. Says whether there is one.
    pub async fn after_refusal(
        &mut self,
        client: &Client,
        tried: &mut Vec<InstanceId>,
        left: &mut usize,
    ) -> bool {
        self.instance.refused();
        tried.push(self.instance.target.instance.clone());
        if *left > 0
            && self.may_retry()
            && let Some(next) = self.elsewhere(tried)
        {
            *self = next;
            return true;
        }
        let until = self.started + self.service.hold;
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        let Some((service, instance)) = somebody(client, &self.service, until).await else {
            return false;
        };
        *self = self.moved(service, instance);
        tried.clear();
        *left = MOST_TRIES;
        true
    }

    /// Moves on after a connection had gone stale: to another instance if there is one, or to this
    /// one again. Says whether it is this one, which then needs a new connection.
    pub fn again_elsewhere(&mut self) -> bool {
        let stale = [self.instance.target.instance.clone()];
        if let Some(next) = self.elsewhere(&stale) {
            *self = next;
            return false;
        }
        self.instance.counters.retried();
        true
    }

    pub fn answered(&mut self, status: u16) {
        let bad = (status >= 500).then_some(ErrorKind::Status);
        self.count(status, bad);
    }

    pub fn failed(mut self, failure: Failure) -> Failure {
        self.count(failure.status().as_u16(), failure.kind());
        failure
    }

    fn count(&mut self, status: u16, bad: Option<ErrorKind>) {
        self.state = State::Answered;
        if let Some(entry) = &mut self.asked.entry {
            entry.answered(status, Some(&self.instance));
        }
        self.service.judge(&self.instance, bad.is_some());
        let counters = &self.instance.counters;
        counters.answered(status, self.started.elapsed());
        if let Some(kind) = bad {
            self.state = State::Bad;
            counters.failed(kind, Some(status), &self.asked.method, &self.asked.path);
        }
        self.service.hub.ring(bad.is_some() && self.service.is_contested());
    }

    /// Counts an answer that broke off half way, unless it was bad from the start.
    pub fn broken(&mut self, kind: ErrorKind) {
        if self.state != State::Bad {
            self.state = State::Bad;
            self.service.judge(&self.instance, true);
            let counters = &self.instance.counters;
            counters.failed(kind, None, &self.asked.method, &self.asked.path);
            self.service.hub.ring(self.service.is_contested());
        }
    }

    /// Counts bytes of the body of the request.
    pub fn received(&self, bytes: u64) {
        self.instance.counters.received(bytes);
    }

    /// Counts bytes of the body of the answer.
    pub fn sent(&mut self, bytes: u64) {
        self.instance.counters.sent(bytes);
        if let Some(entry) = &mut self.asked.entry {
            entry.sent(bytes);
        }
    }
}

/// How soon an instance that could not be connected to is asked again, while requests wait.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Most requests of one service that wait for an instance.
const MOST_HELD: u32 = 1_000;

/// Chooses an instance of a service, by its newest table where the known one has none any more.
fn choose(
    client: &Client,
    service: &Arc<LiveService>,
) -> Option<(Arc<LiveService>, Arc<Instance>)> {
    if let Some(instance) = service.enter() {
        return Some((Arc::clone(service), instance));
    }
    let newer = client.proxy.table.load().service(&service.name).map(Arc::clone)?;
    let instance = newer.enter()?;
    Some((newer, instance))
}

/// Waits for a table with an instance of a service.
async fn somebody(
    client: &Client,
    service: &Arc<LiveService>,
    until: Instant,
) -> Option<(Arc<LiveService>, Arc<Instance>)> {
    let _place = Place::take(&service.held, MOST_HELD).ok()?;
    loop {
        let changed = client.proxy.changed.notified();
        let newest = client.proxy.table.load().service(&service.name).map(Arc::clone)?;
        if let Some(instance) = newest.enter() {
            return Some((newest, instance));
        }
        tokio::time::timeout_at(until.into(), changed).await.ok()?;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.state == State::Open {
            self.instance.counters.cancelled();
        }
        self.instance.leave();
        self.service.hub.ring(false);
    }
}

/// The body of an answer.
pub(super) struct Reply {
    kind: Kind,
    /// Tells the connection that it is not idle.
    busy: Option<Busy>,
}

enum Kind {
    Own(Option<Bytes>),
    Instance(Box<Answered>),
    Encoded(Box<Encoded>),
}

/// The answer of an instance, compressed as it comes.
struct Encoded {
    answered: Box<Answered>,
    /// Nothing once all was given.
    encoder: Option<Encoder>,
    /// Whether it keeps something back.
    keeps_back: bool,
    trailers: Option<Frame<Bytes>>,
}

impl Encoded {
    fn new(answered: Box<Answered>, encoder: Encoder) -> Self {
        Self { answered, encoder: Some(encoder), keeps_back: false, trailers: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while let Some(encoder) = &mut self.encoder {
            let ready = match self.answered.poll(context) {
                // Nothing more comes for now, so the client gets what there is.
                Poll::Pending if self.keeps_back => {
                    self.keeps_back = false;
                    match encoder.flush() {
                        Ok(ready) if ready.is_empty() => return Poll::Pending,
                        ready => ready,
                    }
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.keeps_back = true;
                        encoder.write(&data)
                    }
                    Err(trailers) => {
                        self.trailers = Some(trailers);
                        self.finish()
                    }
                },
                Poll::Ready(Some(Err(error))) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => self.finish(),
            };
            match ready {
                Ok(ready) if ready.is_empty() => {}
                Ok(ready) => return Poll::Ready(Some(Ok(Frame::data(ready)))),
                Err(error) => {
                    self.encoder = None;
                    return Poll::Ready(Some(Err(BodyError::Encoding(error))));
                }
            }
        }
        Poll::Ready(self.trailers.take().map(Ok))
    }

    fn finish(&mut self) -> std::io::Result<Bytes> {
        self.encoder.take().map_or_else(|| Ok(Bytes::new()), Encoder::finish)
    }
}

struct Answered {
    body: Incoming,
    upstream: Option<Box<Upstream>>,
    pass: Pass,
    stall: Duration,
    still: Option<Pin<Box<Sleep>>>,
}

impl Reply {
    /// Returns a body of our own.
    pub fn own(bytes: Bytes) -> Self {
        Self::from(Kind::Own(Some(bytes)))
    }
}

impl From<Kind> for Reply {
    fn from(kind: Kind) -> Self {
        Self { kind, busy: None }
    }
}

impl Answered {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_pending() {
            // Having asked first, the connection knows that what it reads is wanted.
            if let Some(upstream) = &mut self.upstream {
                upstream.drive(context);
            }
            frame = Pin::new(&mut self.body).poll_frame(context);
        }
        match frame {
            Poll::Pending => self.poll_still(context),
            Poll::Ready(Some(Ok(frame))) => {
                self.still = None;
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.pass.sent(bytes as u64);
                if self.body.is_end_stream() {
                    self.give_back(context);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.pass.broken(ErrorKind::Reset);
                self.upstream = None;
                Poll::Ready(Some(Err(BodyError::Instance(error))))
            }
            Poll::Ready(None) => {
                self.give_back(context);
                Poll::Ready(None)
            }
        }
    }

    fn poll_still(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stall = self.stall;
        let still = self.still.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        if still.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.pass.broken(ErrorKind::Timeout);
        self.upstream = None;
        Poll::Ready(Some(Err(BodyError::Stalled)))
    }

    fn give_back(&mut self, context: &mut Context<'_>) {
        if let Some(mut upstream) = self.upstream.take()
            && upstream.is_reusable(context)
        {
            self.pass.instance.keep(upstream);
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Instance(answered) => answered.poll(context),
            Kind::Encoded(encoded) => encoded.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Instance(answered) => answered.body.is_end_stream(),
            Kind::Encoded(encoded) => encoded.encoder.is_none() && encoded.trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Instance(answered) => answered.body.size_hint(),
            Kind::Encoded(_) => SizeHint::default(),
        }
    }
}
