//! One request at one instance: the request goes up, the answer comes down, both at their own pace.

use std::task::{Context, Poll};

use super::{
    super::{
        ErrorKind,
        forward::{Failure, Pass},
        listen::Client,
    },
    flow::{Flow, FlowError},
    head::{self, Answer, Request},
    wire::Wire,
};

/// Longest head of an answer.
const MOST_HEAD: usize = 256 * 1024;

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer was passed on whole.
    Done,
    /// Not a byte of the request was sent.
    Unsent,
    /// No answer, and not even the beginning of one.
    Silent,
    /// The client gets an answer of ours.
    Failed(Failure),
    /// The client went away before the head of the answer.
    Cancelled,
    /// The answer broke off half way, and so must the connection to the client.
    Cut,
}

/// One request at one instance.
pub(super) struct Exchange<'a> {
    pub client: &'a mut Wire,
    pub upstream: &'a mut Wire,
    pub request: &'a Request,
    pub pass: &'a mut Pass,
    pub up: &'a mut Flow,
    pub down: Flow,
    /// Whether the client is told that the connection ends.
    pub last: bool,
    pub owner: &'a Client,
    pub most: u64,
    pub answer: Option<Answer>,
    /// Whether the request was sent whole.
    pub sent: bool,
    /// Whether the instance stopped taking the request.
    pub refused: bool,
    pub seen: usize,
}

impl Exchange<'_> {
    /// Returns how much has moved so far.
    pub fn moved(&self) -> u64 {
        self.up.written + self.down.written
    }

    /// Takes note that nothing has moved for too long.
    pub fn expired(&mut self) -> Outcome {
        if self.answer.is_none() {
            let waits_for_client = !self.sent && !self.refused;
            let failure = if waits_for_client { Failure::ClientTooSlow } else { Failure::TooSlow };
            return Outcome::Failed(failure);
        }
        if !self.down.is_blocked() {
            self.pass.broken(ErrorKind::Timeout);
        }
        Outcome::Cut
    }

    /// Moves what can be moved now.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        if !self.sent
            && !self.refused
            && let Some(outcome) = self.poll_up(context)
        {
            return Poll::Ready(outcome);
        }
        if self.answer.is_none() {
            match self.poll_head(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(outcome)) => return Poll::Ready(outcome),
                Poll::Pending => return self.poll_client(context),
            }
        }
        self.poll_down(context)
    }

    fn poll_up(&mut self, context: &mut Context<'_>) -> Option<Outcome> {
        let before = self.up.carried;
        let polled = self.up.poll(self.client, self.upstream, context);
        let carried = self.up.carried - before;
        if carried > 0 {
            self.pass.received(carried);
        }
        if self.up.carried > self.most {
            return Some(self.client_failed(Failure::TooLarge));
        }
        match polled {
            Poll::Pending => None,
            Poll::Ready(Ok(())) => {
                self.sent = true;
                None
            }
            Poll::Ready(Err(FlowError::Sink)) if self.up.written == 0 => Some(Outcome::Unsent),
            Poll::Ready(Err(FlowError::Sink)) => {
                // It may have answered all the same.
                self.refused = true;
                None
            }
            Poll::Ready(Err(FlowError::Source | FlowError::Malformed)) => {
                Some(self.client_failed(Failure::ClientBrokeOff))
            }
        }
    }

    fn client_failed(&self, failure: Failure) -> Outcome {
        if self.answer.is_some() { Outcome::Cut } else { Outcome::Failed(failure) }
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Outcome>> {
        loop {
            let broken = Err(Outcome::Failed(Failure::BrokenOff));
            match head::find_end(self.upstream.bytes(), self.seen) {
                Ok(Some(end)) => {
                    self.last |= self.owner.proxy.is_leaving();
                    let head = &self.upstream.bytes()[..end];
                    let before = self.down.out.len();
                    let out = &mut self.down.out;
                    let read = head::read_answer(head, self.request.is_head, self.last, out);
                    let Ok(answer) = read else { return Poll::Ready(broken) };
                    self.upstream.consume(end);
                    self.seen = 0;
                    match answer.status {
                        101 => return Poll::Ready(broken),
                        // We never passed an expectation on.
                        100 => self.down.out.truncate(before),
                        102..200 => {}
                        status => {
                            self.pass.answered(status);
                            self.answer = Some(answer);
                            let out = std::mem::take(&mut self.down.out);
                            let trailers = self.request.wants_trailers;
                            self.down = Flow::new(out, answer.framing, trailers);
                            return Poll::Ready(Ok(()));
                        }
                    }
                    continue;
                }
                Ok(None) => self.seen = self.upstream.bytes().len(),
                Err(_) => return Poll::Ready(broken),
            }
            if self.seen >= MOST_HEAD || self.down.out.len() >= MOST_HEAD {
                return Poll::Ready(broken);
            }
            match self.upstream.poll_fill(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) if self.seen == 0 => return Poll::Ready(Err(Outcome::Silent)),
                Poll::Ready(_) => return Poll::Ready(broken),
            }
        }
    }

    /// Looks whether the client is still there, while it has nothing more to say.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        while self.sent && self.client.bytes().len() < super::wire::BUFFER / 2 {
            match self.client.poll_fill(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(read)) if read > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Outcome::Cancelled),
            }
        }
        Poll::Pending
    }

    fn poll_down(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        let before = self.down.carried;
        let polled = self.down.poll(self.upstream, self.client, context);
        let carried = self.down.carried - before;
        if carried > 0 {
            self.pass.sent(carried);
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Outcome::Done),
            Poll::Ready(Err(FlowError::Sink)) => Poll::Ready(Outcome::Cut),
            Poll::Ready(Err(FlowError::Source | FlowError::Malformed)) => {
                self.pass.broken(ErrorKind::Reset);
                Poll::Ready(Outcome::Cut)
            }
        }
    }
}
