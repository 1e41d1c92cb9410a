//! What a client reads where no instance answered.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use super::forward::Reply;

/// Returns an answer of our own, in words or in JSON.
pub(super) fn page(
    status: StatusCode,
    words: &str,
    asked: &HeaderMap,
    request_id: Option<&HeaderValue>,
) -> Response<Reply> {
    let id = request_id.and_then(|id| id.to_str().ok());
    let (kind, text) = if wants_json(asked) {
        ("application/json", json(status, words, id))
    } else {
        ("text/plain; charset=utf-8", plain(status, words, id))
    };
    let mut response = Response::new(Reply::own(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
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

/// Returns an answer of ours as it stands on the wire of HTTP/1.1.
pub(super) fn bytes(
    status: u16,
    words: &str,
    wants_json: bool,
    request_id: Option<&str>,
    last: bool,
    is_head: bool,
) -> Vec<u8> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let (kind, text) = if wants_json {
        ("application/json", json(status, words, request_id))
    } else {
        ("text/plain; charset=utf-8", plain(status, words, request_id))
    };
    let length = text.len();
    let mut head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncache-control: no-store\r\ncontent-length: {length}\r\n"
    );
    if status == StatusCode::SERVICE_UNAVAILABLE {
        head += "retry-after: 1\r\n";
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
