//! Markdown as HTML. Invariant: HTML in the text is shown, not interpreted; ids are of letters, digits, `-` and `_`, each once.

use pulldown_cmark::{Alignment, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) level: u8,
    pub(super) id: String,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) html: String,
    /// In order.
    pub(super) headings: Vec<Heading>,
}

/// `url` says where a link leads; a link that leads nowhere is text.
pub(super) fn render(text: &str, url: impl Fn(&str) -> Option<String>) -> Rendered {
    let events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    let mut made = Maker { ids: BTreeSet::new(), headings: Vec::new(), out: Vec::with_capacity(events.len()) };
    let mut links = Vec::new();
    let mut is_row_start = false;
    let mut rest = events.iter();
    while let Some(event) = rest.next() {
        let made_of = match event {
            // HTML of the source is text.
            Event::Html(html) | Event::InlineHtml(html) => Event::Text(html.clone()),
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let id = made.heading(*level, &plain(rest.clone(), |end| matches!(end, TagEnd::Heading(_))));
                Event::Start(Tag::Heading {
                    level: *level,
                    id: Some(id.into()),
                    classes: classes.clone(),
                    attrs: attrs.clone(),
                })
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let to = url(dest_url);
                links.push(to.is_some());
                let Some(to) = to else { continue };
                let (link_type, dest_url, title, id) = (*link_type, to.into(), title.clone(), id.clone());
                Event::Start(Tag::Link { link_type, dest_url, title, id })
            }
            Event::End(TagEnd::Link) if links.pop() == Some(false) => continue,
            // The guide serves no images; their text is left.
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => continue,
            // They scroll, so the keyboard has to reach them.
            Event::Start(Tag::CodeBlock(_)) => markup("<pre tabindex=\"0\"><code>"),
            Event::End(TagEnd::CodeBlock) => markup("</code></pre>\n"),
            Event::Start(Tag::Table(columns)) => {
                made.out.push(markup("<div class=\"scroll\" role=\"group\" aria-label=\"Table\" tabindex=\"0\">"));
                // An alignment would be a style in the text, which the policy of pages forbids.
                Event::Start(Tag::Table(vec![Alignment::None; columns.len()]))
            }
            Event::End(TagEnd::Table) => {
                made.out.push(event.clone());
                markup("</div>\n")
            }
            Event::Start(Tag::TableRow) => {
                is_row_start = true;
                event.clone()
            }
            Event::Start(Tag::TableCell) if std::mem::take(&mut is_row_start) => {
                made.out.push(event.clone());
                match word(rest.clone()).and_then(|word| made.row(&word)) {
                    Some(id) => Event::Html(CowStr::from(format!("<a class=\"anchor\" id=\"{id}\"></a>"))),
                    None => continue,
                }
            }
            _ => event.clone(),
        };
        made.out.push(made_of);
    }
    let mut html = String::new();
    html::push_html(&mut html, made.out.into_iter());
    Rendered { html, headings: made.headings }
}

fn markup(text: &'static str) -> Event<'static> {
    Event::Html(CowStr::Borrowed(text))
}

struct Maker<'a> {
    ids: BTreeSet<String>,
    headings: Vec<Heading>,
    out: Vec<Event<'a>>,
}

impl Maker<'_> {
    fn heading(&mut self, level: HeadingLevel, text: &str) -> String {
        let slug = slug(text);
        let numbered = (1..).map(|number| if number == 1 { slug.clone() } else { format!("{slug}-{number}") });
        let id = numbered.into_iter().find(|id| !self.ids.contains(id)).unwrap_or_default();
        self.ids.insert(id.clone());
        self.headings.push(Heading { level: level as u8, id: id.clone(), text: text.to_owned() });
        id
    }

    /// The id of a row by the word in its first cell, after the heading above. `None` if it is not the first such row.
    fn row(&mut self, word: &str) -> Option<String> {
        let above = self.headings.last().map_or("", |heading| heading.id.as_str());
        let id = row_id(above, word);
        self.ids.insert(id.clone()).then_some(id)
    }
}

/// The id of a row of a table below a heading.
pub(super) fn row_id(heading: &str, word: &str) -> String {
    format!("{heading}-{}", slug(word))
}

/// As GitHub makes them: small letters, digits, `-` and `_`.
fn slug(text: &str) -> String {
    let kept = text.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// The text up to an end.
fn plain<'a>(events: impl Iterator<Item = &'a Event<'a>>, is_end: impl Fn(&TagEnd) -> bool) -> String {
    let inside = events.take_while(|event| !matches!(event, Event::End(end) if is_end(end)));
    let texts = inside.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        _ => None,
    });
    texts.collect()
}

/// The word that a cell begins with, if that is code or strong.
fn word<'a>(mut events: impl Iterator<Item = &'a Event<'a>>) -> Option<String> {
    match (events.next()?, events.next()?) {
        (Event::Code(word), _) | (Event::Start(Tag::Strong), Event::Text(word)) => Some(word.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        render(text, |target| target.starts_with("ok").then(|| format!("/{target}"))).html
    }

    #[test]
    fn html_of_the_source_is_text() {
        assert_eq!(html("a <b onclick=x>b</b> & c"), "<p>a &lt;b onclick=x&gt;b&lt;/b&gt; &amp; c</p>\n");
        let block = html("<script>\nalert(1)\n</script>\n");
        assert!(!block.contains("<script") && block.contains("&lt;script&gt;"), "{block}");
        assert_eq!(html("```sh\na <b>\n```"), "<pre tabindex=\"0\"><code>a &lt;b&gt;\n</code></pre>\n");
    }

    #[test]
    fn links_lead_where_they_may() {
        assert_eq!(html("[a](ok) [`b`](no)"), "<p><a href=\"/ok\">a</a> <code>b</code></p>\n");
        assert_eq!(html("![seen](no)"), "<p>seen</p>\n");
        assert!(!html("| a |\n| --: |\n| 1 |\n").contains("style"));
    }

    #[test]
    fn headings_and_rows_have_ids() {
        let text = "# One `two`, three\n## Same\n## Same\n| a | b |\n| --- | --- |\n| `x_y` | 1 |\n| **Z z** | 2 |\n| `x_y` | 3 |\n| q | 4 |\n";
        let Rendered { html, headings } = render(text, |_| None);
        let ids: Vec<_> =
            headings.iter().map(|heading| (heading.level, heading.id.as_str(), heading.text.as_str())).collect();
        assert_eq!(ids, [(1, "one-two-three", "One two, three"), (2, "same", "Same"), (2, "same-2", "Same")]);
        let rows: Vec<_> =
            html.split("class=\"anchor\" id=\"").skip(1).map(|after| after.split('"').next().unwrap()).collect();
        assert_eq!(rows, ["same-2-x_y", "same-2-z-z"]);
    }
}
