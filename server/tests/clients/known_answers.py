"""Reads everything that the management API has to read, and holds each answer against its schema in the API's own document.

What is read has to be there: lists with something in them, and each thing by an id that its list has. What is made is made twice with
the same Idempotency-Key: the second answer goes without what is shown once, and is as the schema says all the same.
"""

import json
import os
import sys
import urllib.parse
import urllib.request

import jsonschema_rs

BASE = os.environ["WEIR_ADMIN_URL"]
HEADERS = {"Authorization": f"Bearer {os.environ['WEIR_KEY']}"}
# For browsers on their way to an identity provider.
LEFT_OUT = {"/v1/admin/sign-in/with/{id}", "/v1/admin/sign-in/callback"}
# They have to be told whose.
WORDS = {"granted": "tenant=acme", "body-log": "tenant=acme", "search": "q=a", "users/{id}": "tenant=acme"}
# Nothing is kept of what was said.
EMPTY = {"/v1/admin/requests/{id}/bodies"}


def get(path):
    request = urllib.request.Request(BASE + path, headers=HEADERS)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def first(kind):
    """The id of the first one in its list."""
    # Operators are users, too, and in no tenant.
    whose = "&tenant=acme" if kind == "users" else ""
    status, page = get(f"/v1/admin/{kind}?limit=1{whose}")
    assert status == 200 and page["data"], f"there is no {kind}: {status} {page}"
    return page["data"][0]["id"]


def post(path, order, key):
    headers = {**HEADERS, "Idempotency-Key": key, "Content-Type": "application/json"}
    request = urllib.request.Request(BASE + path, json.dumps(order).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, json.load(answer)
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{path}: {refused.code} {refused.read()}") from None


def holds(asked, answer, responses, status):
    """Whether an answer is as the document says of it."""
    content = responses.get(str(status), responses["default"])["content"]
    schema = next(iter(content.values())).get("schema")
    # The document itself has none.
    assert schema or asked == "/v1/admin/openapi.json", f"{asked} says nothing of its answer"
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document["components"], **(schema or {})}
    for error in jsonschema_rs.validator_for(whole).iter_errors(answer):
        raise AssertionError(f"{asked}: {error}: {answer}")


TWICE = [
    ("tenants", {"name": "twice"}),
    ("keys", {"tenant": "acme", "name": "twice"}),
    ("service-tokens", {"tenant": "acme", "name": "twice", "role": "viewer"}),
    ("invitations", {"tenant": "acme", "email": "twice@acme.example", "role": "viewer"}),
    ("operators", {"email": "twice@weir.example", "role": "platform_viewer"}),
    ("users/{id}/reset-link", {}),
    ("resources/apply", {"tenants": [{"name": "acme", "keys": [{"name": "applied"}]}]}),
    ("channels", {"name": "headed", "kind": "openai", "base_url": "https://vendor.example", "auth": {"header": "x-key", "value": "Token {secret}"}}),
    ("channels", {"name": "asked", "kind": "openai", "base_url": "https://vendor.example", "auth": {"query": {"name": "key", "value": "{secret}"}}}),
]

_, document = get("/v1/admin/openapi.json")
read = []
if sys.argv[1] == "twice":
    for below, order in TWICE:
        path = f"/v1/admin/{below}"
        asked = path.replace("{id}", first("users")) if "{id}" in path else path
        for again in (False, True):
            status, headers, answer = post(asked, order, str(len(read)))
            assert (headers["idempotency-replayed"] == "true") == again, f"{asked}: {headers}"
            holds(asked, answer, document["paths"][path]["post"]["responses"], status)
        read.append(path)
    print(json.dumps(read))
    sys.exit()
for path, item in document["paths"].items():
    if "get" not in item or path in LEFT_OUT:
        continue
    below = path.removeprefix("/v1/admin/")
    # What is somebody's own, and the rest.
    if below.startswith("me/") != (sys.argv[1] == "own"):
        continue
    kind = below.split("/")[0]
    asked = path.replace("{id}", first(kind)) if "{id}" in path else path
    if below in WORDS:
        asked += "?" + urllib.parse.quote(WORDS[below], safe="=&")
    status, answer = get(asked)
    wanted = 404 if path in EMPTY else 200
    assert status == wanted, f"{asked}: {status} {answer}"
    holds(asked, answer, item["get"]["responses"], status)
    if isinstance(answer, dict) and "data" in answer and below not in ("alerts", "me/identities"):
        assert answer["data"], f"{asked} has nothing in it"
    read.append(path)
print(json.dumps(read))
