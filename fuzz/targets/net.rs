//! The PROXY header that a load balancer sends first.

use super::proxy_protocol::read;

/// Octets of the longest header: version 2 with all that may stand behind the addresses.
const LONGEST: usize = 16 + 4096;

/// What is read of a connection's first octets: no octet behind the header, and nothing that what follows could change.
pub fn proxy_header(input: &[u8]) {
    let (header, left) = read_all(input);
    let taken = input.len() - left;
    assert!(taken <= LONGEST, "{taken} octets are read");
    let (again, left) = read_all(&[input, b"EHLO x\r\nPROXY TCP4 192.0.2.9 192.0.2.9 1 2\r\n"].concat());
    if let Some(client) = header {
        assert_eq!((again, left > 0), (Some(client), true), "what follows changes the header");
        assert_eq!(read_all(&input[..taken]), (Some(client), 0), "the header needs what follows it");
        if let Some(client) = client {
            let [family, server] = if client.is_ipv4() { ["TCP4", "192.0.2.9"] } else { ["TCP6", "2001:db8::9"] };
            let line = format!("PROXY {family} {} {server} {} 25\r\n", client.ip(), client.port());
            assert_eq!(read_all(line.as_bytes()), (Some(Some(client)), 0), "{line:?}");
        }
    }
}

/// The header, if there is one, and how many octets are left.
fn read_all(mut input: &[u8]) -> (Option<Option<std::net::SocketAddr>>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let header = runtime.block_on(read(&mut input));
    (header.ok(), input.len())
}
