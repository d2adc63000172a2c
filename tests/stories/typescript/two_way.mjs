// Usage: two_way.mjs HOST PORT USER TOKEN: what python/two_way.py asks of imapflow, a line of JSON for each question and each answer.

import { createInterface } from "node:readline";
import { ImapFlow } from "imapflow";

const [host, port, user, pass] = process.argv.slice(2);
const client = new ImapFlow({ host, port: Number(port), secure: true, auth: { user, pass }, logger: false });
await client.connect();
await client.mailboxOpen("INBOX");
const range = async (subject) => (await client.search({ subject }, { uid: true })).join(",");

async function act(appended) {
  const uid = { uid: true };
  const read = await range("Read");
  const message = await client.fetchOne(read, { bodyParts: ["text"] }, uid);
  await client.messageFlagsAdd(read, ["\\Seen"], uid);
  await client.messageFlagsAdd(await range("Star"), ["\\Flagged"], uid);
  await client.messageMove(await range("Move"), "Archive", uid);
  await client.messageDelete(await range("Delete"), uid);
  await client.append("Archive", appended, ["\\Seen", "\\Flagged"]);
  return message.bodyParts.get("text").toString();
}

async function shown(folders) {
  // The session is still in the INBOX, idle, and is told of what REST has done.
  for (let n = 0; client.mailbox.exists < 4 && n < 300; n++) await new Promise((done) => setTimeout(done, 100));
  const found = {};
  for (const folder of folders) {
    const lock = await client.getMailboxLock(folder);
    found[folder] = [];
    for await (const { envelope, flags } of client.fetch("1:*", { envelope: true, flags: true })) {
      found[folder].push([envelope.subject, flags.has("\\Seen"), flags.has("\\Flagged")]);
    }
    lock.release();
  }
  return found;
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  console.log(JSON.stringify(await ("appended" in question ? act(question.appended) : shown(question.folders))));
}
await client.logout();
