"""What each protocol shows of an inbox, as rows that can be compared: REST with http.client, IMAP with imaplib.

A row has what both protocols show of an email. Two copies of an email may be equal rows, so that rows are counted.
"""
import collections
import datetime
import email.header
import functools
import http.client
import imaplib
import json
import re
import ssl
import urllib.parse

Row = collections.namedtuple("Row", "mailbox subject sender to flags size date message_id in_reply_to")

# The label of a mailbox is that of its special use, or else that of its name.
KINDS = {"INBOX": "inbox", "Drafts": "drafts", "Sent": "sent", "Junk": "junk", "Trash": "trash", "Archive": "archive"}
STANDARD = {kind: name for name, kind in KINDS.items()}
OUTSIDE = "ann@outside.test"


class Different(Exception):
    """Something is not as it has to be."""


def check(condition, *what):
    if not condition:
        raise Different(*what)


class Rest:
    def __init__(self, base, token):
        url = urllib.parse.urlsplit(base)
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method, path, body=None, status=(200, 201, 204)):
        octets = None if body is None else json.dumps(body)
        self.connection.request(method, f"/api/v1{path}", octets, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        check(answer.status in status, method, path, body, answer.status, text.decode(errors="replace")[:2000])
        return json.loads(text) if answer.headers.get_content_type().endswith("json") else text

    def pages(self, path):
        """All rows of a list, page by page."""
        cursor, rows = "", []
        while True:
            page = self.call("GET", path + (f"&cursor={cursor}" if cursor else ""))
            rows += page["data"]
            cursor = page["meta"]["next_cursor"]
            if not cursor:
                return rows

    def events(self, after):
        """Events after a place (`None`: all), and the next place."""
        found = []
        while True:
            page = self.call("GET", "/events?limit=100" + (f"&after={after}" if after else ""))
            check(not page["meta"]["has_gap"], "events are missing")
            found += page["data"]
            after = page["meta"]["next_cursor"]
            if not page["meta"]["has_more"]:
                return found, after


def row_of_email(shown):
    """A row of what REST shows."""
    date = datetime.datetime.fromisoformat(shown["received_at"])
    return Row(
        shown["mailbox"], shown["subject"], shown["from_address"], shown["to_address"], frozenset(shown["flags"]), shown["size"],
        int(date.timestamp()), shown["message_id"], tuple(shown["in_reply_to"]),
    )


def labels_of(row, kind):
    """The labels that an email with these flags has in a mailbox of this kind."""
    found = {flag for flag in row.flags if not flag.startswith("\\")}
    if kind:
        found.add(kind)
    if "\\Seen" not in row.flags:
        found.add("unread")
    if "\\Flagged" in row.flags:
        found.add("starred")
    return found


def values(octets):
    """Parses a parenthesized list: lists, strings as bytes, NIL as None."""
    stack, at = [[]], 0
    token = re.compile(rb' *(?:(\()|(\))|\{(\d+)\}\r\n|"((?:[^"\\]|\\.)*)"|((?:BODY\S*)?[^ ()"{]+))', re.S)
    while found := token.match(octets, at):
        at = found.end()
        if found[1]:
            stack.append([])
        elif found[2]:
            last = stack.pop()
            stack[-1].append(last)
        elif found[3]:
            stack[-1].append(octets[at:at + int(found[3])])
            at += int(found[3])
        elif found[4] is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", found[4]))
        else:
            stack[-1].append(None if found[5] == b"NIL" else found[5])
    return stack[0]


@functools.cache
def decoded(text):
    return str(email.header.make_header(email.header.decode_header((text or b"").decode())))


def addresses(listed):
    return [f"{one[2].decode()}@{one[3].decode()}" for one in listed or []]


def ids(text):
    return tuple(re.findall(r"<([^>]*)>", (text or b"").decode()))


class Imap:
    def __init__(self, host, port, ca, user, token):
        context = ssl.create_default_context(cafile=ca)
        self.client = imaplib.IMAP4_SSL(host, int(port), ssl_context=context, timeout=60)
        self.ok(*self.client.login(user, token))

    def ok(self, status, data):
        check(status == "OK", status, data)
        return data

    def uid(self, *arguments):
        return self.ok(*self.client.uid(*arguments))

    def select(self, mailbox, readonly=False):
        """Selects a mailbox. Returns the number of its messages, its UIDVALIDITY and UIDNEXT."""
        (count,) = self.ok(*self.client.select(f'"{mailbox}"', readonly))
        return int(count), *(int(self.client.response(code)[1][0]) for code in ("UIDVALIDITY", "UIDNEXT"))

    def unselect(self):
        """A session that has selected a mailbox ends when another one deletes it."""
        if self.client.state == "SELECTED":
            self.ok(*self.client.unselect())

    def kinds(self):
        """The mailboxes, each with the label of its emails."""
        found = {}
        for line in self.ok(*self.client.list()):
            attributes, name = re.fullmatch(rb'\(([^)]*)\) "/" "?([^"]*)"?', line).groups()
            if b"\\Noselect" not in attributes:
                use = re.search(rb"\\(Drafts|Sent|Junk|Trash|Archive)\b", attributes)
                name = name.decode()
                found[name] = KINDS.get(use[1].decode() if use else name)
        return found

    def fetch(self, uids, items):
        """Values of messages, by UID."""
        parts = self.uid("FETCH", uids, f"(UID {items})")
        lines, line = [], b""
        for part in parts:
            if isinstance(part, tuple):
                line += b"\r\n".join(part)
            elif part is not None:
                lines.append(line + part)
                line = b""
        found = {}
        for line in lines:
            (listed,) = values(line[line.index(b"("):])
            one = dict(zip(listed[::2], listed[1::2]))
            found[int(one[b"UID"])] = one
        return found

    def octets(self, mailbox, uid):
        self.select(mailbox, True)
        status, parts = self.client.uid("FETCH", str(uid), "(BODY.PEEK[])")
        check(status == "OK", parts)
        self.unselect()
        return next(part[1] for part in parts if isinstance(part, tuple))

    def rows(self, mailbox):
        """UIDVALIDITY, UIDNEXT, and a row for each UID."""
        count, *place = self.select(mailbox, True)
        found = {}
        items = "FLAGS ENVELOPE RFC822.SIZE INTERNALDATE"
        for uid, one in self.fetch("1:*", items).items() if count else ():
            envelope = one[b"ENVELOPE"]
            date = datetime.datetime.strptime(one[b"INTERNALDATE"].decode().strip(), "%d-%b-%Y %H:%M:%S %z")
            found[uid] = Row(
                mailbox, decoded(envelope[1]), next(iter(addresses(envelope[2])), ""), ", ".join(addresses(envelope[5])),
                frozenset(flag.decode() for flag in one[b"FLAGS"]) - {"\\Recent"}, int(one[b"RFC822.SIZE"]),
                int(date.timestamp()), next(iter(ids(envelope[9])), None), ids(envelope[8]),
            )
        check(len(found) == count, mailbox, "has", count, "messages, not", len(found))
        return place, found


class View:
    """An inbox as both protocols show it."""

    def __init__(self, rest, imap, inbox):
        self.inbox = inbox
        self.kinds = imap.kinds()
        self.places, self.imap = {}, {}
        for mailbox in self.kinds:
            self.places[mailbox], self.imap[mailbox] = imap.rows(mailbox)
        imap.unselect()
        self.rest = {shown["id"]: shown for shown in rest.pages(f"/emails?inbox={inbox}&per_page=100")}
        self.rows = {id: row_of_email(shown) for id, shown in self.rest.items()}

    def counted_by_rest(self):
        return collections.Counter(self.rows.values())

    def counted_by_imap(self):
        return collections.Counter(row for rows in self.imap.values() for row in rows.values())

    def at(self, row):
        """A mailbox and UID of a row."""
        return row.mailbox, next(uid for uid, one in self.imap[row.mailbox].items() if one == row)

    def of_kind(self, kind):
        """The mailbox that a label stands for. `None`: it is made when it is needed."""
        return next((mailbox for mailbox, one in self.kinds.items() if one == kind), None)

    def compare(self):
        rest, imap = self.counted_by_rest(), self.counted_by_imap()
        check(rest == imap, "REST alone", list((rest - imap).elements()), "IMAP alone", list((imap - rest).elements()))
        for id, row in self.rows.items():
            labels = self.rest[id]["labels"]
            wanted = labels_of(row, self.kinds[row.mailbox])
            check(len(labels) == len(set(labels)) and set(labels) == wanted, id, "has labels", labels, "not", wanted)
