"""Sends a message made by Python's email package with smtplib's sendmail: sendmail.py HOST PORT CA USER PASSWORD TO

Standard input is its text. `as_bytes()` uses bare LF, and sendmail does not convert bytes.
"""
import email.message
import smtplib
import ssl
import sys

host, port, ca, user, password, recipient = sys.argv[1:]
message = email.message.EmailMessage()
message["From"], message["To"], message["Subject"] = user, recipient, "bytes"
message.set_content(sys.stdin.read(), cte="7bit")
octets = message.as_bytes()
assert b"\n" in octets and b"\r" not in octets

with smtplib.SMTP(host, int(port), timeout=60) as smtp:
    smtp.starttls(context=ssl.create_default_context(cafile=ca))
    smtp.login(user, password)
    smtp.sendmail(user, recipient, octets)
