"""Two imaplib sessions on one inbox, and mail from outside meanwhile: imap_client.py HOST PORT CA USER TOKEN MX_HOST MX_PORT

Checks each response and prints the final content of the mailboxes: {"mailbox": [subject, …]}.
"""
import imaplib
import json
import re
import smtplib
import ssl
import sys

host, port, ca, user, token, mx_host, mx_port = sys.argv[1:]


def session():
    imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca), timeout=60)
    ok(imap.login(user, token))
    return imap


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def text(data):
    return " ".join(part.decode() if isinstance(part, bytes) else str(part) for part in data)


def message(subject, body="Hello."):
    return f"From: a@outside.example\r\nTo: {user}\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


def append(imap, mailbox, subject, flags="", date=""):
    data = text(ok(imap.append(mailbox, flags, date, message(subject))))
    return re.search(r"\[APPENDUID (\d+) (\d+)\]", data).groups()


def uids(imap, *criteria):
    return text(ok(imap.uid("SEARCH", *criteria))).split()


def flags(imap, uid):
    data = text(ok(imap.uid("FETCH", uid, "(FLAGS)")))
    return set(re.search(r"FLAGS \(([^)]*)\)", data).group(1).split()) - {"\\Recent"}


def news(imap, kind):
    """Untagged responses to the last command."""
    return [part.decode() for part in imap.response(kind)[1] if part is not None]


def idle(imap):
    """IDLE over the socket, since this imaplib does not support it."""
    tag = imap._new_tag()
    imap.send(tag + b" IDLE\r\n")
    # Pending changes are sent first.
    while not (line := imap.readline()).startswith(b"+ "):
        assert line.startswith(b"* "), line
    return tag


def hears(imap, *lines):
    """Expects these lines in an idling session, in order; other lines may come between."""
    for wanted in lines:
        while True:
            line = imap.readline().decode().strip()
            assert line, f"connection closed, expected {wanted}"
            if re.fullmatch(wanted, line):
                break


def done(imap, tag):
    imap.send(b"DONE\r\n")
    while not (line := imap.readline()).startswith(tag):
        assert line
    assert line.startswith(tag + b" OK"), line


one, two = session(), session()

# Capabilities, namespace, mailboxes with their special uses, ID.
for name in ["IDLE", "UIDPLUS", "MOVE", "NAMESPACE", "SPECIAL-USE", "UNSELECT", "LITERAL+", "ID"]:
    assert name in text(ok(one.capability())).split(), name
assert text(ok(one.namespace())) == '(("" "/")) NIL NIL'
ok(one.xatom("ID", "(\"name\" \"imaplib\")"))
assert '"Inboxlayer"' in text(news(one, "ID"))
listed = {re.search(r'"?([^" ]+)"?$', line.decode()).group(1): line.decode() for line in ok(one.list())}
for name in ["Drafts", "Sent", "Junk", "Trash", "Archive"]:
    assert f"\\{name}" in listed[name], listed
assert "INBOX" in listed

# APPEND with flags and date, seen by another session; STATUS without SELECT.
assert ok(one.select("INBOX")) == [b"0"]
assert ok(two.select("INBOX")) == [b"0"]
validity, first = append(one, "INBOX", "first", "(\\Seen keyword)", '"01-Feb-2024 03:04:05 +0100"')
_, second = append(one, "INBOX", "second")
_, third = append(one, "INBOX", "third")
ok(two.noop())
assert news(two, "EXISTS")[-1] == "3"
assert flags(two, first) == {"\\Seen", "keyword"}
assert "01-Feb-2024 02:04:05 +0000" in text(ok(two.uid("FETCH", first, "(INTERNALDATE)")))
status = text(ok(two.status("INBOX", "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)")))
assert re.search(rf"MESSAGES 3 UNSEEN 2 UIDNEXT {int(third) + 1} UIDVALIDITY {validity}\)", status), status

# SEARCH keys.
for criteria, found in [
    (["ALL"], [first, second, third]),
    (["UNSEEN"], [second, third]),
    (["KEYWORD", "keyword"], [first]),
    (["SUBJECT", '"second"'], [second]),
    (["OR", "SUBJECT", "first", "SUBJECT", "third"], [first, third]),
    (["NOT", "SUBJECT", "third", "SINCE", "02-Feb-2024"], [second]),
    (["BODY", "hello", "LARGER", "10", "UID", f"{second}:*"], [second, third]),
    (["CHARSET", "UTF-8", "FROM", "outside.example"], [first, second, third]),
    (["HEADER", "X-None", '""'], []),
]:
    assert uids(two, *criteria) == found, criteria

# A session gets flag changes of others, not its own.
ok(one.uid("STORE", second, "+FLAGS.SILENT", "(\\Flagged)"))
assert news(one, "FETCH") == []
ok(two.noop())
assert "\\Flagged" in text(news(two, "FETCH"))
ok(two.uid("STORE", second, "FLAGS", "(\\Answered)"))
assert flags(two, second) == {"\\Answered"}
ok(one.uid("STORE", first, "-FLAGS", "(keyword)"))
assert flags(one, first) == {"\\Seen"} and flags(one, second) == {"\\Answered"}

# COPY and MOVE return the new UIDs; the other session's sequence numbers stay until it gets EXPUNGE.
ok(one.uid("COPY", f"{first},{third}", "Archive"))
assert re.fullmatch(rf"\d+ {first},{third} 1:2", text(news(one, "COPYUID")))
ok(one.uid("MOVE", second, "Trash"))
assert re.search(rf"\d+ {second} 1", text(news(one, "COPYUID")))
assert news(one, "EXPUNGE") == ["2"]
assert "third" in text(part[1] for part in ok(two.fetch("3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if part != b")")
gone = two.fetch("2", "(BODY.PEEK[])")
assert b"second" not in b"".join(part[1] for part in gone[1] if isinstance(part, tuple)), gone
ok(two.noop())
assert news(two, "EXPUNGE") == ["2"] and uids(two, "ALL") == [first, third]

# UID EXPUNGE removes only the named messages; EXPUNGE the rest.
_, fourth = append(one, "INBOX", "fourth")
ok(one.noop())
ok(one.uid("STORE", f"{first},{third}", "+FLAGS.SILENT", "(\\Deleted)"))
ok(one.uid("EXPUNGE", f"{first},{fourth}"))
assert news(one, "EXPUNGE") == ["1"] and uids(one, "ALL") == [third, fourth]
assert ok(one.expunge()) == [b"1"]
ok(two.noop())
assert uids(two, "ALL") == [fourth]

# UNSELECT does not expunge, CLOSE does; EXAMINE is read-only.
ok(one.uid("STORE", fourth, "+FLAGS.SILENT", "(\\Deleted)"))
ok(one.unselect())
assert one.state == "AUTH" and uids(two, "ALL") == [fourth]
ok(one.select("INBOX", readonly=True))
status, said = one.uid("STORE", fourth, "-FLAGS", "(\\Deleted)")
assert status == "NO", said
ok(one.close())
assert uids(two, "ALL") == [fourth] and flags(two, fourth) == {"\\Deleted"}
ok(two.uid("STORE", fourth, "-FLAGS.SILENT", "(\\Deleted)"))

# IDLE gets the other session's changes, and mail from outside.
ok(one.select("INBOX"))
tag = idle(one)
_, fifth = append(two, "INBOX", "fifth")
hears(one, r"\* 2 EXISTS")
ok(two.uid("STORE", fifth, "+FLAGS", "(\\Flagged)"))
hears(one, r"\* 2 FETCH \(.*FLAGS \(.*\\Flagged.*\).*\)")
ok(two.uid("STORE", fourth, "+FLAGS.SILENT", "(\\Deleted)"))
ok(two.expunge())
hears(one, r"\* 1 EXPUNGE")
with smtplib.SMTP(mx_host, int(mx_port), timeout=60) as smtp:
    smtp.sendmail("a@outside.example", [user], message("from outside"))
hears(one, r"\* 2 EXISTS")
done(one, tag)
assert uids(one, "SUBJECT", '"from outside"') == [str(int(fifth) + 1)]
# Both idle at once and get each other's changes.
tags = idle(one), idle(two)
with smtplib.SMTP(mx_host, int(mx_port), timeout=60) as smtp:
    smtp.sendmail("a@outside.example", [user], message("to both"))
for imap, tag in zip((one, two), tags):
    hears(imap, r"\* 3 EXISTS")
    done(imap, tag)

# CREATE, DELETE, RENAME.
ok(one.create("Projects/2023"))
ok(one.rename("Projects/2023", "Projects/2024"))
ok(one.subscribe("Projects/2024"))
assert "Projects/2024" in text(ok(one.lsub()))
ok(one.uid("COPY", fifth, "Projects/2024"))
status, said = one.uid("COPY", fifth, "Nowhere")
assert status == "NO" and b"[TRYCREATE]" in said[0], said
status, said = two.select("Nowhere")
assert status == "NO", said

held = {}
for name in ["INBOX", "Archive", "Trash", "Projects/2024"]:
    count = int(ok(two.select(name, readonly=True))[0])
    parts = ok(two.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")) if count else []
    held[name] = [part[1].decode().strip().removeprefix("Subject: ") for part in parts if isinstance(part, tuple)]
    ok(two.unselect())
for imap in (one, two):
    assert imap.logout()[0] == "BYE"
print(json.dumps(held))
