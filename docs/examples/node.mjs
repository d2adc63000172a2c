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

// What a service would send that somebody signs up at.
const message = { inbox_id: inbox.id, to: inbox.email_address, subject: "Sign up", text_body: "Your code is 482913." };
await api("POST", "/emails/send", message, { "Idempotency-Key": `sign-up-${name}` });

// Waits for the first unread email.
async function next() {
  for (let tries = 0; tries < 60; tries++) {
    const { emails } = await api("GET", `/emails?inbox=${inbox.id}&label=inbox&unread=true&per_page=1`);
    if (emails.length) return api("GET", `/emails/${emails[0].id}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error("no email came");
}

const email = await next();
console.log("code:", email.codes[0].code);
const reply = await api("POST", `/emails/${email.id}/reply`, { text_body: "Thank you." });
console.log("reply:", reply.status);
await api("PATCH", `/emails/${email.id}/actions`, { mark_read: true, move_to: "archive" });
