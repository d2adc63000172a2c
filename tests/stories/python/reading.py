"""Messages read over REST, IMAP FETCH and IMAP SEARCH: all three must agree with the expected reading.

reading.py HOST PORT CA USER TOKEN HTTP INBOX_ID FOLDER SEED COUNT

Messages are those of FOLDER (NAME.eml, with NAME.txt as the expected reading) and COUNT made by generated.py from SEED. FETCH is
read as an independent client would: ENVELOPE, BODYSTRUCTURE and the octets of the parts, decoded by Python's own codecs. Prints {"messages": number, "wrong": [text, …]}.
"""
import base64
import binascii
import codecs
import datetime
import email.utils
import imaplib
import json
import pathlib
import quopri
import re
import ssl
import sys
import urllib.parse
import urllib.request

import generated
from fetched import Reply

CHARSETS = {
    "cp932": "cp932", "shift_jis": "cp932", "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "gb2312": "gbk", "hz-gb-2312": "hz",
    "unicode-1-1-utf-7": "utf-7", "x-mac-roman": "mac-roman", "iso-8859-1": "cp1252", "us-ascii": "utf-8", "": "utf-8",
    "tis-620": "tis-620", "utf-8": "utf-8-sig",
}


def decode(charset, octets):
    charset = charset.lower()
    try:
        codec = codecs.lookup(CHARSETS.get(charset, charset)).name
    except LookupError:
        codec = "utf-8"
    if codec.startswith("utf-8"):
        try:
            return octets.decode(codec)
        except UnicodeDecodeError:
            codec = "cp1252"
    return octets.decode(codec, "replace")


def words(octets):
    """Decodes RFC 2047 words; other text is UTF-8 or Windows-1252. Removes control characters."""
    pieces, at = [], 0
    for found in re.finditer(rb"=\?([^?*\s]+)(?:\*[^?]*)?\?([bBqQ])\?([^?]*)\?=", octets):
        before = octets[at:found.start()]
        charset, text = found[1].decode("ascii").lower(), found[3]
        if found[2] in b"bB":
            text = binascii.a2b_base64(text + b"==")
        else:
            text = quopri.decodestring(text.replace(b"_", b" "), header=False)
        if pieces and pieces[-1][0] is not None and not before.strip():
            if pieces[-1][0] == charset and not charset.startswith("iso-2022"):
                pieces[-1][1] += text
            else:
                pieces.append([charset, text])
        else:
            pieces += [[None, before], [charset, text]]
        at = found.end()
    pieces.append([None, octets[at:]])
    return clean("".join(decode(charset or "", text) for charset, text in pieces))


def clean(text):
    return "".join(c for c in text.replace("\t", " ") if c.isprintable() or c == " ")


def fetch(imap, uid, what):
    status, parts = imap.uid("FETCH", uid, f"({what})")
    assert status == "OK", parts
    octets = b"".join(b"\r\n".join(part) if isinstance(part, tuple) else part for part in parts if part)
    return Reply(octets[octets.index(b"("):]).value()


def mailbox(name, address):
    return f"{name} <{address}>" if name else address


def envelope_mailboxes(addresses):
    found = []
    for name, _, local, host in addresses or []:
        if host is None:
            continue
        local, host = (decode("", part or b"") for part in (local, host))
        if host and not re.fullmatch(r"[^\s\"(),:;<>@\[\]\\]+", local):
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        found.append(mailbox(words(name or b"").strip(), f"{local}@{host}" if host else local))
    return found


def parameters(given):
    found = {}
    for name, value in zip((given or [])[::2], (given or [])[1::2]):
        name = name.decode().lower()
        if name.endswith("*"):
            charset, _, text = value.split(b"'", 2) if value.count(b"'") >= 2 else (b"", b"", value)
            found[name[:-1]] = clean(decode(charset.decode(), urllib.parse.unquote_to_bytes(text)))
        else:
            found.setdefault(name, words(value))
    return found


class Leaf:
    def __init__(self, structure, path, container, first, alternative):
        self.path, self.container, self.first, self.alternative = path or "1", container, first, alternative
        self.kind = f"{structure[0].decode()}/{structure[1].decode()}".lower()
        self.parameters = parameters(structure[2])
        self.encoding = structure[5].decode().lower()
        # After the common fields: lines for text; envelope, structure and lines for a message; then MD5.
        at = {"text": 8, "message/rfc822": 10}.get(self.kind if self.kind == "message/rfc822" else self.kind[:4], 7) + 1
        disposition = structure[at] if len(structure) > at else None
        self.disposition = disposition[0].decode().lower() if disposition else ""
        self.name = parameters(disposition[1] if disposition else None).get("filename") or self.parameters.get("name")

    def octets(self, imap, uid):
        found = fetch(imap, uid, f"BODY.PEEK[{self.path}]")
        octets = found[found.index(b"BODY[" + self.path.encode() + b"]") + 1] or b""
        if self.encoding == "base64":
            return base64_octets(octets)
        return quopri.decodestring(octets) if self.encoding == "quoted-printable" else octets

    def is_shown(self):
        named = self.name or (self.container == "related" and not self.first)
        return self.kind in ("text/plain", "text/html") and self.disposition != "attachment" and (not self.container or not named)


def base64_octets(text):
    """Decodes concatenated pieces, each ended by padding. Text after the last counts only as whole lines of base64."""
    found, padded, piece = b"", False, b""
    for line in text.splitlines():
        if padded and not re.fullmatch(rb"([A-Za-z0-9+/=]{4})*", line):
            break
        piece += re.sub(rb"[^A-Za-z0-9+/=]", b"", line)
        if b"=" in line:
            padded = True
            found += base64.b64decode(piece)
            piece = b""
    return found + base64.b64decode(piece[: len(piece) // 4 * 4] + (piece[len(piece) // 4 * 4 :] + b"==")[:4] * (len(piece) % 4 > 1))


def leaves(structure, path="", container="", first=True, alternative=False):
    if isinstance(structure[0], list):
        parts = [part for part in structure if isinstance(part, list)][: next(i for i, p in enumerate(structure) if not isinstance(p, list))]
        subtype = structure[len(parts)].decode().lower()
        for number, part in enumerate(parts, 1):
            below = f"{path}.{number}" if path else str(number)
            yield from leaves(part, below, subtype, number == 1, alternative or subtype == "alternative")
    else:
        yield Leaf(structure, path, container, first, alternative)


def text(value):
    return value.replace("\r\n", "\n").rstrip("\n").replace("\n", "\\n")


def sent_at(value):
    """The date as Python parses it, if it can."""
    try:
        sent = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return sent.replace(tzinfo=sent.tzinfo or datetime.timezone.utc).astimezone(datetime.timezone.utc)


def by_fetch(imap, uid):
    """What a client shows from ENVELOPE, BODYSTRUCTURE and the parts."""
    found = fetch(imap, uid, "ENVELOPE BODYSTRUCTURE")
    envelope, structure = found[found.index(b"ENVELOPE") + 1], found[found.index(b"BODYSTRUCTURE") + 1]
    sent = sent_at((envelope[0] or b"").decode("ascii", "replace"))
    shown = {
        "from": [", ".join(filter(None, envelope_mailboxes(envelope[2])))],
        "to": [", ".join(envelope_mailboxes(envelope[5]))],
        "subject": [words(envelope[1] or b"")],
        "date": [sent and sent.strftime("%Y-%m-%dT%H:%M:%SZ")],
        "attachment": [],
    }
    plain, html, mixed = [], [], False
    for leaf in leaves(structure):
        if not leaf.is_shown():
            shown["attachment"].append(f"{leaf.name or '-'} | {leaf.kind} | {len(leaf.octets(imap, uid))}")
            continue
        content = decode(leaf.parameters.get("charset", ""), leaf.octets(imap, uid))
        (html if leaf.kind == "text/html" else plain).append(content)
        mixed |= not leaf.alternative
    # Clients differ in how they combine text and HTML that are not alternatives.
    is_whole = not (plain and html and mixed)
    shown["text"] = ["\n".join(text(part) for part in plain if part).replace("\n", "\\n")] if is_whole else [None]
    shown["html"] = ["\n".join(text(part) for part in html if part).replace("\n", "\\n")] if is_whole else [None]
    return shown


def by_rest(message):
    def mailboxes(field):
        return [", ".join(mailbox(one["name"], one["address"] or "") for one in message[field])]

    return {
        "from": mailboxes("from"),
        "to": mailboxes("to"),
        "cc": mailboxes("cc"),
        "subject": [message["subject"] or ""],
        "date": [(message["date"] or "").replace(".000", "")],
        "in_reply_to": [", ".join(message["in_reply_to"])],
        "text": [text(message["text_body"] or "")],
        "html": [text(message["html_body"] or "")],
        "attachment": [f"{a['filename'] or '-'} | {a['content_type']} | {a['size']}" for a in message["attachments"]],
    }


def finds(imap, uid, search):
    """True if `KEY text`, `HEADER Name text` or `SENTON date` finds the message."""
    key, _, wanted = search.partition(" ")
    keys = ["UID", uid, key]
    if key == "HEADER":
        name, _, wanted = wanted.partition(" ")
        keys.append(name)
    if key.startswith("SENT"):
        keys.append(wanted)
    else:
        imap.literal = wanted.encode()
        keys = ["CHARSET", "UTF-8", *keys]
    status, found = imap.uid("SEARCH", *keys)
    assert status == "OK", (search, found)
    return uid.encode() in found[0].split()


def searches(shown):
    """Searches that must find the message, since REST shows the text."""
    if shown["subject"][0]:
        yield "SUBJECT " + shown["subject"][0]
        yield "TEXT " + shown["subject"][0]
    for key, field in [("FROM", "from"), ("TO", "to"), ("CC", "cc")]:
        if len(shown[field][0]) < 1000:
            yield from (f"{key} {one}" for one in shown[field][0].split(", ") if one)
    for line in shown["text"][0].split("\\n")[:3]:
        if line.strip():
            yield "BODY " + line.strip()
    for attachment in shown["attachment"]:
        name = attachment.split(" | ")[0]
        if name != "-":
            yield "BODY " + name


def search_from(email, q):
    """The path of a search for emails that are not older."""
    return "/search?" + urllib.parse.urlencode({"inbox": email["inbox_id"], "q": f"{q} after:{email['created_at']}"})


def expected(path):
    found = {}
    for line in path.read_text().splitlines():
        key, _, value = line.partition(": ")
        found.setdefault(key, []).append(value)
    return found


def quotable(search):
    """The text of `TEXT text`, if a search over REST can have it between quotes."""
    key, _, text = search.partition(" ")
    return text if key == "TEXT" and '"' not in text and text.strip() == text else None


def compare(name, wanted, rest, fetched, searched, found, wrong):
    for field in rest:
        right = wanted.get(field, [] if field == "attachment" else [""])
        if right != ["*"] and rest[field] != right:
            wrong.append(f"{name}: REST has {field} {rest[field]}, not {right}")
        if field in fetched and fetched[field] != [None] and fetched[field] != rest[field]:
            wrong.append(f"{name}: FETCH has {field} {fetched[field]}, REST {rest[field]}")
    finding = [(search, True) for search in [*wanted.get("find", []), *searches(rest)]]
    for search, is_found in finding + [(search, False) for search in [*wanted.get("miss", []), "TEXT nowhere-in-it"]]:
        if searched(search) != is_found:
            wrong.append(f"{name}: SEARCH {search} {'does not find' if is_found else 'finds'} it")
        text = quotable(search)
        if text and found(f'"{text}"') != is_found:
            wrong.append(f"{name}: REST's search for {text} {'does not find' if is_found else 'finds'} it")


def main():
    host, port, ca, user, token, http, inbox, folder, seed, count = sys.argv[1:]
    def session():
        imap = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca), timeout=120)
        imap.login(user, token)
        return imap

    imap = session()
    imap.select("INBOX")
    # Headers in UTF-8 come as they are to who takes that, and texts in other charsets are searched without.
    exact = session()
    exact.enable("UTF8=ACCEPT")
    exact.select("INBOX")

    def api(path):
        request = urllib.request.Request(f"{http}/api/v1/emails{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    messages = [(path.stem, path.read_bytes(), expected(path.with_suffix(".txt"))) for path in sorted(pathlib.Path(folder).glob("*.eml"))]
    messages += generated.messages(int(seed), int(count))
    wrong = []
    for name, raw, wanted in messages:
        status, answer = imap.append("INBOX", "", "", raw)
        assert status == "OK", (name, answer)
        uid = re.search(rb"APPENDUID \d+ (\d+)", answer[0])[1].decode()
        (newest,) = api(f"?inbox={inbox}&per_page=1")["data"]
        rest = by_rest(api(f"/{newest['id']}"))
        try:
            exact.noop()
            fetched = by_fetch(exact, uid)
            in_rest = lambda q: newest["id"] in {email["id"] for email in api(search_from(newest, q))["data"]}
            compare(name, wanted, rest, fetched, lambda search: finds(imap, uid, search), in_rest, wrong)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
        stored = fetch(exact, uid, "BODY.PEEK[]")
        if raw not in stored:
            wrong.append(f"{name}: FETCH does not give it back as it came")
    imap.logout()
    print(json.dumps({"messages": len(messages), "wrong": wrong}, ensure_ascii=False))


main()
