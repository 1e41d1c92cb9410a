//! One HTTP exchange with a service that takes messages.
//!
//! An address may hold a token in its path, so that errors name the host and nothing else.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Method, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::TellError;

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How much of an answer is read at most, in bytes.
const MOST: usize = 64 * 1024;

/// What is asked.
#[derive(Debug)]
pub(super) struct Request {
    method: Method,
    url: String,
    headers: Vec<(HeaderName, String)>,
    body: Bytes,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Response {
    pub body: String,
}

impl Request {
    /// Returns a POST of JSON.
    pub fn json(url: impl Into<String>, body: &serde_json::Value) -> Self {
        Self {
            method: Method::POST,
            url: url.into(),
            headers: vec![(CONTENT_TYPE, "application/json".to_owned())],
            body: Bytes::from(body.to_string()),
        }
    }

    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends it, and gives the answer if it is one of success.
    pub async fn send(self) -> Result<Response, TellError> {
        let host = self.host()?;
        match tokio::time::timeout(PATIENCE, self.exchange(&host)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                Err(TellError::passing(format!("{host} did not answer within {seconds} s")))
            }
        }
    }

    fn host(&self) -> Result<String, TellError> {
        let url: Option<Uri> = self.url.parse().ok();
        let host = url.as_ref().and_then(Uri::host).map(str::to_owned);
        host.ok_or_else(|| TellError::lasting("its address is no URL; write it as `https://…`"))
    }

    async fn exchange(self, host: &str) -> Result<Response, TellError> {
        let url: Uri = self.url.parse().map_err(|_| TellError::lasting("its address is no URL"))?;
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(TellError::lasting("its address begins with neither http nor https")),
        };
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port)).await.map_err(|error| {
            TellError::passing(format!("could not reach {host}: {}", error.kind()))
        })?;
        let answer = if is_tls {
            let name = ServerName::try_from(bare.to_owned())
                .map_err(|_| TellError::lasting(format!("{host} is no name for TLS")))?;
            let stream = TlsConnector::from(trust()).connect(name, stream).await;
            let stream = stream.map_err(|error| {
                TellError::passing(format!("could not speak TLS with {host}: {error}"))
            })?;
            self.over(stream, &url).await
        } else {
            self.over(stream, &url).await
        };
        let (status, wait, body) = answer.map_err(|why| {
            TellError::passing(format!("the exchange with {host} broke off: {why}"))
        })?;
        if status.is_success() {
            return Ok(Response { body });
        }
        let said: String = body.split_whitespace().collect::<Vec<_>>().join(" ");
        let said: String = said.chars().take(200).collect();
        let colon = if said.is_empty() { "" } else { ": " };
        let message = format!("{host} answered {status}{colon}{said}");
        // As Alertmanager: what the server may do better the next time is tried again.
        let is_passing = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let error =
            if is_passing { TellError::passing(message) } else { TellError::lasting(message) };
        Err(TellError { wait, ..error })
    }

    async fn over<S>(
        self,
        stream: S,
        url: &Uri,
    ) -> Result<(StatusCode, Option<Duration>, String), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(path)
            .header(HOST, url.authority().map_or("", |own| host_of(own.as_str())))
            .header(USER_AGENT, concat!("marline/", env!("CARGO_PKG_VERSION")))
            .header(http::header::CONNECTION, "close");
        for (name, value) in self.headers {
            let value = HeaderValue::from_str(&value);
            request = request.header(name, value.map_err(|_| "a header holds no plain text")?);
        }
        let request = request.body(Full::new(self.body)).map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status();
            let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok());
            let wait = wait.and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
            // What cannot be read of the answer does not change what was said by its status.
            let body = Limited::new(response.into_body(), MOST).collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            Ok((status, wait, String::from_utf8_lossy(&body).into_owned()))
        };
        // The connection is driven beside the exchange and is gone with it.
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// Returns an authority without the name and password before it.
fn host_of(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Returns whom we trust: the machine's own certificates.
fn trust() -> Arc<ClientConfig> {
    static TRUST: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the versions that rustls takes for safe")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    };
    Arc::clone(TRUST.get_or_init(make))
}
