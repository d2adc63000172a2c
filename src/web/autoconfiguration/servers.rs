//! What a mail client has to know: the servers that really listen here, and under which names they are asked for.

use std::fmt;

/// The ports of the servers for mail clients. `None`: it does not listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailPorts {
    /// With STARTTLS.
    pub imap: Option<u16>,
    pub imaps: Option<u16>,
    /// With STARTTLS.
    pub submission: Option<u16>,
    pub submissions: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Protocol {
    Imap,
    Submission,
}

/// How a connection is encrypted. Without encryption there is no log-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Security {
    /// From the first octet (RFC 8314).
    Tls,
    StartTls,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "SSL/TLS",
            Self::StartTls => "STARTTLS",
        })
    }
}

/// A server that a mail client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) struct Server {
    pub(in crate::web) protocol: Protocol,
    pub(in crate::web) security: Security,
    pub(in crate::web) port: u16,
}

impl MailPorts {
    /// The servers, those with TLS from the first octet first (RFC 8314 §4.1).
    pub(in crate::web) fn servers(self) -> Vec<Server> {
        let all = [
            (Protocol::Imap, Security::Tls, self.imaps),
            (Protocol::Imap, Security::StartTls, self.imap),
            (Protocol::Submission, Security::Tls, self.submissions),
            (Protocol::Submission, Security::StartTls, self.submission),
        ];
        let all =
            all.into_iter().filter_map(|(protocol, security, port)| Some(Server { protocol, security, port: port? }));
        all.collect()
    }

    /// The server that a client should take first.
    pub(in crate::web) fn best(self, protocol: Protocol) -> Option<Server> {
        self.servers().into_iter().find(|server| server.protocol == protocol)
    }
}

impl Server {
    /// Its service in the names of SRV records (RFC 6186, RFC 8314 §5.1).
    fn service(self) -> &'static str {
        match (self.protocol, self.security) {
            (Protocol::Imap, Security::Tls) => "imaps",
            (Protocol::Imap, Security::StartTls) => "imap",
            (Protocol::Submission, Security::Tls) => "submissions",
            (Protocol::Submission, Security::StartTls) => "submission",
        }
    }
}

/// An SRV record by which clients find a server: its name and its value.
pub(in crate::web) fn srv_records(ports: MailPorts, host: &str, domain: &str) -> Vec<(String, String)> {
    let record = |server: Server| {
        // TLS from the first octet is preferred.
        let priority = if server.security == Security::Tls { 0 } else { 10 };
        (format!("_{}._tcp.{domain}", server.service()), format!("{priority} 1 {} {host}.", server.port))
    };
    ports.servers().into_iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_listens_is_named() {
        let all = MailPorts { imap: Some(143), imaps: Some(993), submission: Some(587), submissions: Some(465) };
        assert_eq!(
            srv_records(all, "mx.example.net", "acme.test"),
            [
                ("_imaps._tcp.acme.test", "0 1 993 mx.example.net."),
                ("_imap._tcp.acme.test", "10 1 143 mx.example.net."),
                ("_submissions._tcp.acme.test", "0 1 465 mx.example.net."),
                ("_submission._tcp.acme.test", "10 1 587 mx.example.net."),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let some = MailPorts { submission: Some(2587), ..MailPorts::default() };
        assert_eq!(some.servers().len(), 1);
        assert_eq!(some.best(Protocol::Imap), None);
        let server = some.best(Protocol::Submission).unwrap();
        assert_eq!((server.port, server.security), (2587, Security::StartTls));
        assert_eq!(all.best(Protocol::Imap).unwrap().port, 993);
    }
}
