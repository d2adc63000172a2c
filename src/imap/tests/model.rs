//! Random commands of several sessions, compared with a mailbox in memory: each untagged response has to be legal where it
//! comes, and a client that applies them ends in the state of the server, also when it lost its connection and
//! resynchronizes by CONDSTORE or QRESYNC, or when the daemon was restarted meanwhile.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const FLAGS: [&str; 6] = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "$A", "$B"];
/// Commands of one run, and runs.
const COMMANDS: usize = 160;
const RUNS: u64 = 8;

type Flags = BTreeSet<String>;

/// Numbers that are the same in each run of the tests.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }

    fn flags(&mut self) -> Flags {
        FLAGS.into_iter().filter(|_| self.below(3) == 0).map(str::to_owned).collect()
    }
}

/// The mailbox as it has to be.
#[derive(Default)]
struct Model {
    /// By UID: flags, and how often they have changed.
    messages: BTreeMap<u32, (Flags, u32)>,
    last_uid: u32,
}

impl Model {
    fn add(&mut self, flags: Flags) {
        self.last_uid += 1;
        self.messages.insert(self.last_uid, (flags, 0));
    }

    fn store(&mut self, uid: u32, change: char, named: &Flags) {
        let Some((flags, version)) = self.messages.get_mut(&uid) else { return };
        let new: Flags = match change {
            '+' => flags.union(named).cloned().collect(),
            '-' => flags.difference(named).cloned().collect(),
            _ => named.clone(),
        };
        *version += u32::from(*flags != new);
        *flags = new;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    CondStore,
    QResync,
}

/// A message as a client knows it.
#[derive(Clone, Default)]
struct Known {
    uid: Option<u32>,
    flags: Option<Flags>,
    /// With the version of the model's message at that time.
    modseq: Option<(u64, u32)>,
}

/// A client that believes what it is sent.
struct Session {
    kind: Kind,
    client: Client,
    messages: Vec<Known>,
    uid_validity: u64,
    highest_modseq: u64,
    log: Vec<String>,
}

fn list_after<'a>(line: &'a str, word: &str) -> Option<Vec<&'a str>> {
    let (_, rest) = line.split_once(&format!("{word} ("))?;
    Some(rest.split_once(')').unwrap().0.split_ascii_whitespace().collect())
}

fn numbers(set: &str) -> Vec<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    set.split(',').flat_map(range).collect()
}

fn set<T: ToString>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

impl Session {
    /// Connects and selects INBOX, of which nothing is known.
    async fn new(world: &World, kind: Kind, model: &Model) -> Self {
        let client = world.user().await;
        let mut session =
            Self { kind, client, messages: Vec::new(), uid_validity: 0, highest_modseq: 0, log: Vec::new() };
        session.select(model).await;
        session
    }

    fn uids(&self) -> Vec<u32> {
        self.messages.iter().filter_map(|message| message.uid).collect()
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{:?}:\n{}", self.kind, self.log[self.log.len().saturating_sub(60)..].join("\n"))
    }

    fn check(&self, holds: bool, why: &str) {
        if !holds {
            self.fail(why);
        }
    }

    /// Sends a command, applies the untagged responses and returns the tagged one.
    async fn run(&mut self, command: &str, model: &Model) -> String {
        self.log.push(format!("C: {command}"));
        let mut lines = self.client.ask(command).await;
        let reply = lines.pop().unwrap();
        let (mut reported, mut highest) = (None, self.highest_modseq);
        for line in &lines {
            self.log.push(format!("S: {line}"));
            self.apply(command, line, model);
            if line.contains("[HIGHESTMODSEQ ") {
                reported = Some(number_after(line, "[HIGHESTMODSEQ"));
            } else if line.contains("MODSEQ (") && line.contains(" FETCH ") {
                highest = highest.max(number_after(line, "MODSEQ"));
            }
        }
        self.log.push(format!("S: {reply}"));
        if reply.contains("[HIGHESTMODSEQ ") {
            reported = Some(number_after(&reply, "[HIGHESTMODSEQ"));
        }
        // RFC 7162 §6.
        self.highest_modseq = reported.unwrap_or(highest);
        reply
    }

    fn apply(&mut self, command: &str, line: &str, model: &Model) {
        let is_select = command.starts_with("SELECT");
        let may_expunge = !["FETCH", "STORE", "SEARCH", "SELECT"].iter().any(|name| command.starts_with(name));
        let words: Vec<&str> = line.split(' ').collect();
        match words[1..] {
            ["VANISHED", "(EARLIER)", uids] => {
                self.check(self.kind == Kind::QResync && is_select, "VANISHED (EARLIER) was not asked for");
                let gone = numbers(uids);
                self.check(gone.iter().all(|uid| !model.messages.contains_key(uid)), "a message that exists vanished");
                self.messages.retain(|message| !message.uid.is_some_and(|uid| gone.contains(&uid)));
            }
            ["VANISHED", uids] => {
                self.check(self.kind == Kind::QResync && may_expunge, "VANISHED is not allowed here");
                for uid in numbers(uids) {
                    let at = self.messages.iter().position(|message| message.uid == Some(uid));
                    // Of a message whose UID the client has not fetched, it can see only that there is one.
                    // It is where its UID belongs.
                    let from = self.messages.iter().rposition(|message| message.uid.is_some_and(|known| known < uid));
                    let from = from.map_or(0, |at| at + 1);
                    let at = at.or_else(|| self.messages.get(from).filter(|next| next.uid.is_none()).map(|_| from));
                    let Some(at) = at else { self.fail("a message vanished that the client does not know") };
                    self.messages.remove(at);
                    self.check(!model.messages.contains_key(&uid), "a message that exists vanished");
                }
            }
            [number, "EXPUNGE"] => {
                let at = number.parse::<usize>().unwrap().wrapping_sub(1);
                self.check(self.kind != Kind::QResync && may_expunge, "EXPUNGE is not allowed here");
                self.check(at < self.messages.len(), "EXPUNGE of no message");
                let message = self.messages.remove(at);
                let exists = message.uid.is_some_and(|uid| model.messages.contains_key(&uid));
                self.check(!exists, "EXPUNGE of a message that exists");
            }
            [number, "EXISTS"] => {
                let exists = number.parse().unwrap();
                self.check(is_select || exists > self.messages.len(), "EXISTS that says nothing new");
                if is_select && self.kind == Kind::QResync {
                    // What has vanished is said next.
                    return;
                }
                self.messages.resize_with(exists, Known::default);
            }
            [number, "FETCH", ..] => self.learn(command, number.parse().unwrap(), line, model),
            _ => {}
        }
    }

    /// A FETCH response.
    fn learn(&mut self, command: &str, number: usize, line: &str, model: &Model) {
        let uid = line.contains("UID ").then(|| number_after(line, "UID") as u32);
        if command.starts_with("SELECT") && self.kind == Kind::QResync && number > self.messages.len() {
            self.messages.resize_with(number, Known::default);
        }
        let is_asked = command.contains("FETCH");
        self.check(number >= 1 && number <= self.messages.len(), "FETCH of no message");
        self.check(uid.is_some() || is_asked, "FETCH without UID");
        let has_modseq = line.contains("MODSEQ (");
        self.check(is_asked || has_modseq == (self.kind != Kind::Plain), "MODSEQ is missing, or not asked for");
        let known = self.messages[number - 1].clone();
        let uid = uid.or(known.uid);
        self.check(known.uid.is_none() || known.uid == uid, "FETCH of another message");
        let flags = list_after(line, "FLAGS")
            .map(|flags| flags.into_iter().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect::<Flags>());
        let is = uid.and_then(|uid| model.messages.get(&uid));
        if let (Some((is, _)), Some(flags)) = (is, &flags) {
            self.check(is == flags, "other flags than the message has");
        }
        let modseq = has_modseq.then(|| (number_after(line, "MODSEQ"), is.map_or(0, |(_, version)| *version)));
        let flags = flags.or(known.flags);
        self.messages[number - 1] = Known { uid, flags, modseq: modseq.or(known.modseq) };
    }

    /// SELECT, as a client of this kind synchronizes what it has kept.
    async fn select(&mut self, model: &Model) {
        let mut kept = std::mem::take(&mut self.messages);
        if self.kind == Kind::QResync {
            // It knows all UIDs up to its last one, so that others are new.
            let complete = kept.iter().take_while(|message| message.uid.is_some() && message.flags.is_some()).count();
            kept.truncate(complete);
        }
        let known: BTreeMap<u32, Known> =
            kept.into_iter().filter_map(|message| message.uid.map(|uid| (uid, message))).collect();
        let numbered: Vec<Known> = known.values().cloned().collect();
        let (validity, highest) = (self.uid_validity, self.highest_modseq);
        if self.kind == Kind::QResync && !known.is_empty() {
            self.client.ok("ENABLE QRESYNC").await;
            self.messages = numbered;
            let (uids, last) = (set(known.keys()), known.len());
            let matches = if last % 2 == 0 { format!(" ({last} {})", self.uids()[last - 1]) } else { String::new() };
            let command = format!("SELECT INBOX (QRESYNC ({validity} {highest} {uids}{matches}))");
            let reply = self.run(&command, model).await;
            self.check(reply.contains(" OK [READ-WRITE]"), "SELECT failed");
            let exists = model.messages.len();
            self.check(self.messages.len() <= exists, "messages that have vanished were not reported");
            self.messages.resize_with(exists, Known::default);
        } else {
            let command = match self.kind {
                Kind::Plain => "SELECT INBOX",
                Kind::CondStore => "SELECT INBOX (CONDSTORE)",
                Kind::QResync => {
                    self.client.ok("ENABLE QRESYNC").await;
                    "SELECT INBOX"
                }
            };
            self.messages.clear();
            let reply = self.run(command, model).await;
            self.check(reply.contains(" OK [READ-WRITE]"), "SELECT failed");
            self.messages.resize_with(model.messages.len(), Known::default);
            if self.kind == Kind::CondStore && !known.is_empty() {
                // The UIDs that there are, and then the flags that are new.
                self.run("UID FETCH 1:* UID", model).await;
                for message in &mut self.messages {
                    if let Some(kept) = message.uid.and_then(|uid| known.get(&uid)) {
                        *message = kept.clone();
                    }
                }
                self.run(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {})", highest.max(1)), model).await;
            }
        }
        let selected = self.client.ok("STATUS INBOX (UIDVALIDITY)").await;
        self.uid_validity = number_of(&selected, "UIDVALIDITY");
    }

    /// What a client does that wants to be up to date; then it has to be.
    async fn catch_up(&mut self, model: &Model) {
        self.run("NOOP", model).await;
        let unknown = self.messages.iter().position(|message| message.flags.is_none());
        if let Some(at) = unknown {
            let items = if self.kind == Kind::Plain { "(UID FLAGS)" } else { "(UID FLAGS MODSEQ)" };
            self.run(&format!("FETCH {}:* {items}", at + 1), model).await;
        }
        let expected: Vec<_> =
            model.messages.iter().map(|(uid, (flags, _))| (Some(*uid), Some(flags.clone()))).collect();
        let known: Vec<_> = self.messages.iter().map(|message| (message.uid, message.flags.clone())).collect();
        if known != expected {
            self.fail(&format!("the client knows {known:?},\nand there is {expected:?}"));
        }
    }

    /// Some of the messages that the client knows, as sequence numbers and UIDs.
    fn some(&self, random: &mut Random) -> Vec<(usize, u32)> {
        let known = self.messages.iter().enumerate().filter_map(|(at, message)| Some((at + 1, message.uid?)));
        known.filter(|_| random.below(3) == 0).collect()
    }

    /// Changes flags, with UNCHANGEDSINCE of one message sometimes.
    async fn store(&mut self, random: &mut Random, model: &mut Model) {
        let (mut chosen, flags) = (self.some(random), random.flags());
        let (sign, change) = [('+', "+FLAGS"), ('-', "-FLAGS"), ('=', "FLAGS")][random.below(3)];
        let silent = if random.below(2) == 0 { ".SILENT" } else { "" };
        let Some((number, uid)) = chosen.first().copied() else { return };
        let mut condition = String::new();
        let mut fails = false;
        if let Some((modseq, version)) = self.messages[number - 1].modseq
            && random.below(2) == 0
        {
            chosen.truncate(1);
            condition = format!("(UNCHANGEDSINCE {modseq}) ");
            fails = model.messages.get(&uid).is_some_and(|(_, now)| *now != version);
        }
        if !fails {
            // As the server will have it when it answers.
            chosen.iter().for_each(|(_, uid)| model.store(*uid, sign, &flags));
        }
        let by_uid = random.below(2) == 0;
        let (name, of) = match by_uid {
            true => ("UID STORE", set(chosen.iter().map(|(_, uid)| uid))),
            false => ("STORE", set(chosen.iter().map(|(number, _)| number))),
        };
        for (number, uid) in &chosen {
            // A client that asks for silence knows what it has set.
            let known = &mut self.messages[number - 1];
            if let (".SILENT", false, Some((flags, _))) = (silent, fails, model.messages.get(uid)) {
                known.flags = Some(flags.clone());
            }
        }
        let flags = flags.into_iter().collect::<Vec<_>>().join(" ");
        let reply = self.run(&format!("{name} {of} {condition}{change}{silent} ({flags})"), model).await;
        self.check(reply.contains("[MODIFIED ") == fails, "UNCHANGEDSINCE decided wrongly");
    }

    async fn step(&mut self, random: &mut Random, model: &mut Model) {
        let modseq = if self.kind == Kind::Plain { "" } else { " MODSEQ" };
        match random.below(14) {
            0..5 => self.store(random, model).await,
            5 => {
                let chosen = self.some(random);
                if chosen.is_empty() {
                    return;
                }
                let numbers = set(chosen.iter().map(|(number, _)| number));
                self.run(&format!("FETCH {numbers} (FLAGS{modseq})"), model).await;
            }
            6 => drop(self.run(&format!("UID FETCH 1:* (FLAGS{modseq})"), model).await),
            7 => drop(
                self.run(["SEARCH FLAGGED", "UID SEARCH SEEN", "UID SEARCH 1:* SEEN"][random.below(3)], model).await,
            ),
            8 => {
                model.messages.retain(|_, (flags, _)| !flags.contains("\\Deleted"));
                self.run("EXPUNGE", model).await;
            }
            9 => {
                let chosen: Vec<u32> = self.some(random).into_iter().map(|(_, uid)| uid).collect();
                let is_kept = |uid: &u32, flags: &Flags| !chosen.contains(uid) || !flags.contains("\\Deleted");
                model.messages.retain(|uid, (flags, _)| is_kept(uid, flags));
                if !chosen.is_empty() {
                    self.run(&format!("UID EXPUNGE {}", set(chosen)), model).await;
                }
            }
            10 => {
                let flags = random.flags();
                model.add(flags.clone());
                let flags = flags.into_iter().collect::<Vec<_>>().join(" ");
                self.run(&format!("APPEND INBOX ({flags}) {{14+}}\r\nSubject: x\r\n\r\n"), model).await;
            }
            11 => {
                let chosen: Vec<u32> = self.some(random).into_iter().map(|(_, uid)| uid).take(2).collect();
                model.messages.retain(|uid, _| !chosen.contains(uid));
                if !chosen.is_empty() {
                    self.run(&format!("UID MOVE {} Archive", set(chosen)), model).await;
                }
            }
            12 => {
                let chosen: Vec<u32> = self.some(random).into_iter().map(|(_, uid)| uid).take(2).collect();
                let copied = chosen.iter().filter_map(|uid| model.messages.get(uid).map(|(flags, _)| flags.clone()));
                copied.collect::<Vec<_>>().into_iter().for_each(|flags| model.add(flags));
                if !chosen.is_empty() {
                    self.run(&format!("UID COPY {} INBOX", set(chosen)), model).await;
                }
            }
            _ => self.catch_up(model).await,
        }
    }
}

#[tokio::test]
async fn clients_that_apply_what_they_are_sent_know_the_mailbox() {
    for seed in 1..=RUNS {
        let (mut world, mut random, mut model) = (World::new().await, Random(seed), Model::default());
        let mut sessions = Vec::new();
        for kind in [Kind::Plain, Kind::CondStore, Kind::QResync, Kind::QResync] {
            sessions.push(Session::new(&world, kind, &model).await);
        }
        for _ in 0..COMMANDS {
            let session = random.below(sessions.len());
            match random.below(30) {
                0 => {
                    world = world.restarted().await;
                    for session in &mut sessions {
                        session.client = world.user().await;
                        session.log.push("the daemon was restarted".to_owned());
                        session.select(&model).await;
                    }
                }
                1..3 => {
                    // The connection is lost.
                    let session = &mut sessions[session];
                    session.client = world.user().await;
                    session.log.push("connected again".to_owned());
                    session.select(&model).await;
                    session.catch_up(&model).await;
                }
                3..7 => {
                    model.add(Flags::new());
                    world.arrives("Subject: x\r\n\r\n").await;
                }
                _ => sessions[session].step(&mut random, &mut model).await,
            }
        }
        for session in &mut sessions {
            session.catch_up(&model).await;
        }
        world.shutdown.request();
    }
}
