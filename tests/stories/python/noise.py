"""Two tenants and an outsider who attack the daemon for some seconds.

usage: noise.py CONFIG SECONDS

CONFIG is JSON: the addresses of the listeners, `ca`, the tenants as `noisy` and `second`, and at which port and how many addresses
mail hosts are to be slow. The outsider connects from 127.7.0.1, the tenants from 127.8.0.1. Each attack repeats in its own thread and may
be refused or cut off. Prints how often each was made.
"""

import collections
import http.client
import imaplib
import json
import os
import smtplib
import socket
import ssl
import sys
import threading
import time

config_file, seconds = sys.argv[1:]
with open(config_file) as file:
    config = json.load(file)
me = config["noisy"]
context = ssl.create_default_context(cafile=config["ca"])
end = time.monotonic() + float(seconds)
made = collections.Counter()
# Real attackers have their own processors.
os.nice(19)
OUTSIDER, TENANT = ("127.7.0.1", 0), ("127.8.0.1", 0)


class Imap(imaplib.IMAP4_SSL):
    def _create_socket(self, timeout):
        plain = socket.create_connection((config["host"], config["imaps"]), timeout, TENANT)
        return context.wrap_socket(plain, server_hostname="localhost")


def imap():
    client = Imap(config["host"], config["imaps"], ssl_context=context, timeout=30)
    client.login(me["user"], me["token"])
    return client


def raw(listener, source, secure=False):
    stream = socket.create_connection((config["host"], config[listener]), 30, source)
    return context.wrap_socket(stream, server_hostname="localhost") if secure else stream


def rest(method, path, body=None, tenant=me):
    connection = http.client.HTTPConnection(config["host"], config["http"], timeout=30, source_address=TENANT)
    headers = {"Authorization": f"Bearer {tenant['token']}", "Content-Type": "application/json"}
    connection.request(method, path, body and json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read()
    return json.loads(text) if text and answer.status < 300 else {}


def login():
    return f"a LOGIN {me['user']} {me['token']}\r\n".encode()


# Messages from the outsider that are hard to read. All have to be accepted.
nested = "Content-Type: message/rfc822\r\n\r\n" * 16_000 + "Subject: deep\r\n\r\nx\r\n"
digest = "".join(f"Content-Type: multipart/digest; boundary={n}\r\n\r\n--{n}\r\n" for n in range(8_000))
parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + "--b\r\n\r\n" * 100_000
fields = "zz:\r\n" * 400_000 + "\r\n"
groups = "To: " + "a:;" * 400_000 + "\r\n\r\n"
bombs = [nested, digest, parts, fields, groups]


def bomb():
    for text in bombs:
        with smtplib.SMTP(config["host"], config["mx"], timeout=30, source_address=OUTSIDER) as client:
            client.sendmail("x@outside.example", [me["user"]], "Subject: bomb\r\n" + text)
        yield


def unfinished_data():
    streams = []
    for _ in range(17):
        stream = raw("mx", OUTSIDER)
        streams.append(stream)
        stream.sendall(f"EHLO x\r\nMAIL FROM:<x@outside.example>\r\nRCPT TO:<{me['user']}>\r\nDATA\r\n".encode())
        stream.sendall(b"filler line\r\n" * 400_000)
        yield
    time.sleep(2)


def silence():
    streams = []
    for _ in range(200):
        streams.append(raw("mx", OUTSIDER))
    yield
    time.sleep(2)


def many_names():
    """FETCH of 4,000 field names, more than allowed, from headers of up to 400,000 fields; the client hardly waits."""
    names = " ".join(f"n{n}" for n in range(4_000))
    with raw("imaps", TENANT, True) as stream:
        stream.sendall(login() + b"b SELECT INBOX\r\n" + f"c FETCH 1:* BODY.PEEK[HEADER.FIELDS ({names})]\r\n".encode())
        stream.settimeout(0.5)
        stream.recv(4096)
    yield


def reading():
    with imap() as client:
        client.select("INBOX")
        for command in ("ENVELOPE", "BODYSTRUCTURE", "BODY.PEEK[1.1.1.1.1]"):
            client.fetch("1:20", f"({command})")
            yield
        client.search(None, "BODY", "nowhere")
        yield


def showing():
    for row in rest("GET", f"/api/v1/emails?inbox={me['inbox']}&per_page=10").get("data", []):
        rest("GET", f"/api/v1/emails/{row['id']}")
        yield


def log_in_and_out():
    with raw("imaps", TENANT, True) as stream:
        stream.sendall(login() + b"z LOGOUT\r\n")
        yield


def status():
    with raw("imaps", TENANT, True) as stream:
        stream.sendall(login() + b"b STATUS Many (MESSAGES UNSEEN)\r\n" * 40)
        stream.settimeout(2)
        while stream.recv(65536):
            pass
    yield


def doubling():
    with imap() as client:
        client.create("Many")
        client.append("Many", None, None, b"Subject: many\r\n\r\nx\r\n")
        client.select("Many")
        for _ in range(12):
            client.copy("1:*", "Many")
            client.noop()
            yield
        client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        client.expunge()
        yield


def moving():
    """Moves a folder of some thousand messages back and forth, by MOVE and by RENAME."""
    with imap() as client:
        client.create("Here")
        client.append("Here", None, None, b"Subject: moved\r\n\r\nx\r\n")
        client.select("Here")
        while len(client.search(None, "ALL")[1][0].split()) < 2_000:
            client.copy("1:*", "Here")
            client.noop()
        for _ in range(10):
            for here, there in (("Here", "There"), ("There", "Here")):
                client.create(there)
                client.select(here)
                client.uid("MOVE", "1:*", there)
                client.rename(there, "Renamed")
                client.rename("Renamed", there)
                yield


def keywords():
    with imap() as client:
        client.create("Words")
        client.append("Words", None, None, b"Subject: words\r\n\r\nx\r\n")
        client.select("Words")
        for n in range(100):
            client.store("1:*", "+FLAGS", "(" + " ".join(f"k{n}-{m}" for m in range(32)) + ")")
            yield


def claims():
    for n in range(20):
        made = rest("POST", "/api/v1/custom_domains", {"domain": f"{time.monotonic_ns()}.crash-proof.org"})
        if "id" in made:
            rest("DELETE", f"/api/v1/custom_domains/{made['id']}")
        yield


def sending():
    rest("POST", f"/api/v1/emails/send?inbox_id={me['inbox']}", {"to": "later@elsewhere.example", "text_body": "x" * 3_000_000})
    yield


def send_to_slow_hosts(tenant):
    to = [f"x@slow{n}.example" for n in range(1, config["slow_hosts"] + 1)]
    rest("POST", f"/api/v1/emails/send?inbox_id={tenant['inbox']}", {"to": to, "text_body": "x"}, tenant)
    yield
    time.sleep(0.5)


def slow_hosts():
    return send_to_slow_hosts(me)


def slow_hosts_of_another():
    return send_to_slow_hosts(config["second"])


def send_and_read_nothing(connections, commands):
    streams = []
    for _ in range(connections):
        stream = raw("imaps", TENANT, True)
        streams.append(stream)
        stream.sendall(login() + commands)
        yield
    time.sleep(2)


def unread_answers():
    return send_and_read_nothing(20, b"b SELECT INBOX\r\n" + b"c FETCH 1:* BODY.PEEK[]\r\n" * 20)


def large_appends():
    return send_and_read_nothing(10, b"b APPEND INBOX {20000000+}\r\n" + b"filler line\r\n" * 300_000)


def bodies_of_json():
    stream = raw("http", TENANT)
    body = b'{"to": [' + b'"a@b.example",' * 300_000
    head = f"POST /api/v1/emails/send?inbox_id={me['inbox']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {me['token']}\r\n"
    stream.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body) + 100}\r\n\r\n".encode() + body)
    yield
    time.sleep(0.5)


def wrong_log_ins():
    with raw("imaps", OUTSIDER, True) as stream:
        stream.sendall(b"a LOGIN honest@inboxlayer.dev wrong\r\n" * 12)
        stream.settimeout(2)
        stream.recv(4096)
    yield


def repeat(attack):
    while time.monotonic() < end:
        try:
            for _ in attack():
                made[attack.__name__] += 1
                if time.monotonic() >= end:
                    break
        except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, http.client.HTTPException, ValueError):
            # Refused or cut off; only the effect on others is checked.
            made[f"{attack.__name__} refused"] += 1
            time.sleep(0.05)


attacks = [bomb, unfinished_data, silence, many_names, many_names, reading, reading, showing, showing, log_in_and_out, log_in_and_out,
           status, status, doubling, moving, keywords, claims, sending, slow_hosts, slow_hosts_of_another,
           unread_answers, large_appends, bodies_of_json, wrong_log_ins]  # fmt: skip
# Connections to these are established by the kernel and never greeted.
slow = [socket.create_server((f"127.9.0.{n}", config["smtp_port"]), backlog=64) for n in range(1, config["slow_hosts"] + 1)]
threads = [threading.Thread(target=repeat, args=[attack], daemon=True) for attack in attacks]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(max(0.0, end + 5 - time.monotonic()))
# The next quiet period begins without this mail.
for tenant in (me, config["second"]):
    while time.monotonic() < end + 30 and (queued := rest("GET", "/api/v1/queue?per_page=100", None, tenant).get("data")):
        for row in queued:
            rest("DELETE", f"/api/v1/queue/{row['id']}", None, tenant)
print(json.dumps(made), flush=True)
