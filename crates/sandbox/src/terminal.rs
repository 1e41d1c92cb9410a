//! Our own terminal, lent to a process in a box.
//!
//! The process gets a terminal of its own, so that it can do no more to ours than write to it; one
//! thread carries what is typed in and what is shown out, and keeps both the same size.
#![allow(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// How often it is looked whether our terminal has another size, in milliseconds.
const LOOK_EVERY: u16 = 200;

/// What is typed at the end of what is typed.
const END: u8 = 4;

/// Our terminal while a process in a box has it. Dropping this gives it back.
#[derive(Debug)]
pub struct Lent {
    before: Termios,
    /// Its closing ends the thread, which first shows what is left.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Lent {
    /// Lends the terminal of our standard input and output. What it returns is for the three streams of
    /// one [`Command`](crate::Command).
    pub fn lend() -> io::Result<(Self, [OwnedFd; 3])> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let pair = openpty(size(stdin.as_fd()).as_ref(), &before)?;
        // A clone is not passed to other programs that we start meanwhile.
        let (master, slave) = (pair.master.try_clone()?, pair.slave.try_clone()?);
        drop(pair);
        let streams = [slave.try_clone()?, slave.try_clone()?, slave];
        let (stopped, stop) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSADRAIN, &raw)?;
        let thread = std::thread::spawn(move || {
            // Whatever goes wrong with either end is the end of the visit.
            let _ = carry(&master.into(), &stopped);
        });
        Ok((Self { before, stop: Some(stop), thread: Some(thread) }, streams))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.before);
    }
}

/// Carries bytes both ways until the process has let go of its terminal, or we are told to stop.
fn carry(master: &std::fs::File, stopped: &OwnedFd) -> io::Result<()> {
    let (stdin, mut stdout) = (io::stdin(), io::stdout());
    let (mut sender, mut receiver) = (master, master);
    let mut buffer = [0; 8192];
    let mut known = size(stdin.as_fd());
    let mut is_typed = true;
    loop {
        let mut fds = vec![
            PollFd::new(master.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        if is_typed {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, PollTimeout::from(LOOK_EVERY)) {
            Err(nix::errno::Errno::EINTR) => continue,
            ready => ready?,
        };
        let has = |at: usize| {
            fds.get(at).and_then(PollFd::revents).is_some_and(|events| !events.is_empty())
        };
        let (shows, stops, types) = (has(0), has(1), has(2));
        let now = size(stdin.as_fd());
        if let Some(now) = now
            && known.is_none_or(|known| (known.ws_row, known.ws_col) != (now.ws_row, now.ws_col))
        {
            resize(master, &now);
            known = Some(now);
        }
        if shows {
            // When nobody has the other end any more, reading is an error.
            let count = receiver.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            stdout.write_all(&buffer[..count])?;
            stdout.flush()?;
        } else if stops {
            return Ok(());
        }
        if types {
            // Not through the standard library, which would read ahead what is typed for others.
            let count = nix::unistd::read(stdin.as_fd(), &mut buffer)?;
            is_typed = count > 0;
            sender.write_all(if is_typed { &buffer[..count] } else { &[END] })?;
        }
    }
}

/// Returns how large a terminal is.
fn size(terminal: BorrowedFd<'_>) -> Option<libc::winsize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call writes one `winsize`, to a live one of ours.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0).then_some(size)
}

fn resize(terminal: &std::fs::File, size: &libc::winsize) {
    // SAFETY: the call reads one `winsize`, which outlives it. That a terminal keeps its old size is
    // no failure.
    unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) };
}
