//! The statements that a request needs, without the daemon: on its database, read-only. What is committed goes into another database
//! beside it, on the same disk.

use anyhow::Result;
use inboxlayer::message::grams::{Grams, Place};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

pub struct Bare {
    reader: Connection,
    writer: Connection,
}

/// What a list shows of a message.
const LISTED: &str =
    "SELECT m.id, m.flags, m.keywords, m.internal_date, m.changed_at, m.mail_from, m.rcpt_to, m.thread_id,
        b.name, b.special_use, c.size, o.fields
    FROM message m JOIN mailbox b ON b.id = m.mailbox_id JOIN content c ON c.id = m.content_id
        JOIN overview o ON o.content_id = c.id";

impl Bare {
    pub fn open(database: &Path) -> Result<Self> {
        let reader = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        reader.pragma_update(None, "cache_size", -16_384)?;
        let writer = Connection::open(database.with_file_name("bare.db"))?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.execute_batch("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, header TEXT, body TEXT)")?;
        Ok(Self { reader, writer })
    }

    /// Messages that are not indexed.
    pub fn tail(&self) -> Result<i64> {
        Ok(self.reader.query_row("SELECT count(*) FROM search_tail WHERE is_left_out = 0", [], |row| row.get(0))?)
    }

    /// Octets of the index, but for the numbers of documents.
    pub fn index_size(&self) -> Result<i64> {
        Ok(self.reader.query_row("SELECT sum(length(block)) FROM search_gram_data", [], |row| row.get(0))?)
    }

    /// The newest 50.
    pub fn list(&self, inbox: &str) -> Result<()> {
        self.read(&format!("{LISTED} WHERE m.inbox_id = ?1 ORDER BY m.id DESC LIMIT 50"), inbox)
    }

    /// The newest 50 with the label.
    pub fn labelled(&self, inbox: &str) -> Result<()> {
        let of_label = format!("m.keywords = '{}'", crate::mail::LABEL);
        self.read(&format!("{LISTED} WHERE m.inbox_id = ?1 AND {of_label} ORDER BY m.id DESC LIMIT 50"), inbox)
    }

    /// Header and body.
    pub fn get(&self, id: &str) -> Result<()> {
        let sql = "SELECT c.header, b.data FROM message m JOIN content c ON c.id = m.content_id JOIN body b ON b.id = c.body_id WHERE m.id = ?1";
        self.read(sql, id)
    }

    /// The newest 20 that have all the words, with their headers and bodies.
    pub fn search(&self, words: &[&str]) -> Result<()> {
        self.found(&Grams::of_terms(words.iter().map(|word| (Place::Anywhere, *word)), false))
    }

    pub fn sender(&self, address: &str) -> Result<()> {
        self.found(&Grams::of_terms([(Place::From, address)], false))
    }

    fn found(&self, grams: &Grams) -> Result<()> {
        let words = grams.iter().map(|gram| format!("g{gram:x}")).collect::<Vec<_>>().join(" AND ");
        let sql = "SELECT c.header, b.data FROM (SELECT rowid AS number FROM search_gram WHERE search_gram MATCH ?1
                       ORDER BY rowid DESC LIMIT 20) f JOIN search_document d ON d.number = f.number
                   JOIN message m ON m.id = d.message_id JOIN content c ON c.id = m.content_id JOIN body b ON b.id = c.body_id";
        self.read(sql, &words)
    }

    /// A message, its copy for the queue, and what is noted of it.
    pub fn commit(&self, message: &str) -> Result<()> {
        let (header, body) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
        let transaction = self.writer.unchecked_transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO message (header, body) VALUES (?1, ?2)")?;
            insert.execute([header, body])?;
            insert.execute([header, ""])?;
        }
        Ok(transaction.commit()?)
    }

    /// All columns of all rows.
    fn read(&self, sql: &str, value: &str) -> Result<()> {
        let mut statement = self.reader.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([value])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                std::hint::black_box(row.get::<_, rusqlite::types::Value>(column)?);
            }
        }
        Ok(())
    }
}
