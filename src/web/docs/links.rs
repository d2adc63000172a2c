//! Links from what a page shows to its paragraph in the guide.

use super::rendering::row_id;
use maud::{Markup, html};
use strum::VariantArray;

const PAGE: &str = "/docs/verification";

/// About a record's purpose.
pub(in crate::web) fn purpose(purpose: &str) -> String {
    to("the-records", purpose)
}

/// About a record's status.
pub(in crate::web) fn status(status: &str) -> String {
    to("statuses-of-a-record", status)
}

/// About a fault and its fix.
pub(in crate::web) fn code(code: &str) -> String {
    format!("{PAGE}#{}", row_id("codes", code))
}

/// What pages name and the guide explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub(in crate::web) enum Term {
    DomainStatus,
    Capabilities,
    ReturnPath,
    DefaultDomain,
    CatchAll,
    WhileUnverified,
    DkimKeys,
    Rotation,
    Identity,
    Addresses,
    AccessLists,
    MailClients,
    Permissions,
    Webhooks,
    Sending,
    Events,
}

impl Term {
    /// What it is called after "About", and its paragraph.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::DomainStatus => ("statuses and checks", "/docs/verification#how-a-check-works"),
            Self::Capabilities => ("sending and receiving", "/docs/api#a-custom-domain"),
            Self::ReturnPath => ("the return path", "/docs/api#a-return-path-of-its-own"),
            Self::DefaultDomain => ("the default domain", "/docs/api#its-settings-is_default"),
            Self::CatchAll => ("the catch-all inbox", "/docs/api#its-settings-catch_all_inbox_id"),
            Self::WhileUnverified => ("mail while unverified", "/docs/api#its-settings-on_unverified"),
            Self::DkimKeys => ("DKIM keys", "/docs/operations#the-dkim-keys"),
            Self::Rotation => ("rotation", "/docs/operations#rotation"),
            Self::Identity => ("the address that mail leaves under", "/docs/api#before-sending"),
            Self::Addresses => ("addresses and aliases", "/docs/api#an-inbox"),
            Self::AccessLists => ("allow and block lists", "/docs/api#allow-and-block-lists"),
            Self::MailClients => ("setting up mail clients", "/docs/operations#mail-clients-that-set-themselves-up"),
            Self::Permissions => ("permissions", "/docs/api#who-may-do-what"),
            Self::Webhooks => ("webhooks", "/docs/api#webhooks"),
            Self::Sending => ("sending and the queue", "/docs/api#sending"),
            Self::Events => ("events", "/docs/api#events"),
        }
    }
}

/// A link to the paragraph about a term.
pub(in crate::web) fn term(term: Term) -> Markup {
    let (name, place) = term.place();
    html! { a href=(place) { "About " (name) } }
}

/// Rows are named by words as people write them.
fn to(heading: &str, word: &str) -> String {
    format!("{PAGE}#{}", row_id(heading, &word.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::super::pages::PAGES;
    use super::super::pages::tests::ids;
    use super::*;
    use crate::verification::judge::Code;

    #[test]
    fn every_purpose_status_and_code_has_its_paragraph() {
        let page = PAGES.iter().find(|page| page.name == "verification").unwrap();
        let purposes = ["dkim", "mx", "spf", "dmarc", "ownership", "return_path"].map(purpose);
        let statuses = ["not_checked", "valid", "missing", "mismatch", "unknown"].map(status);
        let codes = Code::VARIANTS.iter().map(|one| code(&one.to_string()));
        for link in purposes.into_iter().chain(statuses).chain(codes) {
            let (path, id) = link.split_once('#').unwrap();
            assert!(path == PAGE && ids(page).contains(id), "{link}");
        }
    }

    #[test]
    fn every_term_has_its_paragraph() {
        for term in Term::VARIANTS {
            let (_, place) = term.place();
            let (path, id) = place.split_once('#').unwrap();
            let page = PAGES.iter().find(|page| path == format!("/docs/{}", page.name)).unwrap();
            assert!(ids(page).contains(id), "{place}");
        }
    }
}
