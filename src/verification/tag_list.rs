//! Tag lists, `tag=value; tag=value`, as in DKIM keys and DMARC records. RFC 6376 §3.2, RFC 7489 §6.4.

/// The trimmed tags and values of a text; parts that are not `tag=value` are skipped.
pub fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (name.trim(), value.trim()))
}

/// The value of a DMARC tag, whose name is case-insensitive.
pub fn dmarc_tag<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    tags(record).find(|(tag, _)| tag.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// DMARC policies by strictness.
const POLICIES: [&str; 3] = ["none", "quarantine", "reject"];

/// The strictness of a valid DMARC policy.
pub fn strictness(policy: &str) -> Option<usize> {
    POLICIES.iter().position(|known| known.eq_ignore_ascii_case(policy))
}

/// The policy that receivers derive from a DMARC record, for its own domain or for subdomains (`below`). With an
/// invalid `p=` or `sp=` it is `none` if the record has a report address, and there is no policy otherwise (RFC 7489
/// §6.6.3).
pub fn policy_in_effect(record: &str, below: bool) -> Option<&str> {
    // RFC 6376 §3.2: a duplicate tag is invalid.
    if tags(record).filter(|(tag, _)| tag.eq_ignore_ascii_case("p")).count() > 1 {
        return None;
    }
    let (own, sub) = (dmarc_tag(record, "p"), dmarc_tag(record, "sp"));
    let known = |policy: &&str| strictness(policy).is_some();
    match (own.filter(known), sub) {
        (Some(own), None) => Some(own),
        (Some(own), Some(sub)) if known(&sub) => Some(if below { sub } else { own }),
        _ => dmarc_tag(record, "rua").is_some_and(|uris| uris.split(',').any(is_mailto)).then_some("none"),
    }
}

/// The intended policy, allowing for one or two wrong letters.
pub fn nearest_policy(text: &str) -> Option<&'static str> {
    let small = text.trim().to_ascii_lowercase();
    let near = |known: &&&str| strsim::osa_distance(&small, known) <= known.len() / 4;
    POLICIES.iter().find(near).copied()
}

/// The names of DMARC tags, and a common mistake for `p`.
const DMARC_TAGS: [&str; 13] = ["v", "p", "sp", "np", "adkim", "aspf", "pct", "rua", "ruf", "fo", "rf", "ri", "policy"];

/// The intended tags of a DMARC record in lower case, with any separator, and `:` accepted for `=`.
pub fn meant_tags(record: &str) -> Vec<(String, String)> {
    let plain: String = record.chars().filter(|c| !matches!(c, '"' | '\u{201c}' | '\u{201d}')).collect();
    plain.split(';').flat_map(meant_in).collect()
}

/// The tags in a part between semicolons.
fn meant_in(part: &str) -> Vec<(String, String)> {
    let mut begins: Vec<(usize, usize, String)> = Vec::new();
    let mut before = ' ';
    for (at, c) in part.char_indices() {
        let opens = before.is_whitespace() || matches!(before, ',' | ':');
        before = c;
        let Some(rest) = part.get(at..).filter(|_| opens && c.is_ascii_alphabetic()) else { continue };
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).take(8).collect();
        let behind = rest.get(name.len()..).unwrap_or_default().trim_start();
        let name = name.to_ascii_lowercase();
        if behind.starts_with(['=', ':']) && DMARC_TAGS.contains(&name.as_str()) {
            begins.push((at, part.len() - behind.len() + 1, name));
        }
    }
    if begins.is_empty() {
        let own = part.split_once('=').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        return own.filter(|(name, _)| !name.is_empty()).into_iter().collect();
    }
    let ends: Vec<usize> = begins.iter().skip(1).map(|(at, ..)| *at).chain([part.len()]).collect();
    let value = |start: usize, end: usize| {
        let value = part.get(start..end).unwrap_or_default();
        value.trim_matches(|c: char| c.is_whitespace() || matches!(c, ',' | ':')).to_owned()
    };
    let name = |name: String| if name == "policy" { "p".to_owned() } else { name };
    begins.into_iter().zip(ends).map(|((_, start, tag), end)| (name(tag), value(start, end))).collect()
}

/// True for a report address.
pub fn is_mailto(uri: &str) -> bool {
    uri.trim().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"))
}

/// True for a text that receivers take for a DMARC record: it starts with `v=DMARC1`, case-sensitive, without a space
/// before it (RFC 7489 §6.4).
pub fn is_dmarc(text: &str) -> bool {
    if text.starts_with(char::is_whitespace) {
        return false;
    }
    let first = text.split(';').next().unwrap_or_default();
    tags(first).next() == Some(("v", "DMARC1"))
}

/// `p=` of a DKIM key without white space; `None` if missing or revoked.
pub fn dkim_key(record: &str) -> Option<String> {
    let key = tags(record).find(|(tag, _)| *tag == "p").map(|(_, value)| value.split_whitespace().collect::<String>());
    key.filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_parsed_with_and_without_white_space() {
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
        for (record, own, below) in [
            ("v=DMARC1; p=Reject", Some("Reject"), Some("Reject")),
            ("v=DMARC1; p=reject; sp=none", Some("reject"), Some("none")),
            ("v=DMARC1; rua=mailto:a@b.c", Some("none"), Some("none")),
            ("v=DMARC1; p=maybe; rua=https://b.c, MAILTO:a@b.c", Some("none"), Some("none")),
            ("v=DMARC1; p=reject; sp=maybe", None, None),
            ("v=DMARC1; rua=https://b.c", None, None),
            ("v=DMARC1; p=none; p=reject; rua=mailto:a@b.c", None, None),
        ] {
            assert_eq!((policy_in_effect(record, false), policy_in_effect(record, true)), (own, below), "{record}");
        }
        assert_eq!(dkim_key("v=DKIM1; p=AB \t CD").as_deref(), Some("ABCD"));
        assert_eq!((dkim_key("v=DKIM1; p= "), dkim_key("v=DKIM1")), (None, None));
    }
}
