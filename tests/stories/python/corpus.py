"""Compares what FETCH shows of strange messages with what Debian's Dovecot shows of them.

corpus.py HOST PORT CA USER TOKEN ROOT SEED MIXED

The messages are those of ROOT/fixtures/messages and of strange.py. They are appended to Archive here, and are a Maildir for Dovecot, of
which the IMAP server is run on a pipe. Items: RFC822.SIZE, ENVELOPE, BODY, BODYSTRUCTURE, and the sections of every part. Differences
that ROOT/fixtures/imap/dovecot.txt allows are those where Dovecot is wrong by an RFC, or where the message is.

Prints {"messages": number, "wrong": [text, …]}.
"""
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import fetched
import strange

FIELDS = "(From Subject Content-Type)"
ITEMS = "RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[99] "
ITEMS += f"BODY.PEEK[HEADER.FIELDS {FIELDS}] BODY.PEEK[HEADER.FIELDS.NOT {FIELDS}] BODY.PEEK[TEXT]<1.7> BODY.PEEK[]<5.50>"
# What Dovecot puts in the place of what an address lacks.
INVENTED = (b"MISSING_MAILBOX", b"MISSING_DOMAIN", b"SYNTAX_ERROR")
# Sections in one command, and messages appended at once.
SECTIONS, APPENDED = 50, 50
CONFIGURATION = """
mail_location = maildir:{folder}/mail
log_path = {folder}/log
first_valid_uid = 0
ssl = no
"""


def dovecot(folder, messages):
    """Dovecot's IMAP server, with the messages as its INBOX."""
    for part in ("cur", "new", "tmp"):
        (folder / "mail" / part).mkdir(parents=True)
    for number, (_, octets) in enumerate(messages, 1):
        (folder / f"mail/cur/{number:05}.1.host:2,S").write_bytes(octets)
    configuration = CONFIGURATION.format(folder=folder)
    # It refuses to read mail as root.
    if os.getuid() == 0:
        subprocess.run(["chown", "-R", "nobody:nogroup", folder], check=True)
        configuration += "mail_uid = nobody\nmail_gid = nogroup\n"
    path = folder / "dovecot.conf"
    path.write_text(configuration)
    server = fetched.Connection.of_program(["/usr/lib/dovecot/imap", "-c", path], {"USER": "reader", "HOME": str(folder)})
    server.run("SELECT INBOX")
    return server


def ours(host, port, ca, user, token, messages):
    server = fetched.Connection.over_tls(host, int(port), ca, user, token)
    for some in batches(messages, APPENDED):
        server.finish(*(server.send(b"APPEND Archive (\\Seen) {%d+}\r\n%b" % (len(octets), octets)) for _, octets in some))
    # Headers in UTF-8 come as they are.
    server.run("ENABLE UTF8=ACCEPT")
    server.run("SELECT Archive")
    return server


def batches(values, size):
    return (values[at : at + size] for at in range(0, len(values), size))


def is_multipart(structure):
    return isinstance(structure[0], list)


def parts_of(structure):
    return list(itertools.takewhile(lambda part: isinstance(part, list), structure))


def message_within(structure):
    """The structure within a message/rfc822 part."""
    return structure[8] if len(structure) > 8 and isinstance(structure[7], list) else None


def sections(structure, path=""):
    """The names of the sections of all parts of a message."""
    parts = enumerate(parts_of(structure), 1) if is_multipart(structure) else [(1, structure)]
    for number, part in parts:
        at = f"{path}{number}"
        yield from (at, f"{at}.MIME")
        if is_multipart(part):
            yield from sections(part, f"{at}.")
        elif inner := message_within(part):
            yield from (f"{at}.{name}" for name in ("HEADER", "TEXT", f"HEADER.FIELDS {FIELDS}", f"HEADER.FIELDS.NOT {FIELDS}"))
            yield from sections(inner, f"{at}.")


def read(server, count):
    """What a server shows of each message: the items by name."""
    shown = server.fetch([("1:*", ITEMS)])
    assert len(shown) == count, len(shown)
    wanted = []
    for number, items in shown.items():
        names = [f"BODY.PEEK[{name}]" for name in sections(items["BODYSTRUCTURE"])]
        wanted += ((number, " ".join(some)) for some in batches(names, SECTIONS))
    for number, items in server.fetch(wanted).items():
        shown[number].update(items)
    return {number: {name: comparable(name, value) for name, value in items.items()} for number, items in shown.items()}


def comparable(name, value):
    """A value without what is alike by the RFCs, or always differs for a reason that dovecot.txt gives."""
    if name == "ENVELOPE":
        return envelope(value)
    if name in ("BODY", "BODYSTRUCTURE"):
        return structure(value)
    return value or b""


def envelope(value):
    return [listed(field) if isinstance(field, list) else text(field) for field in value]


def text(value):
    return value and re.sub(rb"[ \t]+", b" ", value).strip()


def listed(addresses):
    filled = [[b"" if part in INVENTED else part for part in address] for address in addresses]
    return [address for address in filled if address != [None, None, b"", b""]] or None


def structure(value):
    if is_multipart(value):
        parts = parts_of(value)
        subtype, *rest = value[len(parts) :]
        return [*map(structure, parts), subtype.lower(), parameters(rest[0]) if rest else None, *disposed(rest[1:])]
    kind, subtype, given, content_id, description, encoding, size, *rest = value
    kind, subtype, given = kind.lower(), subtype.lower(), parameters(given)
    if kind == b"text" and subtype != b"plain" and given:
        given = [pair for pair in given if pair != (b"charset", b"us-ascii")] or None
    if message_within(value):
        rest = [envelope(rest[0]), structure(rest[1]), *rest[2:]]
    own = {b"text": 1, b"message": 3 if message_within(value) else 0}.get(kind, 0)
    rest = [*rest[: own + 1], *disposed(rest[own + 1 :])]
    return [kind, subtype, given, text(content_id), text(description), encoding.lower(), size, *rest]


def parameters(given):
    return given and sorted((name.lower(), value) for name, value in zip(given[::2], given[1::2]))


def disposed(rest):
    """What follows a part's own data: disposition, languages, location."""
    disposition, *others = rest or [None]
    word = disposition and [disposition[0].lower(), parameters(disposition[1])]
    return [word, *(text(other) if isinstance(other, bytes) else other for other in others)]


def allowed(path):
    """The items of a message that may differ, by its name."""
    found = {}
    for line in path.read_text().splitlines():
        if line.startswith("    "):
            items, _, name = line.strip().partition(" ")
            found.setdefault(json.loads(name), set()).update(items.split(","))
    return found


def kind_of(item):
    """How dovecot.txt names an item: all sections are BODY[]."""
    return "BODY[]" if "[" in item else item


def main():
    host, port, ca, user, token, root, seed, mixed = sys.argv[1:]
    root = pathlib.Path(root)
    known = allowed(root / "fixtures/imap/dovecot.txt")
    paths = sorted(root.glob("fixtures/messages/**/*.eml"))
    messages = [(path.stem, path.read_bytes()) for path in paths]
    messages += strange.messages(int(seed), int(mixed), known)
    wrong, differ = [], {}
    with tempfile.TemporaryDirectory() as folder:
        theirs = read(dovecot(pathlib.Path(folder), messages), len(messages))
        here = read(ours(host, port, ca, user, token, messages), len(messages))
    for number, (name, octets) in enumerate(messages, 1):
        mine, other = here[number], theirs[number]
        for item in sorted(mine.keys() | other.keys()):
            if mine.get(item) == other.get(item):
                continue
            differ.setdefault(name, set()).add(kind_of(item))
            if kind_of(item) not in known.get(name, ()):
                wrong.append(f"{name!r}: {item} of {octets[:2000]!r}\n here: {mine.get(item)}\n Dovecot: {other.get(item)}")
    for name, items in known.items():
        wrong += (f"{name!r}: {item} is the same as Dovecot's: take it out of dovecot.txt" for item in items - differ.get(name, set()))
    print(json.dumps({"messages": len(messages), "wrong": wrong}))


main()
