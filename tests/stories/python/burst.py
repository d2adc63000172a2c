"""Submits as fast as it can from several connections until the server goes away.

usage: burst.py HOST PORT CA USER TOKEN FIRST RECIPIENT...

Prints `sent N` before each message's last dot and `acked N` once it was answered 250: what was acked must never be lost.
"""

import smtplib
import ssl
import sys
import threading

host, port, ca, user, token, first, *recipients = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
numbers = iter(range(int(first), 1 << 60))
lock = threading.Lock()


def say(line):
    with lock:
        print(line, flush=True)


def session():
    try:
        with smtplib.SMTP_SSL(host, int(port), context=context, timeout=20) as client:
            client.login(user, token)
            while True:
                with lock:
                    number = next(numbers)
                body = f"From: {user}\r\nTo: x@example.test\r\nSubject: burst {number}\r\n\r\n" + "filler line\r\n" * 40
                say(f"sent {number}")
                if client.sendmail(user, recipients, body) == {}:
                    say(f"acked {number}")
    except (smtplib.SMTPException, OSError) as error:
        # The server was killed: that is the test. Anything else shows in what was acked.
        say(f"ended {type(error).__name__}")


threads = [threading.Thread(target=session) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
