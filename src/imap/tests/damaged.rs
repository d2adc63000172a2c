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
    async fn damage(&self, uid: u32) {
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
        // Before its body is read, a message may have become \Seen, which is sent by itself.
        let bodies = lines.iter().filter(|line| line.contains("BODY") || line.contains("RFC822"));
        let uids: Vec<&str> = bodies.map(|line| line.split(' ').nth(4).unwrap()).collect();
        assert_eq!(uids, ["1", "3", "5"], "{items}");
    }
    // What is not damaged of it is there.
    assert_eq!(client.ok("UID FETCH 1:* (FLAGS RFC822.SIZE BODY.PEEK[HEADER])").await.len(), 5);
    let searched = client.ask("SEARCH BODY XYZ").await;
    assert!(searched.last().unwrap().contains(" NO [CORRUPTION] "), "{searched:?}");
    assert_eq!(client.ok("SEARCH SUBJECT 2").await, ["* SEARCH 2"]);
    client.ok("NOOP").await;
}
