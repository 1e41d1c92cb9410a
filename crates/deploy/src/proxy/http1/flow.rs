//! Carries the body of a message from one wire to another, no faster than it is taken.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use super::{
    chunk::{Chunks, Piece},
    head::Framing,
    wire::{BUFFER, Wire},
};

/// How a flow can end early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlowError {
    /// The side that speaks broke off.
    Source,
    /// The side that hears broke off.
    Sink,
    /// What is said is not well formed.
    Malformed,
}

/// The body of one message on its way, and what is written before it.
#[derive(Debug)]
pub(super) struct Flow {
    /// Written first.
    pub out: Vec<u8>,
    at: usize,
    /// How much of what was read is written as it is, after `out`.
    direct: usize,
    body: Body,
    ended: bool,
    with_trailers: bool,
    /// Bytes of all kinds that were written.
    pub written: u64,
    /// Bytes of the body so far.
    pub carried: u64,
}

#[derive(Debug)]
enum Body {
    Left(u64),
    Chunks(Chunks),
    Close,
}

impl Flow {
    pub fn new(out: Vec<u8>, framing: Framing, with_trailers: bool) -> Self {
        let body = match framing {
            Framing::Length(left) => Body::Left(left),
            Framing::Chunks => Body::Chunks(Chunks::new()),
            Framing::Close => Body::Close,
        };
        let ended = framing == Framing::Length(0);
        Self { out, at: 0, direct: 0, body, ended, with_trailers, written: 0, carried: 0 }
    }

    /// Returns whether something waits to be taken by the sink.
    pub fn is_blocked(&self) -> bool {
        self.direct > 0 || self.at < self.out.len()
    }

    /// Moves what can be moved now; is ready when the message is over.
    pub fn poll(
        &mut self,
        from: &mut Wire,
        to: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), FlowError>> {
        loop {
            if self.direct == 0 && !self.ended && !from.is_empty() {
                self.take(from)?;
            }
            while self.is_blocked() {
                let slices = [
                    IoSlice::new(&self.out[self.at..]),
                    IoSlice::new(&from.bytes()[..self.direct]),
                ];
                let sink = Pin::new(&mut to.stream);
                let wrote = match ready!(sink.poll_write_vectored(context, &slices)) {
                    Ok(wrote) if wrote > 0 => wrote,
                    _ => return Poll::Ready(Err(FlowError::Sink)),
                };
                self.written += wrote as u64;
                let first = wrote.min(self.out.len() - self.at);
                self.at += first;
                self.direct -= wrote - first;
                from.consume(wrote - first);
            }
            self.out.clear();
            self.at = 0;
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if from.is_empty() {
                match ready!(from.poll_fill(context)) {
                    Ok(read) if read > 0 => {}
                    Ok(_) if matches!(self.body, Body::Close) => {
                        self.ended = true;
                        self.out.extend_from_slice(b"0\r\n\r\n");
                    }
                    _ => return Poll::Ready(Err(FlowError::Source)),
                }
            }
        }
    }

    /// Prepares what was read for being written.
    fn take(&mut self, from: &mut Wire) -> Result<(), FlowError> {
        match &mut self.body {
            Body::Left(left) => {
                let here = (from.bytes().len() as u64).min(*left);
                *left -= here;
                self.direct = here as usize;
                self.carried += here;
                self.ended = *left == 0;
            }
            Body::Close => {
                let all = from.bytes().len();
                self.carried += all as u64;
                write_chunk(&mut self.out, from.bytes());
                from.consume(all);
            }
            Body::Chunks(chunks) => {
                while self.out.len() < BUFFER {
                    let bytes = from.bytes();
                    let (used, piece) = chunks.next(bytes).map_err(|_| FlowError::Malformed)?;
                    let goes_on = match piece {
                        Piece::More => false,
                        Piece::Data(range) => {
                            self.carried += range.len() as u64;
                            write_chunk(&mut self.out, &bytes[range]);
                            true
                        }
                        Piece::End => {
                            self.ended = true;
                            let end = chunks.write_end(&mut self.out, self.with_trailers);
                            end.map_err(|_| FlowError::Malformed)?;
                            false
                        }
                    };
                    from.consume(used);
                    if !goes_on || from.is_empty() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut left = data.len();
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
