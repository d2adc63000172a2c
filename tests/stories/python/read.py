"""Reads INBOX with imaplib: read.py HOST PORT starttls|tls CA USER PASSWORD SUBJECT

Prints {"mailboxes": […], "messages": [{"uid", "flags", "raw"}]} with the messages whose subject contains SUBJECT, or
{"refused": text} if the log-in is refused.
"""
import imaplib
import json
import re
import ssl
import sys

host, port, mode, ca, user, password, subject = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if mode == "tls":
    imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=context, timeout=60)
else:
    imap = imaplib.IMAP4(host, int(port), timeout=60)
    imap.starttls(ssl_context=context)
try:
    imap.login(user, password)
except imaplib.IMAP4.error as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit(0)

_, boxes = imap.list()
status, _ = imap.select("INBOX")
assert status == "OK", status
status, found = imap.uid("SEARCH", "SUBJECT", f'"{subject}"')
assert status == "OK", found
messages = []
for uid in found[0].split():
    _, parts = imap.uid("FETCH", uid, "(FLAGS BODY.PEEK[])")
    head, raw = next(part for part in parts if isinstance(part, tuple))
    flags = re.search(rb"FLAGS \(([^)]*)\)", b" ".join(p if isinstance(p, bytes) else p[0] for p in parts))
    messages.append(
        {"uid": int(uid), "flags": flags.group(1).decode().split(), "raw": raw.decode("utf-8", "surrogateescape")}
    )
imap.close()
imap.logout()
print(json.dumps({"mailboxes": [box.decode() for box in boxes], "messages": messages}))
