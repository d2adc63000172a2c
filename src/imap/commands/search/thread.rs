//! THREAD. RFC 5256.

use super::facts::{self, Facts, sent_at};
use super::find::{Finder, Stop};
use super::forest::{self, Forest, Message};
use super::{completed, find, numbers};
use crate::imap::context::{CommandError, Context};
use crate::imap::wire::Wire;
use crate::imap::wire::code::Code;
use crate::imap::wire::frame::Tag;
use crate::imap::wire::response::Reply;
use crate::imap::wire::syntax::search::{Algorithm, Thread};
use crate::message::ReadLimits;
use crate::message::casemap::casemap;
use crate::message::fields::Header;
use crate::message::text::message_ids;
use crate::message::threading::base_subject;
use crate::message::words::decoded_words;
use crate::resources::work::WorkError;
use crate::store::open_mailbox::{Depth, Fetched};

/// Messages that are looked at on the way up, to find loops of references.
const STEPS: usize = 100_000_000;

/// THREAD and UID THREAD.
pub async fn thread(
    context: &mut Context<'_>,
    wire: &mut Wire,
    tag: &Tag,
    Thread { algorithm, charset, key, by_uid }: Thread,
) -> Result<Reply, CommandError> {
    let mut finder = Finder::new(context, tag);
    let forest = match find(context, wire, &mut finder, (Some(&charset), &key), by_uid).await {
        Ok(found) => forest(context, wire, &mut finder, &found, algorithm).await,
        Err(stop) => Err(stop),
    };
    match forest {
        Ok((found, forest)) => {
            let numbers = numbers(context, &found, by_uid);
            let mut writer = wire.writer();
            writer.raw("* THREAD");
            if !forest.is_empty() {
                forest.write(writer.raw(" "), &numbers);
            }
            writer.end();
            Ok(completed(context))
        }
        Err(stop) => stop.settled(),
    }
}

impl Facts for Message {
    type Wanted = ();

    fn of(message: &Fetched, limits: &ReadLimits, (): &()) -> Self {
        let header = Header::read(&message.header, limits);
        let subject = header.find("Subject").map(decoded_words).unwrap_or_default();
        let (base, is_reply) = base_subject(&subject);
        let ids = |name| header.find(name).map(message_ids).unwrap_or_default();
        let mut references = ids("References");
        if references.is_empty() {
            references.extend(ids("In-Reply-To").into_iter().next());
        }
        Self {
            sent_at: sent_at(message, &header),
            subject: casemap(&base).into(),
            is_reply,
            id: ids("Message-ID").first().map(|id| hash(id)),
            references: references.iter().map(|id| hash(id)).collect(),
        }
    }

    fn memory(&self) -> usize {
        // With the links, and those of each message that is only referred to.
        const LINKS: usize = 128;
        let references = self.references.len().saturating_mul(size_of::<u128>() + LINKS);
        references.saturating_add(self.subject.len() + size_of::<(u32, Self)>() + LINKS)
    }
}

/// A Message-ID as a number, which is the same with and without quotes (RFC 5256 §3, step 1).
fn hash(id: &str) -> u128 {
    let hash = blake3::hash(id.replace(['"', '\\'], "").as_bytes());
    u128::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

/// The threads of messages, whose UIDs are ascending, and the UIDs of those that still exist.
async fn forest(
    context: &Context<'_>,
    wire: &mut Wire,
    finder: &mut Finder<'_>,
    found: &[u32],
    algorithm: Algorithm,
) -> Result<(Vec<u32>, Forest), Stop> {
    let Some(selected) = &context.selected else { return Ok(Default::default()) };
    let known = facts::read::<Message>(finder, wire, selected, found, (Depth::Header, ())).await?;
    let octets = known.of.iter().map(|(_, message)| message.memory()).sum();
    let _claim = known.claim;
    let (uids, messages): (Vec<u32>, Vec<Message>) = known.of.into_iter().unzip();
    let work = finder.server.reading.work().run(&finder.owner, octets, move |budget| {
        let forest = match algorithm {
            Algorithm::OrderedSubject => Ok(forest::by_subject(&messages)),
            Algorithm::References => forest::by_references(&messages, STEPS),
        };
        budget.check().map(|()| forest)
    });
    let forest: Result<_, WorkError> = wire.watch(work).await?;
    match forest? {
        Ok(forest) => Ok((uids, forest)),
        Err(_) => Err(Reply::no("the references are too tangled, search for fewer messages").code(Code::Limit).into()),
    }
}
