// Usage: agent.mjs READY.json http|stdio PROGRAM: every tool of the MCP server by the official client, which checks each result.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [, , readyFile, kind, program] = process.argv;
const ready = JSON.parse(readFileSync(readyFile, "utf8"));
const transport =
  kind === "stdio"
    ? new StdioClientTransport({
        command: program,
        args: ["mcp", "--url", ready.http],
        env: { INBOXLAYER_TOKEN: ready.token },
      })
    : new StreamableHTTPClientTransport(new URL(`${ready.http}/mcp`), {
        requestInit: { headers: { Authorization: `Bearer ${ready.token}` } },
      });
const client = new Client({ name: "story", version: "1" });
await client.connect(transport);

const called = new Set();
async function call(name, input) {
  called.add(name);
  return client.callTool({ name, arguments: input });
}
async function succeed(name, input = {}) {
  const result = await call(name, input);
  assert.ok(!result.isError, JSON.stringify(result));
  return result.structuredContent;
}
async function fail(name, input) {
  const result = await call(name, input);
  assert.ok(result.isError, JSON.stringify(result));
  return result.structuredContent;
}

// The client keeps the schemas of results, and checks each by its own.
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const name = `node-${kind}`;
assert.ok((await succeed("list_inboxes")).inboxes.length > 0);
const inbox = await succeed("create_inbox", { name });
assert.equal((await succeed("get_inbox", { inbox_id: inbox.id })).name, name);
const address = inbox.email_address;
const other = ready.inbox_id;

const added = await succeed("create_domain", { domain: `${name}.test` });
assert.equal((await succeed("get_domain", { domain_id: added.id })).verified_status, "pending");
assert.ok((await succeed("list_domains")).domains.some((domain) => domain.id === added.id));
await fetch(`${ready.http}/sandbox/domains/${added.id}/publish`, { method: "POST" });
let status = "pending";
for (let tries = 0; tries < 20 && status !== "verified"; tries++) {
  status = (await succeed("verify_domain", { domain_id: added.id })).verified_status;
}
assert.equal(status, "verified");

const since = new Date().toISOString();
const waiting = succeed("wait_for_email", { inbox_id: inbox.id, has: "code", since, timeout: 50 });
// Another call while one waits.
const sent = await succeed("send_email", {
  inbox_id: other,
  to: [address],
  subject: "Sign up",
  text_body: "Your code is 482913.",
  idempotency_key: name,
});
assert.equal(sent.status, "sent");
const waited = await waiting;
assert.equal(waited.email.codes[0].code, "482913");
const id = waited.email.id;
assert.match((await succeed("read_email", { email_id: id })).text, /482913/);
assert.equal((await succeed("wait_for_email", { inbox_id: inbox.id, since: waited.since, timeout: 1 })).email, null);

await succeed("reply_to_email", { email_id: id, text_body: "Thank you." });
await succeed("forward_email", { email_id: id, to: [ready.inbox] });
const draft = await succeed("create_draft", { inbox_id: inbox.id, to: [ready.inbox], subject: "Draft" });
assert.equal((await succeed("update_draft", { draft_id: draft.id, text_body: "two" })).id, draft.id);
await succeed("send_draft", { draft_id: draft.id });
const labelled = await succeed("update_email", { email_id: id, add_labels: ["done"], move_to: "archive" });
assert.ok(labelled.labels.includes("done") && labelled.labels.includes("archive"));
assert.ok((await succeed("list_emails", { inbox_id: inbox.id, labels: ["archive"] })).emails.some((one) => one.id === id));
assert.ok((await succeed("search_emails", { q: "482913", inbox_id: inbox.id })).emails.some((one) => one.id === id));

assert.equal((await fail("read_email", { email_id: "msg_0" })).code, "not_found");
assert.equal((await fail("send_email", { inbox_id: inbox.id, to: "x", text_body: "x" })).code, "invalid_request");
assert.deepEqual([...called].sort(), [...tools].sort());
console.log(`${tools.length} tools`);
await client.close();
