// Waits for a one-time code and answers the email. Needs Node 18, INBOXLAYER_URL and INBOXLAYER_TOKEN.
const { INBOXLAYER_URL: url, INBOXLAYER_TOKEN: token } = process.env;

async function api(method, path, body, headers = {}) {
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${answer.error_code}: ${answer.error}`);
  return answer;
}

const name = `agent-${Math.random().toString(36).slice(2)}`;
const inbox = await api("POST", "/inboxes", { name });
const service = await api("POST", "/inboxes", { name: `service-${name}` });

const since = new Date().toISOString();
// What a service would send that somebody signs up at.
const message = { inbox_id: service.id, to: inbox.email_address, subject: "Sign up", text_body: "Your code is 482913." };
await api("POST", "/emails/send", message, { "Idempotency-Key": `sign-up-${name}` });

// Waits for the first email with a code, also one that has arrived already.
const email = await api("GET", `/inboxes/${inbox.id}/wait?has=code&since=${since}&timeout=60`);
if (!email) throw new Error("no email came");
console.log("code:", email.codes[0].code);
const reply = await api("POST", `/emails/${email.id}/reply`, { text_body: "Thank you." });
console.log("reply:", reply.status);
await api("PATCH", `/emails/${email.id}/actions`, { mark_read: true, move_to: "archive" });
