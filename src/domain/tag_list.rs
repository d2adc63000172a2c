//! Tag lists, `tag=value; tag=value`: how DKIM keys and DMARC records are written. RFC 6376 §3.2, RFC 7489 §6.4.

/// The tags of a text with their values, without the white space around either; what is no `tag=value` is left out.
pub fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

/// The value of a tag of a DMARC record, whose names are the same in capitals.
pub fn dmarc_tag<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    tags(record).find(|(tag, _)| tag.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The policy for subdomains of the domain that the record stands at: `sp=`, or else `p=`.
pub fn policy_below(record: &str) -> &str {
    dmarc_tag(record, "sp").or_else(|| dmarc_tag(record, "p")).unwrap_or("none")
}

/// A record that receivers take for a DMARC record: `v=DMARC1` comes first, in just these letters.
pub fn is_dmarc(text: &str) -> bool {
    let first = text.split(';').next().unwrap_or_default();
    tags(first).next() == Some(("v", "DMARC1"))
}

/// `p=` of a DKIM key, without the white space in it; none where there is no key, or it is revoked.
pub fn dkim_key(record: &str) -> Option<String> {
    let key = tags(record).find(|(tag, _)| *tag == "p").map(|(_, value)| value.split_whitespace().collect::<String>());
    key.filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_with_space_around_them_or_none() {
        assert_eq!(
            tags(" v = DMARC1 ;p=none;; x ;rua=mailto:a@b?c=d ").collect::<Vec<_>>(),
            [("v", "DMARC1"), ("p", "none"), ("rua", "mailto:a@b?c=d")]
        );
        assert_eq!((dmarc_tag("v=DMARC1; P=Reject", "p"), dmarc_tag("v=DMARC1", "p")), (Some("Reject"), None));
        for (text, is_one) in
            [("v=DMARC1;", true), ("v = DMARC1; p=none", true), ("v=dmarc1;", false), ("p=none; v=DMARC1", false)]
        {
            assert_eq!(is_dmarc(text), is_one, "{text}");
        }
        assert_eq!(dkim_key("v=DKIM1; p=AB \t CD").as_deref(), Some("ABCD"));
        assert_eq!((dkim_key("v=DKIM1; p= "), dkim_key("v=DKIM1")), (None, None));
    }
}
