//! An instance that does whatever a test needs, on a thread of its own so that it can die at once.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use journal::InstanceId;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot, watch},
};

use crate::world::eventually;

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A running app.
pub struct App {
    pub name: &'static str,
    pub address: SocketAddr,
    state: Arc<State>,
    running: Mutex<Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>>,
}

struct State {
    name: &'static str,
    requests: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
    gate: Notify,
    closing: watch::Sender<u64>,
    /// What it answers to everything; 0 if nothing is wrong with it.
    fails_with: AtomicU16,
}

impl App {
    pub async fn start(name: &'static str) -> Self {
        let state = Arc::new(State {
            name,
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            gate: Notify::new(),
            closing: watch::Sender::new(0),
            fails_with: AtomicU16::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("the system gives us a poller");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let address = listener.local_addr().expect("it is bound");
                tell.send(address).expect("the test waits");
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
            // Dropping the runtime drops every connection where it stands.
        });
        let address = told.await.expect("the thread lives");
        let running = Mutex::new(Some((stop, thread)));
        Self { name, address, state, running }
    }

    pub fn instance(&self) -> InstanceId {
        format!("{}-1", self.name).into()
    }

    /// How many requests it heard.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(SeqCst)
    }

    /// How many connections it ever accepted.
    pub fn connections(&self) -> u64 {
        self.state.connections.load(SeqCst)
    }

    /// Lets one waiting `/gate` or `/events` go on.
    pub fn open_gate(&self) {
        self.state.gate.notify_one();
    }

    /// Answers everything with one status from now on.
    pub fn fail_with(&self, status: u16) {
        self.state.fails_with.store(status, SeqCst);
    }

    /// Closes every connection that rests.
    pub async fn close_idle(&self) {
        self.state.closing.send_modify(|times| *times += 1);
        eventually(|| self.state.open.load(SeqCst) == 0).await;
    }

    /// Dies without a word, all connections with it.
    pub fn kill(&self) {
        let running = self.running.lock().expect("nobody panicked").take();
        if let Some((stop, thread)) = running {
            let _ = stop.send(());
            thread.join().expect("the app does not panic");
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.expect("the listener is sound");
        state.connections.fetch_add(1, SeqCst);
        state.open.fetch_add(1, SeqCst);
        tokio::spawn(talk(stream, Arc::clone(&state)));
    }
}

async fn talk(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let mut closing = state.closing.subscribe();
    let shared = Arc::clone(&state);
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    {
        let builder = http1::Builder::new();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection.with_upgrades());
        loop {
            tokio::select! {
                _ = connection.as_mut() => break,
                _ = closing.changed() => connection.as_mut().graceful_shutdown(),
            }
        }
    }
    state.open.fetch_sub(1, SeqCst);
}

async fn answer(mut request: Request<Incoming>, state: Arc<State>) -> io::Result<Answer> {
    state.requests.fetch_add(1, SeqCst);
    let path = request.uri().path().to_owned();
    if let Ok(status) = StatusCode::from_u16(state.fails_with.load(SeqCst)) {
        let mut response = text("failed");
        *response.status_mut() = status;
        return Ok(response);
    }
    match path.as_str() {
        "/gate" => {
            state.gate.notified().await;
            Ok(text(state.name))
        }
        "/hang-up" => Err(io::ErrorKind::ConnectionAborted.into()),
        "/echo" => Ok(Response::new(request.into_body().map_err(io::Error::other).boxed_unsync())),
        "/swallow" => {
            request.into_body().collect().await.map_err(io::Error::other)?;
            Ok(text(state.name))
        }
        "/headers" => Ok(text(&headers(&request))),
        "/events" => Ok(events(state)),
        "/told" => {
            let mut response = events(state);
            let kind = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert("content-type", kind);
            Ok(response)
        }
        "/prose" => {
            let mut response = text(&"It says the same again and again. ".repeat(2_000));
            let kind = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert("content-type", kind);
            Ok(response)
        }
        "/break-off" => Ok(break_off(state)),
        "/trailers" => Ok(trailers()),
        "/socket" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let stream = TokioIo::new(upgrade.await.expect("the proxy switches"));
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert("connection", HeaderValue::from_static("upgrade"));
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            Ok(response)
        }
        _ => {
            let mut response = text(state.name);
            if let Some(status) = path.strip_prefix("/status/") {
                *response.status_mut() = status.parse().expect("a status");
                if status == "204" {
                    *response.body_mut() = Full::default().map_err(|e| match e {}).boxed_unsync();
                }
            }
            Ok(response)
        }
    }
}

fn text(text: &str) -> Answer {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    Response::new(body.map_err(|never| match never {}).boxed_unsync())
}

fn headers(request: &Request<Incoming>) -> String {
    let mut text = format!("{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text += &format!("{name}: {}\n", value.to_str().unwrap_or("?"));
    }
    text
}

fn events(state: Arc<State>) -> Answer {
    let events = stream::unfold(0, move |number| {
        let state = Arc::clone(&state);
        async move {
            state.gate.notified().await;
            let event = Bytes::from(format!("data: {number}\n\n"));
            Some((Ok(Frame::data(event)), number + 1))
        }
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(events)))
}

fn break_off(state: Arc<State>) -> Answer {
    let half = stream::once(async { Ok(Frame::data(Bytes::from_static(b"half"))) });
    let end = stream::once(async move {
        state.gate.notified().await;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(half.chain(end))));
    response.headers_mut().insert("content-length", HeaderValue::from_static("8"));
    response
}

fn trailers() -> Answer {
    let mut map = HeaderMap::new();
    map.insert("x-checksum", HeaderValue::from_static("42"));
    let frames = [Frame::data(Bytes::from_static(b"body")), Frame::trailers(map)];
    let body = StreamBody::new(stream::iter(frames.map(Ok)));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
    response
}
