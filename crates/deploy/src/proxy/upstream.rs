//! A connection to an instance: driven by the request that uses it, not by a task of its own.
//!
//! Nothing hops between tasks, so a request costs one wake-up less each way. Between two requests
//! nobody drives the connection; whether it is still alive is asked of the system before it is
//! used again.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::{AsRawFd, RawFd},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{MsgFlags, recv};
use tokio::net::TcpStream;

use super::count::Counters;

/// A connection that rested no longer than this is believed to be alive without asking.
const FRESH: Duration = Duration::from_millis(5);

type Connection = hyper::client::conn::http1::Connection<TokioIo<TcpStream>, Outgoing>;

/// A connection to an instance.
pub(super) struct Upstream {
    sender: SendRequest<Outgoing>,
    /// Nothing once it is certain that no more answers come.
    connection: Option<Connection>,
    socket: RawFd,
    ended: bool,
    used: bool,
    since: Instant,
}

impl Upstream {
    pub async fn dial(address: SocketAddr, patience: Duration) -> io::Result<Box<Self>> {
        let dialled = tokio::time::timeout(patience, TcpStream::connect(address)).await;
        let stream = dialled.map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        let socket = stream.as_raw_fd();
        let handshake = Builder::new().handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        Ok(Box::new(Self {
            sender,
            connection: Some(connection),
            socket,
            ended: false,
            used: false,
            since: Instant::now(),
        }))
    }

    /// Returns whether a request was answered on it before.
    pub fn was_used(&self) -> bool {
        self.used
    }

    /// Sends a request and waits for the head of the answer.
    pub async fn exchange(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (connection, ended) = (&mut self.connection, &mut self.ended);
        poll_fn(|context| {
            drive(connection, ended, context);
            match answer.as_mut().poll(context) {
                Poll::Pending if *ended => {
                    // It ended before it took the request up. Dropping it gives the request back.
                    *connection = None;
                    answer.as_mut().poll(context)
                }
                polled => polled,
            }
        })
        .await
    }

    /// Moves bytes, as far as possible now.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.ended, context);
    }

    /// Gives the socket out after an upgrade, with what was read of the new protocol already.
    pub async fn into_stream(mut self: Box<Self>) -> Option<(TcpStream, Bytes)> {
        poll_fn(|context| {
            self.drive(context);
            if self.ended { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.connection?.into_parts();
        Some((parts.io.into_inner(), parts.read_buf))
    }

    /// Returns whether the answer was read whole and another request may follow.
    pub fn is_reusable(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        self.used = true;
        !self.ended && self.sender.is_ready()
    }

    pub fn rest(&mut self) {
        self.since = Instant::now();
    }

    pub fn rested(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns whether the instance has neither closed the connection nor said anything unasked.
    pub fn is_alive(&self) -> bool {
        if self.ended || self.sender.is_closed() {
            return false;
        }
        if self.since.elapsed() < FRESH {
            return true;
        }
        // `connection` owns the socket, so the number is valid for as long as `self` lives.
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.socket, &mut [0], flags) == Err(nix::errno::Errno::EAGAIN)
    }
}

fn drive(connection: &mut Option<Connection>, ended: &mut bool, context: &mut Context<'_>) {
    *ended = *ended
        || match connection {
            Some(connection) => connection.poll_without_shutdown(context).is_ready(),
            None => true,
        };
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Upstream");
        debug.field("socket", &self.socket).field("ended", &self.ended);
        debug.finish_non_exhaustive()
    }
}

/// The body of a request on its way to an instance.
pub(super) enum Outgoing {
    /// There is none.
    Empty,
    /// It is passed on as it comes.
    Streaming {
        /// What the client sends.
        body: Incoming,
        /// What others need to know of it.
        upload: Arc<Upload>,
    },
}

/// How far the body of a request has come.
#[derive(Debug)]
pub(super) struct Upload {
    counters: std::sync::OnceLock<Arc<Counters>>,
    most: u64,
    bytes: AtomicU64,
    ended: AtomicBool,
    too_large: AtomicBool,
    broken: AtomicBool,
}

impl Upload {
    pub fn new(most: Option<u64>) -> Self {
        Self {
            counters: std::sync::OnceLock::new(),
            most: most.unwrap_or(u64::MAX),
            bytes: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            too_large: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    /// Says whose bytes they are.
    pub fn count_for(&self, counters: &Arc<Counters>) {
        let _ = self.counters.set(Arc::clone(counters));
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    pub fn is_too_large(&self) -> bool {
        self.too_large.load(Relaxed)
    }

    /// Returns whether the client sent something that is not a body.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    fn add(&self, bytes: usize) -> Result<(), BodyError> {
        let all = self.bytes.fetch_add(bytes as u64, Relaxed) + bytes as u64;
        if let Some(counters) = self.counters.get() {
            counters.received(bytes as u64);
        }
        if all > self.most {
            self.too_large.store(true, Relaxed);
            return Err(BodyError::TooLarge);
        }
        Ok(())
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body of the request is larger than allowed")]
    TooLarge,
    #[error("the body of the request broke off")]
    Client(#[source] hyper::Error),
    #[error("the answer of the instance broke off")]
    Instance(#[source] hyper::Error),
    #[error("the answer could not be compressed")]
    Encoding(#[source] io::Error),
    #[error("the answer of the instance stood still for too long")]
    Stalled,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streaming { body, upload } = self.get_mut() else {
            return Poll::Ready(None);
        };
        match ready!(Pin::new(body).poll_frame(context)) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(upload.add(bytes).map(|()| frame)))
            }
            Some(Err(error)) => {
                upload.broken.store(true, Relaxed);
                Poll::Ready(Some(Err(BodyError::Client(error))))
            }
            None => {
                upload.ended.store(true, Relaxed);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { body, upload } => {
                let ended = body.is_end_stream();
                if ended {
                    upload.ended.store(true, Relaxed);
                }
                ended
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { body, .. } => body.size_hint(),
        }
    }
}
