"""Verifies every DKIM signature of the message on standard input with dkimpy: dkim_verify.py DNS_HOST DNS_PORT

Keys come from the DNS server named, CNAMEs followed. Prints [{"domain", "selector", "valid"}].
"""
import json
import sys

import dkim
import dns.rdatatype
import dns.resolver

host, port = sys.argv[1:]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port, resolver.lifetime = [host], int(port), 30


def txt(name, timeout=5):
    name = name.decode() if isinstance(name, bytes) else name
    for _ in range(8):
        try:
            answer = resolver.resolve(name, "TXT", raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return None
        if answer.rrset is not None:
            return b"".join(answer.rrset[0].strings)
        aliases = [set for set in answer.response.answer if set.rdtype == dns.rdatatype.CNAME]
        if not aliases:
            return None
        name = aliases[-1][0].target.to_text()
    return None


message = sys.stdin.buffer.read()
verifier = dkim.DKIM(message)
count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
outcomes = []
for index in range(count):
    verifier = dkim.DKIM(message)
    try:
        valid = verifier.verify(idx=index, dnsfunc=txt)
    except dkim.DKIMException as error:
        valid = str(error)
    fields = verifier.signature_fields
    outcomes.append(
        {"domain": fields.get(b"d", b"").decode(), "selector": fields.get(b"s", b"").decode(), "valid": valid}
    )
print(json.dumps(outcomes))
