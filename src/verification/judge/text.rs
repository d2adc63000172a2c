//! Common to TXT records, and the ownership secret. RFC 1035 §3.3 (a string has at most 255 octets).

use super::nearness::difference;
use super::{Code, Fix, Judgement, Observation, RecordError, nothing, publish_after, texts};
use crate::verification::bounds::TXT;
use crate::verification::records::Expected;

/// The secret of this claim is among the texts; those of other claims may coexist.
pub(super) fn ownership(expected: &Expected, observation: &Observation) -> Judgement {
    let texts = texts(observation);
    let Expected { name, value, .. } = expected;
    let is_it = |text: &str| text.trim_end() == value;
    if texts.iter().any(|text| is_it(text)) {
        return Judgement::Valid;
    }
    if let Some(text) = texts.iter().find(|text| text.trim() == value) {
        return Judgement::Mismatch(leading_space(expected, text, |step| Fix::with(step, value)));
    }
    if let Some(cut) = texts.iter().find(|text| text.len() >= 6 && value.starts_with(**text)) {
        let message =
            format!("the TXT record at {name} ends in the middle of its value, after {} characters", cut.len());
        let fix = Fix::with(format!("Change the TXT record at {name} to the whole value"), value);
        return Judgement::Mismatch(RecordError::new(Code::TxtTruncated, message, fix));
    }
    let near = texts.iter().find_map(|text| Some((text, difference(text.trim(), value)?)));
    if let Some((text, difference)) = near {
        let message = format!("the TXT record at {name} is {text}, which is almost {value}: {difference}");
        let fix = Fix::with(format!("Change the TXT record at {name} to"), value);
        return Judgement::Mismatch(RecordError::new(Code::NearMiss, message, fix));
    }
    absent(expected, observation, &texts, is_it)
}

/// White space before a value: receivers compare a TXT record from its first character, and so do we. White space
/// after a value is harmless.
pub(super) fn leading_space(expected: &Expected, text: &str, fix: impl Fn(&str) -> Fix) -> RecordError {
    let name = &expected.name;
    let begins: String = text.trim_start().chars().take(20).collect();
    let message = format!(
        "the TXT record at {name} that should begin with {begins} begins with a space or tab, so that receivers ignore it"
    );
    let step = format!("Change the TXT record at {name}, with no space before it, to");
    RecordError::new(Code::LeadingSpace, message, fix(&step))
}

/// Longer than any real record, so it is not parsed.
pub(super) fn too_long(expected: &Expected, kind: &str, code: Code) -> RecordError {
    let Expected { name, value, .. } = expected;
    let message =
        format!("the {kind} record of {name} has more than {TXT} octets: it is too long to be used, and is not read");
    let step = format!("Replace the TXT record at {name} by one with only what you need; ours is");
    RecordError::new(code, message, Fix::with(step, value))
}

/// No text is as expected; perhaps one is without its quotes.
pub(super) fn absent(
    expected: &Expected,
    observation: &Observation,
    texts: &[&str],
    would_do: impl Fn(&str) -> bool,
) -> Judgement {
    let name = &expected.name;
    if let Some(bare) = texts.iter().find_map(|text| unquoted(text).filter(|bare| would_do(bare))) {
        let message = format!("the TXT record at {name} has quotation marks inside its value, so it is not recognised");
        let step = format!(
            "Type the value of the TXT record at {name} without quotation marks (your DNS provider adds them itself)"
        );
        let fix = Fix::bare(step, bare);
        return Judgement::Mismatch(RecordError::new(Code::QuotedTwice, message, fix));
    }
    match nothing(expected, observation) {
        Judgement::Missing(RecordError { code: Code::Missing, .. }) if !texts.is_empty() => {
            let message = format!("none of the TXT records at {name} begins with {}", begins(expected));
            let fix = publish_after("Leave the other TXT records at that name as they are", expected);
            Judgement::Missing(RecordError::new(Code::Missing, message, fix))
        }
        other => other,
    }
}

fn begins(expected: &Expected) -> &str {
    expected.value.split([' ', ';']).next().unwrap_or_default()
}

/// Without quotation marks around it or its parts; `None` if there are none.
pub(super) fn unquoted(text: &str) -> Option<String> {
    let text = text.trim().replace("\\\"", "\"");
    let marks = ['"', '\u{201c}', '\u{201d}', '\u{201e}', '\''];
    if !text.starts_with(marks) && !text.ends_with(marks) {
        return None;
    }
    let inner = text.trim_matches(marks).trim();
    // `"one" "two"`: strings as in zone files.
    Some(inner.replace("\" \"", "").replace('"', ""))
}
