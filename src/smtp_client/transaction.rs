//! One message on a connection: MAIL, RCPT, DATA. Invariant: the data sent ends where the message ends, whatever it
//! contains; a recipient counts as delivered only after a 2yz reply to the end of data. RFC 5321 §3.3, §4.5.2
//! (transparency).

use super::answer::{Answer, Failure};
use super::connection::{Connection, State};
use super::dot_stuffer::DotStuffer;
use super::mail::{Body, OutgoingMail, stored_piece};
use super::timeouts::{END_OF_DATA, PER_BLOCK, PER_RECIPIENT};
use mail_send::Error;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Octets written at a time.
const BLOCK: usize = 64 * 1024;
/// After a failed write: time to read a reply that was sent before.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The answers to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// To MAIL.
    pub mail: Answer,
    /// To RCPT: for each recipient, or up to the one at which the connection ended.
    pub rcpt_to: Vec<Answer>,
    /// To DATA if it was refused, else to the end of data.
    pub data: Option<Answer>,
}

impl Transaction {
    /// The deciding answer for each of the recipients.
    pub fn by_recipient(&self, recipients: usize) -> Vec<Answer> {
        // For those accepted, or not sent any more.
        let last = self.data.as_ref().or(self.rcpt_to.last()).unwrap_or(&self.mail);
        let refused = |at: usize| self.rcpt_to.get(at).filter(|answer| !answer.is_accepted());
        (0..recipients).map(|at| refused(at).unwrap_or(last).clone()).collect()
    }

    /// The connection ended before the end of data, or with a reply that refuses the message.
    pub(super) fn connection_ended(&self) -> bool {
        let may_be_delivered = matches!(self.data, Some(Answer::MaybeDelivered(_)));
        let last = self.data.as_ref().or(self.rcpt_to.last()).unwrap_or(&self.mail);
        !may_be_delivered && last.ends_connection()
    }
}

impl Connection {
    /// Sends one message.
    pub async fn transact(&mut self, mail: &OutgoingMail<'_>) -> Transaction {
        self.messages += 1;
        let refused = |mail| Transaction { mail, rcpt_to: Vec::new(), data: None };
        if self.state == State::NeedsReset {
            let reset = self.command("RSET\r\n").await;
            if !reset.is_accepted() {
                return refused(reset);
            }
            self.state = State::Ready;
        }
        let command = self.mail_command(mail);
        let answer = self.command(&command).await;
        if !answer.is_accepted() {
            return refused(answer);
        }
        self.state = State::NeedsReset;
        let rcpt_to = name_recipients(self, mail).await;
        let ended = rcpt_to.last().is_some_and(Answer::ends_connection);
        let data = if !ended && rcpt_to.iter().any(Answer::is_accepted) { Some(data(self, mail).await) } else { None };
        Transaction { mail: answer, rcpt_to, data }
    }
}

async fn name_recipients(connection: &mut Connection, mail: &OutgoingMail<'_>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(mail.rcpt_to.len());
    for rcpt in mail.rcpt_to {
        let answer = connection.command(&connection.rcpt_command(rcpt)).await;
        mail.allowance.extend(PER_RECIPIENT);
        let ended = answer.ends_connection();
        answers.push(answer);
        if ended {
            break;
        }
    }
    answers
}

/// Sends the data itself, since the library does not stuff a dot at the very first octet and adds a line end to a
/// message that has one.
async fn data(connection: &mut Connection, mail: &OutgoingMail<'_>) -> Answer {
    match connection.command("DATA\r\n").await {
        Answer::Reply(go) if go.code == 354 => {}
        // Otherwise it would count as accepted.
        Answer::Reply(confused) if confused.code / 100 == 2 => return Answer::of_error(&Error::UnparseableReply),
        other => return other,
    }
    let mut writer = DataWriter { connection, mail, stuffer: DotStuffer::default(), block: Vec::new() };
    if let Err(error) = writer.message().await {
        return refused_early(connection, &error).await;
    }
    connection.state = State::Ready;
    let reply = tokio::time::timeout(connection.timeouts.end_of_data, connection.client.read()).await;
    match Answer::of(reply.unwrap_or(Err(Error::Timeout))) {
        Answer::Lost(failure) => Answer::MaybeDelivered(failure),
        reply => reply,
    }
}

/// A server may refuse a message early and close the connection: its reply counts, not the broken pipe.
async fn refused_early(connection: &mut Connection, error: &Error) -> Answer {
    connection.state = State::Broken;
    if !matches!(error, Error::Io(_)) {
        return Answer::of_error(error);
    }
    let reply = tokio::time::timeout(LAST_WORDS, connection.client.read()).await;
    match reply.map(Answer::of) {
        Ok(Answer::Reply(reply)) if matches!(reply.code, 400..=599) => Answer::Reply(reply),
        _ => Answer::of_error(error),
    }
}

/// Writes a message in blocks; a small one in a single write with its end.
struct DataWriter<'a> {
    connection: &'a mut Connection,
    mail: &'a OutgoingMail<'a>,
    stuffer: DotStuffer,
    block: Vec<u8>,
}

impl DataWriter<'_> {
    async fn message(&mut self) -> Result<(), Error> {
        self.block.reserve((self.mail.size() + self.mail.size() / 64 + 16).min(BLOCK + BLOCK / 64));
        self.push(self.mail.header).await?;
        match self.mail.body {
            Body::InMemory(octets) => self.push(octets).await?,
            Body::Stored { store, submission, size } => {
                let mut sent = 0;
                while sent < size {
                    let piece = stored_piece(store, submission, sent).await?;
                    self.push(&piece).await?;
                    sent = sent.saturating_add(piece.len());
                }
            }
        }
        self.mail.allowance.at_least(END_OF_DATA);
        self.block.extend_from_slice(self.stuffer.end());
        self.write().await
    }

    async fn push(&mut self, octets: &[u8]) -> Result<(), Error> {
        for part in octets.chunks(BLOCK) {
            self.stuffer.push(part, &mut self.block);
            if self.block.len() >= BLOCK {
                self.write().await?;
                self.mail.allowance.extend(PER_BLOCK);
            }
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        let stream = &mut self.connection.client.stream;
        let write = async {
            stream.write_all(&self.block).await?;
            stream.flush().await
        };
        tokio::time::timeout(self.connection.timeouts.block, write).await.map_err(|_| Error::Timeout)??;
        self.block.clear();
        Ok(())
    }
}

impl From<Failure> for Transaction {
    fn from(failure: Failure) -> Self {
        Self { mail: Answer::CannotCarry(failure), rcpt_to: Vec::new(), data: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{EnhancedCode, Reply};

    fn reply(code: u16) -> Answer {
        Answer::Reply(Reply::plain(code, ""))
    }

    fn lost() -> Answer {
        Answer::Lost(Failure::new(EnhancedCode(4, 4, 2), "gone"))
    }

    #[test]
    fn each_recipient_has_its_own_refusal_or_the_final_answer() {
        let all = Transaction {
            mail: reply(250),
            rcpt_to: vec![reply(250), reply(550), reply(451), reply(250)],
            data: Some(reply(452)),
        };
        assert_eq!(all.by_recipient(4), [reply(452), reply(550), reply(451), reply(452)]);
        let refused = Transaction { mail: reply(450), rcpt_to: Vec::new(), data: None };
        assert_eq!(refused.by_recipient(2), [reply(450), reply(450)]);
        let broken = Transaction { mail: reply(250), rcpt_to: vec![reply(250), reply(550), lost()], data: None };
        assert_eq!(broken.by_recipient(4), [lost(), reply(550), lost(), lost()]);
        let none = Transaction { mail: reply(250), rcpt_to: vec![reply(550), reply(551)], data: None };
        assert_eq!(none.by_recipient(2), [reply(550), reply(551)]);
    }
}
