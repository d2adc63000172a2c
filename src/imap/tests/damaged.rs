//! A message whose stored body is damaged: it alone cannot be read.

use super::*;
use crate::store::Transaction;
use crate::store::params;

/// Octets that do not compress.
fn noise(length: usize, seed: u32) -> String {
    let mut state = seed;
    let capitals = std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'A' + state.to_be_bytes()[0] % 26)
    });
    capitals.take(length).collect()
}

impl World {
    /// Puts other octets in the place of a body.
    pub(super) async fn damage(&self, uid: u32) {
        let damage = move |c: &Transaction<'_>| {
            let sql = "UPDATE body SET data = ?2 WHERE id IN (SELECT c.body_id FROM message m
                           JOIN content c ON c.id = m.content_id WHERE m.uid = ?1)";
            c.execute(sql, params![uid, vec![0_u8; 100]])
        };
        assert_eq!(self.store.write::<_, StoreError, _>(damage).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn the_others_are_returned_and_the_reply_names_it() {
    let world = World::new().await;
    for (seed, length) in [(1, 100), (2, 100), (3, 400_000), (4, 400_000), (5, 100)] {
        world.arrives(&format!("Subject: {seed}\r\n\r\n{}\r\n", noise(length, seed))).await;
    }
    world.damage(2).await;
    world.damage(4).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    for items in [
        "(UID BODY.PEEK[])",
        "(UID BODYSTRUCTURE)",
        "(UID BODY.PEEK[]<0.100>)",
        "(UID BODY.PEEK[1]<0.100>)",
        "(UID RFC822)",
    ] {
        let mut lines = client.ask(&format!("FETCH 1:* {items}")).await;
        let last = lines.pop().unwrap();
        assert!(last.contains(" NO [CORRUPTION] ") && last.contains("UID 2,4:"), "{items}: {last}");
        let uids: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(4).unwrap()).collect();
        assert_eq!(uids, ["1", "3", "5"], "{items}");
    }
    assert_eq!(client.ok("SEARCH SEEN").await, ["* SEARCH 1 3 5"], "only those that could be read");
    // What is not damaged of it is there.
    assert_eq!(client.ok("UID FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[HEADER])").await.len(), 5);
    let searched = client.ask("SEARCH BODY XYZ").await;
    assert!(searched.last().unwrap().contains(" NO [CORRUPTION] "), "{searched:?}");
    assert_eq!(client.ok("SEARCH SUBJECT 2").await, ["* SEARCH 2"]);
    client.ok("NOOP").await;
}

#[tokio::test]
async fn damage_that_is_met_in_a_literal_closes_the_connection_and_the_message_stays_unseen() {
    let world = World::new().await;
    world.arrives(&format!("Subject: x\r\n\r\n{}\r\n", noise(2_000_000, 1))).await;
    let damage = |c: &Transaction<'_>| {
        let mut data: Vec<u8> = c.query_row("SELECT data FROM body", params![], |row| row.get(0))?;
        let at = data.len() * 3 / 4;
        data[at] ^= 1;
        c.execute("UPDATE body SET data = ?1", params![data])
    };
    assert_eq!(world.store.write::<_, StoreError, _>(damage).await.unwrap(), 1);
    for items in ["BODY[]", "BODY[]<0.2000000>", "(FLAGS BODY[TEXT])"] {
        let mut client = world.user().await;
        client.ok("SELECT INBOX").await;
        client.send(format!("x FETCH 1 {items}\r\n")).await;
        let mut sent = Vec::new();
        // Closed without an end of the TLS session, or with one.
        let _ = client.stream.read_to_end(&mut sent).await;
        assert!(sent.starts_with(b"* 1 FETCH (BODY[") && sent.len() > 1_000_000, "{items}: {} octets", sent.len());
        assert!(sent.len() < 2_000_000, "{items}: all of it was sent");
    }
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    assert_eq!(client.ok("SEARCH UNSEEN").await, ["* SEARCH 1"]);
    // What lies before the damage can be read.
    let first = client.ok("FETCH 1 BODY[]<0.1000>").await;
    assert!(first[0].contains("FLAGS (\\Seen"), "{first:?}");
}

#[tokio::test]
async fn a_range_of_more_than_is_read_at_once_is_sent_in_pieces() {
    let world = World::new().await;
    let message = format!("Subject: x\r\n\r\n{}\r\n", noise(1_500_000, 1));
    world.arrives(&message).await;
    let mut client = world.user().await;
    client.ok("SELECT INBOX").await;
    let header = message.find("\r\n\r\n").unwrap() + 4;
    for (item, range) in [
        ("BODY.PEEK[]<0.1400000>", 0..1_400_000),
        ("BODY.PEEK[]<5.9000000>", 5..message.len()),
        ("BODY.PEEK[TEXT]<600000.700000>", header + 600_000..header + 1_300_000),
        ("BODY.PEEK[1]<1.1499999>", header + 1..header + 1_500_000),
        ("BODY.PEEK[TEXT]<1500002.5>", message.len()..message.len()),
    ] {
        let answer = client.ok(&format!("FETCH 1 {item}")).await;
        let literal = format!("{{{}}}\r\n{}", range.len(), &message[range]);
        assert!(answer[0].ends_with(&format!("{literal})")), "{item}: {}", &answer[0][..60]);
    }
    let large = client.ok("FETCH 1 (UID FLAGS BODY[])").await;
    assert!(large[0].starts_with("* 1 FETCH (UID 1 BODY[] {") && large[0].contains(" FLAGS (\\Seen"), "at the end");
    assert_eq!(client.ok("SEARCH SEEN").await, ["* SEARCH 1"]);
}
