"""Sends mail, appends it to Sent as mail programs do, and synchronises twice with mbsync and with offlineimap.

Prints what each program has in its copy of Sent and what the server has, as JSON. mbsync also finds a sent message in its
own copy that it has not uploaded. Arguments: port of submission over TLS, port of IMAP over TLS, CA, user, token.
"""

import imaplib
import json
import pathlib
import smtplib
import ssl
import subprocess
import sys
import tempfile

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


def local(folder):
    """The subjects and whether they are flagged, by the names of files in a Maildir."""
    found = []
    for part in ("cur", "new"):
        for path in (folder / "Sent" / part).iterdir():
            subject = next(line for line in path.read_text().splitlines() if line.startswith("Subject: "))
            found.append((subject.removeprefix("Subject: "), "F" in path.name.rpartition(",")[2]))
    return sorted(found)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or "rror" in done.stderr:
        sys.exit(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")


# As a mail program does: sent, and its own copy appended to Sent.
send(message("appended"))
client = imap()
status, answer = client.append("Sent", "(\\Seen \\Flagged)", None, message("appended"))
assert status == "OK" and b"APPENDUID" in answer[0], (status, answer)
client.logout()

# As a program does that files its copy in its own folders, and uploads it later.
mail = root / "mbsync"
for part in ("cur", "new", "tmp"):
    (mail / "Sent" / part).mkdir(parents=True)
send(message("filed"))
(mail / "Sent/cur/1764410400.1.client:2,S").write_bytes(message("filed").replace(b"\r\n", b"\n"))

(root / "mbsyncrc").write_text(
    f"""
IMAPAccount server
Host localhost
Port {imap_port}
User {user}
Pass {token}
SSLType IMAPS
CertificateFile {ca}

IMAPStore far
Account server

MaildirStore near
Path {mail}/
Inbox {mail}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
"""
)
(root / "offlineimaprc").write_text(
    f"""
[general]
accounts = account
metadata = {root}/metadata
ui = quiet
[Account account]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {root}/offlineimap
[Repository far]
type = IMAP
remotehost = localhost
remoteport = {imap_port}
ssl = yes
sslcacertfile = {ca}
remoteuser = {user}
remotepass = {token}
"""
)
for _ in range(2):
    run("mbsync", "-q", "-c", str(root / "mbsyncrc"), "all")
mbsync = local(mail)
for _ in range(2):
    run("offlineimap", "-o", "-c", str(root / "offlineimaprc"))
print(json.dumps({"mbsync": mbsync, "offlineimap": local(root / "offlineimap"), "server": server()}))
