//! Merges several SPF records into one that authorises all previous senders and us.
//!
//! Invariant: the result is one record with at most one `all`, at most one `redirect=` and never both; if the input can be parsed, so
//! can the result. RFC 7208 §3.2 (one record), §3.3 (strings), §5.1 (nothing counts after `all`), §6.1.

/// Maximum octets of one string of a TXT record (RFC 1035 §3.3).
const STRING: usize = 255;

/// The terms of all `records` in order, then the missing ones of `ours`, then one `all` or `redirect=`. Terms after an `all`, which
/// receivers ignore, were meant to count, too. Of different ends the most lenient stays, so that no mail is lost.
pub fn merge(records: &[&str], ours: &str) -> String {
    let ours: Vec<&str> = before_all(ours).filter(|term| !is_modifier(term)).collect();
    let blocks = |term: &str| ours.iter().any(|o| same(bare(term), bare(o)) && !same(passing(term), passing(o)));
    let mut terms: Vec<String> = Vec::new();
    let mut modifiers: Vec<&str> = Vec::new();
    let (mut ends, mut redirects): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for record in records {
        let end = words(record).find(|term| is_all(term));
        for term in words(record).filter(|term| !is_all(term) && !is_modifier(term) && !blocks(term)) {
            add(&mut terms, term);
        }
        for term in words(record).filter(|term| is_modifier(term)) {
            match redirect(term) {
                Some(domain) if end.is_none() => redirects.push(domain),
                Some(_) => {}
                None => modifiers.push(term),
            }
        }
        ends.extend(end);
    }
    redirects.dedup_by(|a, b| same(a, b));
    let end = match (ends.iter().max_by_key(|end| lenience(end)), redirects.as_slice()) {
        (None, []) => None,
        (None, [one]) => Some(format!("redirect={one}")),
        (None, _) => Some("~all".to_owned()),
        // Never suggest a record that authorises everybody.
        (Some(end), _) if lenience(end) == 0 => Some("~all".to_owned()),
        (Some(end), _) => Some((*end).to_owned()),
    };
    if end.as_ref().is_some_and(|end| is_all(end)) {
        redirects.iter().for_each(|domain| add(&mut terms, &format!("include:{domain}")));
    }
    ours.iter().for_each(|term| add(&mut terms, term));
    let mut merged = vec!["v=spf1".to_owned()];
    merged.append(&mut terms);
    merged.extend(end);
    for modifier in modifiers {
        let name = |text: &str| text.split('=').next().unwrap_or_default().to_ascii_lowercase();
        if !merged.iter().skip(1).any(|term| is_modifier(term) && name(term) == name(modifier)) {
            merged.push(modifier.to_owned());
        }
    }
    merged.join(" ")
}

/// A value split into strings of at most 255 octets, for DNS providers that do not split it. Joined without a separator they are the
/// value again.
pub fn strings(value: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = value;
    while rest.len() > STRING {
        let mut at = STRING;
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        // Split after a space, not within a word.
        let at = rest.get(..at).and_then(|part| part.rfind(' ')).map_or(at, |space| space + 1);
        let Some((part, more)) = rest.split_at_checked(at) else { break };
        parts.push(part);
        rest = more;
    }
    parts.push(rest);
    parts
}

/// Without the version.
fn words(record: &str) -> impl Iterator<Item = &str> {
    record.split_ascii_whitespace().skip(1)
}

fn before_all(record: &str) -> impl Iterator<Item = &str> {
    words(record).take_while(|term| !is_all(term))
}

fn add(terms: &mut Vec<String>, term: &str) {
    if !terms.iter().any(|present| same(passing(present), passing(term))) {
        terms.push(term.to_owned());
    }
}

fn is_all(term: &str) -> bool {
    same(bare(term), "all")
}

fn is_modifier(term: &str) -> bool {
    let name = term.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| !name.contains([':', '/']) && !name.starts_with(['+', '-', '~', '?']))
}

fn redirect(term: &str) -> Option<&str> {
    term.split_once('=').filter(|(name, _)| same(name, "redirect")).map(|(_, domain)| domain)
}

/// Without any qualifier.
fn bare(term: &str) -> &str {
    term.strip_prefix(['+', '-', '~', '?']).unwrap_or(term)
}

/// Without the default qualifier `+`.
fn passing(term: &str) -> &str {
    term.strip_prefix('+').unwrap_or(term)
}

fn same(one: &str, other: &str) -> bool {
    one.trim_end_matches('.').eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// `+all` ranks lowest: it is never kept if there is another end.
fn lenience(end: &str) -> u8 {
    match end.chars().next() {
        Some('-') => 1,
        Some('~') => 2,
        Some('?') => 3,
        _ => 0,
    }
}
