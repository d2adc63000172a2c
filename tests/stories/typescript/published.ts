// Usage: published.js URL TOKEN USER PASSWORD CONTRACT.json: every operation of the published contract but webhooks and streams, with the
// types that are generated from that contract.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths } from "./contract.js";

const [baseUrl = "", token = "", email = "", password = "", contract = ""] = process.argv.slice(2);
/** Operations that succeeded, such as `GET /api/v1/inboxes/{id}`. */
const called = new Set<string>();

function client(token: string) {
  const api = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
  api.use({
    onResponse({ request, response, schemaPath }) {
      if (response.ok) called.add(`${request.method} ${schemaPath}`);
    },
  });
  return api;
}

type Problem = components["schemas"]["Error"];
type Answer<T> = { data?: T; error?: unknown; response: Response };

/** The answer, which must be a success. */
function ok<T>(answer: Answer<T>): T {
  assert.ok(answer.response.ok, `${answer.response.status}: ${(answer.error as Problem | undefined)?.error}`);
  return answer.data as T;
}

/** A member that the contract does not require. */
function given<T>(value: T | undefined): T {
  assert.ok(value !== undefined);
  return value;
}

function refused(answer: Answer<unknown>, status: number, code: string): void {
  assert.equal(answer.response.status, status);
  assert.equal((answer.error as Problem | undefined)?.error_code, code);
}

function done(answer: Answer<unknown>): void {
  ok(answer);
  assert.equal(answer.response.status, 204);
}

const api = client(token);

async function users(): Promise<void> {
  refused(await api.POST("/api/v1/auth", { body: { email, password: "wrong" } }), 401, "invalid_credentials");
  const session = client(ok(await api.POST("/api/v1/auth", { body: { email, password } })).token);
  assert.equal(ok(await session.GET("/api/v1/me")).email, email);
  const change = (current_password: string, password: string) => ({ body: { user: { current_password, password, password_confirmation: password } } });
  assert.equal(ok(await session.PATCH("/api/v1/password", change(password, "another password"))).success, true);
  assert.equal(ok(await session.PUT("/api/v1/password", change("another password", password))).success, true);
  assert.equal(ok(await session.DELETE("/api/v1/auth")).success, true);
  refused(await session.GET("/api/v1/me"), 401, "unauthorized");
  assert.equal(ok(await api.GET("/api/v1/accounts")).length, 1);
  const device = { token: "typescript", platform: "ios" };
  ok(await api.POST("/api/v1/notification_tokens", { body: device }));
}

async function inboxes(): Promise<string> {
  const inbox = ok(await api.POST("/api/v1/inboxes", { body: { name: "published" } }));
  const id = given(inbox.id);
  assert.ok(given(inbox.email_address).startsWith("published@"));
  const listed = ok(await api.GET("/api/v1/inboxes", { params: { query: { per_page: 100 } } }));
  assert.ok(given(listed.data).some((one) => one.id === id));
  const shown = ok(await api.GET("/api/v1/inboxes/{id}", { params: { path: { id }, query: { labels: "inbox" } } }));
  assert.deepEqual([shown.emails, shown.data], [[], []]);
  assert.equal(ok(await api.GET("/api/v1/inboxes/{id}/warmup", { params: { path: { id } } })).warmup_started_at, null);
  return id;
}

async function domains(): Promise<void> {
  const custom_domain = { domain: "typescript.sdk-mail.org" };
  const id = given(ok(await api.POST("/api/v1/custom_domains", { body: { custom_domain } })).id);
  const at = { params: { path: { id } } };
  assert.deepEqual(ok(await api.GET("/api/v1/custom_domains")).map((domain) => domain.id), [id]);
  const shown = ok(await api.GET("/api/v1/custom_domains/{id}", at));
  assert.ok(given(shown.dkim_host).includes("_domainkey"));
  const body = { custom_domain: { ...custom_domain, dkim_host: given(shown.dkim_host), dkim_value: given(shown.dkim_value) } };
  assert.equal(ok(await api.PATCH("/api/v1/custom_domains/{id}", { ...at, body })).id, id);
  assert.equal(ok(await api.PUT("/api/v1/custom_domains/{id}", { ...at, body })).domain, custom_domain.domain);
  assert.equal(ok(await api.POST("/api/v1/custom_domains/{id}/verify", at)).id, id);
  done(await api.DELETE("/api/v1/custom_domains/{id}", at));
  refused(await api.GET("/api/v1/custom_domains/{id}", at), 404, "not_found");
}

async function emails(inbox_id: string): Promise<void> {
  ok(await api.POST("/api/v1/emails", { body: { inbox_id, from: "bo@outside.test", to: "x@inboxlayer.dev", subject: "Hello there", text_body: "At noon?" } }));
  const [received] = given(ok(await api.GET("/api/v1/emails", { params: { query: { inbox: inbox_id } } })).emails);
  assert.equal(received?.from_address, "bo@outside.test");
  const id = given(received?.id);
  const at = { params: { path: { id } } };
  const labelled = ok(await api.PATCH("/api/v1/emails/{id}", { ...at, body: { add_labels: ["urgent"] } }));
  assert.ok(given(labelled.labels).includes("urgent"));
  const bare = ok(await api.PUT("/api/v1/emails/{id}", { ...at, body: { remove_labels: ["urgent"] } }));
  assert.ok(!given(bare.labels).includes("urgent"));
  const filed = ok(await api.PATCH("/api/v1/emails/{id}/actions", { ...at, body: { mark_read: true, move_to: "archive" } }));
  assert.deepEqual(filed.labels, ["archive"]);
  refused(await api.PATCH("/api/v1/emails/{id}/actions", { ...at, body: { move_to: "nowhere" } }), 400, "invalid_request");

  const to = ["ann@outside.test"];
  const sent = ok(await api.POST("/api/v1/emails/send", { body: { inbox_id, to, subject: "Lunch", text_body: "x" } }));
  refused(await api.POST("/api/v1/emails/send", { body: { inbox_id, text_body: "nobody" } }), 400, "invalid_request");
  const reply = ok(await api.POST("/api/v1/emails/{id}/reply", { ...at, body: { text_body: "Yes." } }));
  const forward = ok(await api.POST("/api/v1/emails/{id}/forward", { ...at, body: { to } }));
  assert.ok(given(reply.message_id) && new Set([sent.id, reply.id, forward.id]).size === 3);
  const found = ok(await api.GET("/api/v1/emails/search", { params: { query: { q: '"hello there"' } } }));
  assert.ok(given(found.data).some((one) => one.id === id));
}

async function threads(): Promise<void> {
  // The contract names no schema of the list.
  const listed = ok(await api.GET("/api/v1/email_threads")) as unknown as { data: components["schemas"]["EmailThread"][] };
  const id = given(listed.data[0]?.id);
  const whole = ok(await api.GET("/api/v1/email_threads/{id}", { params: { path: { id } } })) as components["schemas"]["EmailThread"];
  assert.ok(whole.id === id && given(whole.email_count) >= 1);
}

async function drafts(inbox_id: string): Promise<void> {
  const written = { to: "ann@outside.test", subject: "Draft", text_body: "x" };
  const body = { ...written, inbox_id };
  const made = ok(await api.POST("/api/v1/drafts", { body }));
  const at = { params: { path: { id: given(made.id) } } };
  assert.deepEqual(made.to, ["ann@outside.test"]);
  assert.equal(ok(await api.PATCH("/api/v1/drafts/{id}", { ...at, body: { subject: "Changed" } })).subject, "Changed");
  assert.equal(ok(await api.PUT("/api/v1/drafts/{id}", { ...at, body: { to: ["cy@outside.test"] } })).to_address, "cy@outside.test");
  assert.equal(ok(await api.GET("/api/v1/drafts/{id}", at)).status, "draft");
  const list = ok(await api.GET("/api/v1/drafts"));
  assert.ok(list.count === 1 && given(list.drafts)[0]?.id === made.id);
  assert.ok(given(ok(await api.POST("/api/v1/drafts/{id}/send", at)).status));
  refused(await api.GET("/api/v1/drafts/{id}", at), 404, "not_found");
  const gone = ok(await api.POST("/api/v1/drafts", { body }));
  done(await api.DELETE("/api/v1/drafts/{id}", { params: { path: { id: given(gone.id) } } }));

  const inbox = { params: { path: { inbox_id } } };
  const again = ok(await api.POST("/api/v1/inboxes/{inbox_id}/drafts", { ...inbox, body: written }));
  const below = { params: { path: { inbox_id, id: given(again.id) } } };
  const path = "/api/v1/inboxes/{inbox_id}/drafts/{id}";
  assert.equal(ok(await api.PATCH(path, { ...below, body: { subject: "Changed" } })).subject, "Changed");
  assert.equal(ok(await api.PUT(path, { ...below, body: { subject: "Replaced" } })).subject, "Replaced");
  assert.equal(ok(await api.GET(path, below)).inbox_id, inbox_id);
  assert.equal(ok(await api.GET("/api/v1/inboxes/{inbox_id}/drafts", inbox)).count, 1);
  assert.ok(given(ok(await api.POST("/api/v1/inboxes/{inbox_id}/drafts/{id}/send", below)).id));
  const last = ok(await api.POST("/api/v1/inboxes/{inbox_id}/drafts", { ...inbox, body: written }));
  done(await api.DELETE(path, { params: { path: { inbox_id, id: given(last.id) } } }));
}

async function labels(): Promise<void> {
  const made = ok(await api.POST("/api/v1/mailbox_labels", { body: { name: "Needs typing", color: "#ff8800" } }));
  const at = { params: { path: { id: given(made.id) } } };
  assert.ok(made.slug === "needs-typing" && made.system === false);
  assert.equal(ok(await api.PATCH("/api/v1/mailbox_labels/{id}", { ...at, body: { name: "Renamed" } })).name, "Renamed");
  assert.equal(ok(await api.PUT("/api/v1/mailbox_labels/{id}", { ...at, body: { color: "red" } })).color, "red");
  ok(await api.GET("/api/v1/mailbox_labels"));
  done(await api.DELETE("/api/v1/mailbox_labels/{id}", at));
}

await users();
const inbox = await inboxes();
await domains();
await emails(inbox);
await threads();
await drafts(inbox);
await labels();
done(await api.DELETE("/api/v1/inboxes/{id}", { params: { path: { id: inbox } } }));

const METHODS = ["get", "post", "put", "patch", "delete"];
const described: Record<string, Record<string, unknown>> = JSON.parse(readFileSync(contract, "utf8")).paths;
const all = Object.entries(described).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => `${method.toUpperCase()} ${path}`));
const wanted = all.filter((operation) => !operation.includes("/webhook_subscriptions") && !operation.endsWith("/stream"));
assert.deepEqual(wanted.filter((operation) => !called.has(operation)), [], "operations that were not called");
assert.ok(wanted.length > 45);
console.log("done");
