//! Logging by tracing, to standard error. Invariant: an event is one line, whatever its fields hold, since part of
//! them comes from mail servers, name servers and users.

use super::failure::Failure;
use super::printable::printable;
use crate::config::{Log, LogFormat};
use std::fmt::{self, Write};
use std::io::IsTerminal;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Starts logging. `RUST_LOG` overrides the configured filter.
pub(super) fn start(log: &Log) -> Result<(), Failure> {
    let text = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| log.filter.clone());
    let filter = EnvFilter::try_new(with_quiet(&text)).map_err(|error| {
        Failure::usage(
            format!("log.filter: {text:?}: {error}"),
            "write a level, like \"info\", or \"inboxlayer::smtp=debug,info\"",
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        // JSON escapes line breaks itself.
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).fmt_fields(OneLine).init(),
    }
    Ok(())
}

/// Targets that log each malformed datagram, each TLS client that sends an address in SNI, or each message of MCP: anyone could fill
/// the log.
const QUIET: [&str; 4] = ["hickory_net", "hickory_proto", "rmcp", "rustls"];

/// The operator's filter, in which those say only errors, unless it names them or asks for debug of everything.
fn with_quiet(filter: &str) -> String {
    // The level without a target; of two, the last. Without one nothing is logged.
    let level = filter.split(',').filter_map(|one| one.trim().parse::<LevelFilter>().ok()).next_back();
    if filter.trim().is_empty() || level.is_some_and(|level| level >= LevelFilter::DEBUG) {
        return filter.to_owned();
    }
    let targets = || filter.split(',').map(|one| one.trim().split(['=', '[']).next().unwrap_or_default());
    let named = |quiet: &str| targets().any(|target| !target.is_empty() && quiet.starts_with(target));
    let quiet = QUIET.iter().filter(|quiet| !named(quiet)).map(|quiet| format!("{quiet}=error"));
    // A directive for a part of one goes before that for the whole; of two for the same, the last.
    quiet.chain([filter.to_owned()]).collect::<Vec<_>>().join(",")
}

/// The message, then `name=value` for each field, without a character that ends the line or moves the cursor.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line::default();
        fields.record(&mut line);
        writer.write_str(&line.0)
    }
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = field.name();
        // Metadata of the `log` crate's events is already in the line.
        if name.starts_with("log.") {
            return;
        }
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        if name != "message" {
            // Writing to a String cannot fail.
            let _ = write!(self.0, "{}=", name.trim_start_matches("r#"));
        }
        self.0.push_str(&printable(&format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Whether a warning and an error of a target are written under a filter.
    fn written(filter: &str, target: &str) -> (bool, bool) {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(with_quiet(filter)).unwrap())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || match target {
            "net" => {
                tracing::warn!(target: "hickory_net::udp::udp_client_stream", "a warning");
                tracing::error!(target: "hickory_net::udp::udp_client_stream", "an error");
            }
            "tls" => {
                tracing::warn!(target: "rustls::msgs::handshake", "a warning");
                tracing::error!(target: "rustls::msgs::handshake", "an error");
            }
            "proto" => {
                tracing::warn!(target: "hickory_proto::op", "a warning");
                tracing::error!(target: "hickory_proto::op", "an error");
            }
            _ => {
                tracing::warn!(target: "inboxlayer::dns", "a warning");
                tracing::error!(target: "inboxlayer::dns", "an error");
            }
        });
        let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        (written.contains("a warning"), written.contains("an error"))
    }

    #[test]
    fn strangers_write_no_line_for_each_datagram_or_handshake_unless_the_operator_wants_it() {
        for filter in [crate::config::Log::default().filter.as_str(), "inboxlayer::smtp=debug,info", "debug,info", "3"]
        {
            for target in ["net", "proto", "tls"] {
                assert_eq!(written(filter, target), (false, true), "{filter}: {target}");
            }
        }
        for filter in ["debug", "info, Debug", "trace", "4", "inboxlayer::smtp=info,debug"] {
            assert_eq!(written(filter, "tls"), (true, true), "{filter}");
        }
        assert_eq!(written("", "net"), (false, false));
        assert_eq!(written("info", "ours"), (true, true));
        assert_eq!(written("info,hickory_net=debug", "net"), (true, true));
        assert_eq!(written("info,hickory_net=debug", "proto"), (false, true));
        assert_eq!(written("info,rustls=debug", "tls"), (true, true));
        for filter in ["info,hickory=warn", "hickory_net,hickory_proto", "hickory_net::udp=warn,hickory_proto::op=warn"]
        {
            assert_eq!((written(filter, "net"), written(filter, "proto")), ((true, true), (true, true)), "{filter}");
        }
        assert_eq!(written("off,hickory_net=off", "net"), (false, false));
    }

    #[test]
    fn nobody_writes_a_line_of_the_log_but_we() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .fmt_fields(OneLine)
            .with_writer(move || writer.clone())
            .finish();
        let evil = "x\n2026-11-24T00:00:00Z ERROR forged\u{1b}[2J\u{202e}";
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::other(evil);
            let _span = tracing::error_span!("session", helo = %evil).entered();
            tracing::error!(reason = %evil, %error, debug = ?evil, text = evil, number = 3, "said {evil}");
        });
        let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(written.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{written:?}");
        assert!(written.contains("said x\\n2026") && written.contains("number=3"), "{written}");
    }
}
