//! Reads the head of a message strictly, and writes the one that is sent on.
//!
//! What is kept is copied as it came, in runs; what concerns only one connection is left out.

use std::{mem::MaybeUninit, ops::Range};

use httparse::{Header, Status};

use super::super::headers::new_request_id;

/// Most headers of a message that can be read here, whatever the guards allow.
const MOST_HEADERS: usize = 128;

/// Longest request id believed from outside.
const REQUEST_ID_BYTES: usize = 128;

/// Why a message is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("The request is not well formed HTTP.")]
    Malformed,
    #[error("The request has more headers than are taken here.")]
    TooManyHeaders,
    #[error("The head of the request is longer than is taken here.")]
    TooLong,
    #[error("Only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here.")]
    Version,
    #[error("The request says in two ways where its body ends.")]
    Ambiguous,
    #[error("The request names a transfer coding that is not known here.")]
    Coding,
    #[error("The request does not say which host it is for.")]
    NoHost,
    #[error("The request names more than one host.")]
    Hosts,
    #[error("The host name of the request is not a host name.")]
    OddHost,
    #[error("The request expects something that is not done here.")]
    Expectation,
}

impl HeadError {
    pub fn status(self) -> u16 {
        match self {
            Self::TooManyHeaders | Self::TooLong => 431,
            Self::Version => 505,
            Self::Coding => 501,
            Self::Expectation => 417,
            _ => 400,
        }
    }
}

/// Where the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunks,
    /// With the connection; only for answers.
    Close,
}

/// What is done with a request whose head was read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// It is one of the ordinary ones.
    Ordinary(Request),
    /// It wants something that only the long way knows.
    Unusual,
}

/// What is known of a request, in places of the bytes it was read from.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub method: Range<usize>,
    pub path: Range<usize>,
    pub host: Range<usize>,
    pub framing: Framing,
    pub keeps_alive: bool,
    pub is_head: bool,
    pub is_idempotent: bool,
    pub wants_json: bool,
    pub wants_trailers: bool,
    /// Where its id stands in the head that was written.
    pub id: Range<usize>,
}

/// What is known of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer {
    pub status: u16,
    pub framing: Framing,
    pub keeps_alive: bool,
}

/// Returns where the head ends, if it does; `seen` bytes were looked at before.
///
/// A line feed alone ends a line for some readers and not for others, so it is refused.
pub(crate) fn find_end(bytes: &[u8], seen: usize) -> Result<Option<usize>, HeadError> {
    for at in memchr::memchr_iter(b'\n', &bytes[seen..]) {
        let at = seen + at;
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(HeadError::Malformed);
        }
        if at >= 3 && &bytes[at - 3..at] == b"\r\n\r" {
            return Ok(Some(at + 1));
        }
    }
    Ok(None)
}

/// Reads a whole request head, and writes the one for the instance to `out`.
pub(crate) fn read_request(
    head: &[u8],
    most_headers: usize,
    peer: &[u8],
    out: &mut Vec<u8>,
) -> Result<Reading, HeadError> {
    let mut space = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let space = &mut space[..most_headers.min(MOST_HEADERS)];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, space) {
        Ok(Status::Complete(end)) if end == head.len() => {}
        Ok(_) => return Err(HeadError::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(HeadError::Version),
        Err(_) => return Err(HeadError::Malformed),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(HeadError::Malformed);
    };
    let headers = &*parsed.headers;
    let facts = look(headers)?;
    let host = facts.host.ok_or(HeadError::NoHost)?;
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:[]%".contains(byte);
    if host.is_empty() || !host.iter().all(letters) {
        return Err(HeadError::OddHost);
    }
    let framing = match (facts.length, facts.coding) {
        (Some(_), Some(_)) => return Err(HeadError::Ambiguous),
        (None, Some(Coding::Chunked)) if parsed.version == Some(1) => Framing::Chunks,
        (None, Some(Coding::Other)) => return Err(HeadError::Coding),
        (None, Some(_)) => return Err(HeadError::Malformed),
        (length, None) => Framing::Length(length.unwrap_or(0)),
    };
    let is_plain = target.starts_with('/') && !target.contains('#');
    let unusual = parsed.version != Some(1)
        || !is_plain
        || facts.upgrades
        || facts.expects
        || facts.counts_hops
        || method == "TRACE"
        || method == "CONNECT";
    if unusual {
        return Ok(Reading::Unusual);
    }
    let own = facts.id.filter(|id| is_harmless(id));
    out.clear();
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    copy(head, headers, out, |name| {
        let lower = |other: &str| name.eq_ignore_ascii_case(other);
        facts.is_of_one_hop(name)
            || match name.len() {
                2 => lower("te"),
                12 => lower("x-request-id"),
                15 => lower("x-forwarded-for"),
                16 => lower("x-forwarded-host"),
                17 => lower("x-forwarded-proto"),
                _ => false,
            }
    });
    if framing == Framing::Chunks {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if facts.trailers {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    out.extend_from_slice(peer);
    out.extend_from_slice(b"\r\nx-forwarded-host: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\nx-forwarded-proto: http\r\nx-request-id: ");
    let id = out.len();
    match own {
        Some(id) => out.extend_from_slice(id),
        None => out.extend_from_slice(&new_request_id()),
    }
    let id = id..out.len();
    out.extend_from_slice(b"\r\n\r\n");

    let start = place(head, target.as_bytes());
    let path = target.find('?').unwrap_or(target.len());
    let host_at = place(head, host);
    let method_at = place(head, method.as_bytes());
    Ok(Reading::Ordinary(Request {
        method: method_at..method_at + method.len(),
        path: start..start + path,
        host: host_at..host_at + host.len(),
        framing,
        keeps_alive: !facts.close,
        is_head: method == "HEAD",
        is_idempotent: matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS"),
        wants_json: facts.wants_json,
        wants_trailers: facts.trailers,
        id,
    }))
}

/// Reads a whole answer head, and adds the one for the client to `out`.
///
/// `last` says that the connection to the client ends after it. An answer that could be framed in
/// two ways is not passed on.
pub(crate) fn read_answer(
    head: &[u8],
    is_head: bool,
    last: bool,
    out: &mut Vec<u8>,
) -> Result<Answer, HeadError> {
    let mut space = [const { MaybeUninit::<Header<'_>>::uninit() }; MOST_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, &mut space) {
        Ok(Status::Complete(end)) if end == head.len() => {}
        _ => return Err(HeadError::Malformed),
    }
    let status = parsed.code.ok_or(HeadError::Malformed)?;
    let headers = &*parsed.headers;
    let facts = look(headers)?;
    let has_none = is_head || matches!(status, 100..=199 | 204 | 304);
    let framing = match (facts.length, facts.coding) {
        _ if has_none => Framing::Length(0),
        (Some(_), Some(_)) => return Err(HeadError::Ambiguous),
        (None, Some(Coding::Chunked)) if parsed.version == Some(1) => Framing::Chunks,
        (None, Some(_)) => return Err(HeadError::Coding),
        (Some(length), None) => Framing::Length(length),
        (None, None) => Framing::Close,
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    // A length of an answer that may not have a body is the framing of somebody else.
    let no_length = matches!(status, 100..=199 | 204);
    copy(head, headers, out, |name| {
        facts.is_of_one_hop(name) || no_length && name.eq_ignore_ascii_case("content-length")
    });
    if matches!(framing, Framing::Chunks | Framing::Close) {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if last && status >= 200 {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let lives = match parsed.version {
        Some(1) => !facts.close,
        _ => facts.keep_alive && !facts.close,
    };
    Ok(Answer { status, framing, keeps_alive: lives && framing != Framing::Close })
}

fn digit(number: u16) -> u8 {
    b'0' + (number % 10) as u8
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Ends with something else than chunks, or holds them twice.
    Broken,
    /// Chunks around a coding we do not know.
    Other,
}

/// What the headers of a message say of it.
#[derive(Debug, Default)]
struct Facts<'a> {
    length: Option<u64>,
    coding: Option<Coding>,
    host: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    close: bool,
    keep_alive: bool,
    upgrades: bool,
    expects: bool,
    /// It has `Max-Forwards`.
    counts_hops: bool,
    trailers: bool,
    wants_json: bool,
    /// What `Connection` names beside the usual.
    named: Vec<&'a [u8]>,
}

fn look<'a>(headers: &[Header<'a>]) -> Result<Facts<'a>, HeadError> {
    let mut facts = Facts::default();
    let mut upgrade = None;
    let mut may_upgrade = false;
    for header in headers {
        let (name, value) = (header.name, header.value);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            2 if is("te") => {
                facts.trailers |= tokens(value).any(|one| one.eq_ignore_ascii_case(b"trailers"));
            }
            4 if is("host") => {
                let before = facts.host.replace(value);
                if before.is_some() {
                    return Err(HeadError::Hosts);
                }
            }
            6 if is("accept") => {
                facts.wants_json |= memchr::memmem::find(value, b"json").is_some();
            }
            6 if is("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(HeadError::Expectation);
                }
                facts.expects = true;
            }
            7 if is("upgrade") => upgrade = Some(value),
            10 if is("connection") => {
                for token in tokens(value) {
                    match token.to_ascii_lowercase().as_slice() {
                        b"close" => facts.close = true,
                        b"keep-alive" => facts.keep_alive = true,
                        b"upgrade" => may_upgrade = true,
                        // Nobody may talk us out of what frames the message or names its host.
                        b"host" | b"content-length" | b"" => {}
                        _ => facts.named.push(token),
                    }
                }
            }
            12 if is("max-forwards") => facts.counts_hops = true,
            12 if is("x-request-id") => facts.id = Some(value),
            14 if is("content-length") => {
                if facts.length.is_some() {
                    return Err(HeadError::Ambiguous);
                }
                facts.length = Some(length(value)?);
            }
            17 if is("transfer-encoding") => {
                if facts.coding.is_some() {
                    return Err(HeadError::Ambiguous);
                }
                facts.coding = Some(coding(value));
            }
            _ => {}
        }
    }
    facts.upgrades = may_upgrade && upgrade.is_some_and(|to| !to.eq_ignore_ascii_case(b"h2c"));
    Ok(facts)
}

impl Facts<'_> {
    fn is_of_one_hop(&self, name: &str) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let named = |token: &&[u8]| token.eq_ignore_ascii_case(name.as_bytes());
        match name.len() {
            7 if is("upgrade") => true,
            10 if is("connection") || is("keep-alive") => true,
            14 if is("http2-settings") => true,
            16 if is("proxy-connection") => true,
            17 if is("transfer-encoding") => true,
            _ => self.named.iter().any(named),
        }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn length(value: &[u8]) -> Result<u64, HeadError> {
    // Eighteen digits are an exabyte, and fit.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Malformed);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn coding(value: &[u8]) -> Coding {
    let is_chunked = |one: &[u8]| one.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Coding::Chunked;
    }
    let times = tokens(value).filter(|one| is_chunked(one)).count();
    let last = tokens(value).last().is_some_and(is_chunked);
    if last && times == 1 && !tokens(value).any(<[u8]>::is_empty) {
        Coding::Other
    } else {
        Coding::Broken
    }
}

fn is_harmless(id: &[u8]) -> bool {
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES && id.iter().all(letters)
}

/// Copies the lines of those headers that stay, as they came.
fn copy(head: &[u8], headers: &[Header<'_>], out: &mut Vec<u8>, goes: impl Fn(&str) -> bool) {
    let end = head.len() - 2;
    let mut run = None;
    for header in headers {
        let line = place(head, header.name.as_bytes());
        if goes(header.name) {
            if let Some(start) = run.take() {
                out.extend_from_slice(&head[start..line]);
            }
        } else {
            run.get_or_insert(line);
        }
    }
    if let Some(start) = run {
        out.extend_from_slice(&head[start..end]);
    }
}

/// Returns where a part of the head stands in it.
fn place(head: &[u8], part: &[u8]) -> usize {
    part.as_ptr() as usize - head.as_ptr() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Result<(Reading, String), HeadError> {
        let mut out = Vec::new();
        let end = find_end(head.as_bytes(), 0)?.ok_or(HeadError::Malformed)?;
        let read = read_request(&head.as_bytes()[..end], 100, b"10.0.0.1", &mut out)?;
        Ok((read, String::from_utf8(out).expect("text")))
    }

    fn refused(head: &str) -> u16 {
        request(head).expect_err(head).status()
    }

    #[test]
    fn headers_of_one_hop_stay_on_it() {
        let head = "GET /a?b HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\nKeep-Alive: 5\r\nAccept: */*\r\nTE: trailers, gzip\r\nX-Forwarded-For: 6.6.6.6\r\nX-Request-Id: abc\r\nProxy-Connection: x\r\nX-Last: 1\r\n\r\n";
        let (_, out) = request(head).expect("well formed");
        assert_eq!(
            out,
            "GET /a?b HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nX-Last: 1\r\nte: trailers\r\nx-forwarded-for: 10.0.0.1\r\nx-forwarded-host: a.test\r\nx-forwarded-proto: http\r\nx-request-id: abc\r\n\r\n"
        );
    }

    #[test]
    fn what_could_be_framed_in_two_ways_is_refused() {
        let with = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n");
        for (lines, status) in [
            ("Content-Length: 3\r\nContent-Length: 3", 400),
            ("Content-Length: 3, 3", 400),
            ("Content-Length: +3", 400),
            ("Content-Length: 0x3", 400),
            ("Content-Length: 3 4", 400),
            ("Content-Length: -1", 400),
            ("Content-Length:", 400),
            ("Content-Length: 99999999999999999999", 400),
            ("Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
            ("Transfer-Encoding: chunked, x", 400),
            ("Transfer-Encoding: chunked, chunked", 400),
            ("Transfer-Encoding: ,chunked", 400),
            ("Transfer-Encoding: xchunked", 400),
            ("Transfer-Encoding:\x0bchunked", 400),
            ("Transfer-Encoding: gzip, chunked", 501),
            ("Transfer-Encoding : chunked", 400),
            ("Content-Length : 3", 400),
            ("Content-Length: 3\r\n X: 1", 400),
            ("X: a\x00b", 400),
            ("X: a\rb", 400),
            ("X\x01: a", 400),
            (": a", 400),
            ("X", 400),
            ("Expect: miracles", 417),
        ] {
            assert_eq!(refused(&with(lines)), status, "{lines}");
        }
    }

    #[test]
    fn request_lines_and_hosts_must_be_clear() {
        for (head, status) in [
            ("GET / HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ] {
            assert_eq!(refused(head), status, "{head}");
        }
    }

    #[test]
    fn what_is_not_ordinary_goes_the_long_way() {
        for head in [
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
        ] {
            assert!(matches!(request(head), Ok((Reading::Unusual, _))), "{head}");
        }
    }

    #[test]
    fn an_answer_keeps_its_headers_and_loses_those_of_its_hop() {
        let mut out = Vec::new();
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nKeep-Alive: timeout=5\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
        let answer = read_answer(head, false, false, &mut out).expect("well formed");
        assert_eq!((answer.status, answer.framing), (200, Framing::Length(3)));
        assert!(!answer.keeps_alive);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\n");
        let both = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(read_answer(both, false, false, &mut out).is_err());
        let old = b"HTTP/1.0 200 OK\r\n\r\n";
        let answer = read_answer(old, false, false, &mut out).expect("well formed");
        assert_eq!((answer.framing, answer.keeps_alive), (Framing::Close, false));
    }
}
