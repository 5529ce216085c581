"""The last word: every answer of all tests, whoever asked, against the official schema.

Runs after the other files, over everything that passed the recorder in this process and in those
that left it in the folder TIDEMARK_TEST_EXCHANGES, and writes `docs/conformance.md`.
"""

import collections
import os
import re

import pytest

import official_schema
import recorder
from world import TOP

PAGE = TOP / "docs" / "conformance.md"
INTRODUCTION = """# Conformance

Written by the test run. Every answer that any client got in the whole test suite was compared with
the official schema of the Atlas Administration API v2: status, version, and every attribute.

- ✓: the operation succeeded for this client, and each answer is as the schema says
- e: the client asked only for an error, which is as the schema says

*Replayed* are the requests of a client that is not run itself.

Where recordings of the real service differ from its schema, the recordings win; the differences are
listed one by one in `tests/official_schema.py`.
"""


def needs_schema():
    path = official_schema.path_of_schema()
    if path is None or not path.exists():
        reason = "ATLAS_OPENAPI_SCHEMA does not name a file with the official schema"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        print(f"skipped: {reason}")
        pytest.skip(reason)


def test_every_answer_is_as_the_official_schema_says():
    needs_schema()
    found = collections.Counter()
    examples = {}
    for exchange in set(recorder.all_exchanges()):
        for violation in official_schema.check(exchange):
            found[violation] += 1
            examples.setdefault(violation, (exchange.client, exchange.path, exchange.body[:300]))
    listed = "\n".join(f"{count} × {text}\n    {examples[text]}" for text, count in found.most_common())
    assert not found, listed


def test_a_violation_would_be_found():
    needs_schema()
    path = "/api/atlas/v2/groups/" + "0" * 24
    good = b'{"clusterCount":0,"created":"2026-01-01T00:00:00Z","name":"n","orgId":"' + b"0" * 24 + b'"}'
    kind = "application/vnd.atlas.2023-01-01+json;charset=utf-8"

    def check(body, status=200, content_type=kind):
        return official_schema.check(recorder.Exchange("c", "GET", path, "", "", status, content_type, body))

    assert check(good) == []
    for bad in [
        check(good.replace(b'"n"', b"5")),
        check(good.replace(b'"name":"n",', b"")),
        check(good.replace(b'"name"', b'"colour":"red","name"')),
        check(good, content_type="application/vnd.atlas.2024-01-01+json"),
        check(good, status=201),
        check(b""),
        check(b'{"detail":"d"}', status=404, content_type="application/json"),
    ]:
        assert bad


def test_every_operation_that_is_offered_was_asked_for_and_succeeded(world):
    document = world.raw("GET", "/api/atlas/v2/openapi.json", headers={"Authorization": None})[1]
    succeeded = {operation for (operation, _), result in results(document).items() if result == "✓"}
    missing = []
    for methods in document["paths"].values():
        for operation in methods.values():
            can_succeed = any(status.startswith("2") for status in operation["responses"])
            name = operation["operationId"]
            if can_succeed and name != "tenantGroupFlexClusterUpgrade" and name not in succeeded:
                missing.append(name)
    if len(recorder.all_exchanges()) < 1000:
        pytest.skip("only some of the tests ran")
    assert not missing, missing
    write_matrix(document)


def operation_names(document):
    """A function from method and path to the operation of our own document."""
    patterns = []
    for path, methods in document["paths"].items():
        pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + "/?$")
        for method, operation in methods.items():
            patterns.append((path.count("{"), method.upper(), pattern, operation["operationId"]))
    patterns.sort(key=lambda entry: entry[0])

    def name_of(method, path):
        return next((name for _, verb, pattern, name in patterns if verb == method and pattern.match(path)), None)

    return name_of


def results(document):
    """(operation, client) to what happened."""
    name_of = operation_names(document)
    cache = {}
    found = {}
    for exchange in recorder.all_exchanges():
        key = (exchange.method, exchange.path)
        if key not in cache:
            cache[key] = name_of(*key)
        # A challenge is half a request.
        if cache[key] is None or exchange.status in (401, 405, 406):
            continue
        cell = (cache[key], exchange.client)
        if exchange.status < 400:
            found[cell] = "✓"
        else:
            found.setdefault(cell, "e")
    return found


def write_matrix(document):
    found = results(document)
    # Which errors random requests meet is chance; that they meet no others is tested elsewhere.
    clients = sorted({client for _, client in found if client != "schemathesis"}, key=str.lower)
    operations = sorted({operation for operation, _ in found})
    lines = [INTRODUCTION, "| operation | " + " | ".join(clients) + " |", "|---|" + "---|" * len(clients)]
    for operation in operations:
        cells = [found.get((operation, client), "") for client in clients]
        if any(cells):
            lines.append(f"| {operation} | " + " | ".join(cells) + " |")
    PAGE.write_text("\n".join(lines) + "\n")
