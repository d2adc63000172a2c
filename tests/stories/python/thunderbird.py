"""Thunderbird without a window, by its remote protocol: adds the account, reads, stars, moves, deletes, sends, synchronises twice.
Then messages are changed, moved and received over REST.

Prints the folders, the text that was read, and what Thunderbird shows in each folder before and after REST, as JSON. Arguments: port of
submission over TLS, port of IMAP over TLS, CA, user, token, base of REST, id of the inbox.
"""

import json
import os
import pathlib
import sys
import tempfile

# Its caches and crash reports, and what it says to the server.
os.environ["HOME"] = tempfile.mkdtemp()
protocol = os.path.join(os.environ["HOME"], "imap.moz_log")
os.environ.update(MOZ_LOG="IMAP:4", MOZ_LOG_FILE=protocol)
from marionette_driver.marionette import Marionette

from two_way import Api

smtp, imap, ca, user, token, http, inbox = sys.argv[1:]
api = Api(http, token, inbox)
actions = pathlib.Path(__file__).with_suffix(".js").read_text()
certificate = "".join(line for line in pathlib.Path(ca).read_text().splitlines() if "CERTIFICATE" not in line)
folders = ["Archive", "INBOX", "Sent", "Trash"]
preferences = {
    "app.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.enabled": False,
    "mailnews.start_page.enabled": False,
    "network.proxy.type": 0,
}
client = Marionette(
    bin="/usr/bin/thunderbird",
    app="thunderbird",
    headless=True,
    gecko_log=os.path.join(os.environ["HOME"], "log"),
    prefs=preferences,
)


def do(action, argument):
    done = f"{action}(arguments[0]).then(value => ({{value: value ?? null}}), error => ({{error: `${{error}}`}}))"
    result = client.execute_script(f"{actions}\nreturn {done}", [argument])
    if "error" in result:
        sys.exit(f"{action}: {result['error']}")
    return result["value"]


def shown():
    return {folder: do("synchronise", folder) for folder in folders}


try:
    client.start_session()
    client.set_context("chrome")
    client.timeout.script = 60
    account = {"ca": certificate, "user": user, "token": token, "imap": int(imap), "smtp": int(smtp)}
    found = do("addAccount", account)
    first, second = shown(), shown()
    assert first == second, (first, second)
    text = do("read", {"where": "INBOX", "subject": "News"})
    do("star", {"where": "INBOX", "subject": "News"})
    do("move", {"where": "INBOX", "subject": "News", "to": "Archive"})
    do("remove", {"where": "INBOX", "subject": "Offer"})
    do("send", {"to": user, "subject": "Grüße", "text": "Sent by a program for people.\n"})
    do("arrival", {"where": "INBOX", "subject": "Grüße"})
    first, second = shown(), shown()
    assert first == second, (first, second)
    before = json.dumps(api.shown())
    news = api.id("News")
    api.call("PATCH", f"/emails/{news}", {"labels": ["unread"]})
    api.call("PATCH", f"/emails/{news}/actions", {"move_to": "INBOX"})
    api.receive(user, "New")
    do("arrival", {"where": "INBOX", "subject": "News"})
    do("arrival", {"where": "INBOX", "subject": "New"})
    after = shown()
finally:
    client.quit()
    # Removes its profile, which it cannot do while Python ends.
    del client
appended = pathlib.Path(protocol).read_text().count(' append "Sent" ')
print(json.dumps({"folders": found, "text": text, "shown": second, "rest": json.loads(before), "after": after, "appended": appended}))
