//! What is taken from, and added to, the headers on their way through.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONNECTION, COOKIE, EXPECT, HOST, MAX_FORWARDS, TE, TRANSFER_ENCODING, UPGRADE},
    uri::PathAndQuery,
};

use super::share::random;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Longest request id believed from outside.
const REQUEST_ID_BYTES: usize = 128;

/// Why a request is not understood well enough to be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostError {
    #[error("The request does not say which host it is for.")]
    Missing,
    #[error("The request names more than one host.")]
    Several,
    #[error("The host name of the request is not a host name.")]
    Odd,
}

/// Returns the host a request is for, with its port as given.
///
/// The request target, where it has a host, wins over the header, as RFC 9112 has it; the header is
/// made to agree.
pub(super) fn settle_host(uri: &Uri, headers: &mut HeaderMap) -> Result<HeaderValue, HostError> {
    let mut given = headers.get_all(HOST).iter();
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(HostError::Several);
    }
    let host = match uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).map_err(|_| HostError::Odd)?,
        None => first.cloned().ok_or(HostError::Missing)?,
    };
    let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:[]%".contains(byte);
    if host.is_empty() || !host.as_bytes().iter().all(letters) {
        return Err(HostError::Odd);
    }
    if uri.authority().is_some() {
        headers.insert(HOST, host.clone());
    }
    Ok(host)
}

/// Returns the name without the port, in lower case.
pub(super) fn host_name(host: &HeaderValue) -> String {
    let text = host.to_str().unwrap_or_default();
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text,
    };
    name.to_ascii_lowercase()
}

/// Returns the path and query alone, as an instance wants to be asked.
pub(super) fn origin_form(uri: &Uri) -> Uri {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return uri.clone();
    }
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// Returns the protocol the client wants to change to, if any.
pub(super) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(UPGRADE)?;
    let is_h2c = upgrade.as_bytes().eq_ignore_ascii_case(b"h2c");
    (!is_h2c && has_token(headers, &CONNECTION, "upgrade")).then(|| upgrade.clone())
}

/// Removes what concerns only one of the two connections; see RFC 9110, 7.6.1.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let mut named = Vec::new();
        for value in headers.get_all(CONNECTION) {
            let tokens = value.to_str().unwrap_or_default().split(',');
            named.extend(tokens.filter_map(|token| token.trim().parse::<HeaderName>().ok()));
        }
        // A client may not talk us out of headers that frame the message or name its host.
        named.retain(|name| *name != HOST && *name != http::header::CONTENT_LENGTH);
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    headers.remove(HTTP2_SETTINGS);
}

/// Makes the headers of a request ready for the instance.
pub(super) fn rewrite_request(
    headers: &mut HeaderMap,
    host: &HeaderValue,
    peer: &HeaderValue,
    scheme: &'static str,
    behind_proxy: bool,
) {
    let trailers = has_token(headers, &TE, "trailers");
    remove_hop_by_hop(headers);
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    // We answer an expectation ourselves, by reading the body.
    headers.remove(EXPECT);
    if !behind_proxy {
        headers.insert(FORWARDED_FOR, peer.clone());
        headers.insert(FORWARDED_HOST, host.clone());
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    } else {
        let before = headers.get_all(FORWARDED_FOR).iter();
        let before: Vec<_> = before.map(HeaderValue::as_bytes).collect();
        let all = [&before[..], &[peer.as_bytes()]].concat().join(&b", "[..]);
        let all = HeaderValue::from_bytes(&all).unwrap_or_else(|_| peer.clone());
        headers.insert(FORWARDED_FOR, all);
        headers.entry(FORWARDED_HOST).or_insert_with(|| host.clone());
        headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
    }
}

/// Joins cookies that HTTP/2 may send one by one; see RFC 9113, 8.2.3.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Returns how often a request may still be passed on, if it says so, and counts one off.
pub(super) fn forwards_left(headers: &mut HeaderMap) -> Option<u64> {
    let left: u64 = headers.get(MAX_FORWARDS)?.to_str().ok()?.parse().ok()?;
    headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    Some(left)
}

/// Returns the id of a request: the client's own, if it is harmless, or a new one.
pub(super) fn request_id(headers: &mut HeaderMap) -> HeaderValue {
    let harmless = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES && bytes.iter().all(letters)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(harmless) {
        return id.clone();
    }
    let id = HeaderValue::from_bytes(&new_request_id());
    let id = id.expect("hexadecimal digits are allowed in headers");
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// Returns a new id of a request, in hexadecimal digits.
pub(super) fn new_request_id() -> [u8; 32] {
    let mut text = [0; 32];
    let number = u128::from(random()) << 64 | u128::from(random());
    for (place, digit) in text.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * place)) as usize & 15];
    }
    text
}

/// Returns the address of a client as headers name it.
pub(super) fn peer_value(address: IpAddr) -> HeaderValue {
    let address = address.to_canonical().to_string();
    HeaderValue::from_str(&address).expect("an address is made of harmless letters")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    let mut tokens = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    tokens.any(|one| one.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn headers_of_one_hop_stay_on_it() {
        let mut map = headers(&[
            ("connection", "keep-alive, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers, gzip;q=0.5"),
            ("accept", "*/*"),
            ("x-forwarded-for", "6.6.6.6"),
        ]);
        let value = HeaderValue::from_static;
        rewrite_request(&mut map, &value("a.test"), &value("10.0.0.1"), "http", false);
        let mut left: Vec<_> =
            map.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        left.sort();
        assert_eq!(
            left,
            [
                r#"accept: "*/*""#,
                r#"te: "trailers""#,
                r#"x-forwarded-for: "10.0.0.1""#,
                r#"x-forwarded-host: "a.test""#,
                r#"x-forwarded-proto: "http""#,
            ]
        );
    }

    #[test]
    fn a_proxy_before_us_is_believed_only_where_the_table_says_so() {
        let mut map = headers(&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "https")]);
        let value = HeaderValue::from_static;
        rewrite_request(&mut map, &value("a.test"), &value("10.0.0.1"), "http", true);
        assert_eq!(map["x-forwarded-for"], "6.6.6.6, 10.0.0.1");
        assert_eq!(map["x-forwarded-proto"], "https");
    }

    #[test]
    fn the_host_must_be_clear() {
        let uri = Uri::from_static("/");
        let host = |pairs| settle_host(&uri, &mut headers(pairs));
        assert_eq!(host(&[("host", "a.test:80")]).expect("a host"), "a.test:80");
        assert_eq!(host(&[]), Err(HostError::Missing));
        assert_eq!(host(&[("host", "a.test"), ("host", "b.test")]), Err(HostError::Several));
        assert_eq!(host(&[("host", "a.test/../b")]), Err(HostError::Odd));
        assert_eq!(host(&[("host", "user@a.test")]), Err(HostError::Odd));
    }

    #[test]
    fn the_request_target_wins_over_the_host_header() {
        let uri = Uri::from_static("http://real.test/x?y");
        let mut map = headers(&[("host", "fake.test")]);
        assert_eq!(settle_host(&uri, &mut map).expect("a host"), "real.test");
        assert_eq!(map["host"], "real.test");
        assert_eq!(origin_form(&uri), "/x?y");
    }

    #[test]
    fn host_names_are_compared_without_port_and_case() {
        let name = |text| host_name(&HeaderValue::from_static(text));
        assert_eq!(name("WWW.Shop.test:8080"), "www.shop.test");
        assert_eq!(name("[::1]:80"), "[::1]");
        assert_eq!(name("[::1]"), "[::1]");
    }

    #[test]
    fn an_odd_request_id_from_outside_is_replaced() {
        let mut good = headers(&[("x-request-id", "abc-123")]);
        assert_eq!(request_id(&mut good), "abc-123");
        let mut bad = headers(&[("x-request-id", "a b\"c")]);
        let id = request_id(&mut bad);
        assert_eq!(id.len(), 32);
        assert_eq!(bad["x-request-id"], id);
    }
}
