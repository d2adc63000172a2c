//! Which URLs and addresses deliveries may go to.
//!
//! Invariant: a connection is made only to an address that was checked after the name was resolved, by the resolver that the
//! connection uses ([`Guard`]); an address in the URL is checked before. Without TLS, only to a network that the
//! configuration lists.

use crate::dns::{Addresses, Resolver};
use crate::net::ranges::AllowedNetworks;
use hyper_util::client::legacy::connect::dns::Name;
use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// Maximum octets of a URL.
const LONGEST: usize = 2000;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("must have at most {LONGEST} octets")]
    TooLong,
    #[error("must be an absolute URL like https://app.example.com/webhooks")]
    NotAUrl,
    #[error("must begin with https://")]
    NotHttps,
    #[error("must not have a user name, a password or a fragment")]
    Extras,
    #[error("must not have port 0")]
    NoPort,
    #[error("is at an address that deliveries do not go to: {0} is not on the internet")]
    Address(IpAddr),
}

/// The address of a name is one that deliveries do not go to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDialled {
    #[error("{host} has the address {address}, which is not on the internet")]
    Private { host: String, address: IpAddr },
    #[error("{host} has the address {address}: without TLS, deliveries go to configured networks only")]
    Plaintext { host: String, address: IpAddr },
    #[error("{0} has no address in the DNS")]
    NoAddress(String),
    #[error("the DNS could not say which addresses {host} has: {reason}")]
    Indefinite { host: String, reason: String },
}

/// Which addresses may be dialled for a scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Https,
    Http,
}

impl Scheme {
    fn allows(self, allowed: &AllowedNetworks, address: IpAddr) -> bool {
        match self {
            Self::Https => allowed.allows(address),
            Self::Http => allowed.lists(address),
        }
    }
}

/// Checks the URL of a subscription; names are resolved later, at each connection.
pub fn check(text: &str, allowed: &AllowedNetworks) -> Result<(Url, Scheme), BadUrl> {
    if text.len() > LONGEST {
        return Err(BadUrl::TooLong);
    }
    // The parser leaves them out, but the text is stored, and shown on terminals.
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(BadUrl::NotAUrl);
    }
    let url = Url::parse(text).map_err(|_| BadUrl::NotAUrl)?;
    let scheme = match url.scheme() {
        "https" => Scheme::Https,
        "http" if !allowed.is_empty() => Scheme::Http,
        _ => return Err(BadUrl::NotHttps),
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(BadUrl::Extras);
    }
    if url.port() == Some(0) {
        return Err(BadUrl::NoPort);
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadUrl::NotAUrl)?;
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) if !scheme.allows(allowed, address) => Err(BadUrl::Address(address)),
        _ => Ok((url, scheme)),
    }
}

/// Resolves names for connections, and leaves out addresses that may not be dialled.
#[derive(Clone, Debug)]
pub struct Guard {
    pub resolver: Resolver,
    pub allowed: AllowedNetworks,
    pub scheme: Scheme,
}

impl Guard {
    async fn addresses(&self, host: &str) -> Result<Vec<SocketAddr>, NotDialled> {
        let found = match self.resolved(host).await {
            Addresses::Found(found) => found,
            Addresses::None { .. } => return Err(NotDialled::NoAddress(host.to_owned())),
            Addresses::Indefinite(reason) => {
                return Err(NotDialled::Indefinite { host: host.to_owned(), reason: reason.to_string() });
            }
        };
        let (allowed, refused): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| self.scheme.allows(&self.allowed, *address));
        match refused.first() {
            Some(address) if allowed.is_empty() => Err(match self.scheme {
                Scheme::Http if self.allowed.allows(*address) => {
                    NotDialled::Plaintext { host: host.to_owned(), address: *address }
                }
                _ => NotDialled::Private { host: host.to_owned(), address: *address },
            }),
            // The port is the URL's.
            _ => Ok(allowed.into_iter().map(|address| SocketAddr::new(address, 0)).collect()),
        }
    }

    async fn resolved(&self, host: &str) -> Addresses {
        let host = host.trim_end_matches('.');
        // RFC 6761 §6.3: always loopback, and not in the DNS.
        if host == "localhost" || host.ends_with(".localhost") {
            return Addresses::Found(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        self.resolver.addresses(host).await
    }
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NotDialled;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NotDialled>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotDialled>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.clone();
        Box::pin(async move { Ok(guard.addresses(name.as_str()).await?.into_iter()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str, allowed: &AllowedNetworks) -> Result<Scheme, BadUrl> {
        check(text, allowed).map(|(_, scheme)| scheme)
    }

    #[test]
    fn only_https_to_the_internet_unless_a_network_is_configured() {
        let none = AllowedNetworks::default();
        assert_eq!(checked("https://app.example.com/hook?a=b", &none), Ok(Scheme::Https));
        assert_eq!(checked("https://8.8.8.8:8443/", &none), Ok(Scheme::Https));
        for (text, error) in [
            ("http://app.example.com/", BadUrl::NotHttps),
            ("ftp://app.example.com/", BadUrl::NotHttps),
            ("file:///etc/passwd", BadUrl::NotHttps),
            ("app.example.com", BadUrl::NotAUrl),
            ("https://", BadUrl::NotAUrl),
            ("https://app.example.com/\0", BadUrl::NotAUrl),
            (" https://app.example.com/", BadUrl::NotAUrl),
            ("https://app.exam\tple.com/\n", BadUrl::NotAUrl),
            ("https://app.example.com/\u{1b}[2J", BadUrl::NotAUrl),
            ("https://user@app.example.com/", BadUrl::Extras),
            ("https://user:password@app.example.com/", BadUrl::Extras),
            ("https://app.example.com/#here", BadUrl::Extras),
            ("https://app.example.com:0/", BadUrl::NoPort),
        ] {
            assert_eq!(checked(text, &none), Err(error), "{text}");
        }
        assert_eq!(checked(&format!("https://a.example/{}", "x".repeat(2000)), &none), Err(BadUrl::TooLong));
        let loopback = AllowedNetworks::loopback();
        assert_eq!(checked("http://127.0.0.1:9000/", &loopback), Ok(Scheme::Http));
        assert_eq!(checked("http://hooks.test/", &loopback), Ok(Scheme::Http));
        assert_eq!(checked("http://8.8.8.8/", &loopback), Err(BadUrl::Address([8, 8, 8, 8].into())));
    }

    #[test]
    fn an_address_inside_is_refused_in_every_spelling() {
        let none = AllowedNetworks::default();
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "10.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.168.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[64:ff9b::a00:1]",
            "[fe80::1]",
            "[fd00::1]",
            "[ff02::1]",
            "[2002:7f00:1::]",
        ] {
            let found = checked(&format!("https://{host}/"), &none);
            assert!(matches!(found, Err(BadUrl::Address(_))), "{host}: {found:?}");
        }
    }
}
