"""Sends mail, appends it to Sent as mail programs do, and synchronises twice with mbsync and with offlineimap.

Prints what each program has in its copy of Sent and what the server has, as JSON. mbsync also finds a sent message in its
own copy that it has not uploaded. Arguments: port of submission over TLS, port of IMAP over TLS, CA, user, token.
"""

import imaplib
import json
import pathlib
import smtplib
import ssl
import sys
import tempfile

from synchronisers import Synchroniser

smtp_port, imap_port, ca, user, token = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
root = pathlib.Path(tempfile.mkdtemp())


def message(name):
    return (
        f"From: {user}\r\nTo: ann@example.org\r\nSubject: {name}\r\nMessage-ID: <{name}@client.test>\r\n"
        "Date: Sun, 29 Nov 2026 10:00:00 +0000\r\n\r\nHello.\r\n"
    ).encode()


def send(raw):
    with smtplib.SMTP_SSL("localhost", int(smtp_port), context=tls) as client:
        client.login(user, token)
        client.sendmail(user, ["ann@example.org"], raw)


def imap():
    client = imaplib.IMAP4_SSL("localhost", int(imap_port), ssl_context=tls)
    client.login(user, token)
    return client


def server():
    client = imap()
    client.select("Sent", readonly=True)
    _, items = client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    client.logout()
    parts = [item for item in items if isinstance(item, tuple)]
    return sorted((item[1].decode().split(": ", 1)[1].strip(), "\\Flagged" in item[0].decode()) for item in parts)


def local(copy):
    """The subjects of its copy of Sent, and whether they are flagged."""
    return [(subject, is_starred) for subject, _, is_starred in copy.messages("Sent")]


# As a mail program does: sent, and its own copy appended to Sent.
send(message("appended"))
client = imap()
status, answer = client.append("Sent", "(\\Seen \\Flagged)", None, message("appended"))
assert status == "OK" and b"APPENDUID" in answer[0], (status, answer)
client.logout()

# As a program does that files its copy in its own folders, and uploads it later.
mbsync, offlineimap = (Synchroniser(name, root, "localhost", imap_port, ca, user, token) for name in ("mbsync", "offlineimap"))
for part in ("cur", "new", "tmp"):
    (mbsync.mail / "Sent" / part).mkdir(parents=True)
send(message("filed"))
(mbsync.mail / "Sent/cur/1764410400.1.client:2,S").write_bytes(message("filed").replace(b"\r\n", b"\n"))
for copy in (mbsync, mbsync, offlineimap, offlineimap):
    copy.run()
print(json.dumps({"mbsync": local(mbsync), "offlineimap": local(offlineimap), "server": server()}))
