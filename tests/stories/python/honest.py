"""A tenant that sends, receives and reads over every listener for some seconds, and counts its successful requests.

usage: honest.py CONFIG SECONDS

CONFIG is JSON: the addresses of the listeners, `ca`, and the tenant as `honest`, with the `address` that it connects from if that is
another one than others have. Each kind of work has a thread and does one thing
at a time. Prints {"served": {kind: count}, "errors": [...]}: every response that is not a success is an error.
"""

import http.client
import imaplib
import json
import smtplib
import socket
import ssl
import sys
import threading
import time
import uuid

config_file, seconds = sys.argv[1:]
with open(config_file) as file:
    config = json.load(file)
me = config["honest"]
context = ssl.create_default_context(cafile=config["ca"])
end = time.monotonic() + float(seconds)
served, errors, lock = {}, [], threading.Lock()
connect = socket.create_connection
if "address" in me:
    # imaplib has no parameter for it.
    socket.create_connection = lambda to, timeout=None, *_: connect(to, timeout, (me["address"], 0))


def message(subject, sender=me["user"]):
    return f"From: {sender}\r\nTo: {me['user']}\r\nSubject: {subject}\r\n\r\n" + "filler line\r\n" * 100


def ok(answer):
    if answer[0] != "OK":
        raise RuntimeError(f"{answer}")
    return answer[1]


def submit_over_tls():
    with smtplib.SMTP_SSL(config["host"], config["submissions"], context=context, timeout=60) as client:
        client.login(me["user"], me["token"])
        for _ in range(10):
            yield client.sendmail(me["user"], ["someone@elsewhere.example"], message("out"))


def submit_with_starttls():
    with smtplib.SMTP(config["host"], config["submission"], timeout=60) as client:
        client.starttls(context=context)
        client.login(me["user"], me["token"])
        for _ in range(10):
            yield client.sendmail(me["user"], ["someone@elsewhere.example"], message("out"))


def receive():
    """Mail from outside, visible as soon as it is acknowledged."""
    with imaplib.IMAP4_SSL(config["host"], config["imaps"], ssl_context=context, timeout=60) as reader:
        reader.login(me["user"], me["token"])
        with smtplib.SMTP(config["host"], config["mx"], timeout=60) as client:
            for _ in range(10):
                subject = str(uuid.uuid4())
                client.sendmail("x@outside.example", [me["user"]], message(subject, "x@outside.example"))
                ok(reader.select("INBOX"))
                found = ok(reader.search(None, "SUBJECT", subject))
                if len(found[0].split()) != 1:
                    raise RuntimeError(f"{subject} was acknowledged, but SEARCH finds {found}")
                ok(reader.store(found[0].decode(), "+FLAGS", "(\\Deleted)"))
                ok(reader.expunge())
                yield


def read():
    with imaplib.IMAP4_SSL(config["host"], config["imaps"], ssl_context=context, timeout=60) as client:
        client.login(me["user"], me["token"])
        for _ in range(10):
            ok(client.append("Kept", "(\\Seen)", None, message("kept").encode()))
            ok(client.select("Kept"))
            ok(client.fetch("1:5", "(FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[])"))
            ok(client.search(None, "TEXT", "filler"))
            ok(client.status("INBOX", "(MESSAGES UNSEEN)"))
            ok(client.store("1", "+FLAGS", "(\\Deleted)"))
            ok(client.expunge())
            yield


def rest():
    connection = http.client.HTTPConnection(config["host"], config["http"], timeout=60)
    headers = {"Authorization": f"Bearer {me['token']}", "Content-Type": "application/json"}
    def call(method, path, body=None, status=200):
        connection.request(method, path, body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != status:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return json.loads(text)

    for _ in range(10):
        listed = call("GET", f"/api/v1/emails?inbox={me['inbox']}&per_page=5")["data"]
        if listed:
            # Another thread may have expunged it.
            connection.request("GET", f"/api/v1/emails/{listed[0]['id']}", None, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status not in (200, 404):
                raise RuntimeError(f"show: {answer.status}")
        message = {"inbox_id": me["inbox"], "to": "someone@elsewhere.example", "subject": "x", "text_body": "hello"}
        call("POST", "/api/v1/emails/send", message, 201)
        yield


def work(kind):
    served[kind.__name__] = 0
    while time.monotonic() < end:
        try:
            for _ in kind():
                served[kind.__name__] += 1
                if time.monotonic() >= end:
                    break
        except Exception as error:
            with lock:
                errors.append(f"{kind.__name__}: {type(error).__name__} {error}"[:500])
            time.sleep(0.1)


with imaplib.IMAP4_SSL(config["host"], config["imaps"], ssl_context=context, timeout=60) as client:
    client.login(me["user"], me["token"])
    client.create("Kept")
    for _ in range(5):
        ok(client.append("Kept", "(\\Seen)", None, message("kept").encode()))
threads = [threading.Thread(target=work, args=[kind]) for kind in (submit_over_tls, submit_with_starttls, receive, read, rest)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"served": served, "errors": errors[:20]}))
