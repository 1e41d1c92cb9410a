//! The short way: ordinary HTTP/1.1 requests, from socket to socket in one task.
//!
//! `head` and `chunk` read strictly and decide nothing; `wire` is a socket and what was read from
//! it; `flow` carries a body; `exchange` is one request at one instance; `serve` is the life of a
//! client's connection. Whatever is not ordinary (HTTP/2, upgrades, expectations, HTTP/1.0) is handed
//! to the long way with all that was read, before anything of it was sent on.

mod chunk;
mod exchange;
mod flow;
mod head;
mod serve;
mod wire;

pub(super) use serve::serve;
pub(super) use wire::Wire;

/// Reads bytes as a request and as an answer, for the fuzzer: panics where a promise is broken.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    use head::{Framing, Reading};

    let mut out = Vec::new();
    if let Ok(Some(end)) = head::find_end(bytes, 0) {
        if let Ok(Reading::Ordinary(request)) =
            head::read_request(&bytes[..end], 100, b"127.0.0.1", &mut out)
        {
            assert!(bytes[request.path.clone()].starts_with(b"/"));
            // What is sent on is one head again, framed the same way.
            assert_eq!(head::find_end(&out, 0), Ok(Some(out.len())));
            let mut again = Vec::new();
            match head::read_request(&out, 128, b"127.0.0.1", &mut again) {
                Ok(Reading::Ordinary(second)) => {
                    assert_eq!(second.framing, request.framing);
                    assert_eq!(out[second.host], bytes[request.host]);
                    assert_eq!(out[second.path], bytes[request.path]);
                }
                Err(head::HeadError::TooManyHeaders) => {}
                other => panic!("what was written is read as {other:?}"),
            }
        }
        out.clear();
        if let Ok(answer) = head::read_answer(&bytes[..end], false, false, &mut out) {
            assert_eq!(head::find_end(&out, 0), Ok(Some(out.len())));
            assert!(answer.framing != Framing::Close || !answer.keeps_alive);
        }
    }
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    let one = read_chunks(bytes, bytes.len().max(1), &mut whole);
    let other = read_chunks(bytes, 1, &mut parts);
    assert_eq!((one, whole), (other, parts), "a body reads the same however it comes");
}

fn read_chunks(bytes: &[u8], part: usize, body: &mut Vec<u8>) -> Option<usize> {
    let mut chunks = chunk::Chunks::new();
    let (mut at, mut end) = (0, part.min(bytes.len()));
    loop {
        let (used, piece) = chunks.next(&bytes[at..end]).ok()?;
        match piece {
            chunk::Piece::Data(range) => body.extend_from_slice(&bytes[at..end][range]),
            chunk::Piece::End => return Some(at + used),
            chunk::Piece::More if end == bytes.len() => return None,
            chunk::Piece::More => end = (end + part).min(bytes.len()),
        }
        at += used;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What messages are made of, and what confuses those who read them.
    const PARTS: [&str; 34] = [
        "GET / HTTP/1.1\r\n",
        "POST /a?b HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET http://a/ HTTP/1.1\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 103\r\n",
        "HTTP/1.0 200 OK\r\n",
        "Host: a\r\n",
        "Host: b:80\r\n",
        "Content-Length: 3\r\n",
        "content-length: 03\r\n",
        "Content-Length: 3, 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "TRANSFER-ENCODING:chunked \r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Connection: x-own, te, x-request-id, x-forwarded-for\r\n",
        "Connection: close\r\n",
        "Connection: host, content-length, transfer-encoding\r\n",
        "TE: trailers\r\n",
        "X-Own: 1\r\n",
        "X-Request-Id: abc\r\n",
        "X-Request-Id: a b\r\n",
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Empty:\r\n",
        " folded\r\n",
        "X : 1\r\n",
        "\r\n",
        "\n",
        "\r",
        "\0",
        "3\r\nabc\r\n",
        "0\r\n",
        "3;a=b\r\n",
        ": ",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_is_sent_on_is_read_the_same_way_again(
            parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..12),
            whole in any::<bool>(),
        ) {
            let mut text = parts.concat();
            if whole {
                text = format!("GET / HTTP/1.1\r\nHost: a\r\n{text}\r\n\r\n");
            }
            read_anything(text.as_bytes());
        }
    }
}
