//! SEARCH. RFC 3501 §6.4.4.

use super::Fault;
use crate::imap::response::Answer;
use crate::imap::session::Session;
use crate::imap::wire::Wire;
use imap_codec::imap_types::command::CommandBody;
use imap_codec::imap_types::core::{Charset, Vec1};
use imap_codec::imap_types::search::SearchKey;

/// Reads a SEARCH that the codec does not.
pub(in crate::imap) fn by_hand(bytes: &[u8]) -> Option<CommandBody<'static>> {
    let _ = bytes;
    None
}

impl Session<'_> {
    /// SEARCH and UID SEARCH.
    pub async fn search(
        &mut self,
        wire: &mut Wire,
        charset: Option<&Charset<'static>>,
        criteria: Vec1<SearchKey<'static>>,
        by_uid: bool,
    ) -> Result<Answer, Fault> {
        let _ = (wire, charset, criteria, by_uid);
        Ok(Answer::no("not yet"))
    }
}
