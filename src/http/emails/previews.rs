//! How the texts of listed emails begin, and whether they have attachments. Invariant: of each email, the first [`READ`] octets are read.

use super::unless_damaged;
use crate::http::HttpContext;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::message::preview::{READ, beginning};
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::messages::{Headed, ListedHeader};
use crate::views::email::EmailJson;

/// Memory for reading an email, as a multiple of what is read.
const FACTOR: usize = 4;

/// Messages as JSON, with their previews where those are wanted.
pub(super) async fn show_all(
    caller: &Caller,
    context: &HttpContext,
    owner: Owner,
    rows: Vec<Headed<ListedHeader>>,
    with_previews: bool,
) -> Result<Vec<EmailJson>, Problem> {
    let places: Vec<_> =
        rows.iter().map(|Headed { message: m, .. }| (m.inbox.clone(), m.id.clone(), m.content)).collect();
    let mut emails = super::show_all(caller, context, owner.clone(), rows).await?;
    if !with_previews {
        return Ok(emails);
    }
    let store = caller.store(context);
    let mut work = caller.spool.claim();
    work.wait_to_grow(READ.saturating_mul(FACTOR), PATIENCE).await.map_err(no_room)?;
    for (email, (inbox, id, content)) in emails.iter_mut().zip(places) {
        let read = store.message_range(&inbox, &id, 0..READ).await;
        let Some((size, raw)) = unless_damaged(read, &id)? else { continue };
        let is_cut = raw.len() < size;
        let begins = context.reading.read(&owner, raw.len(), move |reader, budget| {
            budget.check()?;
            Ok(beginning(&raw, is_cut, &reader.begin(content).limits))
        });
        let (preview, has_attachments) = begins.await?;
        (email.preview, email.has_attachments) = (Some(preview), Some(has_attachments));
    }
    Ok(emails)
}
