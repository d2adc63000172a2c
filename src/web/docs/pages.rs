//! The pages of the guide, rendered once.

use super::rendering::{Heading, render};
use std::sync::LazyLock;

/// A page of the guide.
#[derive(Debug)]
pub(super) struct Page {
    /// In its URL.
    pub(super) name: &'static str,
    pub(super) title: String,
    /// What it is about.
    pub(super) about: &'static str,
    pub(super) html: String,
    /// Below the title, for the table of contents.
    pub(super) headings: Vec<Heading>,
}

/// A page's name, its path in the repository, its text, and what it is about.
type Source = (&'static str, &'static str, &'static str, &'static str);

const SOURCES: [Source; 13] = [
    ("start", "README.md", include_str!("../../../README.md"), "What it is, and how to try it in one command."),
    ("api", "docs/api.md", include_str!("../../../docs/api.md"), "Domains, inboxes, email and events over HTTP."),
    (
        "verification",
        "docs/verification.md",
        include_str!("../../../docs/verification.md"),
        "The DNS records of a domain, what a check may find, and how to fix it.",
    ),
    ("mcp", "docs/mcp.md", include_str!("../../../docs/mcp.md"), "The tools for agents."),
    ("sandbox", "docs/sandbox.md", include_str!("../../../docs/sandbox.md"), "The daemon with a simulated internet."),
    (
        "operations",
        "docs/operations.md",
        include_str!("../../../docs/operations.md"),
        "Installing and running the daemon.",
    ),
    ("security", "docs/security.md", include_str!("../../../docs/security.md"), "What is protected, and how."),
    ("architecture", "docs/architecture.md", include_str!("../../../docs/architecture.md"), "How the program is made."),
    ("rfc", "docs/rfc.md", include_str!("../../../docs/rfc.md"), "Which standards are followed, and where."),
    ("testing", "docs/testing.md", include_str!("../../../docs/testing.md"), "How it is tested."),
    ("scale", "docs/scale.md", include_str!("../../../docs/scale.md"), "How far one deployment goes."),
    ("benchmarks", "docs/benchmarks.md", include_str!("../../../docs/benchmarks.md"), "What was measured."),
    ("changes", "docs/CHANGELOG.md", include_str!("../../../docs/CHANGELOG.md"), "What is new."),
];

pub(super) static PAGES: LazyLock<Vec<Page>> = LazyLock::new(|| {
    let page = |(name, path, text, about): Source| {
        let rendered = render(text, |target| url(path, target));
        let mut headings = rendered.headings.into_iter();
        let title = headings.next().map(|first| first.text).unwrap_or_default();
        Page {
            name,
            title,
            about,
            html: rendered.html,
            headings: headings.filter(|heading| heading.level == 2).collect(),
        }
    };
    SOURCES.into_iter().map(page).collect()
});

/// Where a link in the page at `from` leads: to a page of the guide, or elsewhere. `None` for files that are not in it.
fn url(from: &str, target: &str) -> Option<String> {
    if target.starts_with('#') || target.starts_with("https://") || target.starts_with("http://") {
        return Some(target.to_owned());
    }
    let (path, fragment) = target.split_once('#').map_or((target, None), |(path, fragment)| (path, Some(fragment)));
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    let (name, ..) = SOURCES.iter().find(|(_, known, ..)| *known == path)?;
    Some(match fragment {
        Some(fragment) => format!("/docs/{name}#{fragment}"),
        None => format!("/docs/{name}"),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The ids of a page.
    pub(in crate::web::docs) fn ids(page: &Page) -> BTreeSet<&str> {
        page.html.split("id=\"").skip(1).filter_map(|after| after.split('"').next()).collect()
    }

    #[test]
    fn links_lead_to_pages_of_the_guide() {
        for (from, target, url_of) in [
            ("README.md", "docs/api.md", Some("/docs/api")),
            ("docs/api.md", "../README.md#try-it", Some("/docs/start#try-it")),
            ("docs/api.md", "verification.md#codes", Some("/docs/verification#codes")),
            ("docs/api.md", "#send", Some("#send")),
            ("docs/api.md", "https://example.org/x", Some("https://example.org/x")),
            ("docs/api.md", "javascript:alert(1)", None),
            ("docs/verification.md", "../tests/stories/faults/dkim.rs", None),
            ("docs/api.md", "../../../README.md", Some("/docs/start")),
        ] {
            assert_eq!(url(from, target).as_deref(), url_of, "{target}");
        }
    }

    #[test]
    fn every_page_is_rendered_and_its_links_have_their_anchors() {
        let mut wrong = Vec::new();
        for page in PAGES.iter() {
            assert!(!page.title.is_empty() && page.html.len() > 500, "{}", page.name);
            assert_eq!(page.html.matches("<h1").count(), 1, "{}", page.name);
            for target in page.html.split("href=\"").skip(1).filter_map(|after| after.split('"').next()) {
                let (path, fragment) = target.split_once('#').unwrap_or((target, ""));
                let name = if path.is_empty() { Some(page.name) } else { path.strip_prefix("/docs/") };
                let Some(name) = name else { continue };
                let Some(to) = PAGES.iter().find(|other| other.name == name) else {
                    wrong.push(format!("{}: {target}", page.name));
                    continue;
                };
                if !fragment.is_empty() && !ids(to).contains(fragment) {
                    wrong.push(format!("{}: {target}", page.name));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:?}");
    }
}
