"""The HTTP contract: versions, authentication, roles, bodies, errors, paging."""

import http.client
import json
import time

import pytest

from world import ApiError, until

UNKNOWN = "0123456789abcdef01234567"


def refused(world, method, path, body=None, violations=False):
    """Status, errorCode and parameters of a refusal."""
    with pytest.raises(ApiError) as error:
        world.call(method, path, body)
    found = error.value
    extra = {"badRequestDetail"} if violations else set()
    assert set(found.body) == {"detail", "error", "errorCode", "parameters", "reason"} | extra
    assert found.body["error"] == found.status
    assert found.headers["X-Error-Code"] == (None if found.status == 401 else found.code)
    assert found.headers["Content-Type"] == "application/json"
    return found.status, found.code, found.body["parameters"]


@pytest.fixture(scope="module")
def snapshot(world):
    world.client().shop.items.insert_many({"_id": n} for n in range(50))
    return world.snapshot()["id"]


def test_health_needs_no_credentials(world):
    for path in ("/livez", "/readyz"):
        assert world.raw("GET", path, headers={"Authorization": None})[0] == 200


def test_an_anonymous_caller_gets_the_recorded_challenge(world):
    status, body, headers = world.raw("GET", "/api/atlas/v2/groups", headers={"Authorization": None})
    assert status == 401
    assert body == {
        "error": 401,
        "reason": "Unauthorized",
        "detail": "You are not authorized for this resource.",
        "errorCode": "UNEXPECTED_ERROR",
    }
    challenge = headers["WWW-Authenticate"]
    assert challenge.startswith('Digest realm="MMS Public API", domain="", nonce="')
    assert challenge.endswith('", algorithm=MD5, qop="auth", stale=false')
    assert headers["Content-Length"] == "142" and headers["Server"] == "mdbws"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/vnd.atlas.2022-12-31+json", "application/vnd.atlas.x+json"])
def test_a_version_is_required(world, accept):
    status, body, _ = world.raw("GET", "/api/atlas/v2/groups", headers={"Accept": accept})
    assert (status, body["errorCode"]) == (406, "INVALID_VERSION_DATE")


def test_serverless_operations_say_that_they_are_deprecated(world):
    _, _, headers = world.raw("GET", "/api/atlas/v2" + world.instance_path())
    assert headers["Deprecation"] == "Wed, 10 Dec 2025 00:00:00 GMT"
    assert headers["Sunset"] == "Thu, 15 Jan 2026 00:00:00 GMT"
    assert headers["Content-Type"] == "application/vnd.atlas.2023-01-01+json;charset=utf-8"
    _, _, headers = world.raw("GET", "/api/atlas/v2/groups")
    assert headers["Sunset"] is None


def test_sunset_can_be_enforced(fresh):
    world = fresh(server_sunset="enforce").start()
    path = f"api/atlas/v2/groups/{world.group}/serverless"
    status, body, headers = world.raw("GET", "/" + path)
    assert (status, body["errorCode"], body["parameters"]) == (410, "VERSION_GONE", ["2023-01-01", path])
    assert headers["Sunset"]
    assert world.call("GET", "/groups")["totalCount"] == 1


def test_unknown_paths_and_methods(world):
    assert refused(world, "GET", "/nothing") == (404, "RESOURCE_NOT_FOUND", ["/api/atlas/v2/nothing"])
    status, body, headers = world.raw("PUT", "/api/atlas/v2/groups", b"")
    assert (status, body, headers["Allow"]) == (405, None, "POST,GET,OPTIONS")


def test_envelope_and_pretty(world):
    entity = world.call("GET", f"/groups/{world.group}")
    assert world.call("GET", f"/groups/{world.group}?envelope=true") == {"status": 200, "content": entity}
    listed = world.call("GET", "/groups?envelope=true")
    assert listed["status"] == 200 and listed["results"]
    assert refused(world, "GET", "/groups?envelope=maybe") == (400, "INVALID_QUERY_PARAMETER", ["envelope"])


def test_lists_are_paged_as_recorded(world, snapshot):
    path = world.instance_path() + "/backup/restoreJobs"
    for _ in range(3):
        world.wait_restored(world.restore("download", snapshotId=snapshot))
    base = f"http://127.0.0.1:{world.port}/api/atlas/v2{path}"
    page = world.call("GET", f"{path}?includeCount=true&itemsPerPage=1&pageNum=2")
    assert [link["rel"] for link in page["links"]] == ["self", "previous", "next"]
    assert page["links"][0]["href"] == f"{base}?includeCount=true&pageNum=2&itemsPerPage=1"
    assert page["links"][2]["href"] == f"{base}?includeCount=true&itemsPerPage=1&pageNum=3"
    assert page["totalCount"] == 3 and len(page["results"]) == 1
    everything = [job["id"] for job in world.call("GET", path)["results"]]
    paged = [world.call("GET", f"{path}?itemsPerPage=1&pageNum={n}")["results"][0]["id"] for n in (1, 2, 3)]
    assert paged == everything == sorted(everything, reverse=True)
    beyond = world.call("GET", f"{path}?pageNum=50")
    assert beyond["results"] == [] and beyond["totalCount"] == 3
    uncounted = world.call("GET", f"{path}?includeCount=false&itemsPerPage=1")
    assert uncounted["totalCount"] == 0 and [link["rel"] for link in uncounted["links"]] == ["self"]
    assert "pageNum=1&itemsPerPage=500" in world.call("GET", f"{path}?itemsPerPage=9999&pageNum=0")["links"][0]["href"]
    assert refused(world, "GET", f"{path}?itemsPerPage=-1")[:2] == (400, "INVALID_QUERY_PARAMETER")


def test_projects(world):
    org = world.bootstrap["orgId"]
    status, created, _ = world.raw("POST", "/api/atlas/v2/groups", {"name": "Apples & Pears", "orgId": org})
    assert status == 201 and created["clusterCount"] == 0 and "tags" not in created
    assert len(created["links"]) == 7
    path = f"/groups/{created['id']}"
    assert world.call("GET", path)["name"] == "Apples & Pears"
    names = [group["name"] for group in world.call("GET", "/groups")["results"]]
    assert names == sorted(names) and "Apples & Pears" in names
    duplicate = {"name": "Apples & Pears", "orgId": org}
    assert refused(world, "POST", "/groups", duplicate) == (409, "GROUP_ALREADY_EXISTS", ["Apples & Pears"])
    assert refused(world, "POST", "/groups", {"orgId": org}) == (400, "MISSING_ATTRIBUTE", ["name"])
    assert refused(world, "POST", "/groups", {"name": "a/b", "orgId": org})[1] == "INVALID_GROUP_NAME"
    assert refused(world, "POST", "/groups", {"name": "c", "orgId": UNKNOWN})[1] == "ORG_NOT_FOUND"
    assert refused(world, "DELETE", f"/groups/{world.group}")[:2] == (409, "CANNOT_CLOSE_GROUP_ACTIVE_ATLAS_CLUSTERS")
    assert world.raw("DELETE", "/api/atlas/v2" + path)[:2] == (202, {})
    assert refused(world, "GET", path) == (404, "GROUP_NOT_FOUND", [created["id"]])
    assert refused(world, "GET", "/groups/XYZ") == (404, "INVALID_GROUP_ID", ["XYZ"])


def test_database_users(world):
    created = world.create_user("reader", role="read", database="shop", scopes=[{"name": "one", "type": "CLUSTER"}])
    assert "password" not in created and created["roles"] == [{"databaseName": "shop", "roleName": "read"}]
    path = f"/groups/{world.group}/databaseUsers"
    assert world.call("GET", f"{path}/admin/reader") == created
    assert created in world.call("GET", path)["results"]
    client = world.client(user="reader")
    client.shop.items.find_one()
    import pymongo

    for forbidden in [lambda: client.shop.items.insert_one({}), lambda: client.other.items.find_one(), lambda: client.local["oplog.rs"].find_one()]:
        with pytest.raises(pymongo.errors.OperationFailure) as error:
            forbidden()
        assert error.value.code == 13
    world.create_user("elsewhere", scopes=[{"name": "another-instance", "type": "CLUSTER"}])
    with pytest.raises(pymongo.errors.OperationFailure):
        world.client(user="elsewhere").shop.items.find_one()
    with pytest.raises(pymongo.errors.OperationFailure):
        pymongo.MongoClient(world.uri().replace("a-password", "b-password")).shop.items.find_one()
    good = {"username": "u", "password": "long-enough", "databaseName": "admin", "roles": [{"roleName": "read", "databaseName": "a"}]}
    for change, expected in [
        ({"username": "reader"}, (409, "USER_ALREADY_EXISTS", ["reader"])),
        ({"password": "short"}, (400, "WEAK_PASSWORD", [])),
        ({"roles": [{"roleName": "king", "databaseName": "a"}]}, (400, "ATLAS_INVALID_ROLE", ["king", "a"])),
        ({"roles": []}, (400, "MISSING_ATTRIBUTE", ["roles"])),
        ({"databaseName": "other"}, (400, "INVALID_ENUM_VALUE", ["other"])),
        ({"x509Type": "MANAGED"}, (400, "INVALID_ATTRIBUTE", ["x509Type"])),
        ({"scopes": [{"name": "one", "type": "DATA_LAKE"}]}, (400, "INVALID_ATTRIBUTE", ["scopes[0].type"])),
        ({"roles": [{"roleName": "dbAdmin", "databaseName": "a", "collectionName": "b"}]}, (400, "INVALID_ATTRIBUTE", ["roles[0].collectionName"])),
        ({"groupId": UNKNOWN}, (400, "GROUP_MISMATCH", [UNKNOWN])),
        ({"deleteAfterDate": "tomorrow"}, (400, "INVALID_DATE_FORMAT", ["tomorrow"])),
        ({"roles": "read"}, (400, "INVALID_JSON_ATTRIBUTE", ["roles"])),
    ]:
        assert refused(world, "POST", path, {**good, **change}) == expected
    assert world.raw("DELETE", f"/api/atlas/v2{path}/admin/reader")[0] == 204
    assert refused(world, "GET", f"{path}/admin/reader") == (404, "USERNAME_NOT_FOUND", ["reader"])


def test_the_life_of_an_instance(world):
    provider = {"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}
    path = f"/groups/{world.group}/serverless"
    tags = [{"key": "env", "value": "test"}]
    status, created, _ = world.raw("POST", "/api/atlas/v2" + path, {"name": "brief", "providerSettings": provider, "tags": tags})
    assert status == 201 and created["stateName"] == "CREATING" and created["connectionStrings"] == {}
    assert created["tags"] == tags
    duplicate = {"name": "brief", "providerSettings": provider}
    assert refused(world, "POST", path, duplicate)[1] == "DUPLICATE_CLUSTER_NAME"
    idle = world.wait_idle("brief")
    assert idle["connectionStrings"]["standardSrv"].startswith("mongodb://")
    assert {item["name"] for item in world.call("GET", path)["results"]} >= {"one", "brief"}
    changed = world.call("PATCH", f"{path}/brief", {"terminationProtectionEnabled": True, "tags": []})
    assert changed["stateName"] == "UPDATING" and changed["terminationProtectionEnabled"] and changed["tags"] == []
    world.wait_idle("brief")
    code = "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED"
    assert refused(world, "DELETE", f"{path}/brief")[:2] == (400, code)
    world.call("PATCH", f"{path}/brief", {"terminationProtectionEnabled": False})
    world.wait_idle("brief")
    assert world.raw("DELETE", f"/api/atlas/v2{path}/brief")[:2] == (202, {})
    assert world.call("GET", f"{path}/brief")["stateName"] == "DELETING"
    assert refused(world, "DELETE", f"{path}/brief") == (400, "CLUSTER_ALREADY_REQUESTED_DELETION", ["brief"])

    def gone():
        return world.raw("GET", f"/api/atlas/v2{path}/brief")[0] == 404

    until(gone, "the instance to be gone")
    assert refused(world, "GET", f"{path}/brief") == (404, "CLUSTER_NOT_FOUND", ["brief", world.group])
    for body, expected in [
        ({"providerSettings": provider}, (400, "MISSING_ATTRIBUTE", ["name"])),
        ({"name": "a_b", "providerSettings": provider}, (400, "CLUSTER_NAME_INVALID", ["a_b"])),
        ({"name": "x"}, (400, "MISSING_ATTRIBUTE", ["providerSettings"])),
        ({"name": "x", "providerSettings": {**provider, "backingProviderName": "M0"}}, (400, "INVALID_ENUM_VALUE", ["M0"])),
        ({"name": "x", "providerSettings": {"backingProviderName": "AWS"}}, (400, "MISSING_ATTRIBUTE", ["providerSettings.regionName"])),
        ({"name": "x", "providerSettings": provider, "size": 5}, (400, "INVALID_ATTRIBUTE", ["size"])),
    ]:
        assert refused(world, "POST", path, body) == expected


def test_restore_jobs_refuse_bad_input(world, snapshot):
    path = world.instance_path() + "/backup/restoreJobs"
    target = {"targetClusterName": "one", "targetGroupId": world.group}
    automated = {"deliveryType": "automated", "snapshotId": snapshot, **target}
    moment = {"deliveryType": "pointInTime", **target}
    now = int(time.time())
    for body, expected in [
        ({**target}, (400, "MISSING_ATTRIBUTE", ["deliveryType"])),
        ({**automated, "deliveryType": "carrier pigeon"}, (400, "INVALID_ENUM_VALUE", ["carrier pigeon"])),
        ({**automated, "deliveryType": 5}, (400, "INVALID_JSON_ATTRIBUTE", ["deliveryType"])),
        ({**automated, "speed": "fast"}, (400, "INVALID_ATTRIBUTE", ["speed"])),
        ({"deliveryType": "automated", **target}, (400, "MISSING_ATTRIBUTE", ["snapshotId"])),
        ({**automated, "snapshotId": "xyz"}, (400, "INVALID_ATTRIBUTE", ["snapshotId"])),
        ({**automated, "snapshotId": UNKNOWN}, (404, "SNAPSHOT_NOT_FOUND", [UNKNOWN, "one"])),
        ({"deliveryType": "automated", "snapshotId": snapshot}, (400, "MISSING_ATTRIBUTE", ["targetClusterName"])),
        ({**automated, "targetGroupId": "xyz"}, (400, "INVALID_ATTRIBUTE", ["targetGroupId"])),
        ({**automated, "targetGroupId": UNKNOWN}, (404, "GROUP_NOT_FOUND", [UNKNOWN])),
        ({**automated, "targetClusterName": "nobody"}, (404, "CLUSTER_NOT_FOUND", ["nobody", world.group])),
        ({**automated, "pointInTimeUTCSeconds": now}, (400, "INVALID_ATTRIBUTE", ["pointInTimeUTCSeconds"])),
        (moment, (400, "MISSING_ONE_OF_ATTRIBUTES", ["pointInTimeUTCSeconds", "oplogTs"])),
        ({**moment, "oplogTs": now}, (400, "MISSING_ATTRIBUTE", ["oplogInc"])),
        ({**moment, "oplogTs": now, "oplogInc": 1, "pointInTimeUTCSeconds": now}, (400, "INVALID_PIT_RESTORE_TIME", ["pointInTimeUTCSeconds"])),
        ({**moment, "pointInTimeUTCSeconds": 42}, (400, "INVALID_ATTRIBUTE", ["pointInTimeUTCSeconds"])),
        ({**moment, "pointInTimeUTCSeconds": "soon"}, (400, "INVALID_JSON_ATTRIBUTE", ["pointInTimeUTCSeconds"])),
        ({**moment, "pointInTimeUTCSeconds": now + 3600}, (400, "INVALID_PIT_RESTORE_TIME", ["pointInTimeUTCSeconds"])),
        ({**moment, "pointInTimeUTCSeconds": now - 86400}, (400, "INVALID_PIT_RESTORE_TIME", ["pointInTimeUTCSeconds"])),
        ({**moment, "oplogTs": now - 86400, "oplogInc": 1}, (400, "INVALID_PIT_RESTORE_TIME", ["oplogTs"])),
    ]:
        assert refused(world, "POST", path, body) == expected, body
    for text, code in [(b"{", "MALFORMED_JSON"), (b"[]", "INVALID_JSON"), (b'"x"', "INVALID_JSON"), (b"\xff\xfe", "MALFORMED_JSON")]:
        status, body, _ = world.raw("POST", "/api/atlas/v2" + path, text)
        assert (status, body["errorCode"]) == (400, code)
    status, body, _ = world.raw("POST", "/api/atlas/v2" + path, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"})
    assert (status, body["errorCode"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert refused(world, "GET", f"{path}/xyz") == (404, "INVALID_JOB_ID", ["xyz"])
    assert refused(world, "GET", f"{path}/{UNKNOWN}") == (404, "RESTORE_JOB_NOT_FOUND", [UNKNOWN, "one"])
    snapshots = world.instance_path() + "/backup/snapshots"
    assert refused(world, "GET", f"{snapshots}/xyz") == (404, "INVALID_SNAPSHOT_ID", ["xyz"])
    assert refused(world, "GET", f"{snapshots}/{UNKNOWN}") == (404, "SNAPSHOT_NOT_FOUND", [UNKNOWN, "one"])
    assert refused(world, "POST", snapshots, {"retentionInDays": 0})[1] == "BACKUP_SNAPSHOT_RETENTION_VALUE_INVALID"


def test_large_bodies_are_refused_before_they_are_read(world):
    connection = http.client.HTTPConnection("127.0.0.1", world.server_port)
    connection.request(
        "POST",
        f"/api/atlas/v2/groups/{world.group}/databaseUsers",
        body=json.dumps({"username": "x" * 2_000_000}),
        headers={"Authorization": f"Bearer {world.token}", "Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    assert answer.status == 413 and json.loads(answer.read())["errorCode"] == "REQUEST_TOO_LARGE"


def test_tokens_need_the_right_secret(world):
    for headers, body, expected in [
        ({"Authorization": "Basic bm9ib2R5OndoYXRldmVy"}, b"grant_type=client_credentials", (401, "invalid_client")),
        ({"Authorization": None}, b"grant_type=client_credentials", (401, "invalid_client")),
    ]:
        status, answer, _ = world.raw("POST", "/api/oauth/token", body, headers)
        assert (status, answer["error"]) == expected
    assert world.raw("GET", "/api/atlas/v2/groups", headers={"Authorization": "Bearer nonsense"})[0] == 401


def test_a_body_that_does_not_come_is_not_waited_for(fresh):
    world = fresh(server_deadline_seconds=1).start()
    connection = http.client.HTTPConnection("127.0.0.1", world.server_port, timeout=30)
    connection.putrequest("POST", "/api/oauth/token")
    connection.putheader("Content-Length", "10")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 503 and answer.headers["Connection"] == "close"
    assert json.loads(answer.read())["errorCode"] == "SERVICE_UNAVAILABLE" and answer.headers["Retry-After"]
