//! The PROXY protocol, versions 1 and 2: a load balancer sends the client's address before anything else.
//! https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt Invariant: nothing after the header is consumed; the
//! header is bounded in octets and in time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// Time limit for receiving the header.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Signature of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Maximum octets of a version 1 line, with CRLF.
const LONGEST_LINE: usize = 107;
/// Maximum octets of the addresses and extensions of version 2.
const LONGEST_BLOCK: usize = 4096;

/// Why a connection from a proxy is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("no PROXY header received")]
    Missing,
    #[error("the PROXY header is malformed")]
    Malformed,
    /// The proxy closed the connection, as health checks do.
    #[error("the connection was closed before a PROXY header")]
    Closed(#[from] io::Error),
}

/// Reads a header. `None` if the proxy connects for itself (a health check), or does not know the client.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    timeout(TIMEOUT, read_either(stream)).await.unwrap_or(Err(HeaderError::Missing))
}

async fn read_either(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, HeaderError> {
    // Shorter than any version 1 header.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let version_and_command = stream.read_u8().await?;
        let family = stream.read_u8().await?;
        let mut block = vec![0; usize::from(stream.read_u16().await?)];
        if block.len() > LONGEST_BLOCK {
            return Err(HeaderError::Malformed);
        }
        stream.read_exact(&mut block).await?;
        return version_2(version_and_command, family, &block).ok_or(HeaderError::Malformed);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(HeaderError::Missing);
    }
    let mut line = start.to_vec();
    // Octet by octet, so that what follows is left for the session.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE {
            return Err(HeaderError::Malformed);
        }
        line.push(stream.read_u8().await?);
    }
    version_1(&line).ok_or(HeaderError::Malformed)
}

/// `PROXY TCP4 <client> <server> <client's port> <server's port>`, with CRLF. The outer `None` means malformed.
fn version_1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let port = |text: &str| text.parse::<u16>().ok().filter(|number| number.to_string() == text);
    let words: Vec<&str> = text.split(' ').collect();
    let [family, client, server, client_port, server_port] = words.as_slice() else { return None };
    let [client, server]: [IpAddr; 2] = [client.parse().ok()?, server.parse().ok()?];
    let is_v4 = match *family {
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    port(server_port)?;
    let fits = client.is_ipv4() == is_v4 && server.is_ipv4() == is_v4;
    fits.then_some(Some(SocketAddr::new(client, port(client_port)?)))
}

/// What follows the signature and the length. The outer `None` means that it is not a header for TCP.
fn version_2(version_and_command: u8, family: u8, block: &[u8]) -> Option<Option<SocketAddr>> {
    match (version_and_command, family, block) {
        (0x20, ..) | (0x21, 0x00, _) => Some(None),
        (0x21, 0x11, [a, b, c, d, _, _, _, _, high, low, _, _, ..]) => {
            let client = Ipv4Addr::new(*a, *b, *c, *d);
            Some(Some(SocketAddr::new(client.into(), u16::from_be_bytes([*high, *low]))))
        }
        (0x21, 0x21, block) => {
            let client: [u8; 16] = *block.first_chunk()?;
            let [high, low, _, _] = *block.get(32..36)?.first_chunk()?;
            Some(Some(SocketAddr::new(Ipv6Addr::from(client).into(), u16::from_be_bytes([high, low]))))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The result of reading these octets, and what is left unread.
    fn read_all(octets: &[u8]) -> (Result<Option<SocketAddr>, String>, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut rest = octets;
        let read = runtime.block_on(read(&mut rest));
        (read.map_err(|error| error.to_string()), rest.to_vec())
    }

    fn block(version_and_command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[version_and_command, family], &length, addresses].concat()
    }

    #[test]
    fn headers_of_both_versions_are_read_and_nothing_after_them() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x30, 0x39, 0, 25];
        let v6: Vec<u8> = [Ipv6Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets()].concat();
        let v6 = [v6.as_slice(), &[0x30, 0x39, 0, 25]].concat();
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\r\n".to_vec(), Some("192.0.2.1:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".to_vec(), Some("[2001:db8::1]:1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n".to_vec(), None),
            (block(0x21, 0x11, &v4), Some("192.0.2.1:12345")),
            // With an extension after the addresses.
            (block(0x21, 0x11, &[v4.as_slice(), &[3, 0, 4, 1, 2, 3, 4]].concat()), Some("192.0.2.1:12345")),
            (block(0x21, 0x21, &v6), Some("[::1]:12345")),
            (block(0x20, 0, b""), None),
            (block(0x20, 0x11, &v4), None),
            (block(0x21, 0, b"unspecified"), None),
        ] {
            let client = client.map(|text| text.parse().unwrap());
            let (read, rest) = read_all(&[header.as_slice(), b"EHLO x\r\n"].concat());
            assert_eq!((read, rest.as_slice()), (Ok(client), &b"EHLO x\r\n"[..]), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn invalid_headers_are_rejected() {
        let endless = format!("PROXY TCP4 {}", "1".repeat(200));
        for (octets, error) in [
            (b"EHLO client.example\r\n".to_vec(), "no PROXY header"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(), "no PROXY header"),
            (b"".to_vec(), "closed"),
            (b"PROXY TCP4 192.0".to_vec(), "closed"),
            (endless.into_bytes(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 12345\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 25 1\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 012 25\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 +12 25\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 70000 25\r\n".to_vec(), "malformed"),
            (b"PROXY TCP6 192.0.2.1 198.51.100.1 1 25\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4  192.0.2.1 198.51.100.1 1 25\r\n".to_vec(), "malformed"),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\n\r\n".to_vec(), "malformed"),
            (block(0x21, 0x11, &[1, 2, 3]), "malformed"),
            (block(0x21, 0x21, &[0; 35]), "malformed"),
            (block(0x21, 0x12, &[0; 12]), "malformed"),
            (block(0x11, 0x11, &[0; 12]), "malformed"),
            (block(0x22, 0x11, &[0; 12]), "malformed"),
            (block(0x21, 0x11, &[0; LONGEST_BLOCK + 1]), "malformed"),
        ] {
            let (read, _) = read_all(&octets);
            assert!(read.clone().is_err_and(|text| text.contains(error)), "{}: {read:?}", octets.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_parsed_or_rejected(
            octets in prop::collection::vec(any::<u8>(), 0..200),
            start in prop::sample::select(vec![&b""[..], b"PROXY TCP4 ", b"PROXY TCP6 ::1 ::1 ", &SIGNATURE]),
        ) {
            let all = [start, &octets].concat();
            let (_, rest) = read_all(&all);
            prop_assert!(all.ends_with(&rest));
        }
    }
}
