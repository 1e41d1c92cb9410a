//! Compresses answers for clients that can read them so, where the instance did not.
//!
//! See RFC 9110, 8.4 and 12.5.3.

use std::io::{self, Write};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH,
        CONTENT_TYPE, ETAG, VARY,
    },
};

/// Smaller answers are not worth it.
const SMALLEST: u64 = 512;

/// How hard zstd tries; 3 is its own choice.
const ZSTD_LEVEL: i32 = 3;

/// A way to compress an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Zstd,
    Brotli,
    Gzip,
}

impl Encoding {
    /// All, the best first.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// Returns the encoding that a client likes best; ours wins where it likes several alike.
    pub fn wanted(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for encoding in Self::ALL {
            let quality = quality(headers, encoding.name());
            if quality > best.map_or(0.0, |(quality, _)| quality) {
                best = Some((quality, encoding));
            }
        }
        best.map(|(_, encoding)| encoding)
    }
}

/// Returns how much a client likes an encoding, from 0 (not at all) to 1.
fn quality(headers: &HeaderMap, name: &str) -> f32 {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let parts = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut any = 0.0;
    for part in parts {
        let mut words = part.split(';').map(str::trim);
        let coding = words.next().unwrap_or_default();
        let weight = words.find_map(|word| word.strip_prefix("q=")?.parse().ok());
        let weight = weight.unwrap_or(1.0);
        if coding.eq_ignore_ascii_case(name) {
            return weight;
        }
        if coding == "*" {
            any = weight;
        }
    }
    any
}

/// Decides whether an answer is compressed, and makes its headers say so.
pub(super) fn apply(
    wanted: Option<Encoding>,
    is_head: bool,
    status: StatusCode,
    headers: &mut HeaderMap,
) -> Option<Encoding> {
    if !is_compressible(status, headers) {
        return None;
    }
    // Caches must not give it to somebody who cannot read it, nor keep it from who can.
    add_vary(headers);
    let encoding = wanted.filter(|_| !is_head)?;
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    headers.remove(CONTENT_LENGTH);
    headers.remove(ACCEPT_RANGES);
    // Not the same bytes any more, only the same meaning; see RFC 9110, 8.8.1.
    let strong = headers.get(ETAG).filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak =
        strong.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok());
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
    Some(encoding)
}

fn is_compressible(status: StatusCode, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let has_body = !matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
    );
    let is_small = text(CONTENT_LENGTH).parse::<u64>().is_ok_and(|length| length < SMALLEST);
    has_body
        && !is_small
        && !headers.contains_key(CONTENT_ENCODING)
        && !text(CACHE_CONTROL).contains("no-transform")
        && is_compressible_type(text(CONTENT_TYPE))
}

fn is_compressible_type(kind: &str) -> bool {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // A stream of events is text, but each must arrive when it is sent; it is flushed, not kept.
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/wasm"
                | "application/x-ndjson"
                | "application/manifest+json"
                | "font/ttf"
                | "font/otf"
                | "image/bmp"
                | "image/x-icon"
        )
}

fn add_vary(headers: &mut HeaderMap) {
    let known = headers.get_all(VARY).iter().any(|value| {
        let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
        value.contains("accept-encoding") || value.trim() == "*"
    });
    if !known {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// Compresses one answer as it comes.
pub(super) enum Encoder {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
}

impl Encoder {
    pub fn new(encoding: Encoding) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Zstd => {
                Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?)
            }
            // As hard as gzip tries: the usual 11 is for what is compressed once and kept.
            Encoding::Brotli => {
                Self::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4_096, 4, 20)))
            }
            Encoding::Gzip => {
                let level = flate2::Compression::default();
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
        })
    }

    /// Takes bytes, and gives those that are ready.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Bytes> {
        match self {
            Self::Zstd(encoder) => encoder.write_all(bytes)?,
            Self::Brotli(encoder) => encoder.write_all(bytes)?,
            Self::Gzip(encoder) => encoder.write_all(bytes)?,
        }
        Ok(self.take())
    }

    /// Gives all that was taken so far, so that somebody who waits for it can read it.
    pub fn flush(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Zstd(encoder) => encoder.flush()?,
            Self::Brotli(encoder) => encoder.flush()?,
            Self::Gzip(encoder) => encoder.flush()?,
        }
        Ok(self.take())
    }

    /// Gives what is left.
    pub fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Gzip(encoder) => encoder.finish()?,
        }
        .into())
    }

    fn take(&mut self) -> Bytes {
        let ready = match self {
            Self::Zstd(encoder) => std::mem::take(encoder.get_mut()),
            Self::Brotli(encoder) => std::mem::take(encoder.get_mut()),
            Self::Gzip(encoder) => std::mem::take(encoder.get_mut()),
        };
        ready.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn the_client_chooses_and_we_choose_among_what_it_likes_alike() {
        for (accepted, encoding) in [
            ("gzip, deflate, br, zstd", Some(Encoding::Zstd)),
            ("gzip, br;q=0.9", Some(Encoding::Gzip)),
            ("GZIP", Some(Encoding::Gzip)),
            ("*", Some(Encoding::Zstd)),
            ("*;q=0.1, zstd;q=0, br;q=0", Some(Encoding::Gzip)),
            ("identity", None),
            ("gzip;q=0", None),
            ("", None),
        ] {
            let asked = headers(&[("accept-encoding", accepted)]);
            assert_eq!(Encoding::wanted(&asked), encoding, "{accepted}");
        }
        assert_eq!(Encoding::wanted(&headers(&[])), None);
    }

    #[test]
    fn only_what_gains_by_it_is_compressed() {
        let html = ("content-type", "text/html; charset=utf-8");
        for (pairs, status, compressed) in [
            (vec![html], 200, true),
            (vec![html], 404, true),
            (vec![html, ("content-length", "511")], 200, false),
            (vec![html, ("content-length", "512")], 200, true),
            (vec![html, ("content-encoding", "br")], 200, false),
            (vec![html, ("cache-control", "public, no-transform")], 200, false),
            (vec![html], 206, false),
            (vec![html], 304, false),
            (vec![("content-type", "image/png")], 200, false),
            (vec![("content-type", "application/problem+json")], 200, true),
            (vec![], 200, false),
        ] {
            let mut map = headers(&pairs);
            let status = StatusCode::from_u16(status).expect("a status");
            let applied = apply(Some(Encoding::Gzip), false, status, &mut map);
            assert_eq!(applied.is_some(), compressed, "{pairs:?}");
            assert!(!compressed || !map.contains_key("content-length"));
        }
        let mut map = headers(&[html, ("etag", "\"a\""), ("content-length", "9000")]);
        assert_eq!(apply(Some(Encoding::Gzip), true, StatusCode::OK, &mut map), None);
        assert_eq!(map["vary"], "accept-encoding");
        assert_eq!(map["content-length"], "9000");
        apply(Some(Encoding::Gzip), false, StatusCode::OK, &mut map);
        assert_eq!(map["etag"], "W/\"a\"");
    }
}
