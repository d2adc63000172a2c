//! The formats in which mail clients ask for their settings.

use super::servers::{MailPorts, Protocol, Security, Server};
use super::xml::Document;
use crate::address::{Address, DomainName};

/// Thunderbird's, which KMail, Evolution, K-9 and others read too. The client puts the address in.
pub(super) fn thunderbird(ports: MailPorts, host: &DomainName, domain: &DomainName) -> String {
    let mut document = Document::new("");
    document.element("clientConfig", &[("version", "1.1")], |document| {
        document.element("emailProvider", &[("id", domain.as_str())], |document| {
            document.leaf("domain", domain.as_str());
            document.leaf("displayName", domain.as_str());
            document.leaf("displayShortName", domain.as_str());
            for server in ports.servers() {
                let (name, kind) = match server.protocol {
                    Protocol::Imap => ("incomingServer", "imap"),
                    Protocol::Submission => ("outgoingServer", "smtp"),
                };
                document.element(name, &[("type", kind)], |document| {
                    document.leaf("hostname", host.as_str());
                    document.leaf("port", &server.port.to_string());
                    document.leaf("socketType", if server.security == Security::Tls { "SSL" } else { "STARTTLS" });
                    document.leaf("authentication", "password-cleartext");
                    document.leaf("username", "%EMAILADDRESS%");
                });
            }
        });
    });
    document.finish()
}

/// What Outlook sends its request to, and reads the answer of.
const OUTLOOK: &str = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006";
const OUTLOOK_SETTINGS: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";

/// Outlook's ([MS-OXDSCLI] §2.2.4.1).
pub(super) fn outlook(ports: MailPorts, host: &DomainName, address: &Address) -> String {
    let mut document = Document::new("");
    let address = address.to_string();
    document.element("Autodiscover", &[("xmlns", OUTLOOK)], |document| {
        document.element("Response", &[("xmlns", OUTLOOK_SETTINGS)], |document| {
            document.element("User", &[], |document| document.leaf("DisplayName", &address));
            document.element("Account", &[], |document| {
                document.leaf("AccountType", "email");
                document.leaf("Action", "settings");
                for server in ports.servers() {
                    document.element("Protocol", &[], |document| outlook_server(document, server, host, &address));
                }
            });
        });
    });
    document.finish()
}

fn outlook_server(document: &mut Document, server: Server, host: &DomainName, address: &str) {
    document.leaf("Type", if server.protocol == Protocol::Imap { "IMAP" } else { "SMTP" });
    document.leaf("Server", host.as_str());
    document.leaf("Port", &server.port.to_string());
    document.leaf("DomainRequired", "off");
    document.leaf("LoginName", address);
    document.leaf("SPA", "off");
    document.leaf("SSL", "on");
    document.leaf("Encryption", if server.security == Security::Tls { "SSL" } else { "TLS" });
    document.leaf("AuthRequired", "on");
}

/// The answer to a request that names no address.
pub(super) fn outlook_error() -> String {
    let mut document = Document::new("");
    document.element("Autodiscover", &[("xmlns", OUTLOOK)], |document| {
        document.element("Response", &[], |document| {
            document.element("Error", &[("Time", "00:00:00.0000000"), ("Id", "0")], |document| {
                document.leaf("ErrorCode", "600");
                document.leaf("Message", "The request has no EMailAddress that is an email address.");
                document.empty("DebugData");
            });
        });
    });
    document.finish()
}

const PLIST: &str =
    "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n";

/// Apple's: a configuration profile with one mail account, without a password. `None` where IMAP or submission does not listen.
pub(super) fn apple(ports: MailPorts, host: &DomainName, inbox: &str, address: &str) -> Option<String> {
    let (incoming, outgoing) = (ports.best(Protocol::Imap)?, ports.best(Protocol::Submission)?);
    let mut document = Document::new(PLIST);
    document.element("plist", &[("version", "1.0")], |document| {
        document.element("dict", &[], |document| {
            document.leaf("key", "PayloadContent");
            document.element("array", &[], |document| {
                document.element("dict", &[], |document| {
                    mail_account(document, [incoming, outgoing], host, address);
                    payload(document, "com.apple.mail.managed", "mail", inbox, address);
                });
            });
            string(document, "PayloadDescription", "Sets up the account in Mail. You are asked for the password.");
            payload(document, "Configuration", "profile", inbox, address);
        });
    });
    Some(document.finish())
}

fn mail_account(document: &mut Document, [incoming, outgoing]: [Server; 2], host: &DomainName, address: &str) {
    string(document, "EmailAccountDescription", address);
    string(document, "EmailAccountType", "EmailTypeIMAP");
    string(document, "EmailAddress", address);
    for (direction, server) in [("Incoming", incoming), ("Outgoing", outgoing)] {
        string(document, &format!("{direction}MailServerAuthentication"), "EmailAuthPassword");
        string(document, &format!("{direction}MailServerHostName"), host.as_str());
        document.leaf("key", &format!("{direction}MailServerPortNumber"));
        document.leaf("integer", &server.port.to_string());
        // STARTTLS, too.
        document.leaf("key", &format!("{direction}MailServerUseSSL"));
        document.empty("true");
        string(document, &format!("{direction}MailServerUsername"), address);
    }
    document.leaf("key", "OutgoingPasswordSameAsIncomingPassword");
    document.empty("true");
}

fn payload(document: &mut Document, kind: &str, part: &str, inbox: &str, address: &str) {
    string(document, "PayloadDisplayName", address);
    string(document, "PayloadIdentifier", &format!("dev.inboxlayer.{inbox}.{part}"));
    string(document, "PayloadType", kind);
    string(document, "PayloadUUID", &uuid(&[part, inbox, address]));
    document.leaf("key", "PayloadVersion");
    document.leaf("integer", "1");
}

fn string(document: &mut Document, key: &str, value: &str) {
    document.leaf("key", key);
    document.leaf("string", value);
}

/// The same for the same parts, so that a profile that is installed again replaces the one before. RFC 9562 §5.8.
fn uuid(parts: &[&str]) -> String {
    let hash = blake3::derive_key("inboxlayer 2026 UUIDs of configuration profiles", parts.join("\0").as_bytes());
    let number = u128::from_be_bytes(hash.first_chunk().copied().unwrap_or_default());
    // The version, and the variant.
    let number = (number & !(0xf << 76) & !(0x3 << 62)) | (0x8 << 76) | (0x2 << 62);
    let hex = format!("{number:032X}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_of_their_version() {
        let first = uuid(&["mail", "inb_1", "ann@acme.test"]);
        assert_eq!(first, uuid(&["mail", "inb_1", "ann@acme.test"]));
        assert_ne!(first, uuid(&["profile", "inb_1", "ann@acme.test"]));
        let shape: String = first.chars().map(|c| if c == '-' { '-' } else { 'x' }).collect();
        assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
        assert_eq!(&first[14..15], "8");
        assert!(["8", "9", "A", "B"].contains(&&first[19..20]));
    }

    #[test]
    fn what_does_not_listen_is_not_in_them() {
        let host = DomainName::parse("mx.example.net").unwrap();
        let ports = MailPorts { imaps: Some(10993), ..MailPorts::default() };
        let text = thunderbird(ports, &host, &DomainName::parse("acme.test").unwrap());
        assert!(text.contains("<port>10993</port>") && !text.contains("outgoingServer"), "{text}");
        let address = Address::parse("\"a&b<\"@acme.test").unwrap();
        let text = outlook(ports, &host, &address);
        assert!(text.contains("<LoginName>&quot;a&amp;b&lt;&quot;@acme.test</LoginName>"), "{text}");
        assert!(!text.contains("SMTP"), "{text}");
        // A profile has both directions.
        assert_eq!(apple(ports, &host, "inb_1", "ann@acme.test"), None);
        assert!(apple(MailPorts { submission: Some(587), ..ports }, &host, "inb_1", "ann@acme.test").is_some());
    }
}
