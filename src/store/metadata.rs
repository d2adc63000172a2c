//! Annotations of mailboxes and of an inbox as a whole: METADATA (RFC 5464).
//!
//! Invariant: `/private` and `/shared` entries are both of the owner of the inbox alone, since an inbox has one. An entry of a
//! mailbox goes with it: a rename keeps it, a deletion removes it. INBOX keeps its entries when its messages move to a new
//! mailbox. An inbox has at most `limits.metadata_entries` of them, which are not counted to its quota.

use super::hot_rows::HotRow;
use super::keywords::InboxLimits;
use super::{Store, StoreError, Transaction, mailboxes};
use crate::config::Limits;
use crate::events::Event;
use crate::id::{InboxId, MailboxId};
use crate::store::engine::{Row, params};
use std::collections::BTreeMap;

/// The maximum length of a name, in octets.
pub const NAME_OCTETS: usize = 255;

#[derive(Clone, Copy, Debug)]
pub struct MetadataLimits {
    /// Entries of an inbox, those of its mailboxes included.
    pub entries: u32,
    /// Octets of one value.
    pub value: usize,
}

impl From<&Limits> for MetadataLimits {
    fn from(limits: &Limits) -> Self {
        Self { entries: limits.metadata_entries, value: limits.metadata_value_size }
    }
}

/// The name of an entry, or `/private` or `/shared`, which have entries below. In lower case: names are compared without regard to
/// case (RFC 5464 §3.2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryName(String);

impl EntryName {
    /// `None` if RFC 5464 §3.2 forbids the name, or if it is longer than [`NAME_OCTETS`].
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii() && !c.is_ascii_control() && !matches!(c, '*' | '%');
        let mut parts = name.strip_prefix('/')?.split('/');
        let is_rooted = matches!(parts.next(), Some("private" | "shared"));
        let is_valid = is_rooted && parts.all(|part| !part.is_empty()) && name.chars().all(allowed);
        (is_valid && name.len() <= NAME_OCTETS).then_some(Self(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True of `/private` and `/shared`, which have no value.
    fn is_root(&self) -> bool {
        !self.0.trim_start_matches('/').contains('/')
    }
}

/// What has entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotated {
    /// The inbox as a whole: the mailbox name `""` of the commands.
    Inbox,
    Mailbox(String),
}

/// DEPTH of GETMETADATA (RFC 5464 §4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EntryDepth {
    /// The named entries alone.
    #[default]
    Zero,
    /// And those directly below.
    One,
    Infinity,
}

impl EntryDepth {
    fn includes(self, wanted: &EntryName, found: &EntryName) -> bool {
        let Some(below) = found.0.strip_prefix(&wanted.0) else { return false };
        let levels = below.matches('/').count();
        match self {
            Self::Zero => below.is_empty(),
            Self::One => below.is_empty() || (below.starts_with('/') && levels == 1),
            Self::Infinity => below.is_empty() || below.starts_with('/'),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("there is no mailbox with this name")]
    NoSuchMailbox,
    #[error("the entry {0} can have no value: name one below it")]
    IsRoot(String),
    #[error("a value of metadata has at most {0} octets (limits.metadata_value_size)")]
    TooLarge(usize),
    #[error("the inbox has reached the limit of {0} metadata entries (limits.metadata_entries): remove some")]
    TooMany(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An entry with its value.
pub type Entry = (EntryName, Vec<u8>);

/// Where the entries of something are.
enum Rows {
    Inbox(InboxId),
    Mailbox(MailboxId),
}

impl Rows {
    fn find(connection: &Transaction<'_>, inbox: &InboxId, of: &Annotated) -> Result<Self, MetadataError> {
        match of {
            Annotated::Inbox => Ok(Self::Inbox(inbox.clone())),
            Annotated::Mailbox(name) => {
                let found = mailboxes::find(connection, inbox, name)?;
                found.map(Self::Mailbox).ok_or(MetadataError::NoSuchMailbox)
            }
        }
    }

    fn entries(&self, connection: &Transaction<'_>, name: &EntryName) -> Result<Vec<Entry>, StoreError> {
        // `0` is the character after `/`.
        let (from, end) = (format!("{}/", name.0), format!("{}0", name.0));
        let row = |row: &Row<'_>| Ok((EntryName(row.get(0)?), row.get(1)?));
        let named = "(name = ?2 OR (name >= ?3 AND name < ?4)) ORDER BY name";
        match self {
            Self::Inbox(inbox) => {
                let sql = format!("SELECT name, value FROM inbox_metadata WHERE inbox_id = ?1 AND {named}");
                connection.query(&sql, params![inbox, name.0, from, end], row)
            }
            Self::Mailbox(mailbox) => {
                let sql = format!("SELECT name, value FROM mailbox_metadata WHERE mailbox_id = ?1 AND {named}");
                connection.query(&sql, params![mailbox, name.0, from, end], row)
            }
        }
    }

    fn set(&self, connection: &Transaction<'_>, name: &EntryName, value: &[u8]) -> Result<(), StoreError> {
        match self {
            Self::Inbox(inbox) => connection.execute(
                "INSERT INTO inbox_metadata (inbox_id, name, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (inbox_id, name) DO UPDATE SET value = excluded.value",
                params![inbox, name.0, value],
            ),
            Self::Mailbox(mailbox) => connection.execute(
                "INSERT INTO mailbox_metadata (mailbox_id, name, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (mailbox_id, name) DO UPDATE SET value = excluded.value",
                params![mailbox, name.0, value],
            ),
        }
        .map(drop)
    }

    fn remove(&self, connection: &Transaction<'_>, name: &EntryName) -> Result<(), StoreError> {
        match self {
            Self::Inbox(inbox) => connection
                .execute("DELETE FROM inbox_metadata WHERE inbox_id = ?1 AND name = ?2", params![inbox, name.0]),
            Self::Mailbox(mailbox) => connection
                .execute("DELETE FROM mailbox_metadata WHERE mailbox_id = ?1 AND name = ?2", params![mailbox, name.0]),
        }
        .map(drop)
    }
}

/// Entries of an inbox and its mailboxes.
fn count(connection: &Transaction<'_>, inbox: &InboxId) -> Result<u32, StoreError> {
    let sql = "SELECT (SELECT count(*) FROM inbox_metadata WHERE inbox_id = ?1)
                   + (SELECT count(*) FROM mailbox_metadata a JOIN mailbox b ON b.id = a.mailbox_id WHERE b.inbox_id = ?1)";
    connection.query_row(sql, params![inbox], |row| row.get(0))
}

/// Removes the entries of a mailbox that is deleted.
pub(super) fn remove_all(connection: &Transaction<'_>, mailbox: MailboxId) -> Result<(), StoreError> {
    connection.execute("DELETE FROM mailbox_metadata WHERE mailbox_id = ?1", params![mailbox]).map(drop)
}

impl Store {
    /// GETMETADATA: the named entries that exist and, by `depth`, those below them, ordered by name.
    pub async fn metadata(
        &self,
        inbox: &InboxId,
        of: Annotated,
        names: Vec<EntryName>,
        depth: EntryDepth,
    ) -> Result<Vec<Entry>, MetadataError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let (rows, mut found) = (Rows::find(connection, &inbox, &of)?, BTreeMap::new());
            for name in &names {
                let entries = rows.entries(connection, name)?;
                found.extend(entries.into_iter().filter(|(entry, _)| depth.includes(name, entry)));
            }
            Ok(found.into_iter().collect())
        })
        .await
    }

    /// For LIST with METADATA (RFC 9590): the named entries of all mailboxes of an inbox, ordered by mailbox and entry.
    pub async fn metadata_of_mailboxes(
        &self,
        inbox: &InboxId,
        names: Vec<EntryName>,
    ) -> Result<Vec<(String, Entry)>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = format!(
                "SELECT b.name, a.name, a.value FROM mailbox b JOIN mailbox_metadata a ON a.mailbox_id = b.id
                 WHERE b.inbox_id = ?1 AND a.name IN (SELECT value ->> 0 FROM {}) ORDER BY b.name, a.name",
                connection.items(2)
            );
            let names = names.iter().map(|name| serde_json::json!([name.0])).collect::<crate::store::engine::List>();
            let row = |row: &Row<'_>| Ok((row.get(0)?, (EntryName(row.get(1)?), row.get(2)?)));
            connection.query(&sql, params![inbox, names], row)
        })
        .await
    }

    /// SETMETADATA: sets entries, and removes those without a value: all or none.
    pub async fn metadata_set(
        &self,
        inbox: &InboxId,
        of: Annotated,
        entries: Vec<(EntryName, Option<Vec<u8>>)>,
        InboxLimits { metadata: limits, .. }: InboxLimits,
    ) -> Result<(), MetadataError> {
        for (name, value) in &entries {
            if name.is_root() {
                return Err(MetadataError::IsRoot(name.0.clone()));
            }
            if value.as_ref().is_some_and(|value| value.len() > limits.value) {
                return Err(MetadataError::TooLarge(limits.value));
            }
        }
        let (hot_row, inbox) = ([HotRow::Inbox(inbox.clone())], inbox.clone());
        self.write_serialized(&hot_row, move |connection| {
            let (rows, before) = (Rows::find(connection, &inbox, &of)?, count(connection, &inbox)?);
            for (name, value) in &entries {
                match value {
                    Some(value) => rows.set(connection, name, value)?,
                    None => rows.remove(connection, name)?,
                }
            }
            let mailbox = match rows {
                Rows::Inbox(_) => None,
                Rows::Mailbox(mailbox) => {
                    // RFC 7162 §3.2.
                    mailboxes::next_uids(connection, mailbox, 0)?;
                    Some(mailbox)
                }
            };
            let entries = entries.iter().map(|(name, _)| name.0.clone()).collect();
            let event = Event::MetadataChanged { inbox_id: inbox.clone(), mailbox, entries };
            connection.publish_of_inbox(&inbox, event)?;
            let is_over = count(connection, &inbox)? > limits.entries.max(before);
            if is_over { Err(MetadataError::TooMany(limits.entries)) } else { Ok(()) }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::MailboxService;
    use crate::store::testing::{inbox, limits, store_with_account};

    fn name(name: &str) -> EntryName {
        EntryName::parse(name).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn names_are_those_of_the_rfc() {
        for valid in ["/private", "/shared", "/shared/comment", "/Private/Vendor/cmu/Blob.x-1 y"] {
            assert_eq!(name(valid).as_str(), valid.to_ascii_lowercase());
        }
        let long = format!("/private/{}", "x".repeat(NAME_OCTETS - 8));
        for invalid in [
            "",
            "/",
            "private/x",
            "/other/x",
            "/privatex",
            "/private/",
            "/private//x",
            "/shared/a*",
            "/shared/%",
            "/shared/ü",
            "/shared/a\tb",
            &long,
        ] {
            assert_eq!(EntryName::parse(invalid), None, "{invalid}");
        }
        assert!(EntryName::parse(&long[1..]).is_none() && EntryName::parse(&long[..NAME_OCTETS]).is_some());
    }

    struct World {
        store: Store,
        service: MailboxService,
        inbox: InboxId,
    }

    impl World {
        async fn get(&self, of: &str, names: &[&str], depth: EntryDepth) -> String {
            let names = names.iter().map(|one| name(one)).collect();
            let found = self.store.metadata(&self.inbox, annotated(of), names, depth).await.unwrap();
            let show = |(name, value): &Entry| format!("{}={}", name.as_str(), String::from_utf8_lossy(value));
            found.iter().map(show).collect::<Vec<_>>().join(" ")
        }

        async fn set(&self, of: &str, entries: &[(&str, Option<&str>)]) -> Result<(), MetadataError> {
            let entries = entries.iter().map(|(one, value)| (name(one), value.map(|value| value.as_bytes().to_vec())));
            self.service.set_metadata(&self.inbox, annotated(of), entries.collect()).await
        }
    }

    fn annotated(of: &str) -> Annotated {
        if of.is_empty() { Annotated::Inbox } else { Annotated::Mailbox(of.to_owned()) }
    }

    #[tokio::test]
    async fn entries_are_found_by_depth_and_go_with_their_mailbox() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let service = MailboxService::new(store.clone(), limits(u64::MAX));
        let world = World { store, service, inbox };
        let all = EntryDepth::Infinity;
        let entries = [
            ("/shared/comment", Some("hello\0")),
            ("/private/a", Some("1")),
            ("/private/a/b", Some("2")),
            ("/private/a/b/c", Some("3")),
            ("/private/ab", Some("4")),
            ("/private/a.b", Some("")),
        ];
        for of in ["", "INBOX", "Archive"] {
            world.set(of, &entries).await.unwrap();
        }
        world
            .set("Archive", &[("/PRIVATE/AB", None), ("/private/a", Some("x")), ("/private/none", None)])
            .await
            .unwrap();
        assert_eq!(
            world.get("", &["/shared/comment", "/private/none"], EntryDepth::Zero).await,
            "/shared/comment=hello\0"
        );
        let own = "/private/a=1 /private/a/b=2";
        assert_eq!(world.get("", &["/private/a"], EntryDepth::One).await, own);
        assert_eq!(world.get("", &["/private/a", "/private/a/b"], all).await, format!("{own} /private/a/b/c=3"));
        assert_eq!(world.get("", &["/private"], EntryDepth::One).await, "/private/a=1 /private/a.b= /private/ab=4");
        assert_eq!(world.get("Archive", &["/private"], EntryDepth::One).await, "/private/a=x /private/a.b=");
        assert_eq!(world.get("", &["/private"], EntryDepth::Zero).await, "");
        let listed = world.store.metadata_of_mailboxes(&world.inbox, vec![name("/private/a"), name("/shared/none")]);
        let wanted = |of: &str, value: &[u8]| (of.to_owned(), (name("/private/a"), value.to_vec()));
        assert_eq!(listed.await.unwrap(), [wanted("Archive", b"x"), wanted("INBOX", b"1")]);

        world.service.rename(&world.inbox, "Archive", "Kept").await.unwrap();
        assert_eq!(world.get("Kept", &["/private/a"], EntryDepth::Zero).await, "/private/a=x");
        world.service.rename(&world.inbox, "INBOX", "Old").await.unwrap();
        assert_eq!(world.get("INBOX", &["/private/ab"], EntryDepth::Zero).await, "/private/ab=4");
        assert_eq!(world.get("Old", &["/private"], all).await, "");
        world.service.delete(&world.inbox, "Kept").await.unwrap();
        world.service.create(&world.inbox, "Kept").await.unwrap();
        assert_eq!(world.get("Kept", &["/private", "/shared"], all).await, "");
        let gone = world.set("Archive", &entries).await;
        assert!(matches!(gone, Err(MetadataError::NoSuchMailbox)), "{gone:?}");
        let of = world.inbox.clone();
        assert_eq!(world.store.read(move |c| count(c, &of)).await.unwrap(), 12);
    }

    #[tokio::test]
    async fn entries_and_values_are_limited_and_set_all_or_none() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        let mut few = limits(u64::MAX);
        few.metadata = MetadataLimits { entries: 2, value: 3 };
        let service = MailboxService::new(store.clone(), few);
        let world = World { store, service, inbox };
        let large = world.set("", &[("/shared/a", Some("1")), ("/shared/b", Some("four"))]).await;
        assert!(matches!(large, Err(MetadataError::TooLarge(3))), "{large:?}");
        let root = world.set("", &[("/shared", Some("1"))]).await;
        assert!(matches!(root, Err(MetadataError::IsRoot(_))), "{root:?}");
        world.set("Junk", &[("/shared/a", Some("123"))]).await.unwrap();
        let many = world.set("", &[("/shared/a", Some("1")), ("/shared/b", Some("2"))]).await;
        assert!(matches!(many, Err(MetadataError::TooMany(2))), "{many:?}");
        assert_eq!(world.get("", &["/shared"], EntryDepth::Infinity).await, "");
        world.set("", &[("/shared/a", Some("1"))]).await.unwrap();
        // At the limit, another value and the removal of one for another are accepted.
        world.set("", &[("/shared/a", Some("2"))]).await.unwrap();
        world.set("", &[("/shared/a", None), ("/shared/b", Some("3"))]).await.unwrap();
        assert_eq!(world.get("", &["/shared"], EntryDepth::Infinity).await, "/shared/b=3");
        world.service.delete(&world.inbox, "Junk").await.unwrap();
        world.set("", &[("/shared/a", Some("1"))]).await.unwrap();
    }
}
