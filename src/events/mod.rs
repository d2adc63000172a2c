//! Events: what has changed in an account, for sessions, for background work, and for readers of the log.
//!
//! A verb of the store records each event as a row of the log in its own transaction ([`crate::store::events`]). After the commit it
//! is published to the sessions of this daemon ([`live`]); on a store that several daemons share, to those of the others as well.
//! Invariant: what a session receives is a reason to look at the store, never the data itself: an event that is missed or comes twice
//! does no harm. Readers that must miss none, as webhooks, read the log by [`Cursor`]. What users see of it is [`public`].

mod cursor;
mod event;
mod live;
mod public;

pub use cursor::{Cursor, NotACursor};
pub use event::{DeliveryAttempt, Event, NewEmail};
pub use live::{Events, Origin, Subscription, Wakes};
pub use public::{EventId, NotAType, PublicType};
