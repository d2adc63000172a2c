//! Custom domains: the records they need, the judgement of observed records, and the resulting status. Invariant: no
//! I/O; only definite answers can change a status.

pub mod alignment;
pub mod bounds;
pub mod dns_provider;
pub mod event;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/targets/domain.rs"]
pub(crate) mod fuzz;
pub mod judge;
pub mod observed;
pub mod provider;
pub mod reconcile;
pub mod records;
pub mod report;
pub mod rotation;
pub mod spf;
pub mod status;
pub mod tag_list;
pub mod zone_file;

#[cfg(test)]
mod tests {
    use super::judge::{Code, RecordStatus};
    use super::records::Purpose;
    use super::rotation::Role;
    use super::status::{OnUnverified, VerifiedStatus};
    use std::fmt::{Debug, Display};
    use std::str::FromStr;
    use strum::VariantArray as _;

    fn words<T: FromStr<Err: Debug> + Display>(words: &str) {
        for word in words.split(' ') {
            assert_eq!(word.parse::<T>().unwrap().to_string(), word);
        }
    }

    /// They are in the API and in databases: a variant that gets another name keeps its word.
    #[test]
    fn published_words_do_not_change() {
        words::<VerifiedStatus>("pending verified failed");
        words::<OnUnverified>("fallback reject hold");
        words::<Purpose>("dkim mx spf dmarc ownership return_path return_path_spf");
        words::<RecordStatus>("not_checked valid missing mismatch unknown");
        words::<Role>("signing ready retiring");
        let codes = "missing wrong_type wrong_value near_miss suffix_doubled target_suffixed proxied swapped indirect \
            target_without_key quoted_twice txt_truncated leading_space wrong_name spf_missing_include spf_multiple \
            spf_lookup_limit spf_void_lookups spf_syntax spf_broken_include spf_allows_all dmarc_multiple dmarc_invalid \
            dmarc_weaker mx_other_hosts mx_outranked mx_target_is_cname mx_localhost null_mx cname_at_apex \
            servers_disagree lame_delegation still_cached dnssec_bogus resolver_failed awaiting_provider";
        let codes: Vec<_> = codes.split_whitespace().collect();
        assert_eq!(Code::VARIANTS.iter().map(Code::to_string).collect::<Vec<_>>(), codes);
    }
}
