//! How the texts of listed emails begin, and whether they have attachments. Invariant: of each email, the first [`READ`] octets are read.

use super::unless_damaged;
use crate::http::HttpContext;
use crate::http::body::no_room;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::message::ReadLimits;
use crate::message::mime::Tree;
use crate::message::split;
use crate::message::text::content;
use crate::resources::Owner;
use crate::resources::spool::PATIENCE;
use crate::store::messages::{Headed, ListedHeader};
use crate::views::email::EmailJson;

/// Octets of an email that are read.
const READ: usize = 16 * 1024;
/// Octets of its text that are looked at.
const TEXT: usize = 4 * 1024;
/// Characters of a preview.
const SHOWN: usize = 160;
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

/// How the text of a message begins, and whether it has attachments. One that is cut has them if it says that its parts are mixed.
fn beginning(raw: &[u8], is_cut: bool, limits: &ReadLimits) -> (String, bool) {
    let (header, body) = split(raw);
    let tree = Tree::parse(header, body, limits);
    let content = content(&tree, TEXT);
    let is_mixed = tree.root.content_type.is("multipart", "mixed");
    let text = content.as_text();
    let mut preview = String::with_capacity(SHOWN);
    let words = text.lines().filter(|line| !line.trim_start().starts_with('>')).flat_map(str::split_whitespace);
    for word in words {
        if preview.chars().count() + word.chars().count() >= SHOWN {
            let left = SHOWN.saturating_sub(preview.chars().count());
            preview.extend(word.chars().take(left));
            break;
        }
        preview.push_str(word);
        preview.push(' ');
    }
    (preview.trim_end().to_owned(), !content.attachments.is_empty() || (is_cut && is_mixed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_the_text_without_quotes_in_one_line() {
        let of = |raw: &str, is_cut| beginning(raw.replace('\n', "\r\n").as_bytes(), is_cut, &ReadLimits::default());
        assert_eq!(of("Subject: x\n\nAt  noon?\n> yes\n\nAnn\n", false), ("At noon? Ann".to_owned(), false));
        let html = "Content-Type: text/html\n\n<p>One</p><p>two</p>";
        assert_eq!(of(html, false).0, "One two");
        let mixed = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nhi\n";
        assert_eq!(of(mixed, true), ("hi".to_owned(), true));
        assert!(!of(mixed, false).1);
        let part = format!("{mixed}--b\nContent-Type: image/png\n\nx\n--b--\n");
        assert_eq!(of(&part, false), ("hi".to_owned(), true));
        let long = format!("A: b\n\n{}", "a".repeat(5000));
        assert_eq!(of(&long, false).0.len(), SHOWN);
        let many = format!("A: b\n\n{}", "ab ".repeat(5000));
        assert!(of(&many, false).0.len() <= SHOWN);
    }
}
