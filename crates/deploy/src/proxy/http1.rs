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
