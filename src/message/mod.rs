//! Messages as bytes: header blocks read and rewritten without touching what need not change, trace fields, reports.
//!
//! Invariant: every octet that the rules do not name leaves as it came. Bytes in, bytes out; all of it reads in linear
//! time. RFC 5322, RFC 5321 §4.4, RFC 3464.
//!
//! A message that goes out takes this way: [`split`], [`outgoing`] on the header block, then that, the body and its
//! [`missing_line_end`]. One that comes in: [`without_results_of`] us, and [`trace`] before it. What became of one: [`report`].
//!
//! What is shown and searched of a message is read here too, the same for REST and IMAP, and within [`ReadLimits`]:
//!
//! | module | reads |
//! | --- | --- |
//! | `fields` | a header block: its fields |
//! | `addresses` | From, To and their like: mailboxes and groups |
//! | `words` | texts in fields: encoded words |
//! | `parameters` | Content-Type, Content-Disposition |
//! | `date` | Date |
//! | `mime` | a body: the tree of its parts |
//! | `casemap` | texts as SORT and THREAD compare them |
//! | `decode`, `charset` | octets of a part: without transfer encoding, as text |
//! | `text` | what of a message is shown: text, HTML, attachments |
//! | `downgrade` | a header block in ASCII, for clients that take no UTF-8 |
//! | `preview` | how its text begins |
//! | `searched` | what SEARCH looks into |
//! | `grams` | the trigrams of that, for the index of searches |
//! | `highlights` | where the words of a search are |
//! | `overview` | the fields that lists show |
//! | `threading` | which thread it belongs to |
//! | `disclosed` | where it holds words of a known form, such as API tokens |
//! | `automatic` | whether a program or a list sent it |
//! | `markup`, `html_text` | HTML: its tags and texts, and what a reader sees of it as text |
//! | `display` | HTML for a frame of the web page: without what acts |
//! | `hidden` | text that a reader does not see |
//! | `extraction` | a reply without its quotes, one-time codes, links |

pub(crate) mod addresses;
mod authors;
pub(crate) mod automatic;
pub(crate) mod casemap;
pub(crate) mod charset;
pub(crate) mod date;
pub(crate) mod decode;
pub mod disclosed;
pub(crate) mod display;
mod display_name;
pub(crate) mod downgrade;
mod dsn;
pub(crate) mod extraction;
pub(crate) mod fields;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/message.rs"]
pub(crate) mod fuzz;
pub mod grams;
mod headers;
pub(crate) mod hidden;
pub(crate) mod highlights;
mod html_text;
mod line_ends;
mod markup;
pub(crate) mod mime;
pub(crate) mod octets_read;
pub(crate) mod overview;
pub(crate) mod parameters;
pub(crate) mod preview;
mod received;
mod rewrite;
pub(crate) mod searched;
pub(crate) mod text;
pub(crate) mod threading;
pub(crate) mod words;

pub use addresses::{addresses_of, mailboxes_in};
pub use authors::is_from_domain;
pub use dsn::{Action, Diagnostic, Report, ReportedRecipient, Returned, report};
pub use fields::ReadLimits;
pub use headers::{NUL_REFUSED, has_nul, hop_count, missing_line_end, split};
pub use line_ends::{BareCr, line_ends_as_crlf, with_crlf};
pub use received::{Trace, trace, with_return_path};

pub use rewrite::{ANSWERS, Outgoing, Submitted, answers, blind_copies, outgoing, with_fields, without_results_of};
pub use text::message_id;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
