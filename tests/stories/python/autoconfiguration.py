"""Asks for the settings of mail clients as Thunderbird, Outlook and Apple's clients do. Arguments: base URL, link that signs in, inbox, address.
Prints one line for each server: client, protocol, host, port, security, user name."""

import http.cookiejar
import plistlib
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree

base, sign_in, inbox, address = sys.argv[1:]


def parsed(path, body=None, headers=None):
    request = urllib.request.Request(base + path, data=body, headers=headers or {})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["content-type"].startswith("text/xml"), answer.headers
        return ElementTree.fromstring(answer.read())


for path in ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"]:
    config = parsed(f"{path}?emailaddress={address}", headers={"Host": "autoconfig.acme.test"})
    domain = address.split("@")[1]
    assert config.find("emailProvider/domain").text == domain, ElementTree.tostring(config)
    for server in config.iter():
        if server.tag in ("incomingServer", "outgoingServer"):
            fields = [server.get("type"), *(server.find(name).text for name in ("hostname", "port", "socketType", "username"))]
            print("thunderbird", *fields)

# What is no address is not shown.
config = parsed("/mail/config-v1.1.xml?emailaddress=%3Cscript%3E%22%26%40x%20y")
assert "script" not in ElementTree.tostring(config).decode()

NS = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"
for path in ["/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"]:
    body = f"""<?xml version="1.0"?><Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
      <Request><EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>x</AcceptableResponseSchema></Request></Autodiscover>"""
    found = parsed(path, body.encode(), {"Content-Type": "text/xml"})
    for server in found.iter(NS + "Protocol"):
        print("outlook", *(server.find(NS + name).text for name in ("Type", "Server", "Port", "Encryption", "LoginName")))
refused = parsed(path, b"<EMailAddress>&lt;b&gt;</EMailAddress>", {"Content-Type": "text/xml"})
assert [code.text for code in refused.iter() if code.tag.endswith("ErrorCode")] == ["600"]
try:
    parsed(path, b"x" * 100_000, {"Content-Type": "text/xml"})
    raise AssertionError("a long request was taken")
except urllib.error.HTTPError as error:
    assert error.code == 413, error.code

browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
browser.open(sign_in)
profiles = []
for _ in range(2):
    answer = browser.open(f"{base}/inboxes/{inbox}/apple.mobileconfig")
    assert answer.headers["content-type"] == "application/x-apple-aspen-config", answer.headers
    profiles.append(answer.read())
assert profiles[0] == profiles[1], "a profile that is installed again must replace the one before"
profile = plistlib.loads(profiles[0])
(account,) = profile["PayloadContent"]
assert "Password" not in "".join(key for key in account if key != "OutgoingPasswordSameAsIncomingPassword"), account
assert profile["PayloadUUID"] != account["PayloadUUID"]
for direction, protocol in [("Incoming", "imap"), ("Outgoing", "smtp")]:
    of = {key: account[f"{direction}MailServer{key}"] for key in ("HostName", "PortNumber", "UseSSL", "Username")}
    assert of["UseSSL"] is True
    print("apple", protocol, of["HostName"], of["PortNumber"], "SSL", of["Username"])
