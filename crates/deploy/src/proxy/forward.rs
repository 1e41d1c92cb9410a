//! The way of one request: find the service, choose an instance, pass everything on, count.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, LOCATION, STRICT_TRANSPORT_SECURITY, UPGRADE},
    request::Parts,
};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::TrySendError, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use journal::InstanceId;
use tokio::{io::AsyncWriteExt, time::Sleep};

use super::{
    ErrorKind,
    headers::{
        forwards_left, host_name, join_cookies, origin_form, remove_hop_by_hop, request_id,
        rewrite_request, settle_host, wanted_upgrade,
    },
    instance::Instance,
    listen::{Busy, Client},
    page::page,
    table::LiveService,
    upstream::{BodyError, Outgoing, Upload, Upstream},
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
    let service = match client.find(&host_name(&host), parts.uri.path()).await {
        Ok(service) => service,
        Err((status, words)) => return page(status, words, &parts.headers, Some(&id)),
    };

    let most = service.limits.body_bytes;
    if body.size_hint().lower() > most.unwrap_or(u64::MAX) {
        let words = "The body of the request is larger than this service takes.";
        return page(StatusCode::PAYLOAD_TOO_LARGE, words, &parts.headers, Some(&id));
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
    let asked = parts.headers.get(http::header::ACCEPT).cloned();
    let request = Request::from_parts(parts, body);
    match forward(client, &service, request, upload.as_deref(), upgrade).await {
        Ok(response) => response,
        Err(failure) => {
            let mut headers = http::HeaderMap::new();
            headers.extend(asked.map(|accept| (http::header::ACCEPT, accept)));
            page(failure.status(), failure.words(), &headers, Some(&id))
        }
    }
}

impl Client {
    /// Finds the service for a host and path, and waits with it where its requests are held.
    pub async fn find(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Arc<LiveService>, (StatusCode, &'static str)> {
        loop {
            let table = self.proxy.table.load();
            let Some(service) = table.find(self.listener, host, path) else {
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
            Self::NoInstance => StatusCode::SERVICE_UNAVAILABLE,
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
            Self::TooLarge | Self::ClientTooSlow | Self::ClientBrokeOff => None,
        }
    }
}

async fn forward(
    client: &Arc<Client>,
    service: &Arc<LiveService>,
    mut request: Request<Outgoing>,
    upload: Option<&Upload>,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Reply>, Failure> {
    let asked = Asked::new(request.method().as_str(), request.uri().path());
    let mut pass = match Pass::first(client, service, asked) {
        Ok(pass) => pass,
        Err(asked) => return Err(unserved(service, &asked)),
    };
    let limits = service.limits.clone();
    let patience = Duration::from_millis(limits.answer_ms);
    let mut tried: Vec<InstanceId> = Vec::new();
    let mut fresh = false;
    for left in (0..MOST_TRIES).rev() {
        let idle = if fresh { None } else { pass.instance.take_idle() };
        let mut upstream = match idle {
            Some(upstream) => upstream,
            None => {
                let patience = Duration::from_millis(limits.connect_ms);
                match Upstream::dial(pass.instance.target.address, patience).await {
                    Ok(upstream) => upstream,
                    Err(_) => {
                        pass.instance.refused();
                        tried.push(pass.instance.target.instance.clone());
                        match pass.elsewhere(&tried) {
                            Some(next) if left > 0 => pass = next,
                            _ => return Err(pass.failed(Failure::NoConnection)),
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
            Err(Unanswered::Unsent(unsent)) if left > 0 => request = *unsent,
            Err(Unanswered::Failed(Failure::BrokenOff)) if left > 0 && spare.is_some() => {
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

pub(super) fn unserved(service: &LiveService, asked: &Asked) -> Failure {
    let failure = Failure::NoInstance;
    let status = failure.status().as_u16();
    let counters = &service.unserved;
    counters.answered(status, Duration::ZERO);
    counters.failed(ErrorKind::Connect, Some(status), &asked.method, &asked.path);
    service.hub.ring(service.is_contested());
    failure
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
    if response.body().is_end_stream() {
        if poll_fn(|context| Poll::Ready(upstream.is_reusable(context))).await {
            pass.instance.keep(upstream);
        }
        return response.map(|_| Reply::from(Kind::Own(None)));
    }
    let stall = Duration::from_millis(pass.service.limits.stall_ms);
    response.map(|body| {
        let upstream = Some(upstream);
        let answered = Answered { body, upstream, pass, stall, still: None };
        Reply::from(Kind::Instance(Box::new(answered)))
    })
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
}

impl Asked {
    /// How much of a path is kept.
    const PATH: usize = 200;

    pub fn new(method: &str, path: &str) -> Self {
        let path = &path[..path.floor_char_boundary(Self::PATH)];
        Self { method: method.to_owned(), path: path.to_owned() }
    }
}

/// One request under way at one instance; counts it out when it is dropped.
pub(super) struct Pass {
    service: Arc<LiveService>,
    pub instance: Arc<Instance>,
    asked: Asked,
    started: Instant,
    state: State,
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
    /// Chooses an instance by the table in force *now*.
    ///
    /// The table may have been replaced since the service was found: then every instance of the old
    /// one may be closed, and the service of the new table decides.
    pub fn first(client: &Client, service: &Arc<LiveService>, asked: Asked) -> Result<Self, Asked> {
        let (service, instance) = match service.enter() {
            Some(instance) => (Arc::clone(service), instance),
            None => {
                let newer = client.proxy.table.load().service(&service.name).map(Arc::clone);
                let Some(newer) = newer else { return Err(asked) };
                let Some(instance) = newer.enter() else { return Err(asked) };
                (newer, instance)
            }
        };
        Ok(Self { service, instance, asked, started: Instant::now(), state: State::Open })
    }

    /// Moves on to another instance of the same release, if there is one.
    pub fn elsewhere(&mut self, tried: &[InstanceId]) -> Option<Self> {
        let release = &self.instance.target.release;
        let instance = self.service.enter_again(release, tried)?;
        self.instance.counters.retried();
        self.state = State::Moved;
        Some(Self {
            service: Arc::clone(&self.service),
            instance,
            asked: std::mem::take(&mut self.asked),
            started: self.started,
            state: State::Open,
        })
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
    pub fn sent(&self, bytes: u64) {
        self.instance.counters.sent(bytes);
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
                self.pass.instance.counters.sent(bytes as u64);
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Instance(answered) => answered.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Instance(answered) => answered.body.size_hint(),
        }
    }
}
