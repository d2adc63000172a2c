//! Public events in the order of the log: a page after a cursor, and a reader that waits for the next ones.
//!
//! Invariant: a follower that continues from its cursor gets each selected event once, in the order of the log; an idle one reads
//! nothing.

use super::PublicEvents;
use crate::clock::Timestamp;
use crate::events::{Cursor, Event, PublicType, Wakes};
use crate::id::{AccountId, InboxId, MessageId};
use crate::store::StoreError;
use crate::store::events::LoggedEvent;
use std::collections::BTreeSet;
use std::time::Duration;

/// Rows of the log that are read at a time.
const ROWS: u32 = 500;
/// Reads for one page at most.
const READS: usize = 20;
/// Events that a follower gets together.
const FOLLOWED: usize = 50;
/// Rows of the log that are searched for the first one at or after a time.
const SINCE: u32 = 10_000;
/// Pauses between reads while committed events are not settled: other transactions are open.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The events that a reader wants.
#[derive(Clone, Debug)]
pub struct Selection {
    pub account: AccountId,
    /// Those of one inbox.
    pub inbox: Option<InboxId>,
    /// Those about one email.
    pub email: Option<MessageId>,
    pub types: BTreeSet<PublicType>,
}

impl Selection {
    fn has(&self, event: &Event) -> bool {
        PublicType::of(event).is_some_and(|r#type| self.types.contains(&r#type))
            && (self.email.is_none() || event.email() == self.email)
    }
}

/// Selected events, in the order of the log.
#[derive(Debug)]
pub struct Page {
    pub events: Vec<LoggedEvent>,
    /// The cursor to go on from.
    pub next: Cursor,
    /// Events after the reader's cursor were removed, or the cursor is of another log.
    pub has_gap: bool,
    /// The inbox of the reader is deleted, so no event of it follows.
    pub is_over: bool,
    /// The page ends before the settled end of the log.
    pub has_more: bool,
    /// False if there are committed events behind the settled end.
    is_settled: bool,
}

impl Page {
    fn begin(next: Cursor) -> Self {
        Self { events: Vec::new(), next, has_gap: false, is_over: false, has_more: true, is_settled: true }
    }

    /// Takes those that are wanted, up to `limit` in all.
    fn take(&mut self, of: &Selection, events: Vec<LoggedEvent>, limit: usize) {
        for logged in events {
            self.is_over |= of.inbox.is_some() && matches!(logged.event, Event::InboxDeleted { .. });
            if !of.has(&logged.event) {
                continue;
            }
            if self.events.len() >= limit {
                self.has_more = true;
                break;
            }
            self.events.push(logged);
        }
        if self.events.len() >= limit && self.has_more {
            self.next = self.events.last().map_or(self.next, |last| last.cursor);
        }
    }
}

impl PublicEvents {
    /// Up to `limit` events after a cursor.
    pub async fn page(&self, of: &Selection, after: Cursor, limit: usize) -> Result<Page, StoreError> {
        let store = self.0.store.for_account(&of.account);
        let mut page = Page::begin(after);
        for _ in 0..READS {
            let read = store.events_after(&of.account, of.inbox.as_ref(), page.next, ROWS).await?;
            (page.next, page.has_more, page.is_settled) = (read.next, !read.is_end, read.is_settled);
            page.has_gap |= read.has_gap;
            page.take(of, read.events, limit);
            if page.events.len() >= limit || !page.has_more {
                break;
            }
        }
        Ok(page)
    }

    /// Up to `limit` events before a cursor, or the newest ones, the newest first. The following page is before `next`.
    pub async fn page_before(&self, of: &Selection, before: Option<Cursor>, limit: usize) -> Result<Page, StoreError> {
        let store = self.0.store.for_account(&of.account);
        let (mut page, mut from) = (Page::begin(before.unwrap_or_default()), before);
        for _ in 0..READS {
            let read = store.events_before(&of.account, of.inbox.as_ref(), from, ROWS).await?;
            (page.next, page.has_more, from) = (read.next, !read.is_end, Some(read.next));
            page.take(of, read.events, limit);
            if page.events.len() >= limit || !page.has_more {
                break;
            }
        }
        Ok(page)
    }

    /// The end of the log: what is committed from now on is after it.
    pub async fn end(&self) -> Result<Cursor, StoreError> {
        self.0.store.events_end().await
    }

    /// A cursor before what is logged at or after a time, at most the last [`SINCE`] rows of the account or inbox.
    pub async fn since(
        &self,
        account: &AccountId,
        inbox: Option<&InboxId>,
        time: Timestamp,
    ) -> Result<Cursor, StoreError> {
        self.0.store.for_account(account).events_since(account, inbox, time, SINCE).await
    }

    /// Follows the log from a cursor on.
    pub fn follow(&self, of: Selection, after: Cursor) -> Follower {
        let wakes = self.0.store.events().wakes(&of.account, of.inbox.as_ref());
        let checks = wakes.checks();
        Follower { events: self.clone(), of, cursor: after, wakes, checks, look: Look::Now }
    }
}

/// What a follower gets.
#[derive(Debug)]
pub enum Followed {
    /// At least one event, a gap, or the end.
    Page(Page),
    /// A token of the account was revoked, or events about that were missed.
    CheckToken,
}

/// When a follower reads the log next.
#[derive(Clone, Copy, Debug)]
enum Look {
    Now,
    /// There are events that are not settled.
    After(Duration),
    WhenWoken,
}

/// Reads selected events as they come.
#[derive(Debug)]
pub struct Follower {
    events: PublicEvents,
    of: Selection,
    cursor: Cursor,
    wakes: Wakes,
    /// [`Wakes::checks`] when the token was to be checked last.
    checks: u32,
    look: Look,
}

impl Follower {
    /// Cancel safe.
    pub async fn next(&mut self) -> Result<Followed, StoreError> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.look {
                Look::Now => {}
                Look::After(next) => {
                    tokio::time::sleep(next).await;
                    pause = (2 * next).min(LONGEST_PAUSE);
                }
                Look::WhenWoken => {
                    self.wakes.next().await;
                    self.look = Look::Now;
                }
            }
            let checks = self.wakes.checks();
            if checks != self.checks {
                self.checks = checks;
                return Ok(Followed::CheckToken);
            }
            // In memory only while it reads.
            let page = Box::pin(self.events.page(&self.of, self.cursor, FOLLOWED)).await?;
            self.cursor = page.next;
            self.look = match (page.has_more, page.is_settled) {
                (true, _) => Look::Now,
                (false, false) => Look::After(pause),
                (false, true) => Look::WhenWoken,
            };
            if page.has_gap || page.is_over || !page.events.is_empty() {
                return Ok(Followed::Page(page));
            }
        }
    }

    /// Reads the log at the next call, woken or not.
    pub fn look(&mut self) {
        self.look = Look::Now;
    }

    /// A reader that continues from here has received all events before it.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub fn selection(&self) -> &Selection {
        &self.of
    }
}
