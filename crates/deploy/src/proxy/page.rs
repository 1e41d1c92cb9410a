//! What a client reads where no instance answered.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use super::{Service, forward::Reply};

/// Returns an answer of our own, in words or in JSON.
pub(super) fn page(
    status: StatusCode,
    words: &str,
    asked: &HeaderMap,
    request_id: Option<&HeaderValue>,
) -> Response<Reply> {
    page_of(&Service::default(), status, words, asked, request_id, 1)
}

/// Returns an answer in place of a service, on its own page if it has one; the client may come
/// again after some seconds.
pub(super) fn page_of(
    service: &Service,
    status: StatusCode,
    words: &str,
    asked: &HeaderMap,
    request_id: Option<&HeaderValue>,
    retry_after: u64,
) -> Response<Reply> {
    let id = request_id.and_then(|id| id.to_str().ok());
    let (kind, text) = if wants_json(asked) {
        ("application/json", json(status, words, id))
    } else if let Some(html) = service.error_page(status.as_u16()) {
        ("text/html; charset=utf-8", html.to_owned())
    } else {
        ("text/plain; charset=utf-8", plain(status, words, id))
    };
    let mut response = Response::new(Reply::own(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if asks_to_come_again(status) {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if let Some(id) = request_id {
        headers.insert("x-request-id", id.clone());
    }
    response
}

/// An answer of ours to a request of the short way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub status: u16,
    pub words: &'a str,
    pub wants_json: bool,
    pub request_id: Option<&'a str>,
    /// After how many seconds the client may come again, where the status asks for that.
    pub retry_after: u64,
    /// Whether the connection ends with it.
    pub last: bool,
    pub is_head: bool,
    /// The service whose page is shown, if it is known and has one.
    pub service: Option<&'a Service>,
}

/// Returns an answer of ours as it stands on the wire of HTTP/1.1.
pub(super) fn bytes(said: Said<'_>) -> Vec<u8> {
    let Said { words, request_id, retry_after, last, is_head, .. } = said;
    let status = StatusCode::from_u16(said.status).unwrap_or(StatusCode::BAD_REQUEST);
    let html = said.service.and_then(|service| service.error_page(status.as_u16()));
    let (kind, text) = if said.wants_json {
        ("application/json", json(status, words, request_id))
    } else if let Some(html) = html {
        ("text/html; charset=utf-8", html.to_owned())
    } else {
        ("text/plain; charset=utf-8", plain(status, words, request_id))
    };
    let length = text.len();
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncache-control: no-store\r\ncontent-length: {length}\r\n"
    );
    if asks_to_come_again(status) {
        head += &format!("retry-after: {retry_after}\r\n");
    }
    if let Some(id) = request_id {
        head += &format!("x-request-id: {id}\r\n");
    }
    if last {
        head += "connection: close\r\n";
    }
    head += "\r\n";
    if !is_head {
        head += &text;
    }
    head.into_bytes()
}

fn asks_to_come_again(status: StatusCode) -> bool {
    matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("json"))
}

fn plain(status: StatusCode, words: &str, id: Option<&str>) -> String {
    let id = id.map(|id| format!("\nRequest {id}\n")).unwrap_or_default();
    format!("{status}\n\n{words}\n{id}")
}

fn json(status: StatusCode, words: &str, id: Option<&str>) -> String {
    let text = serde_json::json!({
        "status": status.as_u16(),
        "error": words,
        "request_id": id,
    });
    format!("{text}\n")
}
