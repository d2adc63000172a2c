"""Clients that disconnect at random moments, on every listener, for some seconds.

usage: cancel.py CONFIG SECONDS

CONFIG is JSON: the addresses of the listeners, `ca`, and the tenant as `rude`. Each client sends a random part of a session, reads
for a moment or not at all, and closes or resets the connection. Prints how many sessions of each kind were begun.
"""

import base64
import collections
import json
import random
import socket
import ssl
import struct
import sys
import threading
import time

config_file, seconds = sys.argv[1:]
with open(config_file) as file:
    config = json.load(file)
me = config["rude"]
context = ssl.create_default_context(cafile=config["ca"])
end = time.monotonic() + float(seconds)
begun, lock = collections.Counter(), threading.Lock()
message = "From: x@outside.example\r\nSubject: rude\r\nContent-Type: text/plain\r\n\r\n" + "filler line\r\n" * 300
plain = base64.b64encode(f"\0{me['user']}\0{me['token']}".encode()).decode()
envelope = f"RCPT TO:<{me['user']}>\r\nDATA\r\n{message}.\r\n"
login = f"a LOGIN {me['user']} {me['token']}\r\n"


def request(method, path, body=""):
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {me['token']}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}"


reads = "b SELECT INBOX\r\nc FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)\r\nd FETCH 1:50 BODY[]\r\ne SEARCH BODY nowhere\r\n"
writes = f"b APPEND INBOX {{{len(message)}+}}\r\n{message}\r\nc SELECT INBOX\r\nd COPY 1:20 Copies\r\ne STORE 1:20 +FLAGS ($x)\r\n"
to_self = {"inbox_id": me["inbox"], "to": me["user"]}
SESSIONS = {
    "mx": ("mx", False, f"EHLO x\r\nMAIL FROM:<x@outside.example>\r\n{envelope}" * 2),
    "submission": ("submissions", True, f"EHLO x\r\nAUTH PLAIN {plain}\r\nMAIL FROM:<{me['user']}>\r\n{envelope}"),
    "handshake": ("submissions", False, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "status": ("imaps", True, login + "b STATUS INBOX (MESSAGES UNSEEN)\r\n" * 40),
    "login": ("imaps", True, f"{login}z LOGOUT\r\n"),
    "reads": ("imaps", True, login + reads),
    "writes": ("imaps", True, f"{login}a CREATE Copies\r\n{writes}f SELECT Copies\r\ng STORE 1:* +FLAGS (\\Deleted)\r\nh EXPUNGE\r\n"),
    "idle": ("imaps", True, f"{login}b SELECT INBOX\r\nc IDLE\r\nDONE\r\n"),
    "list": ("http", False, request("GET", f"/api/v1/emails?inbox={me['inbox']}&per_page=50") * 3),
    "send": ("http", False, request("POST", "/api/v1/emails/send", json.dumps({**to_self, "text_body": "x" * 5000}))),
    "tokens": ("http", False, request("GET", "/api/v1/tokens") + request("GET", "/api/v1/queue")),
}


def client(chance):
    while time.monotonic() < end:
        kind = chance.choice(sorted(SESSIONS))
        listener, secure, text = SESSIONS[kind]
        # The whole session half of the time, so that work under way is cancelled, too.
        octets = text.encode("latin-1")[: len(text) if chance.random() < 0.5 else chance.randint(1, len(text))]
        begun[kind] += 1
        try:
            with socket.create_connection((config["host"], config[listener]), 10) as stream:
                stream.settimeout(chance.choice([0.001, 0.01, 0.05, 0.3]))
                try:
                    with context.wrap_socket(stream, server_hostname="localhost") if secure else stream as wire:
                        wire.settimeout(5)
                        wire.sendall(octets)
                        wire.settimeout(chance.choice([0.001, 0.01, 0.05, 0.3]))
                        while chance.random() < 0.9 and wire.recv(4096):
                            pass
                        if chance.random() < 0.5:
                            # A reset instead of a close.
                            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except (TimeoutError, ssl.SSLError, ConnectionError, BrokenPipeError):
                    pass
        except OSError:
            # The connection limit of this address may be reached; only other clients are checked.
            time.sleep(0.01)


threads = [threading.Thread(target=client, args=[random.Random()]) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(begun))
