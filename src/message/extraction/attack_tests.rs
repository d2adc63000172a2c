//! Messages made to cost work: of twice the message at most twice the octets are looked at, and what is found is bounded.

use super::*;
use crate::message::fields::ReadLimits;
use crate::message::octets_read;
use crate::message::text::Flow;

/// Octets of a shape; twice as many are compared with it.
const SMALL: usize = 8000;
/// Octets of the largest text: half of what the API shows of a message.
const LARGE: usize = 1024 * 1024;
const CONSTANT: usize = 32 * 1024;

fn of(piece: &str, octets: usize, is_html: bool) -> Extraction {
    let header = b"From: Ann Lee <ann@example.org>\r\nIn-Reply-To: <a@b>\r\nSubject: Re: your code\r\n\r\n";
    let header = Header::read(header, &ReadLimits::default());
    let shown = Some(piece.repeat(octets / piece.len()));
    let (text, html) = if is_html { (None, shown) } else { (shown, None) };
    extract(&header, &Content { text, html, flow: Flow::Fixed, truncated: false, attachments: Vec::new() })
}

fn looked_at(piece: &str, octets: usize, is_html: bool) -> usize {
    octets_read::during(|| {
        let found = of(piece, octets, is_html);
        assert!(found.codes.len() <= codes::LIMIT && found.links.len() <= links::LIMIT, "{piece}");
        assert!(found.text.len() <= octets + lines::LIMIT * (lines::DEEPEST + 2), "{piece}: {}", found.text.len());
    })
}

#[test]
fn twice_the_page_is_at_most_twice_the_work() {
    for piece in [
        "<blockquote>",
        "<blockquote>a",
        "</blockquote>",
        "<div><p>a",
        "<a href=https://a.example/>",
        "<a href=https://a.example/>confirm</a>",
        "<a ",
        "<a href=\"",
        "<a href='\"",
        "<!--",
        "<style>",
        "</",
        "&amp",
        "&#",
        "<td>1",
        "<br>code: 123456",
        "<p>On 1.1.2025 a@b wrote:",
        "<p class='gmail_signature'>a",
    ] {
        let (once, twice) = (looked_at(piece, SMALL, true), looked_at(piece, 2 * SMALL, true));
        assert!(twice <= 2 * once + CONSTANT, "{piece}: {once}, {twice}");
    }
}

#[test]
fn twice_the_text_is_at_most_twice_the_work() {
    for piece in [
        ">",
        "> ",
        "> a\n",
        "a\n> b\n",
        "a\n\n> b\n\n",
        "\n",
        "1",
        "1 ",
        "12 ",
        "123456 ",
        "code 1234\n",
        "code: ",
        "-- \n",
        "From: a@b\n",
        "http://",
        "<http://",
        "https://a.example/) ",
        "https://a.example/))))",
        "On 1.1.2025 a@b wrote:\n",
        "_____\n",
        "a:\n",
        "Sent from my iPhone\n\n",
    ] {
        let (once, twice) = (looked_at(piece, SMALL, false), looked_at(piece, 2 * SMALL, false));
        assert!(twice <= 2 * once + CONSTANT, "{piece}: {once}, {twice}");
    }
}

#[test]
fn a_large_message_is_looked_at_a_few_times() {
    for (piece, is_html) in [("<blockquote>", true), ("> a\n", false), ("1", false), ("<a", true), (">", false)] {
        let octets = looked_at(piece, LARGE, is_html);
        assert!(octets <= 8 * LARGE, "{piece}: {octets}");
    }
}
