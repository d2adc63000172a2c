//! The rules one by one, and all of them under random histories.

use super::*;
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a message may wait in the queue.
const QUEUED: Duration = Duration::from_secs(5 * 24 * 3600);
/// How long after it has left a message may be verified.
const READ: Duration = DAY;
const PLAN: Plan = Plan {
    rotate_every: Some(Duration::from_secs(90 * 24 * 3600)),
    publish_before: DAY,
    retire_after: Duration::from_secs(7 * 24 * 3600),
};

fn days(count: u32) -> Timestamp {
    Timestamp::from_millis(0).after(DAY * count)
}

fn a_key(role: Role) -> Key {
    Key { role, since: days(0), seen_at: Some(days(0)), first: true, cname: Cname::Right }
}

fn trio() -> Trio {
    [Role::Signing, Role::Ready, Role::Ready].map(|role| Some(a_key(role)))
}

fn at(keys: &mut Trio, position: usize) -> &mut Key {
    keys[position].as_mut().unwrap()
}

#[test]
fn the_schedule_rotates_and_then_renews() {
    let mut keys = trio();
    assert_eq!(step(&keys, &PLAN, None, days(1), false), Step::Rest(days(31)));
    assert_eq!(step(&keys, &PLAN, None, days(89), false), Step::Rest(days(90)));
    assert_eq!(step(&keys, &PLAN, None, days(90), false), Step::Rotate { from: 0, to: 1 });
    apply(&mut keys, &Step::Rotate { from: 0, to: 1 }, days(90));
    assert_eq!(step(&keys, &PLAN, None, days(90), false), Step::Rest(days(97)));
    // The first one's mail waits in the queue: until it has left.
    assert_eq!(step(&keys, &PLAN, Some(days(89)), days(97), false), Step::Rest(days(97).after(BLOCKED)));
    assert_eq!(step(&keys, &PLAN, Some(days(91)), days(97), false), Step::Renew(0));
    apply(&mut keys, &Step::Renew(0), days(97));
    assert_eq!(step(&keys, &PLAN, None, days(97), false), Step::Look(vec![0]));
    assert_eq!(step(&keys, &PLAN, None, days(97), true), Step::Rest(days(97).after(FIRST_LOOK)));
    at(&mut keys, 0).seen_at = Some(days(97));
    assert_eq!(signing(&keys), Some(1));
    assert_eq!(successor(&keys, &PLAN, days(97)), Ok(2));
    let never = Plan { rotate_every: None, ..PLAN };
    assert_eq!(step(&trio(), &never, None, days(900), false), Step::Rest(days(930)));
}

#[test]
fn a_blocked_rotation_gives_the_reason() {
    let mut keys = trio();
    at(&mut keys, 1).cname = Cname::Unknown;
    assert_eq!(successor(&keys, &PLAN, days(1)), Ok(2));
    at(&mut keys, 2).seen_at = None;
    assert_eq!(successor(&keys, &PLAN, days(1)), Err(NotYet::Cname(1)));
    at(&mut keys, 1).cname = Cname::Right;
    at(&mut keys, 1).seen_at = None;
    assert_eq!(successor(&keys, &PLAN, days(1)), Err(NotYet::Unseen(1)));
    *at(&mut keys, 1) = Key { seen_at: Some(days(1)), first: false, ..a_key(Role::Ready) };
    assert_eq!(successor(&keys, &PLAN, days(1)), Err(NotYet::Fresh(1, days(2))));
    assert_eq!(successor(&keys, &PLAN, days(2)), Ok(1));
    for position in [1, 2] {
        *at(&mut keys, position) = Key { since: days(3 - position as u32), ..a_key(Role::Retiring) };
    }
    assert_eq!(successor(&keys, &PLAN, days(4)), Err(NotYet::Retiring(days(8))));
    keys[2] = None;
    assert_eq!(successor(&keys, &PLAN, days(4)), Err(NotYet::Making));
    // A rotation that is due and blocked is tried again.
    keys = trio();
    (at(&mut keys, 1).cname, at(&mut keys, 2).cname) = (Cname::Wrong, Cname::Unknown);
    assert_eq!(step(&keys, &PLAN, None, days(90), false), Step::Rest(days(90).after(BLOCKED)));
}

#[test]
fn a_broken_cname_switches_to_a_key_with_a_valid_one() {
    let mut keys = trio();
    for (mine, others, to) in [
        (Cname::Unknown, Cname::Right, None),
        (Cname::Wrong, Cname::Unknown, None),
        (Cname::Wrong, Cname::Wrong, None),
        (Cname::Wrong, Cname::Right, Some(1)),
    ] {
        at(&mut keys, 0).cname = mine;
        (at(&mut keys, 1).cname, at(&mut keys, 2).cname) = (others, others);
        assert_eq!(stand_in(&keys, &PLAN, days(1)), to, "{mine:?} {others:?}");
    }
    // For a used token the older key may be cached; a retiring key is published everywhere.
    *at(&mut keys, 1) = Key { first: false, seen_at: Some(days(1)), ..a_key(Role::Ready) };
    at(&mut keys, 2).role = Role::Retiring;
    assert_eq!(stand_in(&keys, &PLAN, days(1)), Some(2));
    assert_eq!(step(&keys, &PLAN, None, days(1), false), Step::Rotate { from: 0, to: 2 });
    assert_eq!(stand_in(&keys, &PLAN, days(2)), Some(1));
}

#[test]
fn a_message_signed_just_before_a_key_retired_may_be_queued_just_after() {
    let (retiring, now) = (Key { since: days(90), ..a_key(Role::Retiring) }, days(99));
    for (minutes, goes) in [(0, false), (5, false), (10, false), (11, true)] {
        let oldest = days(90).after(Duration::from_secs(minutes * 60));
        assert_eq!(may_be_replaced(&retiring, &PLAN, Some(oldest), now), goes, "{minutes} minutes after");
    }
}

#[test]
fn the_same_key_is_recognised_in_any_format() {
    assert!(same_key("v=DKIM1; k=rsa; p=AB CD", "k=rsa;p=ABCD;v=DKIM1"));
    assert!(!same_key("v=DKIM1; p=ABCD", "v=DKIM1; p=ABCE"));
    assert!(!same_key("v=spf1 -all", "v=spf1 -all"));
}

/// What the store does with a step.
fn apply(keys: &mut Trio, step: &Step, now: Timestamp) {
    match *step {
        Step::Rotate { from, to } => {
            (at(keys, from).role, at(keys, from).since) = (Role::Retiring, now);
            (at(keys, to).role, at(keys, to).since) = (Role::Signing, now);
        }
        Step::Renew(position) => {
            let cname = at(keys, position).cname;
            *at(keys, position) = Key { role: Role::Ready, since: now, seen_at: None, first: false, cname };
        }
        Step::Look(_) | Step::Rest(_) => {}
    }
}

/// A message, with the key that signed it: position and how many were there before.
#[derive(Debug)]
struct Mail {
    key: (usize, u32),
    queued_at: Timestamp,
    leaves_at: Timestamp,
}

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// Time goes on, in minutes.
    Pass(u32),
    /// A message is signed; it waits so many hours in the queue.
    Send(u32),
    /// A CNAME is checked.
    Cname(usize, Cname),
    /// The zone is published as it is now: at once by our own server, some day by an operator who prints it.
    Publish,
    /// Somebody asks for the next key.
    Ask,
    /// The rules are asked.
    Work,
}

fn event() -> impl Strategy<Value = Event> {
    let cname = prop_oneof![3 => Just(Cname::Right), 1 => Just(Cname::Wrong), 1 => Just(Cname::Unknown)];
    prop_oneof![
        4 => prop_oneof![1..120_u32, 600..6000_u32, 5000..150_000_u32].prop_map(Event::Pass),
        4 => (0..=120_u32).prop_map(Event::Send),
        2 => (0..3_usize, cname).prop_map(|(position, cname)| Event::Cname(position, cname)),
        2 => Just(Event::Publish),
        2 => Just(Event::Ask),
        6 => Just(Event::Work),
    ]
}

struct World {
    now: Timestamp,
    keys: Trio,
    generations: [u32; 3],
    /// What the DNS shows for each token, since when; what it showed before is cached for a TTL.
    zone: [(u32, Timestamp); 3],
    mail: Vec<Mail>,
}

impl World {
    fn queued(&self) -> Option<Timestamp> {
        self.mail.iter().filter(|mail| mail.leaves_at > self.now).map(|mail| mail.queued_at).min()
    }

    /// As the service does: step for step until there is rest.
    fn work(&mut self) {
        let mut looked = false;
        loop {
            let step = step(&self.keys, &PLAN, self.queued(), self.now, looked);
            match &step {
                Step::Rest(until) => {
                    assert!(*until > self.now, "a rest that is over would never end");
                    return;
                }
                Step::Look(positions) => {
                    looked = true;
                    for position in positions {
                        self.look(*position);
                    }
                }
                Step::Rotate { to, .. } => self.rotate(&step, *to),
                Step::Renew(position) => {
                    let gone = (*position, self.generations[*position]);
                    for mail in self.mail.iter().filter(|mail| mail.key == gone) {
                        assert!(mail.leaves_at.after(READ) <= self.now, "{mail:?} can be read at {}", self.now);
                    }
                    self.generations[*position] += 1;
                    apply(&mut self.keys, &step, self.now);
                }
            }
        }
    }

    fn look(&mut self, position: usize) {
        if self.zone[position].0 == self.generations[position] {
            at(&mut self.keys, position).seen_at = Some(self.now);
        }
    }

    fn rotate(&mut self, step: &Step, to: usize) {
        let stood_in = stand_in(&self.keys, &PLAN, self.now) == Some(to);
        let (shown, since) = self.zone[to];
        let first = self.generations[to] == 0;
        if !(stood_in && first) {
            assert_eq!(shown, self.generations[to], "a key that is not in the DNS");
            assert!(first || since.after(KEY_TTL) <= self.now, "an older key is cached");
        }
        apply(&mut self.keys, step, self.now);
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Pass(minutes) => self.now = self.now.after(Duration::from_secs(60) * minutes),
            Event::Send(hours) => {
                let position = signing(&self.keys).expect("one signs");
                assert!(HOUR * hours <= QUEUED);
                let key = (position, self.generations[position]);
                self.mail.push(Mail { key, queued_at: self.now, leaves_at: self.now.after(HOUR * hours) });
            }
            Event::Cname(position, cname) => at(&mut self.keys, position).cname = cname,
            Event::Publish => {
                for (shown, generation) in self.zone.iter_mut().zip(self.generations) {
                    if shown.0 != generation {
                        *shown = (generation, self.now);
                    }
                }
            }
            Event::Ask => {
                if let Ok(to) = successor(&self.keys, &PLAN, self.now) {
                    let from = signing(&self.keys).expect("one signs");
                    self.rotate(&Step::Rotate { from, to }, to);
                }
            }
            Event::Work => self.work(),
        }
        let signing = self.keys.iter().flatten().filter(|key| key.role == Role::Signing).count();
        assert_eq!(signing, 1);
    }
}

proptest! {
    #![proptest_config(crate::verification::status::model::cases(500))]

    #[test]
    fn whatever_happens_mail_can_be_verified(events in prop::collection::vec(event(), 1..200)) {
        let mut world = World {
            now: days(0),
            keys: trio(),
            generations: [0; 3],
            zone: [(0, days(0)); 3],
            mail: Vec::new(),
        };
        for key in world.keys.iter_mut().flatten() {
            key.seen_at = None;
        }
        for event in &events {
            world.happen(event);
        }
    }
}
