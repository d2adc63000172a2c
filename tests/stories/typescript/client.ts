// Usage: client.js URL TOKEN: the round of a mail application, with the types that are generated from the daemon's document.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [baseUrl = "", token = ""] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

type Problem = components["schemas"]["Problem"];

/** The answer, which must be a success. */
function ok<T>(answer: { data?: T; error?: Problem; response: Response }): T {
  assert.ok(answer.response.ok, `${answer.response.status}: ${answer.error?.error}`);
  return answer.data as T;
}

/** The refusal, which must have this status and code. */
function refused(answer: { data?: unknown; error?: Problem; response: Response }, status: number, code: string): void {
  assert.equal(answer.response.status, status);
  assert.equal(answer.error?.error_code, code);
}

const inbox = ok(await api.POST("/api/v1/inboxes", { body: { name: "typescript" } }));
refused(await api.POST("/api/v1/inboxes", { body: { inbox: { name: "typescript" } } }), 409, "inbox_exists");
const listed = ok(await api.GET("/api/v1/inboxes", { params: { query: { per_page: 100 } } }));
assert.ok(listed.data.some((one) => one.id === inbox.id && one.email_address.startsWith("typescript@")));

const sent = ok(
  await api.POST("/api/v1/emails/send", {
    params: { header: { "Idempotency-Key": "typescript-1" } },
    body: { inbox_id: inbox.id, to: inbox.email_address, subject: "Hello there", text_body: "Your code is 482913." },
  }),
);
assert.equal(sent.status, "sent");

const emails = ok(await api.GET("/api/v1/emails", { params: { query: { inbox: inbox.id, label: "inbox", unread: true } } })).emails;
const [received] = emails;
assert.ok(received && emails.length === 1 && received.subject === "Hello there");
const path = { id: received.id };
const whole = ok(await api.GET("/api/v1/emails/{id}", { params: { path } }));
assert.deepEqual(whole.codes.map((code) => code.code), ["482913"]);

const labelled = ok(await api.PATCH("/api/v1/emails/{id}", { params: { path }, body: { add_labels: ["urgent"] } }));
assert.ok(labelled.labels.includes("urgent"));
const read = ok(await api.PATCH("/api/v1/emails/{id}/actions", { params: { path }, body: { mark_read: true, move_to: "archive" } }));
assert.deepEqual(read.labels, ["archive", "urgent"]);
const label = ok(await api.POST("/api/v1/mailbox_labels", { body: { name: "Needs reply", color: "#ff8800" } }));
assert.equal(label.slug, "needs-reply");

const answer = { text_body: "Thank you." };
refused(await api.POST("/api/v1/emails/{id}/reply", { params: { path }, body: answer }), 409, "reply_to_self");
const reply = ok(await api.POST("/api/v1/emails/{id}/reply", { params: { path }, body: { ...answer, force: true } }));
const threads = ok(await api.GET("/api/v1/email_threads", { params: { query: { inbox: inbox.id } } })).data;
assert.ok(reply.message_id && threads.length === 1 && (threads[0]?.email_count ?? 0) >= 3);

const below = { inbox_id: inbox.id };
const draft = ok(await api.POST("/api/v1/inboxes/{inbox_id}/drafts", { params: { path: below }, body: { to: ["ann@example.org"], subject: "Draft" } }));
const at = { path: { ...below, id: draft.id } };
const changed = ok(await api.PATCH("/api/v1/inboxes/{inbox_id}/drafts/{id}", { params: at, body: { text_body: "At noon?" } }));
assert.deepEqual([changed.subject, changed.to, changed.status], ["Draft", ["ann@example.org"], "draft"]);
const left = ok(await api.POST("/api/v1/inboxes/{inbox_id}/drafts/{id}/send", { params: at }));
assert.equal(left.status, "queued");
refused(await api.GET("/api/v1/drafts/{id}", { params: { path: { id: draft.id } } }), 404, "not_found");

const found = ok(await api.GET("/api/v1/emails/search", { params: { query: { q: '"hello there" is:read', inbox: inbox.id } } })).data;
assert.ok(found.some((email) => email.id === received.id));
refused(await api.GET("/api/v1/emails/search", { params: { query: { q: "" } } }), 400, "invalid_request");

assert.equal((await api.DELETE("/api/v1/inboxes/{id}", { params: { path: { id: inbox.id } } })).response.status, 204);
console.log("done");
