//! Identities at Amazon SES: what was asked for there, what it said, and what has to be mended.
//!
//! Invariant: a row stands before the first call for its name and goes when nothing of ours is left there, so that a crash
//! or a lost answer leaves nothing behind that nobody knows of.

use super::{Store, StoreError};
use crate::address::DomainName;
use crate::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// An identity as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesIdentity {
    /// The domain.
    pub name: DomainName,
    /// The tag's value that it is made with.
    pub mark: String,
    /// It bears our mark. Otherwise it was there before us, or SES has not said.
    pub is_ours: bool,
    /// Its three tokens, once SES has said them.
    pub tokens: Option<[String; 3]>,
    /// SES sends for it, and signs, as it said last.
    pub sending: bool,
    /// The MAIL FROM domain of it that SES uses, as it said last.
    pub mail_from: Option<DomainName>,
    /// We have set its MAIL FROM domain.
    pub led: bool,
    /// Tries that failed, in a row.
    pub tries: u32,
    /// Counts the changes of its claims that it has to follow.
    pub changes: u32,
    /// The tokens that claims to the name have got; none without a claim.
    pub claimed_tokens: Option<[String; 3]>,
    /// The return path of the verified claim.
    pub return_path: Option<DomainName>,
}

/// What SES says of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SesReply {
    /// It bears our mark.
    pub is_ours: bool,
    /// Its three tokens.
    pub tokens: [String; 3],
    /// Its DKIM status, in SES's word.
    pub dkim_status: String,
    /// Signing is not switched off.
    pub signs: bool,
    /// SES sends for it, and signs.
    pub sending: bool,
    /// Its MAIL FROM domain, where it has one.
    pub mail_from: Option<MailFrom>,
}

/// A MAIL FROM domain as SES has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailFrom {
    /// The domain.
    pub domain: DomainName,
    /// SES has found its MX record, and uses it.
    pub in_use: bool,
    /// SES no longer looks for that.
    pub given_up: bool,
}

impl SesReply {
    /// Its MAIL FROM domain is this, or will be.
    pub fn leads_to(&self, wanted: &DomainName) -> bool {
        self.mail_from.as_ref().is_some_and(|mail_from| mail_from.domain == *wanted && !mail_from.given_up)
    }

    /// The MAIL FROM domain of mail that leaves now; none: SES's own.
    pub fn mail_from_in_use(&self) -> Option<&DomainName> {
        self.mail_from.as_ref().filter(|mail_from| mail_from.in_use).map(|mail_from| &mail_from.domain)
    }
}

const SELECT: &str = "SELECT name, mark, is_ours, tokens, sending, mail_from, led, tries, changes,
    (SELECT dkim_tokens FROM custom_domain d WHERE d.name = s.name LIMIT 1),
    (SELECT d.return_path || '.' || d.name FROM custom_domain d WHERE d.name = s.name AND d.status = 'verified')
    FROM ses_identity s";

fn three(tokens: Option<String>) -> Option<[String; 3]> {
    let tokens: Vec<String> = tokens?.split_ascii_whitespace().map(str::to_owned).collect();
    tokens.try_into().ok()
}

fn identity(row: &Row<'_>) -> rusqlite::Result<SesIdentity> {
    Ok(SesIdentity {
        name: row.get(0)?,
        mark: row.get(1)?,
        is_ours: row.get(2)?,
        tokens: three(row.get(3)?),
        sending: row.get(4)?,
        mail_from: row.get(5)?,
        led: row.get(6)?,
        tries: row.get(7)?,
        changes: row.get(8)?,
        claimed_tokens: three(row.get(9)?),
        return_path: row.get(10)?,
    })
}

fn find(c: &Connection, name: &DomainName) -> Result<Option<SesIdentity>, StoreError> {
    let sql = format!("{SELECT} WHERE name = ?1");
    Ok(c.prepare_cached(&sql)?.query_row([name], identity).optional()?)
}

impl Store {
    /// Before the first call for a name: that it is going to be made, with this mark. What stands already stays. It is
    /// looked at again at `look_again`, whatever becomes of the call.
    pub async fn ses_intend(
        &self,
        name: &DomainName,
        mark: String,
        now: Timestamp,
        look_again: Timestamp,
    ) -> Result<SesIdentity, StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "INSERT INTO ses_identity (name, mark, created_at, next_try_at) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (name) DO UPDATE SET next_try_at = excluded.next_try_at, tries = 0";
            c.prepare_cached(sql)?.execute(params![name, mark, now, look_again])?;
            find(c, &name)?.ok_or_else(|| StoreError::Corrupt("an identity that was just written is gone".into()))
        })
        .await
    }

    /// What stands of a name.
    pub async fn ses_identity(&self, name: &DomainName) -> Result<Option<SesIdentity>, StoreError> {
        let name = name.clone();
        self.read(move |c| find(c, &name)).await
    }

    /// What SES says of a name.
    pub async fn ses_record_reply(&self, name: &DomainName, said: SesReply) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql =
                "UPDATE ses_identity SET is_ours = ?2, tokens = ?3, dkim_status = ?4, sending = ?5, mail_from = ?6
                       WHERE name = ?1";
            let (tokens, mail_from) = (said.tokens.join(" "), said.mail_from_in_use());
            c.prepare_cached(sql)?.execute(params![
                name,
                said.is_ours,
                tokens,
                said.dkim_status,
                said.sending,
                mail_from
            ])?;
            Ok(())
        })
        .await
    }

    /// Something about a name has to be mended: it is looked at then.
    pub async fn ses_look_at(&self, name: &DomainName, at: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = ?2 WHERE name = ?1";
            c.prepare_cached(sql)?.execute(params![name, at])?;
            Ok(())
        })
        .await
    }

    /// SES has no such identity any more: it is looked at then.
    pub async fn ses_gone(&self, name: &DomainName, look_again: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = ?2, sending = 0, mail_from = NULL WHERE name = ?1";
            c.prepare_cached(sql)?.execute(params![name, look_again])?;
            Ok(())
        })
        .await
    }

    /// Before its MAIL FROM domain is set, and after it was taken away: whether it is for us to take away.
    pub async fn ses_led(&self, name: &DomainName, led: bool) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            c.prepare_cached("UPDATE ses_identity SET led = ?2 WHERE name = ?1")?.execute(params![name, led])?;
            Ok(())
        })
        .await
    }

    /// Nothing is left to mend of what stood in `row`; what has changed since is due.
    pub async fn ses_settled(&self, row: &SesIdentity) -> Result<(), StoreError> {
        let (name, changes) = (row.name.clone(), row.changes);
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET next_try_at = NULL, tries = 0 WHERE name = ?1 AND changes = ?2";
            c.prepare_cached(sql)?.execute(params![name, changes])?;
            Ok(())
        })
        .await
    }

    /// A try failed; the next one is at `next`.
    pub async fn ses_failed(&self, name: &DomainName, next: Timestamp) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "UPDATE ses_identity SET tries = tries + 1, next_try_at = ?2 WHERE name = ?1";
            c.prepare_cached(sql)?.execute(params![name, next])?;
            Ok(())
        })
        .await
    }

    /// Nothing of ours is left at SES: the row goes, unless there is a claim again.
    pub async fn ses_forget(&self, name: &DomainName) -> Result<(), StoreError> {
        let name = name.clone();
        self.write(move |c| {
            let sql = "DELETE FROM ses_identity WHERE name = ?1
                       AND NOT EXISTS (SELECT 1 FROM custom_domain WHERE name = ?1)";
            c.prepare_cached(sql)?.execute([name])?;
            Ok(())
        })
        .await
    }

    /// The names that are due, the one that waits longest first.
    pub async fn ses_due(&self, now: Timestamp, limit: u32) -> Result<Vec<DomainName>, StoreError> {
        self.read(move |c| {
            let sql = "SELECT name FROM ses_identity WHERE next_try_at <= ?1 ORDER BY next_try_at LIMIT ?2";
            let mut statement = c.prepare_cached(sql)?;
            let rows = statement.query_map(params![now, limit], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When the next name is due.
    pub async fn ses_next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|c| {
            Ok(c.prepare_cached("SELECT min(next_try_at) FROM ses_identity")?.query_row([], |row| row.get(0))?)
        })
        .await
    }

    /// How many claims have tokens from SES, and how many from this daemon.
    pub async fn claims_by_provider(&self) -> Result<(u32, u32), StoreError> {
        self.read(|c| {
            let sql = "SELECT count(s.name), count(*) - count(s.name)
                       FROM custom_domain d LEFT JOIN ses_identity s ON s.name = d.name";
            Ok(c.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })
        .await
    }
}
