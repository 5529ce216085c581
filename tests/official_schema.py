"""The official schema of the API, as data to check answers against.

It is not part of this repository: its license is not ours. `ATLAS_OPENAPI_SCHEMA` names a file
with it; where recordings of the real service differ from it, the recordings win and the difference
stands in `DEVIATIONS`.
"""

import functools
import json
import os
import pathlib
import re

import referencing
import referencing.jsonschema
from openapi_schema_validator import OAS30ReadValidator

ROOT = "/api/atlas/v2"
METHODS = ("get", "post", "put", "patch", "delete")

# Statuses that the real service was recorded with, where its schema says another.
STATUSES = {
    ("createGroup", 201): "200",
    ("createGroupAccessListEntry", 201): "200",
    ("deleteGroup", 202): None,
}

# Attributes that the real service was recorded with, or that are wrong in the schema.
DEVIATIONS = [
    # Parameters of errors are texts and numbers in every recording.
    ("", r"^parameters\.\d+$", "type"),
    # Recorded on serverless instances since flex clusters stand behind them.
    ("GroupServerlessInstance", r"providerSettings\.(nextBackupDate|tenantBackupEnabled)$", "unknown"),
    ("GroupServerlessInstance", r"providerSettings\.effectiveInstanceSizeName$", "(oneOf|type)"),
    # Recorded names have spaces ("Atlas CLI E2E"), which the pattern does not allow.
    ("(Group|Org|listClusterDetails)", r"(^|\.)(name|groupName|orgName)$", "pattern"),
    # The schema's bound for the increment of a timestamp is that of its seconds.
    ("GroupServerlessBackupRestoreJob", r"desiredTimestamp\.increment$", "minimum"),
    # Recorded on jobs of clusters that go to no moment: nulls, and an attribute beside the two.
    ("GroupClusterBackupRestoreJob", r"desiredTimestamp\.(date|increment|time)$", "(type|nullable|minimum|unknown)"),
    ("GroupClusterBackupRestoreJob", r"^targetDeploymentItemName$", "unknown"),
    # Recorded on snapshots of clusters that somebody asked for.
    ("GroupClusterBackupSnapshot", r"^frequencyType$", "enum"),
    # Recorded in lower case.
    ("GroupCluster", r"^biConnector\.readPreference$", "enum"),
    # Hardware is of one provider, and fits the schemas of all; names of regions are texts.
    ("GroupCluster", r"regionConfigs\.\d+\.(analytics|electable|readOnly)Specs$", "oneOf"),
    ("GroupCluster", r"regionConfigs\.\d+\.regionName$", "(oneOf|type)"),
    # A new entry was used 0 times; the schema begins at 1, recordings at 0.
    ("OrgApiKeyAccessList", r"\.?count$", "minimum"),
    # Newer descriptions of the service have the caller's address, and no key for service accounts.
    ("getSystemStatus", r"^$", "required"),
    ("getSystemStatus", r"^ipAddress$", "unknown"),
    # Newer descriptions of the service have it, and require it.
    ("(ServiceAccount|createOrg)", r"systemManaged$", "unknown"),
    # groupId is write-only in the schema, which makes it required there, and is sent all the same.
    ("GroupDatabaseUser", r"groupId$", "writeOnly"),
]


def path_of_schema():
    path = os.environ.get("ATLAS_OPENAPI_SCHEMA")
    return pathlib.Path(path) if path else None


@functools.cache
def document():
    # Python writes Unicode classes in another way.
    schema = json.loads(path_of_schema().read_text().replace(r"\\p{L}\\p{N}", r"\\w"))
    unroll(schema["components"]["schemas"])
    return schema


def unroll(schemas):
    """A choice whose alternatives contain it again, as a validator can follow it: they contain what it
    says beside the choice."""
    for name, schema in list(schemas.items()):
        base = f"{name}_base"
        there, here = (f"#/components/schemas/{name}", f"#/components/schemas/{base}")
        for alternative in schema.get("oneOf", []):
            parts = schemas.get(alternative.get("$ref", "").rsplit("/", 1)[-1], {}).get("allOf", [])
            for part in (part for part in parts if part.get("$ref") == there):
                part["$ref"] = here
                schemas[base] = {key: value for key, value in schema.items()
                                 if key not in ("oneOf", "discriminator")}


@functools.cache
def registry():
    resource = referencing.jsonschema.DRAFT4.create_resource(document())
    return referencing.Registry().with_resource("urn:official", resource)


@functools.cache
def operations():
    """(method, pattern, operation) of every official operation, fixed paths first."""
    found = []
    for path, methods in document()["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))
        for method in METHODS:
            if method in methods:
                found.append((path.count("{"), method, re.compile(pattern + "/?$"), methods[method]))
    return [entry[1:] for entry in sorted(found, key=lambda entry: entry[0])]


@functools.cache
def operation_of(method, path):
    for candidate, pattern, operation in operations():
        if candidate == method.lower() and pattern.match(path):
            return operation
    return None


def resolve(node):
    while "$ref" in node:
        name = node["$ref"].split("/")[-2:]
        node = document()["components"][name[0]][name[1]]
    return node


def response_schema(operation, status, version):
    """The schema of an answer; `None` where the schema has no body for it."""
    responses = operation["responses"]
    wanted = STATUSES.get((operation["operationId"], status), str(status))
    if wanted is None:
        return None
    if wanted not in responses:
        raise Violation(f"the status {status} is not in the schema: {sorted(responses)}")
    for media_type, content in resolve(responses[wanted]).get("content", {}).items():
        if version is None or version in media_type:
            return content.get("schema")
    raise Violation(f"the version {version} is not in the schema for {status}")


class Violation(Exception):
    pass


# Errors that can happen to any request, whatever the schema lists for its operation.
ANYWHERE = {400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 429, 500, 503}


def check(exchange):
    """Every violation of one exchange, as sentences."""
    operation = operation_of(exchange.method, exchange.path)
    if operation is None or exchange.status == 405:
        return []
    identity = operation["operationId"]
    version = re.search(r"vnd\.atlas\.([\d-]+)\+json", exchange.content_type)
    try:
        if exchange.status >= 400:
            if exchange.status not in ANYWHERE:
                raise Violation(f"the status {exchange.status}")
            schema = {"$ref": "#/components/schemas/ApiError"}
        else:
            schema = response_schema(operation, exchange.status, version and version[1])
    except Violation as violation:
        return [f"{identity}: {violation}"]
    if not exchange.body:
        return [] if schema is None else [f"{identity}: no body for {exchange.status}"]
    body = json.loads(exchange.body)
    if "envelope=true" in exchange.query and isinstance(body, dict):
        body = body.get("content", {key: value for key, value in body.items() if key != "status"})
    if schema is None:
        return [] if body == {} else [f"{identity}: a body for {exchange.status}"]
    found = list(violations_of(body, schema))
    return [f"{identity}: {text} at {where or 'the top'}" for where, kind, text in found if not is_known(identity, where, kind)]


def is_known(identity, where, kind):
    where = re.sub(r"^results\.\d+\.?", "", where)
    return any(
        re.search(name, identity) and re.fullmatch(known, kind) and re.search(pattern, where)
        for name, pattern, known in DEVIATIONS
    )


def violations_of(body, schema):
    full = {**schema, "components": document()["components"]} if "$ref" in schema else schema
    validator = OAS30ReadValidator(absolute(full), registry=registry())
    for error in validator.iter_errors(body):
        yield ".".join(map(str, error.absolute_path)), error.validator, error.message[:200]
    yield from unknown_attributes(body, schema, "")


def absolute(node):
    """The same schema with references into the official document."""
    if isinstance(node, dict):
        return {
            key: "urn:official" + value if key == "$ref" and value.startswith("#") else absolute(value)
            for key, value in node.items()
            if key != "components"
        }
    if isinstance(node, list):
        return [absolute(item) for item in node]
    return node


def unknown_attributes(body, schema, where):
    """Attributes that the schema does not have: JSON Schema lets them pass, clients never see them."""
    schema = resolve(schema)
    if isinstance(body, list) and "items" in schema:
        for position, item in enumerate(body):
            yield from unknown_attributes(item, schema["items"], f"{where}{position}.")
    if not isinstance(body, dict) or any(key in schema for key in ("oneOf", "anyOf", "allOf", "discriminator")):
        return
    properties = schema.get("properties", {})
    for name, value in body.items():
        if name in properties:
            yield from unknown_attributes(value, properties[name], f"{where}{name}.")
        elif schema.get("additionalProperties", True) is True and properties:
            yield f"{where}{name}", "unknown", f"the attribute {name} is not in the schema"
