"""A random walk over one mailbox: actions over REST, IMAP and SMTP, each checked over the other protocols.

one_mailbox.py, with JSON on standard input: seed, steps, ca, token, http, inbox_id, inbox, other_id, other, and imaps,
submission and mx as [host, port]. A seed makes the same choices again. After each step REST and IMAP have to show the
same emails, and these differ from those of the step before by what the action does, as it follows from what was shown
before it. Prints {"steps": number, "actions": {name: number}}; on a difference the seed, the step, the last ten steps
and both views.
"""
import collections
import json
import random
import sys
import time
import traceback

from walk_actions import Actions
from walk_views import Different, Imap, Rest, View, check

# How long an event may take to be listed.
PATIENCE = 30
# The number of emails above which the walk deletes.
MANY = 40
# The other inbox is read at each step that it has a part in, and once in so many.
OTHER = 10


class Effect:
    """What an action does to the rows of an inbox."""

    def __init__(self):
        self.lost, self.gained, self.changed, self.may_change = [], [], [], False

    def loses(self, row):
        self.lost.append(row)

    def gains(self, **fields):
        self.gained.append(fields)

    def changes(self, row, **fields):
        self.changed.append((row, fields))

    def is_nothing(self):
        return all(matches(row, fields) for row, fields in self.changed) and not self.may_change


def matches(row, fields):
    return all(getattr(row, name) == value for name, value in fields.items())


class Walk(Actions):
    def __init__(self, setting):
        self.setting, self.random = setting, random.Random(setting["seed"])
        self.rest = Rest(setting["http"], setting["token"])
        log_in = [*setting["imaps"], setting["ca"]]
        self.addresses = {setting["inbox_id"]: setting["inbox"], setting["other_id"]: setting["other"]}
        self.inboxes = {address: id for id, address in self.addresses.items()}
        self.observers = {id: Imap(*log_in, address, setting["token"]) for id, address in self.addresses.items()}
        self.imap = Imap(*log_in, setting["inbox"], setting["token"])
        self.own, self.user = setting["inbox_id"], setting["inbox"]
        self.after, self.log, self.counts = self.rest.events(None)[1], [], collections.Counter()
        self.uids, self.next_uids, self.threads = {}, {}, {}
        self.before = self.look()
        self.begin()

    def look(self, inboxes=None):
        return {id: View(self.rest, self.observers[id], id) for id in inboxes or self.addresses}

    @property
    def view(self):
        return self.before[self.own]

    def expects(self, inbox=None):
        return self.effects[inbox or self.own]

    def run(self):
        for number in range(1, self.setting["steps"] + 1):
            self.effects = {id: Effect() for id in self.addresses}
            self.received, self.sent, self.words = [], 0, []
            action = self.choose(len(self.view.rows) > MANY)
            try:
                action()
                if not self.words:
                    # There is nothing to do it with.
                    action = self.mx_deliver
                    action()
            finally:
                self.log.append((number, action.__name__, *self.words))
            self.counts[action.__name__] += 1
            # The other inbox changes by what it receives alone.
            is_read = {self.own, *self.received} if number % OTHER else None
            read = self.look(is_read)
            for id, view in read.items():
                view.compare()
                self.compare_effect(self.before[id], view, self.effects[id])
                self.compare_uids(view)
                self.compare_threads(view)
            self.before = {**self.before, **read}
            self.compare_octets(self.view)
            self.compare_events(self.before)

    def compare_effect(self, before, after, effect):
        """What is shown now is what was shown before with the effect."""
        wanted, now = before.counted_by_imap(), after.counted_by_imap()
        for row in effect.lost + [row for row, _ in effect.changed]:
            check(wanted[row] > 0, "the step changes what was not there", row)
            wanted[row] -= 1
        wanted = +wanted
        missing = wanted - now
        check(not missing, "gone without cause", list(missing.elements()))
        more = list((now - wanted).elements())
        for fields in [{**row._asdict(), **new} for row, new in effect.changed] + effect.gained:
            found = next((row for row in more if matches(row, fields)), None)
            check(found, "missing", fields, "what is new", more)
            more.remove(found)
        check(not more, "there without cause", more)
        # An email keeps its id as long as it is not a copy.
        new, gone = after.rows.keys() - before.rows.keys(), before.rows.keys() - after.rows.keys()
        check(len(new) == len(effect.gained), "new ids", new, "of", effect.gained)
        check(len(gone) == len(effect.lost), "ids that are gone", gone, "of", effect.lost)
        for id in before.rows.keys() & after.rows.keys():
            was, now = (view.rest[id] for view in (before, after))
            for field in ("email_id", "thread_id", "created_at"):
                check(was[field] == now[field], id, "had", field, was[field], "has", now[field])
            check(was["updated_at"] <= now["updated_at"], id, "was changed at", was["updated_at"], "then at", now["updated_at"])

    def compare_uids(self, view):
        """A UID names one message for ever, and UIDNEXT grows."""
        for mailbox, (validity, next_uid) in view.places.items():
            check(self.next_uids.get(validity, 0) <= next_uid, mailbox, "UIDNEXT went back to", next_uid)
            known = self.uids.setdefault(validity, {})
            present = view.imap[mailbox]
            for uid, row in present.items():
                same = row._replace(mailbox="", flags="")
                check(uid < next_uid, mailbox, "UIDNEXT is", next_uid, "with the UID", uid)
                check(uid in known or uid >= self.next_uids.get(validity, 0), mailbox, "has an old UID anew", uid)
                check(known.setdefault(uid, same) == same, mailbox, uid, "was", known[uid], "is", same)
            for uid in known.keys() - present.keys():
                known[uid] = None
            self.next_uids[validity] = next_uid

    def compare_threads(self, view):
        """Threads are those of the emails, and go by Message-ID and In-Reply-To as IMAP shows them."""
        of_id, members = collections.defaultdict(set), collections.defaultdict(list)
        for id, shown in view.rest.items():
            members[shown["thread_id"]].append(id)
            of_id[view.rows[id].message_id].add(shown["thread_id"])
        of_id.pop(None, None)
        for id, row in view.rows.items():
            for named in (row.message_id, *row.in_reply_to):
                threads = of_id.get(named, set()) | {view.rest[id]["thread_id"]}
                check(len(threads) == 1, id, "and those with", named, "are in", threads)
        listed = {shown["id"]: shown for shown in self.rest.pages(f"/email_threads?inbox={view.inbox}&per_page=100")}
        check(listed.keys() == members.keys(), "threads are listed that have no emails, or not", listed.keys() ^ members.keys())
        for id, emails in members.items():
            shown = listed[id]["email_count"]
            check(shown == len(emails), "thread", id, "has emails", shown, "not", emails)

    def compare_octets(self, view):
        if not view.rows:
            return
        id = self.random.choice(sorted(view.rows))
        row = view.rows[id]
        raw = self.rest.call("GET", f"/emails/{id}/raw")
        same = [uid for uid, one in view.imap[row.mailbox].items() if one == row]
        octets = (self.observers[self.own].octets(row.mailbox, uid) for uid in same)
        check(any(one == raw for one in octets), id, "has other octets over IMAP", row)
        check(len(raw) == row.size, id, "has octets", len(raw), "not", row.size)
        label = self.random.choice(["inbox", "sent", "drafts", "trash", "junk", "archive", "unread", "starred", *self.keywords])
        listed = {shown["id"] for shown in self.rest.pages(f"/emails?inbox={self.own}&label={label}&per_page=20")}
        wanted = {id for id, shown in view.rest.items() if label.lower() in map(str.lower, shown["labels"])}
        check(listed == wanted, "the list of label", label, "has", listed - wanted, "and lacks", wanted - listed)

    def compare_events(self, now):
        """What was received, sent and changed is in the log, and nothing else is."""
        wanted = collections.Counter({("email.received", id): self.received.count(id) for id in self.addresses})
        wanted[("email.sent", self.own)] = self.sent
        found, deadline = collections.Counter(), time.monotonic() + PATIENCE
        missing = {id: list(self.changed_ids(id, now[id])) for id in self.addresses}
        while True:
            events, self.after = self.rest.events(self.after)
            for event in events:
                kind, inbox = event["type"], event["inbox_id"]
                if kind in ("email.received", "email.sent"):
                    found[(kind, inbox)] += 1
                    check(event["data"]["id"] in now[inbox].rest, "an event of what is not there", event)
                elif kind == "email.labels_changed":
                    check(not self.effects[inbox].is_nothing(), "nothing has changed", event)
                    for shown in event["data"]["emails"]:
                        labels = now[inbox].rest[shown["id"]]["labels"]
                        check(labels == shown["labels"], "an event has labels", shown, "the email", labels)
                        missing[inbox] = [ids for ids in missing[inbox] if shown["id"] not in ids]
            if found == +wanted and not any(missing.values()):
                return
            check(time.monotonic() < deadline and not found - wanted, "events", found, "not", +wanted, "changed without", missing)
            time.sleep(0.02)

    def changed_ids(self, inbox, now):
        """For each change of labels the ids that it may be of."""
        for row, fields in self.effects[inbox].changed:
            new = {**row._asdict(), **fields}
            is_same = (row.mailbox, row.flags) == (new["mailbox"], new["flags"])
            if not is_same and not self.effects[inbox].may_change:
                yield {id for id, one in now.rows.items() if matches(one, new)}


def main():
    setting = json.load(sys.stdin)
    walk = None
    try:
        walk = Walk(setting)
        walk.run()
    except Exception as error:
        print(f"WALK_SEED={setting['seed']}, step {walk.log[-1][0] if walk and walk.log else 0}: {error!r}", file=sys.stderr)
        if not isinstance(error, Different):
            traceback.print_exc()
        for step in walk.log[-10:] if walk else []:
            print("step", *step, file=sys.stderr)
        for id, view in walk.look().items() if walk else []:
            for rows, protocol in ((view.counted_by_imap(), "IMAP"), (view.counted_by_rest(), "REST")):
                print(f"{id} over {protocol}:", *sorted(map(str, rows.elements())), sep="\n  ", file=sys.stderr)
        sys.exit(1)
    print(json.dumps({"steps": len(walk.log), "actions": walk.counts}))


main()
