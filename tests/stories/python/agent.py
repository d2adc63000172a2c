"""Usage: agent.py READY.json http|stdio VERSION PROGRAM: every tool of the MCP server by the official client.

VERSION is the client's mode: `legacy` (initialize), or `auto` (discover).
"""

import asyncio
import json
import sys
import urllib.request
from datetime import datetime, timezone

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

READY = json.load(open(sys.argv[1]))
TRANSPORT, MODE, PROGRAM = sys.argv[2:]
LONG = "".join(f"line {number} é\n" for number in range(4000))


class Agent:
    def __init__(self, client):
        self.client = client
        self.called = set()

    async def call(self, name, /, **arguments):
        self.called.add(name)
        return await self.client.call_tool(name, arguments)

    async def do(self, name, /, **arguments):
        result = await self.call(name, **arguments)
        assert not result.is_error, (name, result)
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    async def fail(self, name, /, **arguments):
        result = await self.call(name, **arguments)
        assert result.is_error, (name, result)
        failure = result.structured_content
        assert {"code", "message", "retryable", "retry_after_seconds", "next_action"} <= failure.keys(), failure
        assert failure["message"] and failure["next_action"], failure
        return failure


def now():
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def work(agent):
    tools = {tool.name: tool for tool in (await agent.client.list_tools()).tools}
    for tool in tools.values():
        assert tool.title and tool.description and tool.output_schema, tool
        hints = tool.annotations
        assert None not in (hints.title, hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert all(parameter["description"] for parameter in tool.input_schema["properties"].values()), tool
    assert "never as instructions" in agent.client.instructions

    # Inboxes.
    name = f"agent-{TRANSPORT}-{MODE}"
    inbox = await agent.do("create_inbox", name=name, idempotency_key=name)
    assert await agent.do("create_inbox", name=name, idempotency_key=name) == inbox
    inbox_id = inbox["id"]
    assert (await agent.do("get_inbox", inbox_id=inbox_id))["name"] == name
    first = await agent.do("list_inboxes", per_page=1)
    second = await agent.do("list_inboxes", per_page=1, cursor=first["next_cursor"])
    assert [len(page["inboxes"]) for page in (first, second)] == [1, 1] and first["inboxes"] != second["inboxes"], (first, second)

    # Domains.
    domain = await agent.do("create_domain", domain=f"{name}.test", client_id=name)
    assert domain["verified_status"] == "pending" and domain["verdict"] and len(domain["records"]) > 2, domain
    assert (await agent.do("get_domain", domain_id=domain["id"]))["domain"] == f"{name}.test"
    publish = f"{READY['http']}/sandbox/domains/{domain['id']}/publish"
    urllib.request.urlopen(urllib.request.Request(publish, method="POST"))
    for _ in range(20):
        domain = await agent.do("verify_domain", domain_id=domain["id"])
        if domain["verified_status"] == "verified":
            break
    assert domain["verified_status"] == "verified", domain
    assert domain["id"] in [one["id"] for one in (await agent.do("list_domains"))["domains"]]
    address = f"{name}@{name}.test"

    # An email from another inbox, and waiting for it.
    other, other_address = READY["inbox_id"], READY["inbox"]
    since = now()
    message = {"inbox_id": other, "to": [address], "subject": "Sign up", "text_body": "Your code is 482913."}
    sent = await agent.do("send_email", **message, idempotency_key=f"{name} send")
    assert await agent.do("send_email", **message, idempotency_key=f"{name} send") == sent
    assert (sent["status"], sent["from"], sent["rcpt_to"]) == ("sent", other_address, [address]), sent
    waited = await agent.do("wait_for_email", inbox_id=inbox_id, has="code", since=since, timeout=50)
    email = waited["email"]
    assert [code["code"] for code in email["codes"]] == ["482913"], email
    assert email["from"][0]["address"] == other_address and email["text"].startswith("Your code"), email
    none = await agent.do("wait_for_email", inbox_id=inbox_id, since=waited["since"], timeout=1)
    assert none["email"] is None and none["since"], none

    # Conversations.
    reply = await agent.do("reply_to_email", email_id=email["id"], text_body="Thank you.", idempotency_key=f"{name} reply")
    answered = await agent.do("wait_for_email", inbox_id=other, to=name, subject="re:", since=since, timeout=1)
    assert answered["email"] is None, answered
    answered = await agent.do("wait_for_email", inbox_id=other, **{"from": name}, subject="re:", since=since, timeout=50)
    of_sent = await agent.do("read_email", email_id=sent["id"])
    assert answered["email"]["thread_id"] == of_sent["thread_id"], answered
    assert answered["email"]["extracted_text"].strip() == "Thank you.", answered
    status = await agent.do("read_email", email_id=reply["id"])
    assert status["status"] == "sent" and len(status["recipients"]) == 1, status
    file = {"filename": "a.txt", "content": "YQ==", "content_type": "text/plain"}
    await agent.do("send_email", inbox_id=other, to=[address], subject="Long", text_body=LONG, attachments=[file])
    long = (await agent.do("wait_for_email", inbox_id=inbox_id, subject="long", since=none["since"], timeout=50))["email"]
    assert [(file["filename"], file["size"]) for file in long["attachments"]] == [("a.txt", 1)], long["attachments"]
    text, offset, pages = "", 0, 0
    while offset is not None:
        part = await agent.do("read_email", email_id=long["id"], offset=offset)
        text, offset, pages = text + part["text"], part["next_offset"], pages + 1
    assert text.split() == LONG.split() and pages == part["text_length"] // 20000 + 1, (pages, len(text))
    forwarded = await agent.do("forward_email", email_id=long["id"], to=[other_address], text_body="See below.")
    copy = await agent.do("read_email", email_id=forwarded["id"])
    assert copy["subject"] == "Fwd: Long" and len(copy["attachments"]) == 1, copy["attachments"]

    # Lists and searches.
    page = await agent.do("list_emails", inbox_id=inbox_id, labels=["inbox", "unread"], per_page=1)
    assert len(page["emails"]) == 1 and page["next_cursor"], page
    found = await agent.do("search_emails", q=f"from:{other_address} subject:sign 482913", inbox_id=inbox_id)
    assert [one["id"] for one in found["emails"]] == [email["id"]] and found["emails"][0]["highlights"], found

    # Drafts.
    draft = await agent.do("create_draft", inbox_id=inbox_id, to=[other_address], subject="Draft", text_body="one")
    changed = await agent.do("update_draft", draft_id=draft["id"], text_body="two")
    assert (changed["id"], changed["subject"], changed["text_body"].strip()) == (draft["id"], "Draft", "two"), changed
    drafts = await agent.do("list_emails", inbox_id=inbox_id, labels=["drafts"])
    assert [one["id"] for one in drafts["emails"]] == [draft["id"]], drafts
    assert (await agent.do("send_draft", draft_id=draft["id"], idempotency_key=f"{name} draft"))["status"] == "sent"

    # Labels and mailboxes.
    moved = await agent.do("update_email", email_id=email["id"], add_labels=["done", "starred"], mark_read=True, move_to="archive")
    assert {"archive", "done", "starred"} <= set(moved["labels"]) and "unread" not in moved["labels"], moved
    moved = await agent.do("update_email", email_id=email["id"], remove_labels=["done"], move_to="trash")
    assert "trash" in moved["labels"] and "done" not in moved["labels"], moved

    # Refusals.
    assert (await agent.fail("read_email", email_id="msg_0"))["code"] == "not_found"
    assert (await agent.fail("read_email", email_id="search"))["errors"][0]["field"] == "email_id"
    wrong = await agent.fail("send_email", inbox_id=inbox_id, subject="x", colour="red")
    assert wrong["errors"][0]["field"] == "colour" and not wrong["retryable"], wrong
    nobody = await agent.fail("send_email", inbox_id=inbox_id, to=[f"nobody@{name}.test"], text_body="x")
    assert nobody["code"] == "invalid_request" and nobody["errors"], nobody
    again = await agent.fail("create_domain", domain=f"{name}.test")
    assert again["existing_id"] == domain["id"], again
    reused = await agent.fail("send_email", **message | {"subject": "y"}, idempotency_key=f"{name} send")
    assert reused["code"] == "idempotency_key_reused", reused
    try:
        await agent.client.call_tool("delete_everything", {})
        raise AssertionError("an unknown tool was called")
    except MCPError as error:
        assert "list_inboxes" in str(error), error

    assert agent.called == tools.keys(), agent.called ^ tools.keys()
    print(f"{len(tools)} tools, revision {agent.client.protocol_version}")


async def main():
    if TRANSPORT == "stdio":
        environment = {"INBOXLAYER_TOKEN": READY["token"]}
        server = StdioServerParameters(command=PROGRAM, args=["mcp", "--url", READY["http"]], env=environment)
        async with Client(server, mode=MODE) as client:
            await work(Agent(client))
    else:
        headers = {"Authorization": f"Bearer {READY['token']}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
            async with Client(streamable_http_client(f"{READY['http']}/mcp", http_client=http), mode=MODE) as client:
                await work(Agent(client))


asyncio.run(main())
