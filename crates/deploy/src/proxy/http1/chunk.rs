//! Reads a chunked body strictly: what two readers might frame differently is an error.

use std::ops::Range;

/// Longest extension of one chunk. Extensions are read over and never passed on.
const MOST_EXTENSION: usize = 256;

/// Longest trailer section.
const MOST_TRAILERS: usize = 8 * 1024;

/// Most hexadecimal digits of a chunk size; more would overflow somebody's counter.
const MOST_DIGITS: u8 = 15;

/// Most fields of a trailer section.
const MOST_FIELDS: usize = 32;

/// What stands at the front of the bytes that were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Nothing more can be said before more bytes come.
    More,
    /// A part of the body.
    Data(Range<usize>),
    /// The body has ended.
    End,
}

/// The body is not well formed, so that where it ends is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are not well formed")]
pub(crate) struct ChunkError;

/// Where in a chunked body the reader is.
#[derive(Debug)]
pub(crate) struct Chunks {
    place: Place,
    trailers: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size { digits: u8, size: u64 },
    Extension { size: u64, bytes: usize },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
    End,
}

impl Chunks {
    pub fn new() -> Self {
        Self { place: Place::Size { digits: 0, size: 0 }, trailers: Vec::new() }
    }

    pub fn has_ended(&self) -> bool {
        self.place == Place::End
    }

    /// Returns how many bytes are used up, and what the last of them were.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Piece), ChunkError> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            self.place = match self.place {
                Place::Size { digits, size } => match (byte, hexadecimal(byte)) {
                    (_, Some(digit)) if digits < MOST_DIGITS => {
                        Place::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
                    }
                    (b'\r', _) if digits > 0 => Place::SizeEnd { size },
                    (b';', _) if digits > 0 => Place::Extension { size, bytes: 0 },
                    _ => return Err(ChunkError),
                },
                Place::Extension { size, bytes } => match byte {
                    b'\r' => Place::SizeEnd { size },
                    b'\t' | b' '..=b'~' | 0x80.. if bytes < MOST_EXTENSION => {
                        Place::Extension { size, bytes: bytes + 1 }
                    }
                    _ => return Err(ChunkError),
                },
                Place::SizeEnd { size } => match (byte, size) {
                    (b'\n', 0) => Place::Trailers,
                    (b'\n', left) => Place::Data { left },
                    _ => return Err(ChunkError),
                },
                Place::Data { left } => {
                    let here = (bytes.len() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.place = match left - here as u64 {
                        0 => Place::DataCr,
                        left => Place::Data { left },
                    };
                    return Ok((at + here, Piece::Data(at..at + here)));
                }
                Place::DataCr if byte == b'\r' => Place::DataLf,
                Place::DataLf if byte == b'\n' => Place::Size { digits: 0, size: 0 },
                Place::DataCr | Place::DataLf => return Err(ChunkError),
                Place::Trailers => {
                    self.trailer_byte(byte)?;
                    if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                        self.place = Place::End;
                        return Ok((at + 1, Piece::End));
                    }
                    Place::Trailers
                }
                Place::End => return Ok((at, Piece::End)),
            };
            at += 1;
        }
        let piece = if self.has_ended() { Piece::End } else { Piece::More };
        Ok((at, piece))
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<(), ChunkError> {
        let bare = byte == b'\n' && self.trailers.last() != Some(&b'\r');
        if bare || self.trailers.len() == MOST_TRAILERS {
            return Err(ChunkError);
        }
        self.trailers.push(byte);
        Ok(())
    }

    /// Writes the end of the body with those trailers that may be passed on.
    pub fn write_end(&self, out: &mut Vec<u8>, with_trailers: bool) -> Result<(), ChunkError> {
        out.extend_from_slice(b"0\r\n");
        if self.trailers.len() > 2 {
            let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
            match httparse::parse_headers(&self.trailers, &mut fields) {
                Ok(httparse::Status::Complete((all, fields))) if all == self.trailers.len() => {
                    for field in
                        fields.iter().filter(|field| with_trailers && may_trail(field.name))
                    {
                        out.extend_from_slice(field.name.as_bytes());
                        out.extend_from_slice(b": ");
                        out.extend_from_slice(field.value);
                        out.extend_from_slice(b"\r\n");
                    }
                }
                _ => return Err(ChunkError),
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Returns whether a field may stand behind the body; see RFC 9110, 6.5.1.
///
/// What frames, routes or authenticates a message has no place there: a reader that merges it with
/// the head would see another message than the one we checked.
fn may_trail(name: &str) -> bool {
    const NEVER: [&str; 17] = [
        "authorization",
        "cache-control",
        "connection",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "max-forwards",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    ];
    let starts = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    !starts("content-")
        && !starts("x-forwarded-")
        && !NEVER.iter().any(|never| name.eq_ignore_ascii_case(never))
}

fn hexadecimal(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a body as it comes in parts of the given length.
    fn read(text: &[u8], part: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
        let (mut chunks, mut body) = (Chunks::new(), Vec::new());
        let (mut at, mut end) = (0, part.min(text.len()));
        loop {
            let (used, piece) = chunks.next(&text[at..end])?;
            match piece {
                Piece::Data(range) => body.extend_from_slice(&text[at..end][range]),
                Piece::End => return Ok(Some((body, at + used))),
                Piece::More if end == text.len() => return Ok(None),
                Piece::More => end = (end + part).min(text.len()),
            }
            at += used;
        }
    }

    #[test]
    fn a_body_is_read_to_its_end_and_not_a_byte_further() {
        let text = b"3\r\nabc\r\n0a;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        for part in 1..text.len() {
            let (body, end) = read(text, part).expect("well formed").expect("whole");
            assert_eq!((body.as_slice(), &text[end..]), (&b"abc0123456789"[..], &b"GET /"[..]));
        }
    }

    #[test]
    fn what_others_might_frame_differently_is_refused() {
        for text in [
            &b"\r\n"[..],
            b"+3\r\nabc",
            b"0x3\r\nabc",
            b" 3\r\nabc",
            b"3 \r\nabc",
            b"3\nabc",
            b"3\r\rabc",
            b"3;a\nb\r\nabc",
            b"3\r\nabcd\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"fffffffffffffffff\r\n",
            b"00000000000000003\r\nabc",
            b";x\r\n",
        ] {
            assert_eq!(read(text, 1), Err(ChunkError), "{}", String::from_utf8_lossy(text));
        }
        let long = [b"3;".as_slice(), &[b'x'; 1_000], b"\r\nabc\r\n"].concat();
        assert_eq!(read(&long, 64), Err(ChunkError));
    }

    #[test]
    fn trailers_that_would_change_the_message_stay_behind() {
        let mut chunks = Chunks::new();
        let text = b"0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: b\r\nX-Forwarded-For: 6\r\n\r\n";
        assert_eq!(chunks.next(text), Ok((text.len(), Piece::End)));
        let mut out = Vec::new();
        chunks.write_end(&mut out, true).expect("well formed");
        assert_eq!(out, b"0\r\nX-Sum: 1\r\n\r\n");
        out.clear();
        chunks.write_end(&mut out, false).expect("well formed");
        assert_eq!(out, b"0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn whole_or_in_parts_a_body_reads_the_same(text in prop::collection::vec(
            prop::sample::select(b"0123af;\r\n xX:".to_vec()), 0..60), part in 1usize..7)
        {
            prop_assert_eq!(read(&text, part), read(&text, text.len().max(1)));
        }
    }
}
