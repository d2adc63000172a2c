//! Messages that look like mail to an index: words by their frequency, a few senders, a word of their own.

/// In one message of about a hundred.
pub const PHRASE: &str = "quarterly invoice";
/// Of one message in ten.
pub const LABEL: &str = "bench";
pub const LABELLED: usize = 10;
const SENDERS: usize = 200;
const WORDS: usize = 20_000;
const LENGTH: usize = 250;

/// A word that only this message has.
pub fn reference(number: usize) -> String {
    format!("ref{:08x}", number.wrapping_mul(0x9E37_79B1) & 0xFFFF_FFFF)
}

pub fn sender(number: usize) -> String {
    format!("sender{}@example.org", number % SENDERS)
}

pub fn text(number: usize) -> String {
    let mut state = number as u64 + 1;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1_u64 << 31) as f64
    };
    let mut text = String::new();
    for n in 0..LENGTH {
        // A few words often, many rarely.
        text.push_str(&word((WORDS as f64).powf(random()) as usize));
        text.push_str(if n % 12 == 11 { "\r\n" } else { " " });
    }
    if number.is_multiple_of(97) {
        text.push_str(PHRASE);
    }
    text.push_str("\r\n");
    text
}

pub fn message(number: usize) -> String {
    format!(
        "From: Sender <{}>\r\nTo: bench@inboxlayer.dev\r\nSubject: {} about {}\r\nMessage-ID: <{number}@example.org>\r\nDate: Tue, 24 Nov 2026 05:31:07 +0000\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}",
        sender(number),
        word(number % WORDS),
        reference(number),
        text(number)
    )
}

/// The word of a number: syllables.
fn word(mut number: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["an", "ber", "con", "de", "el", "for", "ga", "hi", "in", "ko", "li", "mo", "ne", "or", "pa", "ti"];
    let mut word = String::new();
    loop {
        word.push_str(SYLLABLES[number % SYLLABLES.len()]);
        number /= SYLLABLES.len();
        if number == 0 {
            return word;
        }
    }
}
