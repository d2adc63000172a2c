//! Searches by the index find what searches without it find.

use crate::config::Config;
use crate::http::testing::World;
use crate::reading::Reading;
use crate::resources::reading::ReadingLog;
use crate::resources::work::WorkPool;
use crate::search::SearchIndex;
use crate::store::params;
use crate::store::testing::put;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const WORDS: [&str; 16] = [
    "Grüße",
    "STRASSE",
    "Straße",
    "ΟΔΟΣ",
    "οδοσα",
    "Привет",
    "мир",
    "日本語の",
    "メール",
    "lunch",
    "Lunchtime",
    "Invoice-4711",
    "a.b@c.org",
    "İstanbul",
    "§12",
    "zz",
];
const PEOPLE: [&str; 4] = ["Ann <ann@x.org>", "\"Bö, Jr\" <bo@y.org>", "Привет <cy@z.org>", "ann@y.org"];

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn text(&mut self, words: usize) -> String {
        (0..words).map(|_| self.of(&WORDS)).collect::<Vec<_>>().join(" ")
    }

    fn field(&mut self, text: &str) -> String {
        match self.below(3) {
            0 => text.to_owned(),
            1 => format!("=?utf-8?b?{}?=", STANDARD.encode(text)),
            _ => {
                let octets = text.bytes().map(|octet| format!("={octet:02X}")).collect::<String>();
                format!("=?UTF-8?Q?{octets}?=")
            }
        }
    }

    /// A text part with its header, in some charset that has its characters.
    fn part(&mut self) -> Vec<u8> {
        let words = self.below(6) + 1;
        let text = self.text(words);
        let latin = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>();
        let cyrillic = |c: char| match c {
            'А'..='я' => u8::try_from(u32::from(c) - 0x410 + 0xC0).ok(),
            c => c.is_ascii().then_some(c as u8),
        };
        let cyrillic = text.chars().map(cyrillic).collect::<Option<Vec<u8>>>();
        let (head, body) = match (latin, cyrillic, self.below(4)) {
            (Some(octets), _, 0) => ("text/plain; charset=iso-8859-1".to_owned(), octets),
            (_, Some(octets), 1) => ("text/plain; charset=windows-1251".to_owned(), octets),
            (_, _, 2) => {
                let html = format!("<p>{text}</p><b title=\"{text}\">{text}</b>");
                ("text/html; charset=utf-8".to_owned(), html.into_bytes())
            }
            _ => (
                "text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64".to_owned(),
                STANDARD.encode(&text).into_bytes(),
            ),
        };
        [format!("Content-Type: {head}\r\n\r\n").as_bytes(), &body, b"\r\n"].concat()
    }

    fn message(&mut self) -> Vec<u8> {
        let words = self.below(4);
        let (subject, from, to) = (self.text(words), self.of(&PEOPLE), self.of(&PEOPLE));
        let (subject, from) = (self.field(&subject), from.to_owned());
        let header = format!("From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\n");
        if self.below(3) > 0 {
            return [header.as_bytes(), &self.part()].concat();
        }
        let mut raw = format!("{header}Content-Type: multipart/mixed; boundary=b\r\n\r\n").into_bytes();
        for _ in 0..=self.below(2) {
            raw.extend([b"--b\r\n", self.part().as_slice()].concat());
        }
        let name: String = self.of(&WORDS).bytes().map(|octet| format!("%{octet:02X}")).collect();
        raw.extend(
            format!("--b\r\nContent-Type: image/png\r\nContent-Disposition: attachment; filename*=utf-8''{name}.png\r\n\r\nPNG\r\n--b--\r\n").bytes(),
        );
        raw
    }

    /// Some characters of a text.
    fn part_of(&mut self, text: &str) -> String {
        let characters: Vec<char> = text.chars().collect();
        loop {
            let first = self.below(characters.len());
            let count = 1 + self.below(characters.len() - first);
            let part: String = characters[first..first + count].iter().collect();
            if !part.trim().is_empty() {
                return part;
            }
        }
    }

    fn query(&mut self) -> String {
        let mut terms = Vec::new();
        for _ in 0..=self.below(2) {
            let word = self.of(&WORDS);
            let part = self.part_of(word);
            let person = self.of(&PEOPLE).replace('"', "");
            terms.push(match self.below(9) {
                0 => word.to_uppercase(),
                1 => format!("\"{} {}\"", word, self.of(&WORDS)),
                2 => format!("from:\"{}\"", self.part_of(&person)),
                3 => format!("to:\"{}\"", self.part_of(&person)),
                4 => format!("subject:\"{part}\""),
                5 => "has:attachment".to_owned(),
                6 => "is:unread".to_owned(),
                _ => format!("\"{part}\""),
            });
        }
        terms.join(" ")
    }
}

/// What a search finds, page by page; every email has its words.
async fn found(world: &World, query: &str, inbox: Option<&str>, per_page: usize) -> Vec<String> {
    let of = inbox.map(|inbox| format!("&inbox={inbox}")).unwrap_or_default();
    let q: String = query.bytes().map(|octet| format!("%{octet:02X}")).collect();
    let mut path = format!("/api/v1/emails/search?q={q}{of}&per_page={per_page}");
    let mut ids = Vec::new();
    loop {
        let answer = world.get(&world.ours.token, &path).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        let page = answer.json();
        ids.extend(page["emails"].as_array().unwrap().iter().map(|email| email["id"].as_str().unwrap().to_owned()));
        let Some(link) = answer.header("link") else { return ids };
        path = link.split(['<', '>']).nth(1).unwrap().to_owned();
    }
}

fn index(world: &World) -> SearchIndex {
    let reading = Reading::new(&Config::default(), WorkPool::default(), ReadingLog::default());
    SearchIndex::new(world.context.store.clone(), world.context.clock.clone(), reading, &world.context.spool)
}

async fn inbox(world: &World, token: &str, name: &str) -> String {
    world.post(token, "/api/v1/inboxes", json!({"name": name})).await.text("id")
}

#[tokio::test]
async fn the_index_finds_what_is_found_without_it() {
    let world = World::new().await;
    let mut numbers = Numbers(2026);
    let ours = [inbox(&world, &world.ours.token, "one").await, inbox(&world, &world.ours.token, "two").await];
    let theirs = inbox(&world, &world.theirs.token, "other").await;
    let mut emails = Vec::new();
    let mut fill = async |numbers: &mut Numbers, count: usize| {
        for n in 0..count {
            let inbox = if n % 4 == 3 { &theirs } else { &ours[n % 2] };
            let id = put(&world.context.store, &inbox.parse().unwrap(), &numbers.message()).await.id;
            if n % 4 != 3 {
                emails.push(id.to_string());
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    fill(&mut numbers, 120).await;
    let queries: Vec<String> = (0..60).map(|_| numbers.query()).collect();
    let all = async || {
        let mut answers = Vec::new();
        for (n, query) in queries.iter().enumerate() {
            let inbox = (n % 3 == 0).then_some(ours[0].as_str());
            answers.push(found(&world, query, inbox, [4, 9, 100][n % 3]).await);
        }
        answers
    };
    // Nothing is indexed: all is compared.
    let compared = all().await;
    let hits: usize = compared.iter().map(Vec::len).sum();
    assert!(hits > 300 && compared.iter().any(Vec::is_empty), "{hits} hits");
    assert_eq!(index(&world).rebuild(|_, _| {}).await.unwrap(), 120);
    let same = |by_index: Vec<Vec<String>>, compared: &[Vec<String>]| {
        for ((query, by_index), compared) in queries.iter().zip(by_index).zip(compared) {
            assert_eq!(&by_index, compared, "{query}");
        }
    };
    same(all().await, &compared);

    // Part of it is indexed, and some is gone.
    fill(&mut numbers, 40).await;
    for id in emails.iter().step_by(5) {
        let path = format!("/api/v1/emails/{id}");
        assert!(world.delete(&world.ours.token, &path).await.status < 300);
        assert!(world.delete(&world.ours.token, &path).await.status < 300, "from Trash");
    }
    let in_part = all().await;
    world.context.store.search_clear().await.unwrap();
    same(in_part, &all().await);
}

#[tokio::test]
async fn a_search_shows_where_its_words_are() {
    let world = World::new().await;
    let token = &world.ours.token;
    let one = inbox(&world, token, "one").await;
    let raw = "From: André <a@x.org>\r\nSubject: Lunch\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nWir sehen uns zum LUNCH\r\nim Café.\r\n";
    put(&world.context.store, &one.parse().unwrap(), raw.as_bytes()).await;
    let highlights = async |q: &str| {
        let found = world.get(token, &format!("/api/v1/emails/search?q={q}")).await.json();
        found["data"][0]["highlights"].clone()
    };
    assert_eq!(
        highlights("lunch").await,
        json!([
            {"field": "subject", "text": "Lunch", "hits": [{"start": 0, "end": 5}]},
            {"field": "text_body", "text": "Wir sehen uns zum LUNCH  im Café.  ", "hits": [{"start": 18, "end": 23}]},
        ])
    );
    assert_eq!(
        highlights("from:andr%C3%A9").await,
        json!([{"field": "from", "text": "André <a@x.org>", "hits": [{"start": 0, "end": 5}]}])
    );
    assert_eq!(highlights("is:unread").await, Value::Null);
}

#[tokio::test]
async fn lists_show_overviews_as_they_show_headers() {
    let world = World::new().await;
    let token = &world.ours.token;
    let one = inbox(&world, token, "one").await;
    let strange = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages/strange");
    let files = std::fs::read_dir(strange).unwrap().map(|entry| entry.unwrap().path());
    let is_message = |file: &std::path::PathBuf| file.extension().is_some_and(|extension| extension == "eml");
    for file in files.filter(is_message).take(100) {
        put(&world.context.store, &one.parse().unwrap(), &std::fs::read(&file).unwrap()).await;
    }
    let list = async || {
        let answer = world.get(token, &format!("/api/v1/emails?inbox={one}&per_page=100")).await;
        answer.json()["data"].as_array().unwrap().clone()
    };
    let overviews = async || {
        let sql = "SELECT count(*) FROM overview";
        let count = world.context.store.read(move |c| c.query_row(sql, params![], |row| row.get::<i64>(0)));
        usize::try_from(count.await.unwrap()).unwrap()
    };
    let parsed = list().await;
    assert!(parsed.len() > 50 && overviews().await == 0, "{}", parsed.len());
    index(&world).rebuild(|_, _| {}).await.unwrap();
    assert!(overviews().await > parsed.len() - 5, "all but those with very long headers: {}", overviews().await);
    for (shown, parsed) in list().await.iter().zip(&parsed) {
        assert_eq!(shown, parsed);
    }
    for _ in ["to Trash", "from there"] {
        for email in &parsed {
            assert!(
                world.delete(token, &format!("/api/v1/emails/{}", email["id"].as_str().unwrap())).await.status < 300
            );
        }
    }
    assert_eq!(overviews().await, 0);
}
