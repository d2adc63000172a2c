//! URLs of IMAP servers: `imaps://user@host:port/mailbox` (RFC 5092, without its parameters).

use crate::cli::failure::Failure;
use crate::message::decode::unescape;

/// Where mail is fetched from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) implicit_tls: bool,
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// Only this mailbox, by its name there.
    pub(super) mailbox: Option<String>,
}

const FORM: &str = "give imaps://user@host/, or imap://user@host/ for STARTTLS";

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::usage(format!("the URL {what}"), FORM);
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let implicit_tls = match scheme.to_ascii_lowercase().as_str() {
            "imaps" => true,
            "imap" => false,
            _ => return Err(wrong("is not one of IMAP")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').ok_or_else(|| wrong("names no user"))?;
        if user.contains(':') {
            let fix = "leave it out and give --password-file: other users can see command lines";
            return Err(Failure::usage("the URL has a password in it", fix));
        }
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None if implicit_tls => 993,
            None => 143,
            Some(port) => port.parse().map_err(|_| wrong("has a port that is no number below 65536"))?,
        };
        let text = |escaped: &str| {
            let mut octets = Vec::new();
            unescape(escaped.as_bytes(), b'%', &mut octets);
            String::from_utf8(octets).map_err(|_| wrong("is not UTF-8"))
        };
        let (user, mailbox) = (text(user)?, text(path)?);
        if user.is_empty() || host.is_empty() {
            return Err(wrong("names no user or no host"));
        }
        Ok(Self { implicit_tls, user, host: host.to_owned(), port, mailbox: Some(mailbox).filter(|m| !m.is_empty()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_user_and_server() {
        for (text, tls, user, host, port, mailbox) in [
            ("imaps://ann@mail.test/", true, "ann", "mail.test", 993, None),
            ("imap://ann@example.org@mail.test", false, "ann@example.org", "mail.test", 143, None),
            ("IMAPS://ann%40x@[::1]:99/Old%20mail/2020", true, "ann@x", "::1", 99, Some("Old mail/2020")),
        ] {
            let url = Url::parse(text).unwrap();
            let shown = (url.implicit_tls, &*url.user, &*url.host, url.port, url.mailbox.as_deref());
            assert_eq!(shown, (tls, user, host, port, mailbox), "{text}");
        }
        for text in [
            "mail.test",
            "http://a@b/",
            "imaps://b/",
            "imaps://a:secret@b/",
            "imaps://a@b:x/",
            "imaps://@b",
            "imap://%ff@b",
        ] {
            assert_eq!(Url::parse(text).unwrap_err().code, 2, "{text}");
        }
    }
}
