"""The subjects and keywords of INBOX and Junk, as JSON. Arguments: host port ca user token."""

import imaplib
import json
import re
import ssl
import sys

host, port, ca, user, token = sys.argv[1:]
client = imaplib.IMAP4(host, int(port))
client.starttls(ssl.create_default_context(cafile=ca))
client.login(user, token)
found = {}
for mailbox in ("INBOX", "Junk"):
    client.select(mailbox, readonly=True)
    _, items = client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    shown = []
    for item in items:
        if isinstance(item, tuple):
            flags = re.search(rb"FLAGS \(([^)]*)\)", item[0]).group(1).decode().split()
            keywords = [flag for flag in flags if not flag.startswith("\\")]
            shown.append([item[1].decode().split(": ", 1)[1].strip(), keywords])
    found[mailbox] = sorted(shown)
client.logout()
print(json.dumps(found))
