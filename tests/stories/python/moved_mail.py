"""Mail moved into an inbox and out of it: moved_mail.py WHAT PROGRAM URL TOKEN INBOX USER IMAPS_PORT CA

WHAT is `maildir`, `mbox`, `cut_off`, `full` or `fetch`. Prints what happened, as JSON.
"""

import email
import json
import mailbox
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import dovecot

what, program, url, token, inbox, user, imaps, ca = sys.argv[1:]
root = pathlib.Path(tempfile.mkdtemp(prefix="moved"))
environment = {**os.environ, "INBOXLAYER_URL": url, "INBOXLAYER_TOKEN": token, "XDG_STATE_HOME": str(root / "state")}
ATTACHED = "x" * 300_000


def start(*arguments):
    command = [program, "inbox", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def cli(*arguments, code=0):
    """What it prints on standard output and standard error, as lines."""
    process = start(*arguments)
    stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == code, (arguments, process.returncode, stdout, stderr)
    return stdout.splitlines(), stderr.splitlines()


def ours():
    return dovecot.connect(imaps, ca, user, token)


def message(subject, body="Hello.\n", identified=True):
    identity = f"Message-ID: <{subject.replace(' ', '.')}@moved.test>\n" if identified else ""
    return f"From: Ann <ann@moved.test>\nSubject: {subject}\n{identity}\n{body}"


def fill(client):
    """Mailboxes, flags, keywords and dates, made by Dovecot."""
    for name in ["Archive.2024", "Entw&APw-rfe", "Empty"]:
        dovecot.ok(client.create(name))
    many = [(f"number {n}", "\\Seen" if n % 2 else "", f"01-Feb-2024 10:{n // 60:02}:{n % 60:02} +0100") for n in range(450)]
    for name, messages in {
        "INBOX": [
            ("first", "\\Seen \\Answered $Forwarded", " 1-Jan-2020 10:00:00 +0000"),
            ("second", "\\Flagged Work NonJunk", " 2-Jan-2020 10:00:00 +0200"),
            ("third", "", "29-Feb-2000 23:59:59 -0700"),
            ("twice", "", " 3-Jan-2020 10:00:00 +0000"),
            ("twice", "", " 3-Jan-2020 10:00:00 +0000"),
        ],
        "Gesendet": [("sent", "\\Seen Work", "11-Nov-2011 11:11:11 +0000")],
        "Entw&APw-rfe": [("draft", "\\Draft \\Deleted", "12-Dec-2012 12:12:12 +0000")],
        "Archive.2024": many,
    }.items():
        for subject, flags, date in messages:
            body = f"From here on.\n\n>From there.\n{ATTACHED}\n" if subject == "first" else "Hello.\n"
            raw = message(subject, body, identified=subject != "third").replace("\n", "\r\n").encode()
            dovecot.ok(client.append(name, f"({flags})", f'"{date}"', raw))


def differences(one, other):
    """Mailboxes and messages that are in one of both alone."""
    found = [name for name in one.keys() ^ other.keys()]
    for name in one.keys() & other.keys():
        left, right = sorted(one[name]), sorted(other[name])
        if left != right:
            found.append([name, [e for e in left if e not in right], [e for e in right if e not in left]])
    return found


def maildir():
    server = dovecot.Dovecot(root / "mail")
    client = server.client()
    fill(client)
    there = dovecot.held(client)
    client.logout()
    server.stop()
    first = cli("import", inbox, root / "mail")
    again = cli("import", inbox, root / "mail")
    client = ours()
    here, names = dovecot.held(client), sorted(dovecot.mailboxes(client))
    client.logout()
    exported = cli("export", inbox, root / "out")
    exported_again = cli("export", inbox, root / "out")
    server = dovecot.Dovecot(root / "out")
    client = server.client()
    back = dovecot.held(client)
    server.stop()

    return {
        "first": first,
        "again": again,
        "here": differences(here, there),
        "order": [entry[0] for entry in here["Archive/2024"]][:3],
        "names": names,
        "exported": exported,
        "exported_again": exported_again,
        "back": differences(back, here),
    }


def mbox():
    source = mailbox.mbox(root / "Old mail.mbox")
    for subject, status, body in [
        ("one", "RO", "From the start.\n\nFrom me\n>From you\n"),
        ("two", "AF", "Hello.\n"),
        ("three", "ODT", "\n\n\n"),
    ]:
        entry = mailbox.mboxMessage(message(subject, body))
        entry.set_from("ann@moved.test", time.gmtime(1_500_000_000))
        entry.set_flags(status)
        source.add(entry)
    source.close()
    (root / "no mbox").write_text("Hello.\n")
    first = cli("import", inbox, root / "Old mail.mbox", "--mailbox", "Old/2017")
    with open(root / "Old mail.mbox", "ab") as file:
        file.write(b"From ann@moved.test Fri Jul 14 02:40:01 2017\nSubject: nul\n\n\0\n\n")
    again = cli("import", inbox, root, "--mailbox", "Old/2017", code=4)
    named = cli("import", inbox, root / "Old mail.mbox", "--mailbox", "Old/2017", code=4)
    client = ours()
    here = {name: [entry[:3] for entry in messages] for name, messages in dovecot.held(client).items()}
    client.logout()
    exported = cli("export", inbox, root / "out", "--format", "mbox", "--mailbox", "Old/2017")
    back = []
    for entry in mailbox.mbox(root / "out" / "Old" / "2017.mbox"):
        back.append([entry["subject"], sorted(entry.get_flags()), entry.get_from(), entry.get_payload()])
    return {
        "first": first,
        "again": [[line.replace(str(root), "") for line in lines] for lines in again],
        "named": [[line.replace(str(root), "") for line in lines] for lines in named],
        "here": here,
        "exported": exported,
        "back": back,
    }


def count(client, name):
    return int(dovecot.ok(client.select(name, readonly=True))[0])


def kill_when(process, is_time):
    """True if it was killed before it ended."""
    while process.poll() is None:
        if is_time():
            process.kill()
            process.communicate()
            return True
    return False


def cut_off():
    """Kills an import, an export as a Maildir and one as mbox in the middle, and runs each again."""
    total = 3000
    folder = root / "mail"
    for part in ["cur", "new", "tmp"]:
        (folder / part).mkdir(parents=True)
    for number in range(total):
        path = folder / "cur" / f"{number}.x.host:2,S"
        path.write_text(message(f"number {number}"))
        os.utime(path, (1_600_000_000 + number, 1_600_000_000 + number))
    client = ours()
    dovecot.ok(client.create("Many"))
    arguments = ["import", inbox, folder, "--mailbox", "Many"]
    killed = kill_when(start(*arguments), lambda: count(client, "Many") > 0)
    before = count(client, "Many")
    imported = cli(*arguments)
    subjects = {entry[0] for entry in dovecot.held(client)["Many"]}
    result = {
        "killed": killed and 0 < before < total,
        "imported": imported == ([f"Many: {total - before} imported, {before} already there"], []),
        "messages": [count(client, "Many"), len(subjects)],
    }
    client.logout()
    for kind in ["maildir", "mbox"]:
        target = root / kind
        arguments = ["export", inbox, target, "--format", kind, "--mailbox", "Many"]
        begun = (lambda: any(target.glob(".Many/cur/*"))) if kind == "maildir" else (lambda: any(path.stat().st_size for path in target.glob(".*journal")))
        killed = kill_when(start(*arguments), begun)
        lines, errors = cli(*arguments)
        if kind == "maildir":
            found = [path.read_text() for path in target.glob(".Many/cur/*")]
        else:
            found = [bytes(entry).decode() for entry in mailbox.mbox(target / "Many.mbox")]
        subjects = {email.message_from_string(text)["subject"] for text in found}
        result[kind] = [killed, "already there" in lines[0], len(found), len(subjects), errors]
    return result


def full():
    """An inbox with room for 300 messages."""
    source = mailbox.mbox(root / "many")
    for number in range(450):
        source.add(mailbox.mboxMessage(message(f"number {number}")))
    source.close()
    ended = cli("import", inbox, root / "many", code=1)
    client = ours()
    return {"ended": ended, "held": count(client, "many")}


def fetch():
    server = dovecot.Dovecot(root / "mail")
    client = server.client()
    fill(client)
    there = dovecot.held(client)
    (root / "password").write_text(server.password + "\n")
    (root / "wrong").write_text("wrong\n")
    secured = f"imaps://ann@localhost:{server.imaps}/"
    with_password = ["--password-file", root / "password"]
    trusted = [*with_password, "--ca", server.ca]
    refused = {
        "not trusted": cli("fetch", inbox, secured, *with_password, code=1)[1],
        "wrong": cli("fetch", inbox, secured, "--password-file", root / "wrong", "--ca", server.ca, code=1)[1],
        "nowhere": cli("fetch", inbox, f"{secured}Nowhere", *trusted, code=1)[1],
    }
    process = start("fetch", inbox, secured, *trusted)
    watching = ours()
    killed = kill_when(process, lambda: "Archive/2024" in dovecot.mailboxes(watching) and count(watching, "Archive/2024") > 0)
    before = count(watching, "Archive/2024")
    first = cli("fetch", inbox, secured, *trusted)
    second = cli("fetch", inbox, secured, *trusted)
    start_tls = cli("fetch", inbox, f"imap://ann@localhost:{server.imap}", *trusted)
    here = dovecot.held(watching)
    dovecot.ok(client.append("INBOX", "(\\Seen)", '" 5-May-2025 05:05:05 +0000"', message("later").replace("\n", "\r\n").encode()))
    later = cli("fetch", inbox, f"{secured}INBOX", *trusted)
    for path in (root / "state").rglob("*.json"):
        path.unlink()
    forgotten = cli("fetch", inbox, secured, *trusted)
    client.logout()
    server.stop()
    there["Sent"] = there.pop("Gesendet")
    shown = {
        "refused": refused,
        "killed": [killed, 0 < before < 450],
        "first": first[1],
        "second": second,
        "start_tls": start_tls,
        "later": later,
        "forgotten": forgotten,
        "here": differences(here, there),
    }
    # From one inbox of ours to another.
    cli("create", "fetched-copy")
    (root / "token").write_text(token)
    quoted = user.replace("@", "%40")
    arguments = ["fetch", "fetched-copy", f"imaps://{quoted}@localhost:{imaps}/", "--password-file", root / "token", "--ca", ca]
    cli(*arguments)
    copied = cli(*arguments)
    shown["copied"] = [line for line in copied[0] if ": 0 fetched" not in line] + copied[1]
    return shown


print(json.dumps({"maildir": maildir, "mbox": mbox, "cut_off": cut_off, "full": full, "fetch": fetch}[what]()))
