"""Usage: published_stream.py READY.json: the stream of an inbox through the published SDK's parser, synchronous and asynchronous."""

import asyncio
import json
import sys
from datetime import datetime, timezone

import httpx
import inboxlayer_sdk

READY = json.load(open(sys.argv[1]))
OPTIONS = {"base_url": READY["http"], "api_token": READY["token"], "max_retries": 0}
HTTP = {"base_url": READY["http"], "timeout": 60, "trust_env": False}
INBOX = READY["inbox_id"]


def email(subject):
    return {"inbox_id": INBOX, "to": [READY["inbox"]], "subject": subject, "text_body": "Your code is 482913."}


def subjects(events):
    for event in events:
        assert event.event == event.json()["type"] and event.id == event.json()["id"], event
        assert event.raw and event.event != "message", event
    received = [event.json()["data"] for event in events if event.event == "email.received"]
    assert all(data["codes"][0]["code"] == "482913" for data in received), received
    return [data["subject"] for data in received]


def in_turn(client):
    since = datetime.now(timezone.utc)
    for n in range(3):
        client.send_email(email(f"sync {n}"))
    # It is cut after the second event.
    first = []
    for event in client.stream_inbox_events(INBOX, since=since, timeout=30):
        first.append(event)
        if len(first) == 2:
            break
    rest = list(client.stream_inbox_events(INBOX, since=first[-1].id, timeout=1))
    assert sorted(subjects(first + rest)) == ["sync 0", "sync 1", "sync 2"], first + rest
    assert len({event.id for event in first + rest}) == len(first + rest) == 6


async def at_once(client):
    got = []

    async def read():
        async for event in client.stream_inbox_events(INBOX, since=datetime.now(timezone.utc), timeout=30):
            got.append(event)
            if len(got) == 6:
                return

    reading = asyncio.ensure_future(read())
    for n in range(3):
        await client.send_email(email(f"async {n}"))
        await asyncio.sleep(0.1)
    await asyncio.wait_for(reading, 60)
    assert sorted(subjects(got)) == ["async 0", "async 1", "async 2"], got


in_turn(inboxlayer_sdk.InboxLayerClient(**OPTIONS, httpx_client=httpx.Client(**HTTP)))
asyncio.run(at_once(inboxlayer_sdk.AsyncInboxLayerClient(**OPTIONS, httpx_client=httpx.AsyncClient(**HTTP))))
