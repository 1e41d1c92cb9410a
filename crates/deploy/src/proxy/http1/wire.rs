//! A socket and what was read from it and not used yet.

use std::{
    cell::RefCell,
    io,
    os::fd::AsRawFd,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use nix::sys::socket::{MsgFlags, recv};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};

/// How much is read at once.
pub(super) const BUFFER: usize = 16 * 1024;

/// Most buffers kept for the next who reads.
const MOST_KEPT: usize = 256;

/// A connection that rested no longer than this is believed to be alive without asking.
const FRESH: Duration = Duration::from_millis(5);

thread_local! {
    /// Buffers nobody uses. A connection that rests has none.
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A socket and what was read from it and not used yet.
#[derive(Debug)]
pub(crate) struct Wire {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    rests_since: Instant,
    was_used: bool,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        let rests_since = Instant::now();
        Self { stream, buffer: Vec::new(), start: 0, end: 0, rests_since, was_used: false }
    }

    /// Returns what was read and not used.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Takes note that so many bytes were used.
    pub fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Reads more, and returns how much; 0 is the end.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer = KEPT.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER]);
        } else if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else {
                self.buffer.resize(self.buffer.len() * 2, 0);
            }
        }
        let mut space = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut space))?;
        let read = space.filled().len();
        self.end += read;
        Poll::Ready(Ok(read))
    }

    /// Lets the buffer go, if nothing is in it.
    pub fn rest(&mut self) {
        self.rests_since = Instant::now();
        self.was_used = true;
        self.let_buffer_go();
    }

    pub fn let_buffer_go(&mut self) {
        if !self.is_empty() {
            return;
        }
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.len() == BUFFER {
            KEPT.with_borrow_mut(|kept| {
                if kept.len() < MOST_KEPT {
                    kept.push(buffer);
                }
            });
        }
    }

    /// Returns whether a request was answered on it before.
    pub fn was_used(&self) -> bool {
        self.was_used
    }

    pub fn rested(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.rests_since)
    }

    /// Returns whether the other side has neither closed the connection nor said anything unasked.
    pub fn is_alive(&self) -> bool {
        if !self.is_empty() {
            return false;
        }
        if self.rests_since.elapsed() < FRESH {
            // Asks only what the poller has seen already, not the system.
            let seen = self.stream.try_read(&mut [0]);
            return seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        }
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.stream.as_raw_fd(), &mut [0], flags) == Err(nix::errno::Errno::EAGAIN)
    }

    /// Gives the socket out with what was read from it.
    pub fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        let mut read = std::mem::take(&mut self.buffer);
        read.truncate(self.end);
        read.drain(..self.start);
        (self.stream, read)
    }
}
