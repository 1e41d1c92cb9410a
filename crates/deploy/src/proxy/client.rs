//! The conductor's side of the control socket.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixStream as BlockingStream},
    path::{Path, PathBuf},
    time::Duration,
};

use journal::{InstanceId, ServiceName};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{
    Answer, Drained, Hold, Refusal, Request, Routes, Status, TallyReport, protocol::SOCKET,
};

/// Tells a proxy what to do.
///
/// Each call opens its own connection, so a client survives a proxy that is restarted or replaced.
#[derive(Debug, Clone)]
pub struct ProxyClient {
    dir: PathBuf,
    socket: String,
}

/// Why a wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No proxy answers in the directory.
    #[error("reach the proxy in {}", dir.display())]
    Unreachable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The conversation broke off; whether the wish was fulfilled is unknown, so ask again.
    #[error("hear the proxy in {} out", dir.display())]
    Broken {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The proxy said no.
    #[error("have the proxy do it")]
    Refused(#[source] Refusal),
}

impl ProxyClient {
    /// Returns a client of the proxy that was started with this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), socket: SOCKET.to_owned() }
    }

    /// Returns a client of a proxy that was replaced and moved its socket aside.
    pub(super) fn at(dir: &Path, socket: &str) -> Self {
        Self { dir: dir.to_owned(), socket: socket.to_owned() }
    }

    /// Replaces the whole table; when this returns, it is on disk and no new request follows the old one.
    pub async fn set_routes(&self, routes: &Routes) -> Result<(), ClientError> {
        self.done(&Request::SetRoutes(routes.clone())).await
    }

    /// Returns the table in force.
    pub async fn routes(&self) -> Result<Routes, ClientError> {
        match self.ask(&Request::GetRoutes).await? {
            Answer::Routes(routes) => Ok(routes),
            other => Err(self.odd(&other)),
        }
    }

    /// Gives an instance no new request and waits until it has none left, or for the deadline.
    ///
    /// A newer table that still names the instance takes it back in.
    pub async fn drain(
        &self,
        instance: &InstanceId,
        deadline: Duration,
    ) -> Result<Drained, ClientError> {
        let request =
            Request::Drain { instance: instance.clone(), deadline_ms: deadline.as_millis() as u64 };
        match self.ask(&request).await? {
            Answer::Drained(drained) => Ok(drained),
            other => Err(self.odd(&other)),
        }
    }

    /// Lets the requests of a service wait until [`release`](Self::release) or the end of the hold.
    pub async fn hold(&self, service: &ServiceName, hold: Hold) -> Result<(), ClientError> {
        let service = service.clone();
        self.done(&Request::Hold { service, hold }).await
    }

    /// Lets the waiting requests of a service go on.
    pub async fn release(&self, service: &ServiceName) -> Result<(), ClientError> {
        let service = service.clone();
        self.done(&Request::Release { service }).await
    }

    /// Returns who the proxy is and what it is doing.
    pub async fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::Status).await? {
            Answer::Status(status) => Ok(status),
            other => Err(self.odd(&other)),
        }
    }

    /// Returns the tallies as they stand, and then as they change.
    pub async fn subscribe(&self) -> Result<Tallies, ClientError> {
        let conversation = self.say(&Request::Subscribe).await?;
        Ok(Tallies { client: self.clone(), conversation, line: Vec::new() })
    }

    /// Has the proxy stop listening, finish what is under way, and go.
    pub async fn shut_down(&self) -> Result<(), ClientError> {
        self.done(&Request::ShutDown).await
    }

    /// Waits until a proxy answers in the directory, for at most `patience`.
    pub async fn wait_until_up(&self, patience: Duration) -> Result<Status, ClientError> {
        let end = tokio::time::Instant::now() + patience;
        loop {
            match self.status().await {
                Err(ClientError::Unreachable { .. } | ClientError::Broken { .. })
                    if tokio::time::Instant::now() < end =>
                {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                result => return result,
            }
        }
    }

    async fn done(&self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request).await? {
            Answer::Done => Ok(()),
            other => Err(self.odd(&other)),
        }
    }

    async fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        let mut conversation = self.say(request).await?;
        match self.hear(&mut conversation, &mut Vec::new()).await? {
            Some(Answer::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Some(answer) => Ok(answer),
            None => Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    async fn say(&self, request: &Request) -> Result<BufReader<UnixStream>, ClientError> {
        let mut stream = connect(&self.dir, &self.socket)
            .and_then(|stream| {
                stream.set_nonblocking(true)?;
                UnixStream::from_std(stream)
            })
            .map_err(|source| ClientError::Unreachable { dir: self.dir.clone(), source })?;
        let mut line = serde_json::to_vec(request).expect("a request has only string keys");
        line.push(b'\n');
        let sent = stream.write_all(&line).await;
        sent.map_err(|source| self.broken(source))?;
        Ok(BufReader::new(stream))
    }

    async fn hear(
        &self,
        conversation: &mut BufReader<UnixStream>,
        line: &mut Vec<u8>,
    ) -> Result<Option<Answer>, ClientError> {
        let read = conversation.read_until(b'\n', line).await;
        read.map_err(|source| self.broken(source))?;
        if line.is_empty() {
            return Ok(None);
        }
        let answer = serde_json::from_slice(line).map_err(|error| self.broken(error.into()));
        line.clear();
        answer.map(Some)
    }

    fn odd(&self, answer: &Answer) -> ClientError {
        let text = format!("the answer does not fit the question: {answer:?}");
        self.broken(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn broken(&self, source: io::Error) -> ClientError {
        let dir = self.dir.clone();
        ClientError::Broken { dir, source }
    }
}

/// The tallies of a proxy, as they change.
#[derive(Debug)]
pub struct Tallies {
    client: ProxyClient,
    conversation: BufReader<UnixStream>,
    /// What was read of the next line, so that a dropped `next` loses nothing.
    line: Vec<u8>,
}

impl Tallies {
    /// Waits for the next report: first everything, then what changed. Nothing means the proxy went.
    ///
    /// A report of a failed request comes within 5 ms where the service has more than one weighted
    /// release, everything else within 100 ms. Dropping the future loses no report.
    pub async fn next(&mut self) -> Result<Option<TallyReport>, ClientError> {
        let heard = self.client.hear(&mut self.conversation, &mut self.line);
        match heard.await? {
            Some(Answer::Tallies(report)) => Ok(Some(report)),
            Some(Answer::Refused(refusal)) => Err(ClientError::Refused(refusal)),
            Some(other) => Err(self.client.odd(&other)),
            None => Ok(None),
        }
    }
}

/// Connects to the control socket in `dir`, however long the path is.
pub(super) fn connect(dir: &Path, socket: &str) -> io::Result<BlockingStream> {
    let dir = File::open(dir)?;
    BlockingStream::connect(short_path(&dir, socket))
}

/// Returns a path for a name in an open directory that always fits the 108 bytes of a socket address.
pub(super) fn short_path(dir: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}
