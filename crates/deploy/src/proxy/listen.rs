//! Accepts clients, speaks HTTP/1.1 or HTTP/2 with them, and lets go of those who only sit there.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::HeaderValue;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    time::{Instant, Sleep},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Guards, forward, headers::peer_value, http1::serve as serve_ordinary, instance::now_ms,
    proxy_protocol, serve::Proxy, tls::HTTP2,
};

/// How HTTP/2 with prior knowledge begins; no method of HTTP/1 does.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Most requests at once on one HTTP/2 connection.
const MOST_STREAMS: u32 = 256;

/// Binds an address to listen on.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4_096)
}

/// Accepts clients until it is aborted. Aborting loses nobody: who is accepted is being served.
pub(super) async fn accept(proxy: Arc<Proxy>, address: SocketAddr, listener: Arc<TcpListener>) {
    let room = Arc::new(Room::default());
    loop {
        let most = proxy.table.load().guards(address).connections;
        room.free(most).await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                let arrived = Arrived {
                    proxy: Arc::clone(&proxy),
                    listener: address,
                    seat: room.enter(),
                    count: proxy.count_connection(),
                };
                if proxy.table.load().expects_proxy_protocol(address) {
                    tokio::spawn(arrived.ask_who(stream, peer.ip()));
                } else {
                    arrived.serve(stream, peer.ip());
                }
            }
            // Out of file descriptors, most likely. Those in use come back.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A connection that was accepted, before it is known who the client is.
struct Arrived {
    proxy: Arc<Proxy>,
    listener: SocketAddr,
    seat: Seat,
    count: super::serve::Counted,
}

impl Arrived {
    /// Reads who the client is, as the sender before us says, and serves it.
    async fn ask_who(self, mut stream: TcpStream, sender: IpAddr) {
        let patience = self.proxy.table.load().guards(self.listener).head_ms;
        let read = proxy_protocol::read(&mut stream);
        let read = tokio::time::timeout(Duration::from_millis(patience), read).await;
        // Who does not begin so has nothing to do here, and hears nothing.
        if let Ok(Ok(client)) = read {
            self.serve(stream, client.unwrap_or(sender));
        }
    }

    fn serve(self, stream: TcpStream, address: IpAddr) {
        let Self { proxy, listener, seat, count } = self;
        let table = proxy.table.load();
        let (guards, tls) = (table.guards(listener), table.tls.get(&listener).cloned());
        let redirect = table.redirect(listener);
        drop(table);
        let client = Arc::new(Client {
            proxy,
            listener,
            peer: peer_value(address),
            address,
            watch: Arc::default(),
            is_encrypted: tls.is_some(),
            redirect,
            _seat: seat,
            _count: count,
        });
        match tls {
            None => tokio::spawn(serve(client, stream, guards)),
            Some(tls) => tokio::spawn(serve_encrypted(client, stream, guards, tls)),
        };
    }
}

/// The connection of one client.
pub(super) struct Client {
    pub proxy: Arc<Proxy>,
    pub listener: SocketAddr,
    pub peer: HeaderValue,
    pub address: IpAddr,
    pub watch: Arc<Watch>,
    is_encrypted: bool,
    redirect: Option<u16>,
    _seat: Seat,
    _count: super::serve::Counted,
}

impl Client {
    /// Returns how the client reached us, as an address begins.
    pub fn scheme(&self) -> &'static str {
        if self.is_encrypted { "https" } else { "http" }
    }

    /// Returns the port of HTTPS this client is sent on to.
    pub fn redirect(&self) -> Option<u16> {
        self.redirect
    }

    /// Returns for how many seconds the client shall come back encrypted only.
    pub fn hsts_seconds(&self) -> Option<u64> {
        self.is_encrypted.then(|| self.proxy.table.load().hsts_seconds(self.listener))?
    }

    pub fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    pub fn is_behind_proxy(&self) -> bool {
        self.proxy.table.load().is_behind_proxy(self.listener)
    }
}

/// How many clients a listener has.
#[derive(Debug, Default)]
struct Room {
    taken: AtomicU64,
    left: Notify,
}

#[derive(Debug)]
struct Seat(Arc<Room>);

impl Room {
    async fn free(&self, most: usize) {
        loop {
            let left = self.left.notified();
            if self.taken.load(SeqCst) < most as u64 {
                return;
            }
            left.await;
        }
    }

    fn enter(self: &Arc<Self>) -> Seat {
        self.taken.fetch_add(1, SeqCst);
        Seat(Arc::clone(self))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
        self.0.left.notify_one();
    }
}

async fn serve(client: Arc<Client>, stream: TcpStream, guards: Guards) {
    // Only a hint for the system; without it, answers are a little later.
    let _ = stream.set_nodelay(true);
    let (stream, read) = if client.is_behind_proxy() || client.redirect.is_some() {
        (stream, Vec::new())
    } else {
        match serve_ordinary(&client, stream, &guards).await {
            Some(rest) => rest,
            None => return,
        }
    };
    let stream = Rewound { read, at: 0, stream };
    if stream.read.starts_with(PREFACE) {
        return serve_http2(client, stream, guards).await;
    }
    if !stream.read.is_empty() {
        return serve_http1(client, stream, guards).await;
    }
    let patience = Duration::from_millis(guards.head_ms);
    match tokio::time::timeout(patience, speaks_http2(&stream.stream)).await {
        Ok(Ok(true)) => serve_http2(client, stream, guards).await,
        Ok(Ok(false)) => serve_http1(client, stream, guards).await,
        Ok(Err(_)) | Err(_) => {}
    }
}

/// How every TLS connection begins: a record of the handshake; see RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;

/// What who speaks plainly to a port that does not is told.
const NOT_ENCRYPTED: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 52\r\nconnection: close\r\n\r\n\
    This port is encrypted: ask for https://, not http.\n";

async fn serve_encrypted(
    client: Arc<Client>,
    stream: TcpStream,
    guards: Guards,
    tls: Arc<ServerConfig>,
) {
    let _ = stream.set_nodelay(true);
    let shaken = tokio::time::timeout(Duration::from_millis(guards.head_ms), async {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            Box::pin(tell_to_encrypt(stream)).await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        TlsAcceptor::from(tls).accept(stream).await
    });
    // A client that gives up, or whom we share no way of encrypting with, has been told by TLS.
    let Ok(Ok(stream)) = shaken.await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
    let stream = Rewound { read: Vec::new(), at: 0, stream };
    if is_http2 {
        serve_http2(client, stream, guards).await;
    } else {
        serve_http1(client, stream, guards).await;
    }
}

async fn tell_to_encrypt(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(NOT_ENCRYPTED).await?;
    stream.shutdown().await?;
    // Taken before we close, so that no reset overtakes what we said.
    let mut rest = [0; 4_096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut bytes = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut bytes).await?;
        if seen == 0 || seen == bytes.len() || bytes[..seen] != PREFACE[..seen] {
            return Ok(bytes == PREFACE);
        }
        // Part of the preface: rare, and nothing tells when more has come but looking again.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn serve_http1<S>(client: Arc<Client>, stream: Rewound<S>, guards: Guards)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Arc::clone(&client.watch);
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch) });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    // `Watch` tells a slow head from a resting connection; the timer of hyper does not.
    builder.header_read_timeout(None);
    builder.max_buf_size(guards.head_bytes.max(8 * 1024));
    if guards.headers != Guards::default().headers {
        builder.max_headers(guards.headers);
    }
    let service = service_fn(move |request| forward::answer(Arc::clone(&client), request));
    let connection = builder.serve_connection(io, service).with_upgrades();
    let mut connection = pin!(connection);
    let mut alarm = pin!(Alarm::new(watch, &guards));
    poll_fn(|context| {
        if connection.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        alarm.as_mut().poll(context)
    })
    .await;
}

async fn serve_http2<S>(client: Arc<Client>, stream: Rewound<S>, guards: Guards)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let watch = Arc::clone(&client.watch);
    watch.is_http2.store(true, Relaxed);
    let io = TokioIo::new(Watched { stream, watch: Arc::clone(&watch) });
    let mut leaving = client.proxy.leaving.subscribe();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    builder.max_concurrent_streams(MOST_STREAMS);
    builder.max_header_list_size(guards.head_bytes.try_into().unwrap_or(u32::MAX));
    builder.keep_alive_interval(Duration::from_secs(30));
    let service = service_fn(move |request| forward::answer(Arc::clone(&client), request));
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut alarm = pin!(Alarm::new(watch, &guards));
    let mut said = false;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = poll_fn(|context| alarm.as_mut().poll(context)) => return,
            _ = leaving.wait_for(|leaving| *leaving), if !said => {
                // GOAWAY: the client opens a new connection for its next request.
                connection.as_mut().graceful_shutdown();
                said = true;
            }
        }
    }
}

/// What one connection is doing, noted by those who see it, read now and then by its [`Alarm`].
#[derive(Debug, Default)]
pub(super) struct Watch {
    is_http2: AtomicBool,
    /// Requests being answered.
    busy: AtomicU32,
    /// Requests so far.
    requests: AtomicU64,
    /// When the head now being read began, in milliseconds of [`now_ms`]; 0 if none is.
    head: AtomicU64,
    /// What was seen of that head.
    seen: AtomicU8,
    /// When the last answer ended, or the connection began; 0 until the alarm first looks.
    rests_since: AtomicU64,
    /// When the client last stopped taking what we send; 0 if it takes it.
    blocked: AtomicU64,
}

/// Held while a request is being answered.
#[derive(Debug)]
pub(super) struct Busy {
    watch: Arc<Watch>,
    /// Whether the head named both a length and a coding, which is how requests are smuggled.
    pub is_ambiguous: bool,
}

/// What was seen of the head being read.
const LENGTH: u8 = 1;
const CODING: u8 = 2;
const WHOLE_HEAD: u8 = 4;

impl Watch {
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, SeqCst);
        self.requests.fetch_add(1, Relaxed);
        self.head.store(0, Relaxed);
        let seen = self.seen.swap(0, Relaxed);
        Busy { watch: Arc::clone(self), is_ambiguous: seen & (LENGTH | CODING) == LENGTH | CODING }
    }

    fn bytes_came(&self, bytes: &[u8]) {
        if self.is_http2.load(Relaxed) || self.busy.load(Relaxed) > 0 {
            return;
        }
        if self.head.load(Relaxed) == 0 {
            self.head.store(now_ms().max(1), Relaxed);
        }
        let seen = self.seen.load(Relaxed);
        if seen & WHOLE_HEAD == 0 {
            self.seen.store(look_for_framing(bytes, seen), Relaxed);
        }
    }

    /// Returns how many milliseconds to wait before looking again; nothing if time is up.
    fn left(&self, guards: &Guards) -> Option<u64> {
        let now = now_ms().max(1);
        let look_again = (guards.head_ms / 2).max(1);
        let blocked = self.blocked.load(Relaxed);
        if blocked != 0 && now >= blocked + guards.idle_ms {
            return None;
        }
        if self.busy.load(SeqCst) > 0 {
            return Some(look_again);
        }
        let head = self.head.load(Relaxed);
        let end = if head != 0 {
            head + guards.head_ms
        } else {
            let _ = self.rests_since.compare_exchange(0, now, SeqCst, SeqCst);
            let rests = self.rests_since.load(SeqCst);
            let is_new = self.requests.load(Relaxed) == 0;
            rests + if is_new { guards.head_ms } else { guards.idle_ms }
        };
        let left = end.checked_sub(now).filter(|left| *left > 0)?;
        Some(left.min(look_again))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.watch.rests_since.store(now_ms().max(1), SeqCst);
        self.watch.busy.fetch_sub(1, SeqCst);
    }
}

/// Looks for headers that say where the body ends, up to the end of the head.
///
/// The parser of hyper drops a length beside a coding without telling. That is safe, but a client
/// that sends both is up to something or broken, and is refused. A header name torn apart between
/// two reads is not seen here; then hyper's way remains, and the connection ends after the answer.
fn look_for_framing(bytes: &[u8], mut seen: u8) -> u8 {
    for end in memchr::memchr_iter(b'\n', bytes) {
        let line = &bytes[end + 1..];
        let names =
            |name: &[u8]| line.get(..name.len()).is_some_and(|a| a.eq_ignore_ascii_case(name));
        match line.first() {
            Some(b'\r' | b'\n') => return seen | WHOLE_HEAD,
            Some(b'c' | b'C') if names(b"content-length") => seen |= LENGTH,
            Some(b't' | b'T') if names(b"transfer-encoding") => seen |= CODING,
            _ => {}
        }
    }
    seen
}

/// Is ready once the client has had its time. One timer for a connection, not one for a request.
struct Alarm {
    watch: Arc<Watch>,
    guards: Guards,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    fn new(watch: Arc<Watch>, guards: &Guards) -> Self {
        let left = watch.left(guards).unwrap_or(guards.head_ms);
        let sleep = Box::pin(tokio::time::sleep(Duration::from_millis(left)));
        Self { watch, guards: guards.clone(), sleep }
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let alarm = self.get_mut();
        loop {
            ready!(alarm.sleep.as_mut().poll(context));
            let Some(left) = alarm.watch.left(&alarm.guards) else {
                return Poll::Ready(());
            };
            let next = Instant::now() + Duration::from_millis(left);
            alarm.sleep.as_mut().reset(next);
        }
    }
}

/// A socket of which something was read already.
struct Rewound<S> {
    read: Vec<u8>,
    at: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rewound = &mut *self;
        let left = &rewound.read[rewound.at..];
        if left.is_empty() {
            return Pin::new(&mut rewound.stream).poll_read(context, buffer);
        }
        let some = left.len().min(buffer.remaining());
        buffer.put_slice(&left[..some]);
        rewound.at += some;
        if rewound.at == rewound.read.len() {
            (rewound.read, rewound.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

/// The socket of a client, seen by its [`Watch`].
struct Watched<S> {
    stream: Rewound<S>,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    fn written<T>(&self, result: Poll<T>) -> Poll<T> {
        if result.is_ready() {
            if self.watch.blocked.load(Relaxed) != 0 {
                self.watch.blocked.store(0, Relaxed);
            }
        } else if self.watch.blocked.load(Relaxed) == 0 {
            self.watch.blocked.store(now_ms().max(1), Relaxed);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.watch.bytes_came(&buffer.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream.stream).poll_write(context, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream.stream).poll_write_vectored(context, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream.stream).poll_shutdown(context)
    }
}
