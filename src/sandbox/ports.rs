//! The sandbox's ports: the standard ports plus an offset.

use super::SandboxError;
use std::net::{Ipv4Addr, SocketAddr};

/// Added to every standard port: SMTP's 25 becomes 20025. Below the ephemeral port range.
pub const DEFAULT_BASE: u16 = 20_000;

/// Every listener, on 127.0.0.1; port 0 is replaced by a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) http: SocketAddr,
    pub(super) mx: SocketAddr,
    pub(super) submission: SocketAddr,
    pub(super) submissions: SocketAddr,
    pub(super) imap: SocketAddr,
    pub(super) imaps: SocketAddr,
    pub(super) dns: SocketAddr,
    /// The SMTP server of the outside world.
    pub(super) outside: SocketAddr,
}

impl Ports {
    /// The standard ports plus `base`; 0 for free ports.
    pub(super) fn new(base: u16) -> Result<Self, SandboxError> {
        let at = |standard: u16| {
            let port = if base == 0 { Some(0) } else { base.checked_add(standard) };
            port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok_or(SandboxError::PortBase(base))
        };
        Ok(Self {
            http: at(80)?,
            mx: at(25)?,
            submission: at(587)?,
            submissions: at(465)?,
            imap: at(143)?,
            imaps: at(993)?,
            dns: at(53)?,
            outside: at(26)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_move_up_together_and_stay_ports() {
        let ports = Ports::new(DEFAULT_BASE).unwrap();
        assert_eq!((ports.mx.port(), ports.submission.port(), ports.http.port()), (20_025, 20_587, 20_080));
        assert_eq!(Ports::new(0).unwrap().imaps.port(), 0);
        assert!(matches!(Ports::new(65_000), Err(SandboxError::PortBase(65_000))));
    }
}
