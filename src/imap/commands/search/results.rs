//! What is returned and saved of the result of a search: RFC 4731 §3.1, RFC 5182 §2.4, RFC 5267 §3.1, RFC 9394 §3.
//!
//! Results are in order: ascending, or as they are sorted.

use crate::imap::wire::data::SearchResults;
use crate::imap::wire::syntax::search::ReturnOptions;

/// Whether there is an ESEARCH response: not if the result is only saved.
pub(super) fn is_returned(options: &ReturnOptions) -> bool {
    options.min || options.max || options.all || options.count || options.partial.is_some()
}

/// What the response says of the numbers that were found.
pub(super) fn results<'a>(options: &ReturnOptions, numbers: &'a [u32]) -> SearchResults<'a> {
    SearchResults {
        min: numbers.first().filter(|_| options.min).copied(),
        max: numbers.last().filter(|_| options.max).copied(),
        count: options.count.then(|| u32::try_from(numbers.len()).unwrap_or(u32::MAX)),
        all: if options.all { numbers } else { &[] },
        partial: options.partial.map(|range| (range, range.of(numbers))),
        modseq: None,
    }
}

/// What SAVE saves of the messages that were found: all of them, or the only ones that are returned.
pub(super) fn saved(options: &ReturnOptions, found: Vec<u32>) -> Vec<u32> {
    if options.all || options.count || !is_returned(options) {
        return found;
    }
    let results = results(options, &found);
    let part = results.partial.map_or(&[][..], |(_, part)| part);
    let mut saved: Vec<u32> = results.min.into_iter().chain(results.max).chain(part.iter().copied()).collect();
    saved.sort_unstable();
    saved.dedup();
    saved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imap::wire::values::PartialRange;
    use std::num::NonZeroU32;

    #[test]
    fn what_is_saved_is_what_the_rfcs_list() {
        let none = ReturnOptions { save: true, ..ReturnOptions::default() };
        let range = PartialRange::FromFirst(NonZeroU32::new(2).unwrap(), NonZeroU32::new(3).unwrap());
        let of = |options| saved(&options, vec![3, 5, 7, 9]);
        let all = [3, 5, 7, 9];
        // RFC 5182 §2.4, RFC 9394 §3.2.
        assert_eq!(of(none), all);
        assert_eq!(of(ReturnOptions { min: true, ..none }), [3]);
        assert_eq!(of(ReturnOptions { max: true, ..none }), [9]);
        assert_eq!(of(ReturnOptions { min: true, max: true, ..none }), [3, 9]);
        assert_eq!(of(ReturnOptions { min: true, count: true, ..none }), all);
        assert_eq!(of(ReturnOptions { all: true, ..none }), all);
        assert_eq!(of(ReturnOptions { partial: Some(range), ..none }), [5, 7]);
        assert_eq!(of(ReturnOptions { partial: Some(range), max: true, ..none }), [5, 7, 9]);
        assert_eq!(of(ReturnOptions { partial: Some(range), count: true, ..none }), all);
    }
}
