// Usage: verify.mjs DELIVERIES.json: verifies what the daemon has sent with the example of the guide.

import { readFileSync } from "node:fs";
import { received } from "./received.mjs";

const deliveries = JSON.parse(readFileSync(process.argv[2], "utf8"));
for (const { headers, body, secret } of deliveries) {
  const event = received(headers, body, secret);
  if (event.id !== headers["webhook-id"]) throw new Error(body);
  let isRefused = false;
  try {
    received(headers, `${body} `, secret);
  } catch {
    isRefused = true;
  }
  if (!isRefused) throw new Error("a changed body verifies");
}
console.log(`${deliveries.length} verified`);
