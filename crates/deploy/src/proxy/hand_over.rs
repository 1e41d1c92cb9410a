//! Listening sockets go from one proxy process to the next without ever being closed.
//!
//! The new proxy asks on the control socket; the old one stops accepting and sends the sockets as
//! file descriptors. Who connects meanwhile waits in their queues. Once the new one serves, it says
//! so, and the old one finishes what it has. If the new one fails, the old one goes on.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader as BlockingReader, IoSlice, IoSliceMut, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener as BlockingTcpListener},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as BlockingStream,
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest},
    net::{TcpListener, UnixStream},
};

use super::{Answer, Refusal, Request, SOCKET, client::connect, control::say, serve::Proxy};

/// Most sockets in one message; the system allows 253.
const MOST_SOCKETS: usize = 253;

/// How long each side waits for the other.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a new proxy got from the one before it.
pub(super) struct Inheritance {
    conversation: BlockingStream,
    sockets: HashMap<SocketAddr, TcpListener>,
    aside: String,
}

impl Inheritance {
    /// Takes the listening sockets out, by the address the table gives them.
    pub fn sockets(&mut self) -> HashMap<SocketAddr, TcpListener> {
        std::mem::take(&mut self.sockets)
    }

    /// Returns the name under which the old proxy can still be spoken to.
    pub fn socket_name(&self) -> &str {
        &self.aside
    }

    /// Tells the old proxy that it may go.
    pub async fn taken(self) -> io::Result<()> {
        let conversation = self.conversation;
        blocking(move || {
            (&conversation).write_all(&line_of(&Request::Taken))?;
            let mut line = String::new();
            BlockingReader::new(conversation).read_line(&mut line)?;
            match serde_json::from_str(&line)? {
                Answer::Done => Ok(()),
                other => Err(odd(&other)),
            }
        })
        .await
    }
}

/// Takes the sockets over from the proxy that runs in `dir`, if one does.
pub(super) async fn take(dir: &Path) -> io::Result<Option<Inheritance>> {
    let stream = match connect(dir, SOCKET) {
        Ok(stream) => stream,
        Err(error) => {
            use io::ErrorKind::{ConnectionRefused, NotFound};
            let nobody = matches!(error.kind(), NotFound | ConnectionRefused);
            return if nobody { Ok(None) } else { Err(error) };
        }
    };
    let (conversation, addresses, fds) = blocking(move || {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        (&stream).write_all(&line_of(&Request::HandOver))?;
        let (line, fds) = receive(&stream)?;
        match serde_json::from_slice(&line)? {
            Answer::Sockets(addresses) if addresses.len() == fds.len() => {
                Ok((stream, addresses, fds))
            }
            Answer::Refused(refusal) => Err(io::Error::other(refusal)),
            other => Err(odd(&other)),
        }
    })
    .await?;
    let mut sockets = HashMap::new();
    for (address, fd) in addresses.into_iter().zip(fds) {
        let listener = BlockingTcpListener::from(fd);
        listener.set_nonblocking(true)?;
        sockets.insert(address, TcpListener::from_std(listener)?);
    }
    let aside = format!("{SOCKET}.before-{}", std::process::id());
    Ok(Some(Inheritance { conversation, sockets, aside }))
}

/// Gives the sockets to the new proxy at the other end, and leaves once it has them.
pub(super) async fn give(proxy: Arc<Proxy>, mut stream: BufReader<UnixStream>) {
    let sockets = match proxy.lend_sockets().await {
        Ok(sockets) => sockets,
        Err(refusal) => {
            let _ = say(&mut stream, &Answer::Refused(refusal)).await;
            return;
        }
    };
    let given = tokio::time::timeout(PATIENCE, give_and_wait(&mut stream, &sockets)).await;
    drop(sockets);
    // Answered first: the process may be gone the moment after.
    if given.is_ok_and(|given| given.is_ok()) && say(&mut stream, &Answer::Done).await.is_ok() {
        proxy.let_sockets_go().await;
    } else {
        proxy.take_sockets_back().await;
    }
}

async fn give_and_wait(
    stream: &mut BufReader<UnixStream>,
    sockets: &[(SocketAddr, Arc<TcpListener>)],
) -> io::Result<()> {
    let addresses = sockets.iter().map(|(address, _)| *address).collect();
    let mut line = serde_json::to_vec(&Answer::Sockets(addresses))?;
    line.push(b'\n');
    let fds: Vec<_> = sockets.iter().map(|(_, listener)| listener.as_fd()).collect();
    let socket = stream.get_mut();
    let send = || {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let sent = sendmsg(&*socket, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL);
        Ok(sent?)
    };
    let sent = socket.async_io(Interest::WRITABLE, send).await?;
    stream.write_all(&line[sent..]).await?;

    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).await?;
    match serde_json::from_slice(&line)? {
        Request::Taken => Ok(()),
        _ => Err(io::Error::other(Refusal::Busy)),
    }
}

/// Reads one line and the file descriptors that come with it.
fn receive(stream: &BlockingStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut fds) = (Vec::new(), Vec::new());
    while !line.ends_with(b"\n") {
        let mut bytes = [0; 4_096];
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut bytes)];
        let read = recvmsg(stream, slices, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.extend_from_slice(&bytes[..read]);
    }
    Ok((line, fds))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic)))
}

fn line_of(request: &Request) -> Vec<u8> {
    let mut line = serde_json::to_vec(request).expect("a request has only string keys");
    line.push(b'\n');
    line
}

fn odd(answer: &Answer) -> io::Error {
    let text = format!("the answer does not fit the question: {answer:?}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
