//! Consistency checks between values of a configuration.
//!
//! Invariant: every problem names its key, what is wrong and what to write instead.

use super::{Config, Engine, Provider, Required};
use crate::address::DomainName;
use crate::verification::rotation::KEY_TTL;
use std::time::Duration;

/// Maximum levels for the stack of any thread.
const MOST_NESTING: usize = 100;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The least and the most that `store.event_retention` may be.
const EVENTS_KEPT: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(365 * 24 * 3600));

/// A value that cannot be used, alone or with another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its key, with its section: `records.required`.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// `*`, or a scheme, host and perhaps port (RFC 6454 §6.1).
fn is_origin(text: &str) -> bool {
    let plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_graphic() && !b"/?#@,\"'\\".contains(&octet))
    };
    text == "*" || text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(plain)
}

impl Config {
    /// Problems in any mode.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut say = |bad: bool, key, message: &str| {
            if bad {
                found.push(Problem { key, message: message.to_owned() });
            }
        };
        say(
            !self.records.required.contains(&Required::Dkim),
            "records.required",
            "must contain \"dkim\": a domain whose keys are not published cannot be signed for",
        );
        say(!self.records.spf.starts_with("v=spf1"), "records.spf", "must begin with v=spf1 (RFC 7208 §4.5)");
        say(!self.records.dmarc.starts_with("v=DMARC1"), "records.dmarc", "must begin with v=DMARC1 (RFC 7489 §6.3)");
        say(
            !self.http.cors_origins.iter().all(|origin| is_origin(origin)),
            "http.cors_origins",
            "each must be an origin like \"https://app.example.com\", without a path, or \"*\" for all",
        );
        let is_postgres = self.store.engine == Engine::Postgres;
        say(
            is_postgres && !cfg!(feature = "cluster"),
            "store.engine",
            "this program was built without PostgreSQL: use a release build, or `cargo build --features cluster`",
        );
        say(
            is_postgres != self.store.url.is_some(),
            if is_postgres { "store.url" } else { "store.engine" },
            "engine = \"postgres\" and url go together: set both, or neither",
        );
        say(
            self.store.read_connections < 2 || self.store.write_connections < 2,
            "store.read_connections",
            "read_connections and write_connections must each be 2 at least, so that no account has them all",
        );
        say(
            !(EVENTS_KEPT.0..=EVENTS_KEPT.1).contains(&self.store.event_retention.0),
            "store.event_retention",
            "must be from \"1h\" to \"365d\": a reader that was away for longer has missed events",
        );
        say(
            self.tls.certificate.is_some() != self.tls.private_key.is_some(),
            if self.tls.certificate.is_some() { "tls.private_key" } else { "tls.certificate" },
            "certificate and private_key go together: set both, or neither",
        );
        let selector = &self.dkim.platform_selector;
        say(
            // Alone, a number would be taken for an address.
            DomainName::parse(&format!("{selector}.{}", self.platform.domain)).is_err(),
            "dkim.platform_selector",
            "must be a label of a domain name, like \"inboxlayer\" (RFC 6376 §3.1)",
        );
        say(
            self.dkim.publish_before.0 < KEY_TTL,
            "dkim.publish_before",
            "must be at least \"1h\", the TTL of a key: until then verifiers may remember the one before it",
        );
        say(
            self.dkim.retire_after.0 < self.queue.expire_after.0.saturating_add(DAY),
            "dkim.retire_after",
            "must be at least a day longer than queue.expire_after: mail may leave that late, and is verified after that",
        );
        say(
            self.dkim
                .rotate_every
                .is_some_and(|every| every.0 < self.dkim.retire_after.0.saturating_add(self.dkim.publish_before.0)),
            "dkim.rotate_every",
            "must be at least retire_after and publish_before together, so that a key is ready each time; or \"off\"",
        );
        say(
            self.verification.first_pause.0 > self.verification.longest_pause.0,
            "verification.first_pause",
            "must not be longer than longest_pause",
        );
        say(self.queue.retry_pauses.is_empty(), "queue.retry_pauses", "must name at least one pause, like [\"5m\"]");
        if let Some(relay) = &self.queue.relay {
            say(
                relay.username.is_some() != relay.password.is_some(),
                "queue.relay",
                "username and password go together: set both, or neither",
            );
        }
        for (key, message) in self.bodies.problems() {
            say(true, key, message);
        }
        for (key, zero) in self.zeros() {
            say(zero, key, "must not be 0");
        }
        let limits = &self.limits;
        let (message, large) = (limits.message_size.saturating_mul(3), limits.memory / 4 * 3);
        say(
            large.min(limits.memory_per_account).min(limits.memory_per_address) < message,
            "limits.memory",
            "three quarters of it, memory_per_account and memory_per_address must each be 3 times message_size at least",
        );
        say(
            limits.spool / 8 < limits.message_size.saturating_mul(2),
            "limits.spool",
            "must be 16 times message_size at least",
        );
        say(
            !(1..=MOST_NESTING).contains(&limits.message_nesting),
            "limits.message_nesting",
            "must be from 1 to 100: reading a message takes stack for each level",
        );
        if self.dkim.provider == Provider::Ses {
            self.say_of_ses(&mut say);
        }
        say(
            [&limits.smtp_timeout, &limits.imap_timeout, &limits.http_timeout, &limits.idle_timeout_under_load]
                .iter()
                .any(|t| t.0.as_secs() < 1),
            "limits.smtp_timeout",
            "time-outs must not be 0",
        );
        found
    }

    /// Additional problems of `serve`; the sandbox has its own certificate and zone.
    pub fn problems_for_serve(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Some(user) = self.first_that_needs_tls()
            && self.tls.certificate.is_none()
        {
            found.push(Problem {
                key: "tls.certificate",
                message: format!(
                    "{user} needs a certificate: set [tls] certificate and private_key to PEM files, or {user} = {}",
                    if user == "http.tls" { "false" } else { "\"off\"" }
                ),
            });
        }
        // Amazon alone can publish keys there: every signature would be worthless.
        if self.dkim.provider == Provider::Local && self.zone_is_amazons() {
            found.push(Problem {
                key: "dkim.zone",
                message: format!(
                    "{} belongs to Amazon, and keys made here can never be published there: name a zone of your own, like dkim.{}",
                    self.dkim.zone, self.platform.domain
                ),
            });
        }
        found
    }

    fn zone_is_amazons(&self) -> bool {
        DomainName::parse("amazonses.com").is_ok_and(|amazon| self.dkim.zone.is_within(&amazon))
    }

    fn say_of_ses(&self, say: &mut impl FnMut(bool, &'static str, &str)) {
        say(
            !cfg!(feature = "ses"),
            "dkim.provider",
            "\"ses\" is not in this build: build with `cargo build --release --features ses`, or write \"local\"",
        );
        say(
            self.ses.region.is_none(),
            "ses.region",
            "must name the region of Amazon SES, like \"eu-west-1\", with provider = \"ses\"",
        );
        say(
            !self.zone_is_amazons(),
            "dkim.zone",
            "must be Amazon's with provider = \"ses\": \"dkim.amazonses.com\", in the regions that have one zone for all",
        );
        say(
            self.dkim.listen.is_some(),
            "dkim.listen",
            "must be \"off\" with provider = \"ses\": Amazon serves the keys",
        );
    }

    fn first_that_needs_tls(&self) -> Option<&'static str> {
        [
            ("smtp.mx", self.smtp.mx.is_some()),
            ("smtp.submission", self.smtp.submission.is_some()),
            ("smtp.submissions", self.smtp.submissions.is_some()),
            ("imap.imap", self.imap.imap.is_some()),
            ("imap.imaps", self.imap.imaps.is_some()),
            ("http.tls", self.http.tls),
        ]
        .into_iter()
        .find_map(|(key, on)| on.then_some(key))
    }

    fn zeros(&self) -> [(&'static str, bool); 22] {
        let limits = &self.limits;
        [
            ("dns.timeout", self.dns.timeout.0.is_zero()),
            ("dns.authoritative_port", self.dns.authoritative_port == 0),
            ("verification.window", self.verification.window.0.is_zero()),
            ("verification.recheck", self.verification.recheck.0.is_zero()),
            ("verification.first_pause", self.verification.first_pause.0.is_zero()),
            ("verification.concurrency", self.verification.concurrency == 0),
            ("verification.checks_per_second", self.verification.checks_per_second == 0),
            ("queue.smtp_port", self.queue.smtp_port == 0),
            ("queue.concurrency", self.queue.concurrency == 0),
            ("queue.hop_limit", self.queue.hop_limit == 0),
            ("queue.retry_pauses", self.queue.retry_pauses.iter().any(|pause| pause.0.is_zero())),
            ("webhooks.concurrency", self.webhooks.concurrency == 0),
            ("limits.message_size", limits.message_size == 0),
            ("limits.message_parts", limits.message_parts == 0),
            ("limits.message_header_size", limits.message_header_size == 0),
            ("limits.message_fields", limits.message_fields == 0),
            ("limits.recipients", limits.recipients == 0),
            (
                "limits.connections",
                [limits.connections, limits.connections_per_address, limits.connections_per_network].contains(&0),
            ),
            ("limits.connections_per_account", limits.connections_per_account == 0),
            ("limits.thread_messages_per_hour", limits.thread_messages_per_hour == 0),
            ("limits.minimum_rate_period", limits.minimum_rate_period.0.is_zero()),
            ("limits.mx_messages_per_hour", limits.mx_messages_per_hour == 0 || limits.mx_recipients_per_hour == 0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HumanDuration;

    #[test]
    fn the_defaults_have_no_problem_but_the_missing_certificate() {
        let config = Config::default();
        assert_eq!(config.problems(), []);
        let keys: Vec<_> = config.problems_for_serve().into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["tls.certificate"]);
    }

    #[test]
    fn keys_are_given_the_time_that_mail_needs() {
        let problems = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        let none: Vec<&str> = Vec::new();
        assert_eq!(problems(|c| c.dkim.rotate_every = None), none);
        assert_eq!(problems(|c| c.dkim.publish_before = HumanDuration::seconds(3599)), ["dkim.publish_before"]);
        assert_eq!(problems(|c| c.queue.expire_after = HumanDuration::hours(6 * 24 + 1)), ["dkim.retire_after"]);
        assert_eq!(problems(|c| c.dkim.rotate_every = Some(HumanDuration::hours(7 * 24))), ["dkim.rotate_every"]);
    }

    #[test]
    fn events_are_kept_for_a_time_that_readers_can_rely_on() {
        let problems = |kept| {
            let mut config = Config::default();
            config.store.event_retention = kept;
            config.problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        for (kept, found) in [(0, 1), (3599, 1), (3600, 0), (365 * 86_400, 0), (365 * 86_400 + 1, 1)] {
            assert_eq!(problems(HumanDuration::seconds(kept)), vec!["store.event_retention"; found], "{kept}");
        }
    }

    #[test]
    fn amazons_zone_is_refused_for_serve_only() {
        let mut config = Config::default();
        config.tls.certificate = Some("cert.pem".into());
        config.dkim.zone = DomainName::parse("dkim.amazonses.com").unwrap();
        assert_eq!(config.problems_for_serve().first().map(|p| p.key), Some("dkim.zone"));
        config.dkim.zone = DomainName::parse("dkim.notamazonses.com").unwrap();
        assert_eq!(config.problems_for_serve(), []);
    }

    #[test]
    fn ses_asks_for_a_region_amazons_zone_and_a_build_that_has_it() {
        let mut config = Config::default();
        config.tls.certificate = Some("cert.pem".into());
        config.tls.private_key = Some("key.pem".into());
        config.dkim.provider = Provider::Ses;
        config.dkim.listen = Some(([127, 0, 0, 1], 53).into());
        let keys = |config: &Config| -> Vec<&str> {
            let problems = config.problems().into_iter().chain(config.problems_for_serve());
            problems.map(|p| p.key).filter(|key| *key != "dkim.provider").collect()
        };
        assert_eq!(keys(&config), ["ses.region", "dkim.zone", "dkim.listen"]);
        config.dkim.listen = None;
        config.ses.region = Some("eu-west-1".into());
        config.dkim.zone = DomainName::parse("dkim.amazonses.com").unwrap();
        assert_eq!(keys(&config), [""; 0]);
        let built = config.problems().iter().all(|p| p.key != "dkim.provider");
        assert_eq!(built, cfg!(feature = "ses"));
    }
}
