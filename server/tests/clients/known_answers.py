"""Reads everything that the management API has to read, and holds each answer against its schema in the API's own document.

What is read has to be there: lists with something in them, and each thing by an id that its list has.
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


_, document = get("/v1/admin/openapi.json")
read = []
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
    responses = item["get"]["responses"]
    content = responses.get(str(status), responses["default"])["content"]
    schema = next(iter(content.values())).get("schema")
    # The document itself has none.
    assert schema or path == "/v1/admin/openapi.json", f"{path} says nothing of its answer"
    schema = schema or {}
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document["components"], **schema}
    validator = jsonschema_rs.validator_for(whole)
    for error in validator.iter_errors(answer):
        raise AssertionError(f"{asked}: {error}")
    if isinstance(answer, dict) and "data" in answer and below not in ("alerts", "me/identities"):
        assert answer["data"], f"{asked} has nothing in it"
    read.append(path)
print(json.dumps(read))
