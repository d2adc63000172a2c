//! Turns of real keys, looked for in a real DNS.

use super::*;
use crate::address::{Address, DomainName};
use crate::dns::authority::play::{Fault, Play};
use crate::dns::authority::{Authority, KeysZone, Zones};
use crate::id::AccountId;
use crate::identity::{SendIdentity, VerifiedDomain};
use crate::jobs::LEASE;
use crate::store::Transaction;
use crate::store::params;
use crate::store::testing::{account, assert_due, claim, dkim_records};
use crate::verification::status::{OnUnverified, VerifiedStatus};
use std::net::Ipv4Addr;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    dir: tempfile::TempDir,
    config: Config,
    play: Play,
    clock: Clock,
    store: Store,
    keys: Keys,
    rotation: Rotation,
    domain: DomainId,
    tokens: [String; 3],
    internet: Shutdown,
}

impl World {
    /// A verified claim with its three keys, in a DNS that serves them.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = (Store::open(dir.path()).unwrap(), Clock::manual());
        let (play, internet) = (Play::new(Ipv4Addr::LOCALHOST), Shutdown::new());
        let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let mut config = Config::default();
        config.dns.resolvers = vec![authority.address()];
        config.dns.timeout = crate::config::HumanDuration::seconds(1);
        let zones = Zones::of_play(play.clone());
        zones.add_keys(KeysZone::new(&config.dkim, store.clone()).unwrap());
        internet.spawn(authority.serve(zones, false, internet.clone()));
        let keys = Keys::open(store.clone(), dir.path(), &config, clock.clone()).await.unwrap();
        let resolver = Resolver::new(&config.dns).unwrap();
        let rotation = Rotation::new(&config, store.clone(), clock.clone(), resolver, keys.clone());
        let (domain, tokens) = (DomainId::new(), keys.tokens().unwrap());
        let world = Self { dir, config, play, clock, store, keys, rotation, domain, tokens, internet };
        let owner = world.claim().await;
        world.keys.provision(&owner, world.domain.clone());
        while !world.store.dkim_missing().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world
    }

    async fn claim(&self) -> AccountId {
        let owner = account(&self.store).await;
        claim(&self.store, &owner, &self.domain, &self.tokens.join(" ")).await;
        self.cnames(["valid"; 3]).await;
        owner
    }

    async fn end_claim(&self) {
        let owner = self.store.account_of_domain(&self.domain).await.unwrap().unwrap();
        assert!(self.store.domain_delete(&owner, &self.domain, self.clock.now()).await.unwrap());
    }

    async fn cnames(&self, statuses: [&'static str; 3]) {
        dkim_records(&self.store, &self.domain, statuses).await;
    }

    /// A message under the domain waits in the queue from now on.
    async fn queue(&self) {
        let (id, now) = (self.domain.clone(), self.clock.now());
        self.write(move |c| {
            c.execute("INSERT INTO body (id, data) VALUES (1, ?1)", params![[0_u8; 0]])?;
            c.execute("INSERT INTO content (id, header, body_id, size) VALUES (1, ?1, 1, 0)", params![[0_u8; 0]])?;
            c.execute(
                "INSERT INTO submission (id, inbox_name, domain_id, state, mail_from, original_id, outgoing_id, protocol,
                     arrived_at, created_at, expires_at)
                 VALUES ('sub_1', 'demo', ?1, 'queued', 'demo@acme.test', 1, 1, 'ESMTPSA', 0, ?2, 0)",
                params![id, now],
            )
        })
        .await;
    }

    async fn write(&self, work: impl Fn(&Transaction<'_>) -> Result<usize, StoreError> + Send + 'static) {
        self.store.write(work).await.unwrap();
    }

    async fn pass(&self, span: Duration) {
        self.clock.advance_to(self.clock.now().after(span));
        self.rotation.settle().await;
        assert_due(&self.store).await;
    }

    async fn roles(&self) -> [Role; 3] {
        let ring = self.store.key_ring(&self.domain).await.unwrap().unwrap();
        ring.rows.map(|row| row.unwrap().key.role)
    }

    async fn public(&self, position: usize) -> String {
        self.store.dkim_public(&self.tokens[position]).await.unwrap().unwrap()
    }

    /// The selector that a message is signed with now.
    async fn selector(&self) -> String {
        let claim = crate::identity::Claim {
            id: self.domain.clone(),
            name: DomainName::parse("acme.test").unwrap(),
            status: VerifiedStatus::Verified,
            on_unverified: OnUnverified::Fallback,
        };
        let local = Address::parse("demo@acme.test").unwrap().local;
        let identity = SendIdentity::Custom { local, domain: VerifiedDomain::of(&claim).unwrap() };
        let field = self.keys.signer().sign(&identity, b"From: demo@acme.test\r\n\r\n", b"").await.unwrap();
        let field = String::from_utf8(field).unwrap();
        field.split("s=").nth(1).unwrap().split(';').next().unwrap().to_owned()
    }
}

use Role::{Ready, Retiring, Signing};

#[tokio::test]
async fn keys_take_turns_by_the_clock_and_none_goes_before_its_mail() {
    let world = World::new().await;
    assert_eq!(world.roles().await, [Signing, Ready, Ready]);
    world.pass(Duration::ZERO).await;
    let shown = world.rotation.show(&world.domain).await.unwrap().unwrap();
    assert!(shown.iter().all(|key| key.seen_at.is_some() && key.cname == Some(Cname::Right)), "{shown:?}");
    world.pass(DAY * 89).await;
    assert_eq!(world.roles().await, [Signing, Ready, Ready]);
    assert_eq!(world.selector().await, world.tokens[0]);
    world.queue().await;
    world.pass(DAY).await;
    assert_eq!(world.roles().await, [Retiring, Signing, Ready]);
    assert_eq!(world.selector().await, world.tokens[1]);

    // The mail of the old key waits longer than anybody thought: the key stays.
    let old = world.public(0).await;
    world.pass(DAY * 8).await;
    assert_eq!((world.roles().await, world.public(0).await), ([Retiring, Signing, Ready], old.clone()));
    // It is not even given away to who says that it may go.
    assert!(!world.keys.renew(&world.domain, &world.tokens[0], 0).await.unwrap());
    world.write(|c| c.execute("DELETE FROM submission", params![])).await;
    world.pass(DAY).await;
    assert_eq!(world.roles().await, [Ready, Signing, Ready]);
    assert_ne!(world.public(0).await, old);

    // Round once more, back to the first token: its fresh key signs, not the one that was cached.
    world.pass(DAY * 90).await;
    assert_eq!(world.roles().await, [Ready, Retiring, Signing]);
    world.pass(DAY * 90).await;
    assert_eq!(world.roles().await, [Signing, Ready, Retiring]);
    assert_eq!(world.selector().await, world.tokens[0]);
    let ring = world.store.key_ring(&world.domain).await.unwrap().unwrap();
    assert_eq!(ring.rows.each_ref().map(|row| row.as_ref().unwrap().generation), [1, 1, 0]);
}

#[tokio::test]
async fn what_was_cut_off_goes_on_after_a_restart() {
    let world = World::new().await;
    world.pass(Duration::ZERO).await;
    world.pass(DAY * 90).await;
    let now = world.clock.now().after(DAY * 7);
    world.clock.advance_to(now);
    // Claimed, and then the process died, before the fresh key was stored.
    let claim = Claim::new(now, now.after(LEASE), 10);
    assert_eq!(world.store.rotation_claim(claim).await.unwrap().len(), 1);
    world.pass(Duration::ZERO).await;
    assert_eq!(world.roles().await, [Retiring, Signing, Ready]);
    // The next start, on the same data.
    let keys = Keys::open(world.store.clone(), world.dir.path(), &world.config, world.clock.clone()).await.unwrap();
    let (store, resolver) = (world.store.clone(), Resolver::new(&world.config.dns).unwrap());
    let rotation = Rotation::new(&world.config, store, world.clock.clone(), resolver, keys);
    assert_eq!(world.selector().await, world.tokens[1]);
    world.clock.advance_to(world.clock.now().after(LEASE));
    rotation.settle().await;
    assert_eq!(world.roles().await, [Ready, Signing, Ready]);
}

#[tokio::test]
async fn who_asks_gets_the_next_key_or_the_reason() {
    let world = World::new().await;
    let refused = |world: &World| {
        let (rotation, domain) = (world.rotation.clone(), world.domain.clone());
        async move { rotation.rotate(&domain).await.unwrap_err().to_string() }
    };
    // The keys have not been seen in the DNS, which is down.
    world.play.set_fault("dkim.inboxlayer.dev", Some(Fault::Servfail)).unwrap();
    assert!(refused(&world).await.starts_with("The next key is not in the DNS"));
    world.play.set_fault("dkim.inboxlayer.dev", None).unwrap();
    world.cnames(["valid", "missing", "unknown"]).await;
    let text = refused(&world).await;
    assert!(text.contains(&format!("{}._domainkey was not valid", world.tokens[1])), "{text}");
    world.cnames(["valid"; 3]).await;
    for roles in [[Retiring, Signing, Ready], [Retiring, Retiring, Signing]] {
        world.rotation.rotate(&world.domain).await.unwrap();
        assert_eq!(world.roles().await, roles);
    }
    assert!(refused(&world).await.starts_with("Both other keys have signed not long ago"));
    // When both are renewed, the first may sign only after others have forgotten the key before it.
    world.pass(DAY * 7).await;
    assert_eq!(world.roles().await, [Ready, Ready, Signing]);
    assert!(refused(&world).await.contains("is fresh"));
    world.pass(DAY).await;
    world.rotation.rotate(&world.domain).await.unwrap();
    assert_eq!(world.roles().await, [Signing, Ready, Retiring]);

    world.end_claim().await;
    assert!(matches!(world.rotation.rotate(&world.domain).await, Err(RotateError::NotFound)));
}

#[tokio::test]
async fn a_claim_that_ends_leaves_its_public_keys_until_its_mail_has_aged_out() {
    let world = World::new().await;
    let retire_after = world.keys.plan().retire_after;
    let in_dns = async || {
        let resolver = Resolver::new(&world.config.dns).unwrap();
        let mut found = Vec::new();
        for token in &world.tokens {
            let name = format!("{token}.{}", world.config.dkim.zone);
            found.extend(resolver.lookup(&name, RecordType::Txt).await.records().iter().map(ToString::to_string));
        }
        found
    };
    let publics = [world.public(0).await, world.public(1).await, world.public(2).await];
    let mut zone = world.store.dkim_zone().await.unwrap().keys;
    assert_eq!((zone.len(), in_dns().await), (3, publics.to_vec()));

    // The private halves go at once.
    world.end_claim().await;
    for token in &world.tokens {
        assert_eq!(world.store.dkim_sealed(token, 0).await.unwrap(), None);
    }
    assert_eq!((world.store.dkim_zone().await.unwrap().keys, in_dns().await), (zone.clone(), publics.to_vec()));
    world.pass(Duration::ZERO).await;
    let due = world.rotation.next_due().await.unwrap();
    assert!(due <= world.clock.now().after(retire_after) && due > world.clock.now().after(retire_after - DAY), "{due}");
    world.pass(retire_after - DAY).await;
    assert_eq!((world.store.dkim_zone().await.unwrap().keys, in_dns().await), (zone.clone(), publics.to_vec()));
    world.pass(DAY).await;
    zone.clear();
    assert_eq!((world.store.dkim_zone().await.unwrap().keys, in_dns().await), (zone, vec![]));
    assert_eq!(world.rotation.next_due().await, None);
}

#[tokio::test]
async fn a_broken_cname_hands_over_at_the_next_message() {
    let world = World::new().await;
    world.pass(Duration::ZERO).await;
    world.cnames(["mismatch", "missing", "valid"]).await;
    assert_eq!(world.selector().await, world.tokens[2]);
    assert_eq!(world.roles().await, [Retiring, Ready, Signing]);
    // Mended: the key that took over goes on.
    world.cnames(["valid"; 3]).await;
    assert_eq!(world.selector().await, world.tokens[2]);
    // None is valid: a definite fault of all of them changes nothing.
    world.cnames(["missing"; 3]).await;
    assert_eq!(world.selector().await, world.tokens[2]);
    world.internet.request();
}

#[tokio::test]
async fn many_at_once_ask_and_one_rotation_happens_at_a_time() {
    let world = World::new().await;
    world.pass(Duration::ZERO).await;
    let requested = (0..8).map(|_| {
        let (rotation, domain) = (world.rotation.clone(), world.domain.clone());
        tokio::spawn(async move { rotation.rotate(&domain).await.is_ok() })
    });
    let done = futures_util::future::join_all(requested).await;
    assert_eq!(done.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 2);
    assert_eq!(world.roles().await, [Retiring, Retiring, Signing]);
}

#[tokio::test]
async fn two_rotations_on_one_store_do_every_step_once_and_who_lost_the_lease_does_none() {
    let world = World::new().await;
    world.pass(Duration::ZERO).await;
    world.clock.advance_to(world.clock.now().after(DAY * 90));
    let resolver = Resolver::new(&world.config.dns).unwrap();
    let other = Rotation::new(&world.config, world.store.clone(), world.clock.clone(), resolver, world.keys.clone());
    tokio::join!(world.rotation.settle(), other.settle());
    assert_eq!(world.roles().await, [Retiring, Signing, Ready]);

    let now = world.clock.now().after(DAY * 90);
    world.clock.advance_to(now);
    let claim = Claim::new(now, now.after(LEASE), 1);
    let runner = claim.lease.runner.clone();
    assert_eq!(world.store.rotation_claim(claim).await.unwrap().len(), 1);
    other.settle().await;
    assert_eq!(world.roles().await, [Retiring, Signing, Ready], "it is the other's");
    world.clock.advance_to(now.after(LEASE));
    other.settle().await;
    assert_eq!(world.roles().await, [Ready, Retiring, Signing]);
    let step = world.store.rotation_step(&world.domain, runner, world.keys.plan(), now.after(DAY * 90), true);
    assert_eq!(step.await.unwrap(), None);
    assert_eq!(world.roles().await, [Ready, Retiring, Signing]);
}
