"""Changes things over every protocol until the server is killed, and later compares the result with the acknowledged changes.

usage: crash.py work|check CONFIG STATE

CONFIG is JSON: the addresses of the listeners, `ca`, and the tokens of the accounts. STATE is a file shared by `work` and `check`.
With `temporary` in CONFIG, a temporary refusal is like a lost connection: the change may be done or not. `work` ends when
standard input does, too.
Each worker changes only its own things, one at a time. So after a crash each thing is as last acknowledged, or as the change under
way makes it, completely or not at all; only EXPUNGE may have removed a first part.

`work` prints `answered WORKER` after each change, `began WORKER` before one of thousands of messages, and `ended WORKER` when its server has
gone. `check` prints what it compared,
as JSON, and fails on any difference.
"""

import collections
import copy
import http.client
import imaplib
import json
import random
import re
import smtplib
import ssl
import sys
import threading
import time

mode, config_file, state_file = sys.argv[1:]
with open(config_file) as file:
    config = json.load(file)
try:
    with open(state_file) as file:
        state = json.load(file)
except FileNotFoundError:
    state = {}
context = ssl.create_default_context(cafile=config["ca"])
GONE = (OSError, smtplib.SMTPServerDisconnected, imaplib.IMAP4.abort, http.client.HTTPException, EOFError)


class Refused(Exception):
    """A response that no crash explains."""


class Temporary(Exception):
    """A temporary refusal."""


def is_temporary(error):
    """Whether the server said that the client is to try again: 4yz, 503, NO [UNAVAILABLE]."""
    if not config.get("temporary"):
        return False
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(400 <= code < 500 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return 400 <= error.smtp_code < 500 or error.smtp_code == -1
    return isinstance(error, Temporary) or (isinstance(error, imaplib.IMAP4.error) and "[UNAVAILABLE]" in str(error))


def message(subject):
    return f"From: x@example.test\r\nTo: y@example.test\r\nSubject: {subject}\r\n\r\n" + "filler line\r\n" * 20


def imap(account):
    client = imaplib.IMAP4_SSL(config["host"], config["imaps"], ssl_context=context, timeout=60)
    client.login(account["user"], account["token"])
    return client


def ok(answer):
    kind, data = answer
    if kind != "OK":
        raise (Temporary if config.get("temporary") and b"[UNAVAILABLE]" in (data[0] or b"") else Refused)(f"{kind} {data}")
    return data


def settled(answer):
    """Any answer but a temporary refusal."""
    if answer[0] != "OK" and b"[UNAVAILABLE]" in (answer[1][0] or b""):
        raise Temporary(answer)


class Rest:
    def __init__(self, token):
        self.token = token
        self.connection = http.client.HTTPConnection(config["host"], config["http"], timeout=60)

    def __call__(self, method, path, body=None, allowed=(200, 201, 202, 204)):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.connection.getresponse()
        text = answer.read()
        self.link = answer.headers.get("Link")
        if answer.status in (502, 503, 504) and config.get("temporary"):
            raise Temporary(f"{method} {path}: {answer.status}")
        if answer.status not in allowed:
            raise Refused(f"{method} {path}: {answer.status} {text[:500]}")
        return answer.status, json.loads(text) if text else None

    def all(self, path):
        rows, target = [], f"{path}?per_page=100"
        while target:
            _, page = self("GET", target)
            rows += page if isinstance(page, list) else page["data"]
            target = self.link and self.link.removeprefix("<").partition(">")[0]
        return rows


class Worker:
    """One kind of change. `known` is the last acknowledged state; `doing` is the change under way."""

    def __init__(self, number=0):
        self.name = f"{type(self).__name__}{number}"
        kept = state.setdefault(self.name, {"known": self.start(), "doing": None, "next": 0})
        self.known, self.doing, self.next = kept["known"], kept["doing"], kept["next"]

    def start(self):
        return {}

    def number(self):
        self.next += 1
        return self.next

    def kept(self):
        return {"known": self.known, "doing": self.doing, "next": self.next}

    def run(self):
        try:
            self.connect()
            while not ended.is_set():
                # The change is recorded before it is requested; `step` returns the state once it is acknowledged.
                known = self.step()
                self.known, self.doing = known, None
                say(f"answered {self.name}")
        except GONE as error:
            say(f"ended {self.name}: {type(error).__name__} {error}")
        except BaseException as error:
            if is_temporary(error):
                say(f"ended {self.name}: {error}")
            else:
                failed.append(f"{self.name}: {type(error).__name__} {error}, doing {self.doing}")
                say(f"failed {failed[-1]}")


class Mail(Worker):
    """Messages, each sent once. All acknowledged ones must arrive, the last one may. `check` empties the mailboxes."""

    def start(self):
        return {"answered": [], "checked": 0}

    def step(self):
        subject = f"{self.name} {self.number()}"
        self.doing = subject
        self.send(subject)
        return {**self.known, "answered": self.known["answered"] + [subject]}

    def compare(self, there, where):
        for subject in self.known["answered"]:
            if there[subject] != 1:
                raise Refused(f"{subject!r} was acknowledged and is {there[subject]} times in {where}")
        mine = {s: n for s, n in there.items() if s.startswith(f"{self.name} ")}
        possible = {*self.known["answered"], self.doing}
        if any(n > 1 for n in mine.values()) or not set(mine) <= possible:
            raise Refused(f"more in {where} than was sent: {mine}, not {possible}")
        return sorted(mine)

    def checked(self, subjects):
        state.setdefault("arrived", []).extend(subjects)
        self.known = {"answered": [], "checked": self.next}


class Submission(Mail):
    """To an outside address and a local inbox, over several connections. One commit stores the message, for the reader and for the
    sender's Sent."""

    def connect(self):
        self.client = smtplib.SMTP_SSL(config["host"], config["submissions"], context=context, timeout=60)
        self.client.login(config["sender"]["user"], config["sender"]["token"])

    def send(self, subject):
        recipients = ["someone@elsewhere.example", config["reader"]["user"]]
        refused = self.client.sendmail(config["sender"]["user"], recipients, message(subject))
        if refused:
            raise Refused(refused)

    def check(self, there):
        arrived = self.compare(there["reader"], "the reader's INBOX")
        sent = self.compare(there["sent"], "the sender's Sent")
        if arrived != sent:
            raise Refused(f"in the reader's INBOX are {arrived}, and in the sender's Sent {sent}")
        self.checked(arrived)


class Inbound(Mail):
    """From outside, over the MX."""

    def connect(self):
        self.client = smtplib.SMTP(config["host"], config["mx"], timeout=60)

    def send(self, subject):
        self.client.sendmail("x@outside.example", [config["reader"]["user"]], message(subject))

    def check(self, there):
        self.compare(there["reader"], "the reader's INBOX")
        self.checked([])


class Messages(Worker):
    """APPEND, COPY, MOVE, STORE and EXPUNGE in two mailboxes: {mailbox: {subject: flags}}."""

    FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "$Junk", "project-x"]

    def start(self):
        return {f"Work{self.tag()}": {}, f"Other{self.tag()}": {}}

    def tag(self):
        return self.name[-1]

    def connect(self):
        self.client = imap(config["keeper"])
        for mailbox in self.known:
            settled(self.client.create(mailbox))
        self.random = random.Random()

    def uids(self, subjects):
        """The UIDs of messages in the selected mailbox, ascending, and their subjects."""
        there = listed(self.client)
        pairs = sorted((uid, subject) for subject, (uid, _) in there.items() if subject in subjects)
        return ",".join(str(uid) for uid, _ in pairs), [subject for _, subject in pairs]

    def begin(self, change, known):
        self.doing = {"change": change, "after": known}
        return known

    def step(self):
        box, other = self.random.sample(sorted(self.known), 2)
        known = copy.deepcopy(self.known)
        mine = known[box]
        if len(mine) < 4 or (len(mine) < 30 and self.random.random() < 0.4):
            subject = f"{self.name} {self.number()}"
            flags = self.some(self.FLAGS)
            mine[subject] = flags
            known = self.begin("whole", known)
            ok(self.client.append(box, f"({' '.join(flags)})", None, message(subject).encode()))
            return known
        ok(self.client.select(box))
        uids, subjects = self.uids(self.some(sorted(mine)) or sorted(mine))
        action = self.random.choice(["copy", "move", "store", "store", "expunge"])
        if action == "copy":
            # Subjects are unique; a copy differs by its mailbox.
            chosen = [s for s in subjects if s not in known[other]]
            if not chosen:
                return self.known
            uids, _ = self.uids(chosen)
            known[other].update({s: mine[s] for s in chosen})
            known = self.begin("whole", known)
            ok(self.client.uid("COPY", uids, other))
        elif action == "move":
            chosen = [s for s in subjects if s not in known[other]]
            if not chosen:
                return self.known
            uids, _ = self.uids(chosen)
            known[other].update({s: mine.pop(s) for s in chosen})
            known = self.begin("whole", known)
            ok(self.client.uid("MOVE", uids, other))
        elif action == "store":
            flag, add = self.random.choice(self.FLAGS), self.random.random() < 0.5
            for subject in subjects:
                mine[subject] = sorted({*mine[subject], flag} if add else {*mine[subject]} - {flag})
            known = self.begin("each", known)
            ok(self.client.uid("STORE", uids, "+FLAGS" if add else "-FLAGS", f"({flag})"))
        else:
            for subject in subjects:
                mine[subject] = sorted({*mine[subject], "\\Deleted"})
            marked = copy.deepcopy(known)
            self.begin("each", marked)
            ok(self.client.uid("STORE", uids, "+FLAGS", "(\\Deleted)"))
            self.known = marked
            known = copy.deepcopy(marked)
            # Including those that a crash has left marked.
            _, order = self.uids([subject for subject, flags in marked[box].items() if "\\Deleted" in flags])
            for subject in order:
                del known[box][subject]
            self.doing = {"change": "first", "after": known, "box": box, "order": order}
            ok(self.client.expunge())
        return known

    def some(self, of):
        return sorted(self.random.sample(of, self.random.randint(0, len(of))))

    def check(self, there):
        found = {box: {s: flags for s, (_, flags) in there["keeper uids"].get(box, {}).items()} for box in self.known}
        before, doing = self.known, self.doing
        if not self.allowed(found, before, doing):
            raise Refused(f"{self.name}: {found}\nafter {before}\nwhile {doing}")
        # UIDs are never reused (RFC 3501 §2.3.1.1).
        seen = state.setdefault(f"{self.name} uids", {})
        for box in self.known:
            uids = seen.setdefault(box, {})
            for subject, (uid, _) in there["keeper uids"].get(box, {}).items():
                if uids.setdefault(str(uid), subject) != subject:
                    raise Refused(f"UID {uid} of {box} was {uids[str(uid)]} and is {subject}")
        self.known = found

    @staticmethod
    def allowed(found, before, doing):
        if found == before or doing is None:
            return found == before
        after = doing["after"]
        if doing["change"] == "whole":
            return found == after
        if doing["change"] == "each":
            return all(
                found[box].keys() == before[box].keys()
                and all(flags in (before[box][s], after[box][s]) for s, flags in found[box].items())
                for box in before
            )
        # EXPUNGE: the first of them, in the order of their UIDs.
        for count in range(len(doing["order"]) + 1):
            rest = copy.deepcopy(before)
            for subject in doing["order"][:count]:
                del rest[doing["box"]][subject]
            if found == rest:
                return True
        return False


class Large(Worker):
    """COPY, MOVE, EXPUNGE, RENAME INBOX and DELETE of thousands of messages, done in batches: {mailbox: UIDs}."""

    COUNT = config.get("large", 4096)

    def connect(self):
        self.client = imap(config["collector"])
        self.random = random.Random()
        if self.known:
            return
        # The first kill is after the first of these changes has begun.
        settled(self.client.create("Seed"))
        if ok(self.client.select("Seed")) == [b"0"]:
            ok(self.client.append("Seed", None, None, message(self.name).encode()))
        state["octets of one"] = size_of_inbox() // int(ok(self.client.select("Seed"))[0])
        while int(ok(self.client.select("Seed"))[0]) < self.COUNT:
            ok(self.client.copy("1:*", "Seed"))
        self.known = {"Seed": self.uids("Seed"), "INBOX": []}

    def uids(self, mailbox):
        ok(self.client.select(mailbox))
        return [int(uid) for uid in ok(self.client.uid("SEARCH", "ALL"))[0].split()]

    def begin(self, change, **more):
        self.number()
        self.doing = {"change": change, **more}
        say(f"began {self.name}")

    def run(self):
        # Not waited for, since it takes longer than the others.
        try:
            self.connect()
            while not ended.is_set():
                self.known, self.doing = self.step(), None
        except GONE as error:
            say(f"ended {self.name}: {type(error).__name__} {error}")
        except BaseException as error:
            if is_temporary(error):
                say(f"ended {self.name}: {error}")
            else:
                failed.append(f"{self.name}: {type(error).__name__} {error}")
                say(f"failed {failed[-1]}")

    def step(self):
        known = dict(self.known)
        others = sorted(box for box in known if box.startswith("Large"))
        if len(others) > 3 or (others and self.random.random() < 0.2):
            box = self.random.choice(others)
            self.begin("delete", box=box)
            ok(self.client.delete(box))
            del known[box]
            return known
        if not known["INBOX"]:
            ok(self.client.select("Seed"))
            self.begin("copy", box="Seed", to="INBOX")
            ok(self.client.copy("1:*", "INBOX"))
            self.doing["answered"] = True
            known["INBOX"] = self.uids("INBOX")
            return known
        to = f"Large{self.next}"
        action = self.random.choice(["move", "expunge", "rename"])
        if action == "rename":
            self.begin("rename", box="INBOX", to=to)
            ok(self.client.rename("INBOX", to))
            known[to], known["INBOX"] = known["INBOX"], []
            return known
        ok(self.client.select("INBOX"))
        if action == "move":
            # A kill may fall between the two: the name is taken then.
            self.number()
            self.doing = {"change": "create", "to": to}
            ok(self.client.create(to))
            known[to] = []
            self.known = dict(known)
            self.begin("move", box="INBOX", to=to)
            ok(self.client.uid("MOVE", "1:*", to))
            self.doing["answered"] = True
            known[to], known["INBOX"] = self.uids(to), []
            return known
        self.doing = {"change": "flags"}
        ok(self.client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)"))
        self.begin("expunge", box="INBOX")
        ok(self.client.expunge())
        known["INBOX"] = []
        return known

    def check(self, there):
        found = there["collector"]
        if not self.known and config.get("temporary"):
            # A temporary error has ended it before there was enough.
            return
        if not self.allowed(found):
            counts = lambda boxes: {box: len(uids) for box, uids in boxes.items()}
            raise Refused(f"{self.name}: {counts(found)}\nafter {counts(self.known)}\nwhile {self.doing}")
        if self.doing and "box" in self.doing and "answered" not in self.doing:
            change = self.doing["change"]
            cut = change == "expunge" and 0 < len(found["INBOX"]) < len(self.known["INBOX"])
            for under_way in [change] + ["expunge, in part"] * cut:
                state.setdefault("under way", {}).setdefault(under_way, 0)
                state["under way"][under_way] += 1
        # Hidden rows left by a change are removed after the start, and are not counted.
        counted = sum(len(uids) for uids in found.values()) * state["octets of one"]
        until = time.monotonic() + 60
        while (size := size_of_inbox()) != counted:
            if time.monotonic() > until:
                raise Refused(f"{size} octets are shown, but there are {counted}; {self.doing}")
            time.sleep(0.02)
        self.known = found

    def allowed(self, found):
        before, doing = self.known, self.doing or {"change": None}
        change, box, to = doing["change"], doing.get("box"), doing.get("to")
        rest = lambda boxes: {name: uids for name, uids in boxes.items() if name not in (box, to)}
        if found == before:
            return "answered" not in doing
        if change in (None, "flags") or rest(found) != rest(before):
            return False
        if change == "create":
            return found[to] == []
        if change == "delete":
            return box not in found
        if change == "rename":
            return found == {**before, box: [], to: before[box]}
        if change == "expunge":
            left = len(found[box])
            return found[box] == before[box][len(before[box]) - left :]
        # The copies have new UIDs, higher than the existing ones.
        there = len(before[to])
        is_whole = found[to][:there] == before[to] and len(found[to]) == there + len(before[box])
        return is_whole and found[box] == ([] if change == "move" else before[box])


def size_of_inbox():
    return Rest(config["collector"]["token"])("GET", f"/api/v1/inboxes/{config['collector']['inbox']}")[1]["size"]


class Mailboxes(Worker):
    """CREATE, RENAME with children, DELETE, SUBSCRIBE: {name: subscribed}."""

    def connect(self):
        self.client = imap(config["keeper"])
        self.random = random.Random()

    def step(self):
        known = dict(self.known)
        tops = sorted(name for name in known if "/" not in name)
        self.doing = known
        action = self.random.choice(["create", "rename", "delete", "subscribe", "subscribe"])
        # The number of mailboxes is limited.
        if action == "create" and len(tops) > 50:
            action = "delete"
        if action == "create" or len(tops) < 3:
            name = f"box{self.number()}"
            known[name] = False
            ok(self.client.create(name))
            self.known, self.doing = dict(known), known
            known[f"{name}/below"] = False
            ok(self.client.create(f"{name}/below"))
        elif action == "rename":
            old, new = self.random.choice(tops), f"box{self.number()}"
            for name in [name for name in known if name == old or name.startswith(f"{old}/")]:
                # A subscription is to a name (RFC 3501 §6.3.6), whether or not the mailbox exists.
                known[new + name[len(old) :]] = known.pop(name)
            self.doing = {"renamed": [old, new], "after": known}
            ok(self.client.rename(old, new))
            # Whether RENAME renames subscriptions is the server's choice: ask. Their number is limited.
            subscribed = names(self.client.lsub())
            for name in [name for name in subscribed if name == old or name.startswith(f"{old}/")]:
                ok(self.client.unsubscribe(name))
            known = {name: name in subscribed for name in known}
        elif action == "delete":
            old = self.random.choice(tops)
            if f"{old}/below" in known:
                del known[f"{old}/below"]
                ok(self.client.delete(f"{old}/below"))
                self.known, known = known, dict(known)
                self.doing = known
            del known[old]
            ok(self.client.delete(old))
            for name in (old, f"{old}/below"):
                ok(self.client.unsubscribe(name))
        else:
            name = self.random.choice(sorted(known))
            known[name] = not known[name]
            ok(self.client.subscribe(name) if known[name] else self.client.unsubscribe(name))
        return known

    def check(self, there):
        mine = lambda names: {name for name in names if name.startswith("box")}
        found = {name: name in there["subscribed"] for name in mine(there["mailboxes"])}
        doing = self.doing
        if isinstance(doing, dict) and "renamed" in doing:
            good = found == self.known or found.keys() == doing["after"].keys()
        else:
            good = found in (self.known, doing if doing is not None else self.known)
        if not good:
            raise Refused(f"{self.name}: {found}\nafter {self.known}\nwhile {doing}")
        self.known = found


class Things(Worker):
    """Inboxes, domains, aliases and tokens over REST: {path: the request that creates it}, and the secrets of tokens."""

    def start(self):
        return {"made": {}, "revoked": []}

    def connect(self):
        self.rest = Rest(config["holder"]["token"])
        self.random = random.Random()

    def step(self):
        made = dict(self.known["made"])
        revoked = list(self.known["revoked"])
        after = {"made": made, "revoked": revoked}
        inboxes = sorted(path for path, thing in made.items() if thing["kind"] == "inbox")
        domains = sorted(path for path, thing in made.items() if thing["kind"] == "domain")
        if len(made) > 8:
            # Not one that others depend on.
            free = [p for p, thing in made.items() if thing["kind"] not in ("inbox", "domain") or self.random.random() < 0.2]
            path = self.random.choice(sorted(free or made))
            gone = {p: made.pop(p) for p in list(made) if p == path or made[p].get("in") in (path,) or made[p].get("at") == path}
            revoked += [thing["secret"] for thing in gone.values() if "secret" in thing]
            self.doing = {"deleted": gone}
            self.rest("DELETE", path)
            return after
        number = self.number()
        wants = ["inbox", "token", "token"] + (["domain"] if not domains else []) + (["alias"] * 2 if inboxes and domains else [])
        kind = self.random.choice(wants)
        if kind == "inbox":
            thing = {"kind": kind, "name": f"thing-{number}"}
            self.doing = {"made": thing}
            _, answer = self.rest("POST", "/api/v1/inboxes", {"name": thing["name"]})
            made[f"/api/v1/inboxes/{answer['id']}"] = thing
        elif kind == "domain":
            thing = {"kind": kind, "name": f"thing-{number}.crash-proof.org"}
            self.doing = {"made": thing}
            _, answer = self.rest("POST", "/api/v1/custom_domains", {"domain": thing["name"]})
            made[f"/api/v1/custom_domains/{answer['id']}"] = thing
        elif kind == "alias":
            inbox, domain = self.random.choice(inboxes), self.random.choice(domains)
            thing = {"kind": kind, "name": f"alias-{number}@{made[domain]['name']}", "in": inbox, "at": domain}
            self.doing = {"made": thing}
            _, answer = self.rest("POST", f"{inbox}/aliases", {"address": thing["name"]})
            made[f"{inbox}/aliases/{answer['id']}"] = thing
        else:
            thing = {"kind": kind, "name": f"token-{number}"}
            self.doing = {"made": thing}
            _, answer = self.rest("POST", "/api/v1/tokens", {"name": thing["name"]})
            made[f"/api/v1/tokens/{answer['id']}"] = {**thing, "secret": answer["token"]}
        return after

    def check(self, there):
        rest = Rest(config["holder"]["token"])
        deleted = (self.doing or {}).get("deleted", {})
        gone = set()
        for path, thing in self.known["made"].items():
            status, answer = rest("GET", path, allowed=(200, 404)) if thing["kind"] != "alias" else alias(rest, path)
            # A revoked token is still listed.
            status = 404 if (answer or {}).get("revoked_at") else status
            if status == 404:
                if path not in deleted:
                    raise Refused(f"{path} was created and is gone: {thing}")
                gone.add(path)
            if "secret" in thing:
                Rest(thing["secret"])("GET", "/api/v1/inboxes", allowed=(401,) if status == 404 else (200,))
        if gone and gone != set(deleted):
            raise Refused(f"deleted in part: {gone} of {set(deleted)}")
        for secret in self.known["revoked"][-20:]:
            Rest(secret)("GET", "/api/v1/inboxes", allowed=(401,))
        self.known["made"] = {path: thing for path, thing in self.known["made"].items() if path not in gone}
        self.known["revoked"] += [thing["secret"] for path, thing in deleted.items() if path in gone and "secret" in thing]
        # Nothing exists that was not created. One created without acknowledgement is deleted.
        for path, name in [("inboxes", "name"), ("custom_domains", "domain"), ("tokens", "name")]:
            for row in rest.all(f"/api/v1/{path}"):
                url = f"/api/v1/{path}/{row['id']}"
                if url in self.known["made"] or row.get("revoked_at") or not str(row[name]).startswith(("thing-", "token-")):
                    continue
                if row[name] != (self.doing or {}).get("made", {}).get("name"):
                    raise Refused(f"{url} exists and was never created, or was deleted: {row}")
                rest("DELETE", url)


def alias(rest, path):
    inbox, _, id = path.partition("/aliases/")
    status, answer = rest("GET", f"{inbox}/aliases", allowed=(200, 404))
    there = status == 200 and any(row["id"] == id for row in answer["data"])
    return (200 if there else 404), None


class Queue(Worker):
    """Mail that its host defers: it stays queued until it is removed: {id: queued}."""

    def connect(self):
        self.rest = Rest(config["waiter"]["token"])
        self.random = random.Random()

    def step(self):
        known = dict(self.known)
        waiting = sorted(id for id, waits in known.items() if waits)
        if len(waiting) > 6:
            id = self.random.choice(waiting)
            if self.random.random() < 0.5:
                self.doing = {"retried": id}
                self.rest("POST", f"/api/v1/queue/{id}/retry")
                return known
            known[id] = False
            self.doing = {"taken out": id}
            self.rest("DELETE", f"/api/v1/queue/{id}")
            return known
        self.doing = {"sent": self.number()}
        body = {"to": "later@elsewhere.example", "subject": f"{self.name} {self.next}", "text_body": "x"}
        _, answer = self.rest("POST", f"/api/v1/emails/send?inbox_id={config['waiter']['inbox']}", body)
        known[answer["id"]] = True
        return known

    def check(self, there):
        rest = Rest(config["waiter"]["token"])
        queued = {row["email_id"] for row in rest.all("/api/v1/queue")}
        unsure = (self.doing or {}).get("taken out")
        for id, waits in self.known.items():
            if (id in queued) != waits and id != unsure:
                raise Refused(f"{id} {'waits' if waits else 'was removed'}, and the queue is {sorted(queued)}")
        new = queued - set(self.known)
        if len(new) > (1 if "sent" in (self.doing or {}) else 0):
            raise Refused(f"queued, and never sent: {new}")
        self.known = {id: id in queued for id in [*self.known, *new]}
        # Forget what was removed long ago.
        self.known = dict(list(self.known.items())[-200:])


def listed(client):
    """{subject: (UID, flags)} of the selected mailbox."""
    found = {}
    for answer in ok(client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")):
        if isinstance(answer, tuple):
            uid = int(re.search(rb"UID (\d+)", answer[0])[1])
            flags = sorted(flag.decode() for flag in imaplib.ParseFlags(answer[0]) if flag != b"\\Recent")
            found[subject_of(answer[1])] = (uid, flags)
    return found


def subject_of(header):
    return header.decode().partition("Subject: ")[2].strip()


def subjects(account, mailbox):
    """Counts messages by subject. Empties the mailbox."""
    with imap(account) as client:
        if ok(client.select(mailbox)) == [b"0"]:
            return collections.Counter()
        answers = ok(client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
        ok(client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)"))
        ok(client.expunge())
        return collections.Counter(subject_of(answer[1]) for answer in answers if isinstance(answer, tuple))


def names(answer):
    return {line.decode().rpartition('"/" ')[2].strip('"') for line in ok(answer) if line}


def what_is_there():
    there = {"reader": subjects(config["reader"], "INBOX"), "sent": subjects(config["sender"], "Sent")}
    with imap(config["keeper"]) as client:
        there["mailboxes"], there["subscribed"] = names(client.list()), names(client.lsub())
        there["keeper uids"] = {}
        for mailbox in there["mailboxes"]:
            if mailbox.startswith(("Work", "Other")):
                ok(client.select(mailbox, readonly=True))
                there["keeper uids"][mailbox] = listed(client)
    there["collector"] = uids_and_status()
    return there


def uids_and_status():
    """{mailbox: UIDs} of the collector, checked against STATUS."""
    found = {}
    with imap(config["collector"]) as client:
        for mailbox in names(client.list()):
            if not mailbox.startswith(("Seed", "INBOX", "Large")):
                continue
            status = ok(client.status(mailbox, "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"))[0].decode()
            number = lambda item: int(re.search(rf"{item} (\d+)", status)[1])
            ok(client.select(mailbox, readonly=True))
            uids = [int(uid) for uid in ok(client.uid("SEARCH", "ALL"))[0].split()]
            # These messages are never read.
            if [number("MESSAGES"), number("UNSEEN")] != [len(uids)] * 2 or max(uids, default=0) >= number("UIDNEXT"):
                raise Refused(f"{status}, but there are {len(uids)}, the last with UID {max(uids, default=0)}")
            nexts = state.setdefault("next UIDs", {})
            key = f"{mailbox} {number('UIDVALIDITY')}"
            if nexts.get(key, 0) > number("UIDNEXT"):
                raise Refused(f"UIDNEXT of {mailbox} went back: {status}")
            nexts[key] = number("UIDNEXT")
            found[mailbox] = uids
    return found


lock = threading.Lock()
failed = []
ended = threading.Event()


def wait_for_the_end():
    sys.stdin.read()
    ended.set()


def say(line):
    with lock:
        print(line, flush=True)


workers = [Submission(0), Submission(1), Submission(2), Inbound(0), Inbound(1), Messages(0), Messages(1), Large(0), Mailboxes(0), Things(0), Queue(0)]
if mode == "work":
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
else:
    there = what_is_there()
    for worker in workers:
        worker.check(there)
        worker.doing = None
with open(state_file, "w") as file:
    json.dump({**state, **{worker.name: worker.kept() for worker in workers}}, file)
if failed:
    sys.exit("\n".join(failed))
if mode == "check":
    print(json.dumps({worker.name: worker.next for worker in workers}))
