// What a person does in Thunderbird, as functions for `thunderbird.py`, which calls one at a time.

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const SECONDS = 30;

/** Resolves with the first value of `look` that is not false; fails with `what` after a while. */
async function until(what, look) {
  const end = Date.now() + SECONDS * 1000;
  while (Date.now() < end) {
    const found = look();
    if (found) {
      return found;
    }
    await new Promise(resolve => setTimeout(resolve, 20));
  }
  throw new Error(`${what}: not within ${SECONDS} s`);
}

/** A listener of the kinds that Thunderbird has, and a promise of its end. */
function ending() {
  const { promise, resolve, reject } = Promise.withResolvers();
  const stop = status =>
    Components.isSuccessCode(status) ? resolve() : reject(new Error(`failed: 0x${status.toString(16)}`));
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIUrlListener", "nsIMsgCopyServiceListener", "nsIStreamListener"]),
    OnStartRunningUrl() {},
    OnStopRunningUrl: (_, status) => stop(status),
    onStartCopy() {},
    onProgress() {},
    setMessageKey() {},
    getMessageId: () => null,
    onStopCopy: stop,
    text: "",
    onStartRequest() {},
    onDataAvailable(_, stream, __, count) {
      const input = Cc["@mozilla.org/scriptableinputstream;1"].createInstance(Ci.nsIScriptableInputStream);
      input.init(stream);
      listener.text += input.read(count);
    },
    onStopRequest: (_, status) => stop(status),
  };
  return { listener, promise };
}

const msgWindow = () => Services.wm.getMostRecentWindow("mail:3pane").msgWindow;
const account = () => MailServices.accounts.defaultAccount;
const folder = name =>
  until(`a folder ${name}`, () => account().incomingServer.rootFolder.subFolders.find(f => f.name === name));

/** The header of the one message of a folder with this subject. */
async function message(where, subject) {
  const headers = [...(await folder(where)).messages].filter(header => header.mime2DecodedSubject === subject);
  if (headers.length !== 1) {
    throw new Error(`${headers.length} messages with the subject ${subject} in ${where}`);
  }
  return headers[0];
}

/** Adds the account, as the dialogue for new accounts does, and waits for its folders. */
async function addAccount({ ca, user, token, imap, smtp }) {
  const certificates = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB);
  certificates.addCertFromBase64(ca, "C,,");
  const server = MailServices.accounts.createIncomingServer(user, "localhost", "imap");
  const outgoing = MailServices.outgoingServer.createServer("smtp").QueryInterface(Ci.nsISmtpServer);
  outgoing.hostname = "localhost";
  for (const [one, port] of [[server, imap], [outgoing, smtp]]) {
    one.port = port;
    one.socketType = Ci.nsMsgSocketType.SSL;
    one.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
    one.username = user;
    one.password = token;
  }
  const identity = MailServices.accounts.createIdentity();
  identity.email = user;
  identity.fullName = "Demo";
  identity.smtpServerKey = outgoing.key;
  const added = MailServices.accounts.createAccount();
  added.incomingServer = server;
  added.addIdentity(identity);
  MailServices.accounts.defaultAccount = added;
  server.performExpand(msgWindow());
  for (const name of ["INBOX", "Sent", "Trash", "Archive"]) {
    await folder(name);
  }
  return server.rootFolder.subFolders.map(one => one.name).sort();
}

/** Waits until a folder has a message. */
async function arrival({ where, subject }) {
  const one = await folder(where);
  await until(subject, () => [...one.messages].some(header => header.mime2DecodedSubject === subject));
}

/** Selects a folder, so that Thunderbird learns what is new in it; the subjects, and whether they are read and starred. */
async function synchronise(name) {
  const { listener, promise } = ending();
  const one = (await folder(name)).QueryInterface(Ci.nsIMsgImapMailFolder);
  one.updateFolderWithListener(msgWindow(), listener);
  await promise;
  return [...one.messages].map(header => [header.mime2DecodedSubject, header.isRead, header.isFlagged]).sort();
}

/** Sends as the compose window does, with a copy appended to Sent. */
async function send({ to, subject, text }) {
  const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
  const identity = account().defaultIdentity;
  Object.assign(fields, { from: `Demo <${identity.email}>`, to, subject, body: text });
  const params = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
  params.composeFields = fields;
  params.identity = identity;
  params.type = Ci.nsIMsgCompType.New;
  params.format = Ci.nsIMsgCompFormat.PlainText;
  const compose = MailServices.compose.initCompose(params);
  const progress = Cc["@mozilla.org/messenger/progress;1"].createInstance(Ci.nsIMsgProgress);
  await compose.sendMsg(Ci.nsIMsgCompDeliverMode.Now, identity, account().key, null, progress);
}

/** The text of a message, fetched. */
async function read({ where, subject }) {
  const header = await message(where, subject);
  const uri = header.folder.getUriForMsg(header);
  const { listener, promise } = ending();
  MailServices.messageServiceFromURI(uri).streamMessage(uri, listener, null, null, false, "", false);
  await promise;
  header.folder.markMessagesRead([header], true);
  return listener.text;
}

async function star({ where, subject }) {
  const header = await message(where, subject);
  header.folder.markMessagesFlagged([header], true);
}

async function move({ where, subject, to }) {
  const header = await message(where, subject);
  const { listener, promise } = ending();
  MailServices.copy.copyMessages(header.folder, [header], await folder(to), true, listener, msgWindow(), false);
  await promise;
}

/** As the key Delete does. */
async function remove({ where, subject }) {
  const header = await message(where, subject);
  const { listener, promise } = ending();
  header.folder.deleteMessages([header], msgWindow(), false, false, listener, true);
  await promise;
}
