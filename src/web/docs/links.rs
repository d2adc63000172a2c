//! Links from what a page shows to its paragraph in the guide.

use super::rendering::row_id;

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
    use strum::VariantArray;

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
}
