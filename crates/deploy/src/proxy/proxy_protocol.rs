//! Who the client is, as a load balancer before us says: the PROXY protocol, versions 1 and 2.
//!
//! See <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How a header of version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header of version 1, its line end included.
const MOST_LINE: usize = 107;

/// Longest header of version 2 that is read; it may carry much that we have no use for.
const MOST_BYTES: usize = 4_096;

/// The bytes are not a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this connection does not begin with a header of the PROXY protocol")]
pub struct NoHeader;

/// Reads the header, and not a byte beyond it.
///
/// Gives the address of the client; nothing where the sender speaks for itself, as in a check of
/// its own, or does not know.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        header.resize(16, 0);
        stream.read_exact(&mut header[12..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if length > MOST_BYTES {
            return Err(odd());
        }
        header.resize(16 + length, 0);
        stream.read_exact(&mut header[16..]).await?;
    } else {
        // One byte at a time: what follows the line is not ours to take.
        while !header.ends_with(b"\r\n") {
            if header.len() == MOST_LINE || !header.starts_with(b"PROXY ") {
                return Err(odd());
            }
            header.push(stream.read_u8().await?);
        }
    }
    read_header(&header).map_err(|_| odd())
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, NoHeader)
}

/// Reads a whole header; see [`read`].
#[doc(hidden)]
pub fn read_header(header: &[u8]) -> Result<Option<IpAddr>, NoHeader> {
    match header.strip_prefix(SIGNATURE) {
        Some(rest) => version_2(rest),
        None => version_1(header),
    }
}

fn version_1(header: &[u8]) -> Result<Option<IpAddr>, NoHeader> {
    let line = std::str::from_utf8(header).map_err(|_| NoHeader)?;
    let line = line.strip_prefix("PROXY ").and_then(|line| line.strip_suffix("\r\n"));
    let mut words = line.ok_or(NoHeader)?.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(None);
    }
    let mut addresses = words.by_ref().take(2).map(|word| match family {
        Some("TCP4") => word.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| NoHeader),
        Some("TCP6") => word.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| NoHeader),
        _ => Err(NoHeader),
    });
    let client = addresses.next().ok_or(NoHeader)??;
    addresses.next().ok_or(NoHeader)??;
    drop(addresses);
    for _ in 0..2 {
        let port = words.next().ok_or(NoHeader)?;
        port.parse::<u16>().map_err(|_| NoHeader)?;
    }
    if words.next().is_some() { Err(NoHeader) } else { Ok(Some(client)) }
}

/// Reads what follows the signature.
fn version_2(rest: &[u8]) -> Result<Option<IpAddr>, NoHeader> {
    let [command, family, high, low, addresses @ ..] = rest else { return Err(NoHeader) };
    if addresses.len() != usize::from(u16::from_be_bytes([*high, *low])) {
        return Err(NoHeader);
    }
    match (command, family >> 4) {
        // LOCAL: the sender itself, whatever else it says.
        (0x20, _) => Ok(None),
        (0x21, 1) => {
            let all = addresses.first_chunk::<12>().ok_or(NoHeader)?;
            Ok(Some(IpAddr::from([all[0], all[1], all[2], all[3]])))
        }
        (0x21, 2) => {
            let all = addresses.first_chunk::<36>().ok_or(NoHeader)?;
            let (client, _) = all.split_first_chunk::<16>().ok_or(NoHeader)?;
            Ok(Some(IpAddr::from(*client)))
        }
        (0x21, 0 | 3) => Ok(None),
        _ => Err(NoHeader),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_version_1_says_who_the_client_is() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", Ok(Some("192.0.2.1"))),
            ("PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", Ok(Some("2001:db8::1"))),
            ("PROXY UNKNOWN\r\n", Ok(None)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(None)),
            ("PROXY TCP4 2001:db8::1 ::1 1 2\r\n", Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n", Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n", Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n", Err(NoHeader)),
            ("PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", Err(NoHeader)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1 2", Err(NoHeader)),
            ("GET / HTTP/1.1\r\n", Err(NoHeader)),
            ("", Err(NoHeader)),
        ] {
            let client = client.map(|client| client.map(|text| text.parse().expect("an address")));
            assert_eq!(read_header(line.as_bytes()), client, "{line}");
        }
    }

    #[test]
    fn a_header_of_version_2_says_who_the_client_is() {
        let header = |command: u8, family: u8, addresses: &[u8]| {
            let length = (addresses.len() as u16).to_be_bytes();
            [&SIGNATURE[..], &[command, family], &length, addresses].concat()
        };
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0, 80, 1, 187];
        let mut six = [0; 36];
        six[15] = 7;
        for (header, client) in [
            (header(0x21, 0x11, &four), Ok(Some(IpAddr::from([192, 0, 2, 1])))),
            (
                header(0x21, 0x11, &[&four[..], b"more"].concat()),
                Ok(Some(IpAddr::from([192, 0, 2, 1]))),
            ),
            (header(0x21, 0x21, &six), Ok(Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 7])))),
            (header(0x20, 0x00, &[]), Ok(None)),
            (header(0x21, 0x00, &[]), Ok(None)),
            (header(0x21, 0x11, &four[..11]), Err(NoHeader)),
            (header(0x11, 0x11, &four), Err(NoHeader)),
            (header(0x21, 0x11, &four)[..20].to_vec(), Err(NoHeader)),
        ] {
            assert_eq!(read_header(&header), client, "{header:?}");
        }
    }

    #[tokio::test]
    async fn what_follows_the_header_is_left_alone() {
        let mut bytes = &b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\nGET /"[..];
        assert_eq!(read(&mut bytes).await.expect("a header"), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(bytes, b"GET /");
        let endless = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        assert!(read(&mut &endless[..]).await.is_err());
    }
}
