"""Flex clusters: the second view of an instance, and its backups."""

import datetime
import urllib.error
import urllib.request

import pytest

from test_api import UNKNOWN, refused
from world import content, until


def path(world, name="flexible"):
    return f"/groups/{world.group}/flexClusters/{name}"


@pytest.fixture(scope="module")
def flexible(world):
    provider = {"backingProviderName": "AWS", "providerName": "FLEX", "regionName": "US_EAST_1"}
    body = {"name": "flexible", "providerSettings": provider, "terminationProtectionEnabled": False}
    created = world.call("POST", f"/groups/{world.group}/flexClusters", body)
    assert created["stateName"] == "CREATING" and created["connectionStrings"] == {}
    assert "tags" not in created and "links" not in created
    assert str(created["providerSettings"]["diskSizeGB"]) == "5.0"
    return until(lambda: idle(world), "the flex cluster")


def idle(world, name="flexible"):
    found = world.call("GET", path(world, name))
    return found if found["stateName"] == "IDLE" else None


@pytest.fixture(scope="module")
def snapshot(world, flexible):
    def completed():
        listed = world.call("GET", path(world) + "/backup/snapshots")["results"]
        return listed[0] if listed and listed[0]["status"] == "COMPLETED" else None

    return until(completed, "the first snapshot")


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def test_a_flex_cluster_is_seen_in_the_flex_api_only(world, flexible):
    assert flexible["tags"] == [] and set(flexible["connectionStrings"]) == {"standard", "standardSrv"}
    serverless = world.call("GET", f"/groups/{world.group}/serverless")["results"]
    assert [instance["name"] for instance in serverless] == ["one"]
    flex = world.call("GET", f"/groups/{world.group}/flexClusters")["results"]
    assert [instance["name"] for instance in flex] == ["one", "flexible"]
    assert world.call("GET", path(world, "one"))["providerSettings"]["providerName"] == "FLEX"
    code = "CANNOT_USE_CLUSTER_IN_SERVERLESS_INSTANCE_API"
    assert refused(world, "GET", f"/groups/{world.group}/serverless/flexible") == (400, code, ["flexible"])
    names = {instance["name"] for group in world.call("GET", "/clusters")["results"] for instance in group["clusters"]}
    assert names >= {"one", "flexible"}


@pytest.mark.parametrize("tail", ["", "/backup/snapshots", "/backup/restoreJobs", "/backup/schedule", "/backup/exports"])
def test_the_cluster_api_tells_clients_what_a_cluster_is(world, flexible, tail):
    clusters = f"/groups/{world.group}/clusters"
    for name in ("one", "flexible"):
        expected = (400, "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API", [name])
        assert refused(world, "GET", f"{clusters}/{name}{tail}") == expected
    expected = (404, "CLUSTER_NOT_FOUND", ["nobody", world.group])
    assert refused(world, "GET", f"{clusters}/nobody{tail}") == expected
    if not tail:
        assert refused(world, "DELETE", f"{clusters}/flexible")[1] == "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API"
        assert refused(world, "PATCH", f"{clusters}/flexible", {})[1] == "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API"
        assert refused(world, "DELETE", f"{clusters}/nobody")[1] == "CLUSTER_NOT_FOUND"
        assert world.call("GET", clusters)["results"] == []


def test_names_are_shared_by_both_families(world, flexible):
    provider = {"backingProviderName": "AWS", "providerName": "FLEX", "regionName": "US_EAST_1"}
    clusters = f"/groups/{world.group}/flexClusters"
    for family in ("serverless", "flexClusters"):
        for name in ("one", "flexible"):
            body = {"name": name, "providerSettings": {**provider}}
            answered = refused(world, "POST", f"/groups/{world.group}/{family}", body)
            assert answered == (400, "DUPLICATE_CLUSTER_NAME", ["cluster or serverless instance", name, world.group])
    for change, expected in [
        ({"regionName": "us-east-1"}, (400, "INVALID_ATTRIBUTE", ["regionName"])),
        ({"backingProviderName": "bogus"}, (400, "INVALID_ENUM_VALUE", ["bogus"])),
        ({"providerName": "SERVERLESS"}, (400, "INVALID_ENUM_VALUE", ["SERVERLESS"])),
    ]:
        body = {"name": "other", "providerSettings": {**provider, **change}}
        assert refused(world, "POST", clusters, body) == expected
    body = {"name": "other", "providerSettings": {**provider, "providerName": "SERVERLESS", "regionName": "NOWHERE"}}
    assert refused(world, "POST", f"/groups/{world.group}/serverless", body) == (400, "INVALID_REGION", ["NOWHERE", "AWS"])


def test_a_flex_cluster_is_changed_and_protected(world, flexible):
    unchanged = world.call("PATCH", path(world), {})
    assert unchanged["stateName"] == "IDLE"
    tags = [{"key": "a", "value": "b"}]
    changed = world.call("PATCH", path(world), {"tags": tags, "terminationProtectionEnabled": True})
    assert changed["stateName"] == "UPDATING" and changed["tags"] == tags
    until(lambda: idle(world), "the change")
    code = "CANNOT_TERMINATE_CLUSTER_WHEN_TERMINATION_PROTECTION_ENABLED"
    assert refused(world, "DELETE", path(world))[:2] == (400, code)
    world.call("PATCH", path(world), {"tags": [], "terminationProtectionEnabled": False})
    until(lambda: idle(world), "the change")
    upgrade = f"/groups/{world.group}/flexClusters:tenantUpgrade"
    assert refused(world, "POST", upgrade, {"name": "flexible"})[:2] == (400, "TENANT_CLUSTER_UPDATE_UNSUPPORTED")
    assert refused(world, "POST", upgrade, {"name": "nobody"})[:2] == (404, "CLUSTER_NOT_FOUND")


def test_snapshots_are_shown_as_recorded_and_oldest_first(world, snapshot):
    snapshots = path(world) + "/backup/snapshots"
    assert set(snapshot) == {"expiration", "finishTime", "id", "mongoDBVersion", "scheduledTime", "startTime", "status"}
    assert world.call("GET", f"{snapshots}/{snapshot['id']}") == snapshot
    taken = world.call("POST", snapshots, {"retentionInDays": 2})
    assert instant(taken["expiration"]) - instant(taken["scheduledTime"]) == datetime.timedelta(days=2)
    until(lambda: world.call("GET", f"{snapshots}/{taken['id']}")["status"] == "COMPLETED", "the snapshot")
    listed = [found["id"] for found in world.call("GET", snapshots)["results"]]
    assert listed == [snapshot["id"], taken["id"]]
    assert world.raw("DELETE", f"/api/atlas/v2{snapshots}/{taken['id']}")[0] == 204
    assert refused(world, "GET", f"{snapshots}/{taken['id']}") == (404, "TENANT_SNAPSHOT_NOT_FOUND", [taken["id"], "flexible"])


def test_a_restore_job_is_shown_as_recorded_and_restores(world, snapshot):
    world.create_user("flexuser")
    address = world.call("GET", path(world))["connectionStrings"]["standard"]
    import pymongo

    from world import PASSWORD

    client = pymongo.MongoClient(address.replace("mongodb://", f"mongodb://flexuser:{PASSWORD}@"))
    client.shop.items.insert_one({"_id": 1})
    jobs = path(world) + "/backup/restoreJobs"
    body = {"snapshotId": snapshot["id"], "targetDeploymentItemName": "flexible", "instanceName": "flexible"}
    missing = (400, "MISSING_ATTRIBUTE", ["targetProjectId"])
    assert refused(world, "POST", jobs, body) == missing
    assert refused(world, "POST", path(world, "nobody") + "/backup/restoreJobs", body) == missing
    body["targetProjectId"] = world.group
    job = world.call("POST", jobs, body)
    assert job["status"] == "PENDING" and job["deliveryType"] == "RESTORE" and "snapshotUrl" not in job
    assert instant(job["expirationDate"]) - instant(job["restoreScheduledDate"]) == datetime.timedelta(hours=6)
    assert job["snapshotFinishedDate"] == snapshot["finishTime"] and "restoreFinishedDate" not in job
    seen = set()

    def finished():
        found = world.call("GET", f"{jobs}/{job['id']}")
        seen.add(found["status"])
        seen.add(world.call("GET", path(world))["stateName"])
        return found if found["status"] in ("COMPLETED", "FAILED") else None

    done = until(finished, "the restore job")
    assert done["status"] == "COMPLETED" and done["restoreFinishedDate"]
    assert "UPDATING" in seen
    until(lambda: idle(world), "the cluster")
    assert content(client) == {}, "the snapshot was taken before anything was written"
    serverless = world.call("GET", f"/groups/{world.group}/flexClusters/one/backup/restoreJobs")
    assert serverless["results"] == []
    for change, expected in [
        ({"snapshotId": UNKNOWN}, (404, "TENANT_SNAPSHOT_NOT_FOUND", [UNKNOWN, "flexible"])),
        ({"targetDeploymentItemName": "nobody"}, (404, "CLUSTER_NOT_FOUND", ["nobody", world.group])),
        ({"targetProjectId": UNKNOWN}, (404, "GROUP_NOT_FOUND", [UNKNOWN])),
        ({"speed": 1}, (400, "INVALID_ATTRIBUTE", ["speed"])),
    ]:
        assert refused(world, "POST", jobs, {**body, **change}) == expected
    assert refused(world, "GET", f"{jobs}/{UNKNOWN}") == (404, "TENANT_RESTORE_NOT_FOUND", [UNKNOWN, "flexible"])
    assert refused(world, "DELETE", f"{jobs}/{job['id']}")[:2] == (409, "RESTORE_JOB_NOT_CANCELLABLE")


def test_a_download_has_its_link_at_once(world, snapshot):
    job = world.call("POST", path(world) + "/backup/download", {"snapshotId": snapshot["id"]})
    assert job["deliveryType"] == "DOWNLOAD" and job["snapshotUrl"]
    with urllib.request.urlopen(job["snapshotUrl"], timeout=60) as answer:
        assert answer.read(2) == b"\x1f\x8b"
    jobs = path(world) + "/backup/restoreJobs"
    done = world.call("GET", f"{jobs}/{job['id']}")
    assert done["status"] == "COMPLETED"
    assert instant(done["expirationDate"]) - instant(done["restoreFinishedDate"]) == datetime.timedelta(hours=4)
    listed = world.call("GET", jobs)["results"]
    assert listed[0]["id"] == job["id"], "newest first"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(job["snapshotUrl"].replace("/download/", "/download/0"), timeout=60)
    assert error.value.code == 404


def test_a_job_that_waits_can_be_cancelled_in_both_views(world, snapshot):
    for name, family, status in [("flexible", "flexClusters", "FAILED"), ("one", "serverless", None)]:
        snapshots = world.call("GET", path(world, name) + "/backup/snapshots")["results"]
        snapshot = until(
            lambda: next((s for s in world.call("GET", path(world, name) + "/backup/snapshots")["results"] if s["status"] == "COMPLETED"), None),
            "a snapshot",
        )
        jobs = path(world, name) + "/backup/restoreJobs"
        body = {"snapshotId": snapshot["id"], "targetDeploymentItemName": name, "targetProjectId": world.group}
        # The second waits for the first, which works on the same target.
        first, second = world.call("POST", jobs, body), world.call("POST", jobs, body)
        own = f"/groups/{world.group}/{family}/{name}/backup/restoreJobs/{second['id']}"
        assert world.raw("DELETE", "/api/atlas/v2" + own)[0] == 204
        shown = until(lambda: ended(world.call("GET", own)), "the cancelled job")
        assert shown.get("status") == status and shown.get("cancelled", True)
        until(lambda: world.call("GET", f"{jobs}/{first['id']}")["status"] == "COMPLETED", "the first job")


def ended(job):
    return job if "finishedAt" in job or "restoreFinishedDate" in job else None


def test_a_flex_cluster_is_deleted_visibly(world, flexible):
    until(lambda: idle(world), "the cluster")
    assert world.raw("DELETE", "/api/atlas/v2" + path(world))[:2] == (204, None)
    assert world.call("GET", path(world))["stateName"] == "DELETING"
    assert refused(world, "DELETE", path(world)) == (400, "CLUSTER_ALREADY_REQUESTED_DELETION", ["flexible"])
    until(lambda: world.raw("GET", "/api/atlas/v2" + path(world))[0] == 404, "the cluster to be gone")
    assert refused(world, "DELETE", path(world)) == (404, "CLUSTER_NOT_FOUND", ["flexible", world.group])
