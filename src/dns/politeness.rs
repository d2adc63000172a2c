//! How much one name server is asked at once, whoever's domains it serves: many customers are with the same few providers.
//!
//! Invariant: to one address no more questions are under way than its role allows; whoever waits for a turn waits under
//! the deadline of the observation, so that a crowded server gives no answer rather than a wrong one.

use super::exchange::Role;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Questions under way to a server of somebody's zone.
const AUTHORITATIVE: usize = 8;
/// To a resolver, which is there for us, and which others' broken zones keep waiting.
const RECURSIVE: usize = 256;
/// Servers remembered before those that nobody asks are forgotten.
const REMEMBERED: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Politeness {
    turns: Mutex<HashMap<(IpAddr, Role), Arc<Semaphore>>>,
}

impl Politeness {
    /// Waits for a turn at a server; it lasts as long as what is returned.
    pub(super) async fn turn(&self, server: IpAddr, role: Role) -> Option<OwnedSemaphorePermit> {
        let turns = self.of(server.to_canonical(), role);
        // Never closed.
        turns.acquire_owned().await.ok()
    }

    fn of(&self, server: IpAddr, role: Role) -> Arc<Semaphore> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= REMEMBERED && !turns.contains_key(&(server, role)) {
            // Nobody holds or waits for a turn that only this map knows of.
            turns.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        let most = match role {
            Role::Authoritative => AUTHORITATIVE,
            Role::Recursive | Role::Unvalidated => RECURSIVE,
        };
        Arc::clone(turns.entry((server, role)).or_insert_with(|| Arc::new(Semaphore::new(most))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::exchange::{Manner, ask};
    use crate::domain::observed::RecordType;
    use hickory_resolver::proto::op::{Message, MessageType};
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::net::UdpSocket;

    #[tokio::test]
    async fn a_server_has_a_few_questions_at_a_time_and_answers_all() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = socket.local_addr().unwrap();
        // It keeps questions until as many wait as ever will, and only then answers them.
        let keeper = tokio::spawn(async move {
            let (mut waiting, mut most, mut answered) = (Vec::new(), 0, 0);
            let mut buffer = [0; 512];
            while answered < 40 {
                let quiet = Duration::from_millis(200);
                match tokio::time::timeout(quiet, socket.recv_from(&mut buffer)).await {
                    Ok(received) => {
                        let (length, peer) = received.unwrap();
                        waiting.push((Message::from_vec(&buffer[..length]).unwrap(), peer));
                        most = most.max(waiting.len());
                    }
                    Err(_) => {
                        for (mut message, peer) in waiting.drain(..) {
                            message.metadata.message_type = MessageType::Response;
                            message.metadata.authoritative = true;
                            socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
                            answered += 1;
                        }
                    }
                }
            }
            most
        });
        let politeness = Politeness::default();
        let questions = (0..40).map(|i| {
            let (politeness, timeout) = (&politeness, Duration::from_secs(30));
            let name = format!("d{i}.test");
            async move {
                ask(politeness, server, Role::Authoritative, &name, RecordType::Txt, timeout, &Manner::default()).await
            }
        });
        let answers = futures_util::future::join_all(questions).await;
        assert!(answers.iter().all(|answer| answer.is_definite()), "{answers:?}");
        let most = keeper.await.unwrap();
        assert!((2..=AUTHORITATIVE).contains(&most), "{most} at once");
    }

    #[tokio::test]
    async fn servers_that_nobody_asks_are_forgotten() {
        let politeness = Politeness::default();
        let held = politeness.turn(Ipv4Addr::LOCALHOST.into(), Role::Authoritative).await;
        for i in 1..5000_u32 {
            politeness.turn(Ipv4Addr::from_bits(i).into(), Role::Authoritative).await;
        }
        assert!(politeness.turns.lock().unwrap().len() <= REMEMBERED);
        assert!(politeness.turns.lock().unwrap().contains_key(&(Ipv4Addr::LOCALHOST.into(), Role::Authoritative)));
        drop(held);
    }
}
