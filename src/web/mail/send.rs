//! What the page on which an email is written does: saves, sends, discards; and what leads to it: answering, and undoing.
//!
//! Invariant: what is sent was saved as a draft first, so that a refusal loses nothing, where the token may save drafts.

use super::compose::{Draft, Written, label_of, shown, state};
use super::inbox::Inbox;
use super::upload::Upload;
use crate::auth::login::Permissions;
use crate::in_process::encoded;
use crate::message::text::escaped;
use crate::web::WebContext;
use crate::web::api::to;
use crate::web::form::{Fields, Form};
use crate::web::refusal::Refusal;
use crate::web::session::Session;
use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long what is sent can be undone.
const UNDO: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Made {
    id: String,
}

/// The fields of an email, as the API has them.
fn email(fields: &Fields) -> Map<String, Value> {
    let people = |name: &str| fields.some(name).map(|text| vec![text]).unwrap_or_default();
    let mut email = Map::new();
    for name in ["to", "cc", "bcc"] {
        email.insert(name.to_owned(), json!(people(name)));
    }
    if let Some(from) = fields.some("from") {
        email.insert("from".to_owned(), json!(from));
    }
    email.insert("subject".to_owned(), json!(fields.text("subject")));
    email.insert("text_body".to_owned(), json!(fields.raw("text_body")));
    email.insert(
        "html_body".to_owned(),
        json!(fields.some("html_body").map(|html| with_note(html, fields.raw("text_body")))),
    );
    email
}

/// How the HTML of a forwarded email begins, and its text.
const FORWARDED_HTML: &str = "<br><div class=\"gmail_quote\">";
const FORWARDED_TEXT: &str = "---------- Forwarded message ----------";
const NOTE: &str = "<div class=\"note\" style=\"white-space: pre-wrap\">";

/// The HTML of a forwarded email, below what was written above its text. Other HTML is as it was written.
fn with_note(html: &str, text: &str) -> String {
    let forwarded = html.find(FORWARDED_HTML).map(|at| html.split_at(at));
    let note = text.split(FORWARDED_TEXT).next().filter(|note| note.len() < text.len()).map(str::trim);
    match (forwarded, note) {
        (Some((before, below)), Some(note)) if before.is_empty() || before.starts_with(NOTE) => {
            if note.is_empty() {
                below.to_owned()
            } else {
                format!("{NOTE}{}</div>{below}", escaped(note))
            }
        }
        _ => html.to_owned(),
    }
}

/// Writes the draft. Its version is that of now.
async fn write(
    session: &Session,
    inbox: &str,
    draft: Option<&Draft>,
    email: Map<String, Value>,
) -> Result<Draft, Refusal> {
    let body = Value::Object(email);
    let Made { id } = match draft {
        Some(Draft { id, version }) => {
            session.api.if_unchanged(Method::PATCH, to(["drafts", id]), version, body).await?
        }
        None => session.api.post(to(["inboxes", inbox, "drafts"]), body).await?,
    };
    let (_, version) = session.api.versioned::<Made>(to(["drafts", &id])).await?;
    Ok(Draft { id, version })
}

/// The draft with its attachments: those that are kept, and the files of the form.
async fn save_all(inbox: &str, upload: &Upload) -> Result<Draft, Refusal> {
    let draft = Written::of(&upload.fields).draft;
    let mut email = email(&upload.fields);
    let (files, _memory) = upload.attachments()?;
    email.insert("attachments".to_owned(), Value::Array(files));
    if draft.is_some() {
        email.insert("keep_attachments".to_owned(), upload.fields.all("keep").collect());
    }
    write(&upload.session, inbox, draft.as_ref(), email).await
}

/// Saves a draft: while it is written, or by its button.
pub(super) async fn save(
    State(context): State<WebContext>,
    Path(inbox): Path<String>,
    upload: Upload,
) -> Result<Response, Refusal> {
    if upload.is_partial {
        return saved_meanwhile(&inbox, &upload).await;
    }
    match save_all(&inbox, &upload).await {
        Ok(draft) => Ok(Redirect::to(&format!("/mail/{inbox}/compose?draft={}&done=draft", draft.id)).into_response()),
        Err(refusal) => again(&context, &inbox, &upload, Written::of(&upload.fields), refusal).await,
    }
}

/// Saves all but the files. A field that is not finished yet, such as half an address, is saved later.
async fn saved_meanwhile(inbox: &str, upload: &Upload) -> Result<Response, Refusal> {
    let (session, draft) = (&upload.session, Written::of(&upload.fields).draft);
    let written = ["to", "cc", "bcc", "subject", "text_body", "html_body"];
    if draft.is_none() && written.iter().all(|name| upload.fields.text(name).is_empty()) {
        // Only another sender was chosen.
        return Ok(state(None, "").into_response());
    }
    let mut email = email(&upload.fields);
    let mut saved = write(session, inbox, draft.as_ref(), email.clone()).await;
    let mut left_out = String::new();
    if let Err(refusal) = &saved
        && !refusal.errors().is_empty()
    {
        for error in refusal.errors() {
            email.remove(error.field.split(['[', '.']).next().unwrap_or_default());
            left_out = format!("{}: {}", label_of(&error.field).unwrap_or(&error.field), error.message);
        }
        saved = write(session, inbox, draft.as_ref(), email).await;
    }
    let outcome = match &saved {
        Ok(_) if left_out.is_empty() => "Saved as a draft.".to_owned(),
        Ok(_) => format!("Saved as a draft, except for an incomplete field. {left_out}."),
        Err(refusal) if refusal.is_not_found() => {
            "Not saved: the draft is no longer there. It was sent or deleted.".to_owned()
        }
        Err(refusal) if refusal.code() == "precondition_failed" => {
            "Not saved: the draft was changed in another window or program. Reload the page to see it.".to_owned()
        }
        Err(refusal) => format!("Not saved: {}", refusal.detail()),
    };
    let shown = state(saved.as_ref().ok().or(draft.as_ref()), &outcome);
    // The address of the page leads to the draft from now on, also after a reload.
    let path = saved
        .ok()
        .filter(|_| draft.is_none())
        .map(|saved| format!("/mail/{}/compose?draft={}", encoded(inbox), saved.id));
    Ok(([("hx-replace-url", path.unwrap_or_else(|| "false".to_owned()))], shown).into_response())
}

#[derive(Deserialize)]
struct Sent {
    id: String,
}

/// Sends what was written: in ten seconds, where it can be undone.
pub(super) async fn send(
    State(context): State<WebContext>,
    Path(inbox): Path<String>,
    upload: Upload,
) -> Result<Response, Refusal> {
    let session = &upload.session;
    let found = Inbox::find(session, &inbox).await?;
    let may_undo = found.save_sent && session.may(Permissions::DRAFTS_WRITE | Permissions::MESSAGES_SEND);
    let sent = if session.may(Permissions::DRAFTS_WRITE) {
        let draft = match save_all(&inbox, &upload).await {
            Ok(draft) => draft,
            Err(refusal) => return again(&context, &inbox, &upload, Written::of(&upload.fields), refusal).await,
        };
        let send_at = may_undo.then(|| context.clock.now().after(UNDO).to_string());
        let body = json!({"send_at": send_at});
        let sent = session
            .api
            .if_unchanged::<Sent>(Method::POST, to(["drafts", &draft.id, "send"]), &draft.version, body)
            .await;
        match sent {
            Ok(sent) => sent,
            Err(refusal) => {
                let written = Written::load(session, &inbox, &draft.id).await?;
                return again(&context, &inbox, &upload, written, refusal).await;
            }
        }
    } else {
        let mut email = email(&upload.fields);
        let (files, _memory) = upload.attachments()?;
        email.insert("attachments".to_owned(), Value::Array(files));
        match session.api.post::<Sent>(to(["emails", "send"]).with("inbox_id", &inbox), Value::Object(email)).await {
            Ok(sent) => sent,
            Err(refusal) => return again(&context, &inbox, &upload, Written::of(&upload.fields), refusal).await,
        }
    };
    let target =
        if found.save_sent { format!("/mail/{inbox}/{}", sent.id) } else { format!("/mail/{inbox}?done=sent") };
    Ok(Redirect::to(&target).into_response())
}

/// The page again, with what is wrong.
async fn again(
    context: &WebContext,
    inbox: &str,
    upload: &Upload,
    mut written: Written,
    refusal: Refusal,
) -> Result<Response, Refusal> {
    let session = &upload.session;
    let mut shown_refusal = refusal.clone();
    if let Some(draft) = written.draft.clone() {
        // The attachments that it has, and the version that the next attempt is for.
        match Written::load(session, inbox, &draft.id).await {
            Ok(now) => (written.draft, written.attachments) = (now.draft, now.attachments),
            Err(gone) if gone.is_not_found() => {
                written.draft = None;
                shown_refusal = Refusal::gone();
            }
            Err(other) => return Err(other),
        }
    }
    if !shown_refusal.is_of_input() && !shown_refusal.is_not_found() && !shown_refusal.status().is_server_error() {
        return Err(refusal);
    }
    if refusal.code() == "precondition_failed" {
        shown_refusal = Refusal::changed_elsewhere();
    }
    let inbox = Inbox::find(session, inbox).await?;
    let page = shown(session, context, &inbox, &written, Some(&shown_refusal)).await?;
    Ok((shown_refusal.status(), page).into_response())
}

/// Deletes the draft.
pub(super) async fn discard(Path(inbox): Path<String>, upload: Upload) -> Result<Redirect, Refusal> {
    if let Some(draft) = upload.fields.some("draft") {
        let deleted = upload.session.api.delete(to(["drafts", draft])).await;
        deleted.or_else(|refusal| if refusal.is_not_found() { Ok(()) } else { Err(refusal) })?;
    }
    Ok(Redirect::to(&format!("/mail/{inbox}?done=discarded")))
}

/// Begins a reply or a forward as a draft. A person answers here, so a reply may be to a program.
pub(super) async fn answer(Path((inbox, email)): Path<(String, String)>, form: Form) -> Result<Redirect, Refusal> {
    let body = json!({"kind": form.fields.text("kind"), "force": true});
    let draft: Made = form.session.api.post(to(["emails", &email, "drafts"]), body).await?;
    Ok(Redirect::to(&format!("/mail/{inbox}/compose?draft={}&above=1", draft.id)))
}

/// Makes an email that has not left a draft again.
pub(super) async fn undo(Path((inbox, email)): Path<(String, String)>, form: Form) -> Result<Redirect, Refusal> {
    let draft: Made = form.session.api.post(to(["emails", &email, "cancel"]), json!({})).await?;
    Ok(Redirect::to(&format!("/mail/{inbox}/compose?draft={}&done=undone", draft.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_above_a_forwarded_text_is_above_its_html_too() {
        let html = format!("{FORWARDED_HTML}<p>news</p></div>");
        let text = |note: &str| format!("{note}\n\n{FORWARDED_TEXT}\nFrom: ann\n\nnews\n");
        let once = with_note(&html, &text("See <this>"));
        assert_eq!(once, format!("{NOTE}See &lt;this&gt;</div>{html}"));
        assert_eq!(with_note(&once, &text("That")), format!("{NOTE}That</div>{html}"));
        assert_eq!(with_note(&once, &text("")), html);
        for (html, text) in [("<p>own</p>", text("x")), (html.as_str(), "no forward".to_owned())] {
            assert_eq!(with_note(html, &text), html, "{text}");
        }
        assert_eq!(with_note(&format!("<b>own</b>{html}"), &text("x")), format!("<b>own</b>{html}"));
    }
}
