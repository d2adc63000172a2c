//! How to fix a fault: the instructions, and the exact value to enter. Invariant: the value to enter is unchanged. In
//! the text it comes last with nothing attached, or is in quotation marks; inside a sentence it is always in quotation
//! marks.

/// A fix: as a text of its own, and its first step as part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fix {
    pub(super) text: String,
    pub(super) step: String,
    /// The value to enter.
    pub(super) value: Option<String>,
}

impl Fix {
    /// One step without a value. It has no full stop.
    pub(super) fn step(step: impl Into<String>) -> Self {
        let step = step.into();
        Self { text: format!("{step}."), step: small(&step), value: None }
    }

    /// One step with the value to enter at its end.
    pub(super) fn with(step: impl Into<String>, value: impl AsRef<str>) -> Self {
        let (step, value) = (step.into(), value.as_ref());
        let sentence = format!("{} {}", small(&step), quoted(value));
        Self { text: format!("{step}: {}", last(value)), step: sentence, value: Some(value.to_owned()) }
    }

    /// The same where quotation marks would mislead: the sentence omits the value.
    pub(super) fn bare(step: impl Into<String>, value: impl AsRef<str>) -> Self {
        let (step, value) = (step.into(), value.as_ref());
        Self { text: format!("{step}: {}", last(value)), step: small(&step), value: Some(value.to_owned()) }
    }

    /// With a sentence before the step.
    pub(super) fn after(self, sentence: impl AsRef<str>) -> Self {
        Self { text: format!("{} {}", sentence.as_ref(), self.text), ..self }
    }

    /// With a sentence after the step, which has no value.
    pub(super) fn then(self, sentence: impl AsRef<str>) -> Self {
        Self { text: format!("{} {}", self.text, sentence.as_ref()), ..self }
    }
}

/// Instructions without a value.
impl From<&str> for Fix {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), step: small(text.strip_suffix('.').unwrap_or(text)), value: None }
    }
}

impl From<String> for Fix {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

/// A final dot would look like a full stop.
fn last(value: &str) -> String {
    if value.ends_with('.') { quoted(value) } else { value.to_owned() }
}

/// Strings of a TXT record have their own quotation marks.
fn quoted(value: &str) -> String {
    if value.starts_with('"') { value.to_owned() } else { format!("\"{value}\"") }
}

fn small(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|character| format!("{}{}", character.to_lowercase(), characters.as_str()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_to_enter_keeps_every_character() {
        for (value, text, step) in [
            ("v=spf1 ~all", "Change it to: v=spf1 ~all", "change it to \"v=spf1 ~all\""),
            ("t1.example.", "Change it to: \"t1.example.\"", "change it to \"t1.example.\""),
            ("\"a \" \"b\"", "Change it to: \"a \" \"b\"", "change it to \"a \" \"b\""),
        ] {
            let fix = Fix::with("Change it to", value);
            assert_eq!((fix.text.as_str(), fix.step.as_str(), fix.value.as_deref()), (text, step, Some(value)));
        }
        let fix = Fix::with("Change it to", "a b").after("It is wrong.");
        assert_eq!((fix.text.as_str(), fix.step.as_str()), ("It is wrong. Change it to: a b", "change it to \"a b\""));
        let fix = Fix::bare("Type it without marks", "a b");
        assert_eq!((fix.text.as_str(), fix.step.as_str()), ("Type it without marks: a b", "type it without marks"));
        let fix = Fix::step("Wait").then("It passes.");
        assert_eq!((fix.text.as_str(), fix.step.as_str()), ("Wait. It passes.", "wait"));
    }
}
