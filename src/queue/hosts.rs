//! Tries the servers of an attempt in order: the relay, or the domain's MX hosts.
//!
//! Invariant: a recipient is settled by the first server that accepts it or refuses it permanently. After a temporary refusal at any
//! step it is offered to the next server, unless one may have the message already.
//! RFC 5321 §5.1 (order), §4.5.4.1.

use super::delivery::Deliverer;
use super::mx;
use super::outcome::{Outcome, RemoteReply, of_answer, of_next_host};
use super::slots::Slot;
use crate::address::DomainName;
use crate::config::Relay;
use crate::dns::Addresses;
use crate::envelope::EnhancedCode;
use crate::smtp_client::{Answer, Delivery, Host, OutgoingMail, RcptTo, Security, TryNextHost};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Maximum duration of an attempt over all hosts.
const ATTEMPT: Duration = Duration::from_secs(25 * 60);
/// Maximum servers that are offered the message in one attempt: temporary refusals often apply to all hosts of a domain.
const TRANSACTIONS: usize = 5;

/// The progress over several servers.
#[derive(Debug)]
struct Progress {
    /// For each recipient, in order.
    known: Vec<Known>,
    /// Servers that were offered the message.
    transactions: usize,
    /// Servers that could not be connected to, or closed the connection.
    failures: usize,
}

#[derive(Clone, Debug)]
enum Known {
    Nothing,
    /// The servers tried so far did not accept it; another one may.
    Open(Outcome),
    Settled(Outcome),
}

impl Deliverer {
    /// Sends to other servers: an outcome for each recipient, in order.
    pub(super) async fn send(&self, domain: &DomainName, mail: &OutgoingMail<'_>, slot: &Slot) -> Vec<Outcome> {
        let mut progress = Progress::new(mail.rcpt_to.len());
        let late = |text| Outcome::deferred(EnhancedCode(4, 4, 2), text);
        let otherwise = tokio::select! {
            otherwise = self.try_hosts(domain, mail, slot, &mut progress) => otherwise,
            () = tokio::time::sleep(ATTEMPT) => late("the attempt took too long"),
            () = slot.withdrawn() => late("the server is slow, and other mail waits"),
        };
        let destination = self.destinations.destination(domain);
        if progress.transactions > 0 {
            self.destinations.succeeded(&destination, self.slots.running_to(&destination), Instant::now());
        } else if progress.failures > 0 {
            self.destinations.failed(&destination, Instant::now());
        }
        progress.outcomes(&otherwise)
    }

    /// Tries servers until all recipients are settled. Returns the outcome for recipients that no server has answered for.
    async fn try_hosts(
        &self,
        domain: &DomainName,
        mail: &OutgoingMail<'_>,
        slot: &Slot,
        progress: &mut Progress,
    ) -> Outcome {
        let no_address = |host: &str| Outcome::deferred(EnhancedCode(4, 4, 4), format!("{host} has no address"));
        if let Some(relay) = &self.config.queue.relay {
            let sockets = match self.relay_addresses(relay).await {
                Ok(sockets) => sockets,
                Err(outcome) => return outcome,
            };
            // Without credentials and implicit TLS, a relay is like any other host.
            let verified = relay.password.is_some() || relay.port == 465;
            let security = if verified { Security::Verified(relay) } else { Security::Opportunistic };
            for socket in sockets {
                let host = Host { name: &relay.host, socket, security };
                self.try_host(&host, mail, progress).await;
            }
            return no_address(&relay.host);
        }
        let hosts = match mx::hosts(&self.resolver, &self.config, domain.as_str()).await {
            Ok(hosts) => hosts,
            Err(outcome) => return outcome,
        };
        for name in &hosts {
            if progress.is_over() {
                break;
            }
            let sockets = match mx::addresses(&self.resolver, &self.config, name).await {
                Ok(sockets) => sockets,
                // The host is this daemon: later hosts must not be tried (RFC 5321 §5.1).
                Err(loops) if loops.reply().status == EnhancedCode(4, 4, 6) => return loops,
                Err(outcome) => {
                    progress.note_all(&outcome);
                    continue;
                }
            };
            for socket in sockets {
                if progress.is_over() {
                    break;
                }
                let Some(_place) = self.addresses.to(socket.ip(), slot.account()).await else {
                    progress.note_all(&busy(name, socket));
                    continue;
                };
                let host = Host { name, socket, security: Security::Opportunistic };
                self.try_host(&host, mail, progress).await;
            }
        }
        no_address(domain.as_str())
    }

    /// Offers the message to one server for the unsettled recipients.
    async fn try_host(&self, host: &Host<'_>, mail: &OutgoingMail<'_>, progress: &mut Progress) {
        if progress.is_over() {
            return;
        }
        let (open, rcpt_to): (Vec<usize>, Vec<RcptTo>) = progress.open(mail.rcpt_to).unzip();
        match self.client.deliver(host, &OutgoingMail { rcpt_to: &rcpt_to, ..*mail }).await {
            Ok(Delivery { protection, answers, connection_ended, offers_dsn }) => {
                progress.transactions += usize::from(!connection_ended);
                progress.failures += usize::from(connection_ended);
                for (at, answer) in open.into_iter().zip(&answers) {
                    progress.note(at, answer, of_answer(answer).by(host.name, protection, offers_dsn));
                }
            }
            Err(TryNextHost { answer, protection, is_crowded }) => {
                progress.failures += 1;
                let outcome = match of_next_host(&answer).by(host.name, protection, false) {
                    Outcome::Deferred(reply) if is_crowded => Outcome::Postponed(reply),
                    outcome => outcome,
                };
                progress.note_all(&outcome);
            }
        }
    }

    /// The operator configures the relay, so any address is allowed.
    async fn relay_addresses(&self, relay: &Relay) -> Result<Vec<SocketAddr>, Outcome> {
        let found = match relay.host.parse::<IpAddr>() {
            Ok(address) => Addresses::Found(vec![address]),
            Err(_) if relay.host == "localhost" => Addresses::Found(vec![Ipv4Addr::LOCALHOST.into()]),
            Err(_) => self.resolver.addresses(&relay.host).await,
        };
        match found {
            Addresses::Found(found) => Ok(found.into_iter().map(|ip| SocketAddr::new(ip, relay.port)).collect()),
            // A configuration error must not bounce mail.
            Addresses::None { .. } | Addresses::Indefinite(_) => {
                let text = format!("the relay {} has no address", relay.host);
                Err(Outcome::deferred(EnhancedCode(4, 4, 3), text))
            }
        }
    }
}

impl Progress {
    fn new(recipients: usize) -> Self {
        Self { known: vec![Known::Nothing; recipients], transactions: 0, failures: 0 }
    }

    /// True if no other server is to be tried.
    fn is_over(&self) -> bool {
        self.transactions >= TRANSACTIONS || self.known.iter().all(|known| matches!(known, Known::Settled(_)))
    }

    /// The unsettled recipients.
    fn open(&self, rcpt_to: &[RcptTo]) -> impl Iterator<Item = (usize, RcptTo)> {
        let all = self.known.iter().zip(rcpt_to).enumerate();
        all.filter(|(_, (known, _))| !matches!(known, Known::Settled(_))).map(|(at, (_, to))| (at, to.clone()))
    }

    /// Records a server's answer for one recipient.
    fn note(&mut self, at: usize, answer: &Answer, outcome: Outcome) {
        let may_be_delivered = matches!(answer, Answer::MaybeDelivered(_));
        let is_final = may_be_delivered || matches!(outcome, Outcome::Delivered(_) | Outcome::Bounced(_));
        if let Some(known) = self.known.get_mut(at) {
            *known = if is_final { Known::Settled(outcome) } else { known.softer(outcome) };
        }
    }

    /// Records the outcome at a server that was not offered the message, for all recipients.
    fn note_all(&mut self, outcome: &Outcome) {
        for known in &mut self.known {
            *known = known.softer(outcome.clone());
        }
    }

    fn outcomes(self, otherwise: &Outcome) -> Vec<Outcome> {
        let outcome = |known| match known {
            Known::Nothing => otherwise.clone(),
            Known::Open(outcome) | Known::Settled(outcome) => outcome,
        };
        self.known.into_iter().map(outcome).collect()
    }
}

impl Known {
    /// The more lenient of two outcomes.
    fn softer(&self, next: Outcome) -> Self {
        match (self, next) {
            (Self::Settled(_), _) | (Self::Open(Outcome::Postponed(_)), _) => self.clone(),
            (Self::Open(Outcome::Deferred(_)), Outcome::Bounced(_)) => self.clone(),
            (_, next) => Self::Open(next),
        }
    }
}

fn busy(host: &str, socket: SocketAddr) -> Outcome {
    let text = format!("{host} ({socket}) has its maximum of connections from here");
    Outcome::Postponed(RemoteReply::local(EnhancedCode(4, 4, 5), text))
}
