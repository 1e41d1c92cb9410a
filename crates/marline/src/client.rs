//! Talking to the conductor of a repository through its socket.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use journal::{Event, Fact};
use tokio::net::{UnixListener, UnixStream};

use crate::exit::{Exit, Failure};

/// The name of the socket in the state directory.
const SOCKET: &str = "conductor.sock";

/// Returns a path of the socket that is short enough for any directory.
///
/// A socket's address has 108 bytes; through an open directory every path fits. The directory must
/// stay open while the path is used.
fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Listens on the socket in a state directory. Only its owner may open it.
pub fn listen(state: &Path) -> std::io::Result<UnixListener> {
    let directory = File::open(state)?;
    let path = short_path(&directory);
    // One that a killed conductor left behind; the lock says that nobody listens on it.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

/// Whether a conductor answers.
pub async fn is_up(state: &Path) -> bool {
    connect(state).await.is_ok()
}

/// Appends a wish and returns its event, or why it was refused.
pub async fn request(state: &Path, wish: &Fact) -> Result<Event, Failure> {
    let body = serde_json::json!({ "fact": wish }).to_string().into_bytes();
    let (status, answer) = exchange(state, Method::POST, "/api/requests", body).await?;
    if status.is_success() {
        let answer: serde_json::Value =
            serde_json::from_slice(&answer).context("read the conductor's answer")?;
        return Ok(serde_json::from_value(answer["event"].clone())
            .context("read the event in the conductor's answer")?);
    }
    let refusal: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    let text = |name: &str| refusal.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let exit = match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Exit::NotAllowed,
        _ => Exit::Failed,
    };
    let why = text("why")
        .or_else(|| text("title"))
        .unwrap_or_else(|| format!("the conductor answered {status}"));
    let failure = Failure::new(exit, why);
    Err(match text("mend").or_else(|| text("detail")) {
        Some(mend) => failure.help(mend),
        None => failure,
    })
}

/// Returns a link to the pages that signs in once.
pub async fn page(state: &Path) -> Result<String, Failure> {
    let (status, answer) = exchange(state, Method::POST, "/api/login-link", Vec::new()).await?;
    let answer: serde_json::Value =
        serde_json::from_slice(&answer).context("read the conductor's answer")?;
    match answer.get("url").and_then(|url| url.as_str()) {
        Some(url) if status.is_success() => Ok(url.to_owned()),
        _ => Err(Failure::new(Exit::Failed, format!("the conductor answered {status}"))),
    }
}

/// Asks for what a path gives.
pub async fn get(state: &Path, path: &str) -> Result<(StatusCode, Bytes), Failure> {
    exchange(state, Method::GET, path, Vec::new()).await
}

async fn exchange(
    state: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), Failure> {
    let stream = connect(state).await.map_err(|error| {
        Failure { exit: Exit::Unreachable, error: error.into(), help: None }
            .context("nothing runs here")
            .help("start it with `marline up`")
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = response.into_body().collect().await?.to_bytes();
    Ok((status, answer))
}

async fn connect(state: &Path) -> std::io::Result<UnixStream> {
    let directory = File::open(state)?;
    UnixStream::connect(short_path(&directory)).await
}
