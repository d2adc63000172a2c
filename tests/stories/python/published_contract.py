"""The published SDK as it is on PyPI, and the contract it carries: every answer is validated against it.

A scenario is a function that takes a `Client`. `both` runs it with the synchronous and then with the asynchronous client.
"""

import asyncio
import json
import re
import sys
from importlib import resources

import httpx
import inboxlayer_sdk
from inboxlayer_sdk.contracts import SDK_ENDPOINT_COVERAGE
from inboxlayer_sdk.exceptions import InboxLayerHTTPError

# It is of version 3.1, and says `nullable` as 3.0 does.
from openapi_schema_validator import OAS30Validator

CONTRACT = json.loads(resources.files(inboxlayer_sdk).joinpath("openapi/api-v1.json").read_text())


def resolved(schema):
    """The schema without references."""
    if isinstance(schema, list):
        return [resolved(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return resolved(CONTRACT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return {key: resolved(value) for key, value in schema.items()}


def validate(value, schema, what):
    errors = [f"{list(error.path)}: {error.message}" for error in OAS30Validator(resolved(schema)).iter_errors(value)]
    assert not errors, f"{what}: {errors}: {value}"


def operation(method, path):
    """The contract's path and operation of a request."""
    found = [
        template
        for template, methods in CONTRACT["paths"].items()
        if method.lower() in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
    ]
    assert found, f"{method} {path} is not in the contract"
    # `/emails/search` is no id.
    template = min(found, key=lambda template: template.count("{"))
    return template, CONTRACT["paths"][template][method.lower()]


class Client:
    """The SDK's client; its methods return the answer, whichever it is. `called` are the operations that succeeded."""

    def __init__(self, kind, base, token):
        self.called = set()
        self.loop = asyncio.new_event_loop() if kind == "async" else None
        # Without retries: a refusal is wanted as it is.
        options = {"base_url": base, "api_token": token, "max_retries": 0}
        http = {"base_url": base, "timeout": 60, "trust_env": False}
        if self.loop:
            http = httpx.AsyncClient(**http, event_hooks={"response": [self.read_later]})
            self.sdk = inboxlayer_sdk.AsyncInboxLayerClient(**options, httpx_client=http)
        else:
            http = httpx.Client(**http, event_hooks={"response": [self.read_now]})
            self.sdk = inboxlayer_sdk.InboxLayerClient(**options, httpx_client=http)

    def __getattr__(self, name):
        method = getattr(self.sdk, name)
        return (lambda *a, **k: self.loop.run_until_complete(method(*a, **k))) if self.loop else method

    def read_now(self, response):
        response.read()
        self.check(response)

    async def read_later(self, response):
        await response.aread()
        self.check(response)

    def check(self, response):
        request = response.request
        template, described = operation(request.method, request.url.path)
        what = f"{request.method} {template} {response.status_code}"
        assert response.headers["x-request-id"], what
        contents = described["responses"].get(str(response.status_code), {}).get("content", {})
        if response.is_success:
            assert str(response.status_code) in described["responses"], f"{what} is not in the contract: {response.text}"
            self.called.add(f"{request.method} {template}")
        if response.status_code == 204:
            assert not response.content, what
            return
        assert response.headers["content-type"] == "application/json", what
        schema = contents.get("application/json", {}).get("schema", {})
        validate(response.json(), schema, what)
        if not response.is_success:
            validate(response.json(), {"$ref": "#/components/schemas/Error"}, what)

    def refused(self, status, code, method, *arguments, **options):
        """The refusal of a call that must not succeed."""
        try:
            answer = getattr(self, method)(*arguments, **options)
        except InboxLayerHTTPError as error:
            assert (error.status_code, error.error_code) == (status, code), f"{method}: {error}"
            assert str(error) and error.request_id, method
            return error
        raise AssertionError(f"{method}{arguments} succeeded: {answer}")


def has(value, schema):
    """The value, which has every field that the contract names for it."""
    properties = CONTRACT["components"]["schemas"][schema]["properties"]
    missing = set(properties) - set(value)
    assert not missing, f"{schema} without {missing}: {value}"
    return value


def both(scenario, operations):
    """Runs the scenario with each client of the SDK; returns the ready file. `operations` says of an operation whether the scenario has to
    call it."""
    ready = json.load(open(sys.argv[1]))
    for kind in ["sync", "async"]:
        client = Client(kind, ready["http"], ready["token"])
        scenario(client, ready, kind)
        missing = {operation for operation in SDK_ENDPOINT_COVERAGE if operations(operation)} - client.called
        assert not missing, f"{kind}: not called: {sorted(missing)}"
    return ready
