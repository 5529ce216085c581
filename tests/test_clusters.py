"""Attached deployments as dedicated clusters: what clients of cloud backups ask for."""

import calendar
import json
import os
import subprocess
import time
import urllib.request

import pymongo
import pytest

from test_deployments import connect, engine, fill, own, ports, tidemark  # noqa: F401
from test_dev import advance
from world import CLIENTS, ApiError, content, run, until

ANY, ADVANCED, NEWEST = "2023-01-01", "2023-02-01", "2024-08-05"


@pytest.fixture
def attached(fresh, engine):  # noqa: F811
    """A world with one cluster, and a client of its database."""

    def make(*arguments, **settings):
        world = fresh(*arguments, **settings).start()
        uri, _ = engine()
        client = connect(uri)
        fill(client, 500)
        tidemark(world, "attach", "main", "--uri", uri, "--view", "cluster")
        wait_idle(world)
        return world, client

    return make


def clusters(world, name="main"):
    return f"/groups/{world.group}/clusters/{name}"


def wait_idle(world, name="main"):
    def idle():
        cluster = world.call("GET", clusters(world, name))
        return cluster if cluster["stateName"] == "IDLE" else None

    return until(idle, f"{name} to be idle")


def take(world, **attributes):
    def taken():
        try:
            return world.call("POST", clusters(world) + "/backup/snapshots", attributes)
        except ApiError as error:
            assert error.code == "UNFINISHED_ON_DEMAND_SNAPSHOT", error
            return None

    snapshot = until(taken, "a free place for a snapshot")
    return snapshot, wait_complete(world, snapshot["id"])


def wait_complete(world, snapshot):
    def complete():
        found = world.call("GET", clusters(world) + f"/backup/snapshots/{snapshot}")
        assert found["status"] != "failed", world.log_text()
        return found if found["status"] == "completed" else None

    return until(complete, "the snapshot")


def restore(world, delivery, **attributes):
    body = {"deliveryType": delivery, **attributes}
    if delivery != "download":
        body |= {"targetClusterName": "main", "targetGroupId": world.group}
    return world.call("POST", clusters(world) + "/backup/restoreJobs", body)


def wait_job(world, job, is_done=lambda found: "finishedAt" in found):
    def done():
        found = world.call("GET", clusters(world) + f"/backup/restoreJobs/{job['id']}")
        assert not found["failed"], world.log_text()
        return found if is_done(found) else None

    return until(done, "the restore job")


def at_version(world, path, version):
    status, body, headers = world.raw("GET", "/api/atlas/v2" + path, headers={
        "Accept": f"application/vnd.atlas.{version}+json"})
    assert status == 200, body
    assert headers["Content-Type"].startswith(f"application/vnd.atlas.{version}+json")
    return body


def test_clients_find_out_what_it_is(attached):
    world, _ = attached()
    assert own(world, "/main")["view"] == "cluster"
    group = f"/groups/{world.group}"
    for path, code in [
        ("/flexClusters/main", "CANNOT_USE_NON_FLEX_CLUSTER_IN_FLEX_API"),
        ("/flexClusters/main/backup/snapshots", "CANNOT_USE_NON_FLEX_CLUSTER_IN_FLEX_API"),
        ("/serverless/main", "CANNOT_USE_CLUSTER_IN_SERVERLESS_INSTANCE_API"),
        ("/clusters/none", "CLUSTER_NOT_FOUND"),
        ("/clusters/main/backup/exports", "FEATURE_UNSUPPORTED"),
    ]:
        with pytest.raises(ApiError) as error:
            world.call("GET", group + path)
        assert error.value.code == code, path
    assert world.call("GET", group + "/flexClusters")["totalCount"] == 0
    assert world.call("GET", group + "/serverless")["totalCount"] == 0
    newest = at_version(world, group + "/clusters/main", NEWEST)
    advanced = at_version(world, group + "/clusters/main", ADVANCED)
    legacy = at_version(world, group + "/clusters/main", ANY)
    assert newest["replicationSpecs"][0]["regionConfigs"][0]["electableSpecs"]["diskSizeGB"] >= 10
    assert "numShards" not in newest["replicationSpecs"][0] and "diskSizeGB" not in newest
    assert advanced["replicationSpecs"][0]["numShards"] == 1 and advanced["diskSizeGB"] >= 10
    assert legacy["providerBackupEnabled"] and legacy["providerSettings"]["instanceSizeName"] == "M10"
    assert newest["pitEnabled"] and newest["backupEnabled"]
    assert "secret" not in json.dumps([newest, advanced, legacy]) and "@" not in legacy["mongoURI"]
    for version in (NEWEST, ADVANCED, ANY):
        assert at_version(world, group + "/clusters", version)["results"][0]["name"] == "main"
    details = world.call("GET", "/clusters")["results"][0]["clusters"]
    assert [cluster["name"] for cluster in details] == ["main"]
    # An instance of another kind is beside it, and neither is counted for the other.
    world.create_instance("one")
    assert world.call("GET", group + "/clusters")["totalCount"] == 1
    with pytest.raises(ApiError) as error:
        world.call("GET", group + "/clusters/one/backup/snapshots")
    assert error.value.code == "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API"
    changed = world.call("PATCH", group + "/clusters/main", {**newest, "tags": [{"key": "a", "value": "b"}]})
    assert changed["tags"] == [{"key": "a", "value": "b"}]
    with pytest.raises(ApiError) as error:
        world.call("PATCH", group + "/clusters/main", {"paused": True})
    assert error.value.code == "FEATURE_UNSUPPORTED"
    world.call("DELETE", group + "/clusters/main")
    until(lambda: world.raw("GET", "/api/atlas/v2" + group + "/clusters/main")[0] == 404, "the cluster to be gone")
    # What was taken of it stays.
    assert world.raw("GET", "/api/atlas/v2" + group + "/clusters/main/backup/snapshots")[0] == 200


def test_a_cluster_is_restored_by_all_deliveries(attached, tmp_path):
    world, client = attached()
    queued, snapshot = take(world, description="before", retentionInDays=2)
    assert queued["frequencyType"] == "ondemand" and queued["description"] == "before"
    assert queued["status"] == "queued" and "createdAt" not in queued and "mongodVersion" not in queued
    assert snapshot["storageSizeBytes"] > 0 and snapshot["mongodVersion"] and snapshot["snapshotType"] == "onDemand"
    before = content(client)
    client.shop.items.delete_many({"_id": {"$lt": 100}})
    job = restore(world, "automated", snapshotId=snapshot["id"])
    assert job["desiredTimestamp"] == {"date": None, "increment": None, "time": None}
    assert job["deliveryUrl"] == [] and job["targetDeploymentItemName"] == "main"
    with pytest.raises(ApiError) as error:
        world.call("DELETE", clusters(world) + f"/backup/restoreJobs/{job['id']}")
    assert error.value.code == "CANNOT_CANCEL_AUTOMATED_RESTORE"
    wait_job(world, job)
    assert content(client) == before
    # A restore ends what can be restored; the snapshot after it begins it anew.
    _, base = take(world)
    client.shop.items.update_one({"_id": 1}, {"$set": {"state": "good"}})
    wanted = content(client)
    at = client.local["oplog.rs"].find_one(sort=[("$natural", pymongo.DESCENDING)], projection=["ts"])["ts"]
    client.shop.items.drop()
    moment = {"oplogTs": at.time, "oplogInc": at.inc}

    def started():
        try:
            return restore(world, "pointInTime", **moment)
        except ApiError as error:
            assert error.code == "INVALID_PIT_RESTORE_TIME", error
            return None

    job = until(started, "the moment to be captured")
    assert (job["oplogTs"], job["oplogInc"]) == (at.time, at.inc)
    wait_job(world, job)
    assert content(client) == wanted
    job = restore(world, "download", snapshotId=base["id"])
    assert "targetClusterName" not in job and "targetDeploymentItemName" not in job
    ready = wait_job(world, job, lambda found: found["deliveryUrl"])
    assert "finishedAt" not in ready and ready["expiresAt"]
    with urllib.request.urlopen(ready["deliveryUrl"][0]) as file:
        archive = file.read()
    assert archive[:2] == b"\x1f\x8b"
    jobs = world.call("GET", clusters(world) + "/backup/restoreJobs")
    assert [found["deliveryType"] for found in jobs["results"]] == ["download", "pointInTime", "automated"]
    assert all(len(found["links"]) == 4 for found in jobs["results"])

    def cancelled():
        path = clusters(world) + f"/backup/restoreJobs/{restore(world, 'download', snapshotId=base['id'])['id']}"
        try:
            world.call("DELETE", path)
        except ApiError as error:
            assert error.code == "RESTORE_JOB_NOT_CANCELLABLE", error
            return None
        return path

    path = until(cancelled, "a download that is cancelled before it is done")
    until(lambda: world.call("GET", path)["cancelled"], "the cancelled download")


def test_who_may_export_may_not_restore(attached):
    world, _ = attached()
    _, snapshot = take(world)
    role = {"desc": "exports", "roles": ["GROUP_BACKUP_EXPORT_OPERATOR"]}
    key = world.call("POST", f"/groups/{world.group}/apiKeys", role)

    def asked(body):
        line = ["curl", "-s", "--digest", "-u", f"{key['publicKey']}:{key['privateKey']}", "-d", json.dumps(body),
                "-H", f"Accept: application/vnd.atlas.{ANY}+json", "-H", "Content-Type: application/json",
                "-w", "\n%{http_code}", f"http://127.0.0.1:{world.port}/api/atlas/v2" + clusters(world) + "/backup/restoreJobs"]
        return int(subprocess.run(line, capture_output=True, check=True).stdout.split()[-1])

    target = {"targetClusterName": "main", "targetGroupId": world.group}
    assert asked({"deliveryType": "automated", "snapshotId": snapshot["id"], **target}) == 401
    assert asked({"deliveryType": "download", "snapshotId": snapshot["id"]}) == 200


def test_old_scripts_find_the_undated_api(attached):
    world, _ = attached()
    plain = {"Accept": "*/*"}
    root = f"/api/atlas/v1.0/groups/{world.group}/clusters/main"
    status, taken, headers = world.raw("POST", root + "/backup/snapshots", {"retentionInDays": 1}, plain)
    assert (status, headers["Content-Type"]) == (200, "application/json"), taken
    assert "/api/atlas/v1.0/groups/" in taken["links"][0]["href"] and headers["Sunset"] is None
    wait_complete(world, taken["id"])
    status, listed, _ = world.raw("GET", root + "/backup/snapshots", None, plain)
    assert status == 200 and taken["id"] in [found["id"] for found in listed["results"]]
    status, schedule, _ = world.raw("GET", root + "/backup/schedule", None, plain)
    assert status == 200 and schedule["policies"][0]["policyItems"]
    body = {"deliveryType": "automated", "snapshotId": taken["id"], "targetClusterName": "main",
            "targetGroupId": world.group}
    status, job, _ = world.raw("POST", root + "/backup/restoreJobs", body, plain)
    assert status == 200, job
    wait_job(world, job)
    # Nothing else is there.
    assert world.raw("GET", f"/api/atlas/v1.0/groups/{world.group}/serverless", None, plain)[0] == 404
    assert world.raw("GET", "/api/atlas/v1.0/orgs", None, plain)[0] == 404


def test_a_schedule_is_kept_and_bad_ones_are_refused(attached):
    world, _ = attached()
    path = clusters(world) + "/backup/schedule"
    first = world.call("GET", path)
    items = first["policies"][0]["policyItems"]
    recorded = [("hourly", 6, "days", 7), ("daily", 1, "days", 7), ("weekly", 6, "weeks", 4),
                ("monthly", 40, "months", 12), ("yearly", 12, "years", 1)]
    keys = ["frequencyType", "frequencyInterval", "retentionUnit", "retentionValue"]
    assert [tuple(item[key] for key in keys) for item in items] == recorded
    assert first["restoreWindowDays"] == 7 and first["nextSnapshot"] and first["copySettings"] == []
    assert "copyPolicyItemsEnabled" not in at_version(world, path, ANY)
    policy = first["policies"][0]["id"]
    hourly = items[0]

    def changed(**attributes):
        return world.call("PATCH", path, attributes)

    def policies(*lines, **more):
        return {"policies": [{"policyItems": list(lines), **more}]}

    good = {key: hourly[key] for key in keys}
    assert changed(policies=[], referenceHourOfDay=3)["policies"] == first["policies"]
    kept = changed(**policies(hourly | {"retentionValue": 3}, id=policy))
    assert kept["policies"][0]["policyItems"] == [hourly | {"retentionValue": 3}]
    again = changed(**policies(good | {"retentionValue": 4}))
    assert again["policies"][0]["policyItems"][0]["id"] == hourly["id"], "the same line keeps its id"
    daily = {"frequencyType": "daily", "frequencyInterval": 1, "retentionUnit": "days", "retentionValue": 2}
    for wrong, code in [
        (policies(good, id="0" * 24), "INVALID_POLICY_ID"),
        (policies(good, id="x"), "INVALID_POLICY_ID"),
        (policies(good | {"id": "0" * 24}), "INVALID_POLICY_ITEM_ID"),
        (policies(daily | {"id": hourly["id"]}), "INVALID_FREQUENCY_TYPE_CHANGE"),
        (policies(good | {"id": hourly["id"]}, good | {"id": hourly["id"]}), "INVALID_POLICY_ITEM_ID"),
        (policies(), "INVALID_NUM_OF_POLICY_ITEMS"),
        ({"policies": policies(good)["policies"] * 2}, "INVALID_NUM_OF_POLICIES"),
        (policies(good, daily), "INVALID_BACKUP_POLICY"),
        (policies(good | {"frequencyInterval": 5}), "INVALID_ATTRIBUTE"),
        (policies(good | {"frequencyType": "ondemand"}), "INVALID_ENUM_VALUE"),
        (policies(good | {"retentionValue": 0}), "INVALID_ATTRIBUTE"),
        (policies({key: value for key, value in good.items() if key != "retentionUnit"}), "MISSING_ATTRIBUTE"),
        ({"referenceHourOfDay": 24}, "INVALID_REFERENCE_HOUR_OF_DAY"),
        ({"referenceMinuteOfHour": -1}, "INVALID_REFERENCE_MINUTE_OF_HOUR"),
        ({"restoreWindowDays": 0}, "INVALID_RESTORE_WINDOW"),
        ({"autoExportEnabled": True}, "FEATURE_UNSUPPORTED"),
        ({"copySettings": [{"cloudProvider": "AWS"}]}, "FEATURE_UNSUPPORTED"),
        ({"nonsense": 1}, "INVALID_ATTRIBUTE"),
    ]:
        with pytest.raises(ApiError) as error:
            changed(**wrong)
        assert error.value.code == code, wrong
    assert world.call("GET", path)["policies"] == again["policies"], "what was refused changed nothing"
    emptied = world.call("DELETE", path)
    assert emptied["policies"] == [{"id": policy, "policyItems": []}] and "nextSnapshot" not in emptied


def test_snapshots_are_taken_and_kept_by_schedule(attached):
    world, _ = attached("--dev")
    path = clusters(world) + "/backup/snapshots"
    key = f"{world.bootstrap['publicKey']}:{world.bootstrap['privateKey']}"

    def complete():
        found = world.call("GET", path)["results"]
        assert all(snapshot["status"] != "failed" for snapshot in found), world.log_text()
        return found if all(snapshot["status"] == "completed" for snapshot in found) else None

    first = until(lambda: complete() or None, "the first snapshot")
    assert [found["frequencyType"] for found in first] == ["hourly"]
    schedule = world.call("GET", clusters(world) + "/backup/schedule")
    hourly, daily = [item["id"] for item in schedule["policies"][0]["policyItems"][:2]]

    def after(hours, count):
        advance(world, hours * 3_600, key)
        return until(lambda: (complete() or []) if len(world.call("GET", path)["results"]) == count else None,
                     f"{count} snapshots")

    # Six hours later by the hourly line; eighteen more, and one stands for it and the daily one.
    newest = after(6, 2)[0]
    assert (newest["frequencyType"], newest["policyItems"]) == ("hourly", [hourly])
    newest = after(18, 3)[0]
    assert newest["frequencyType"] in ("daily", "weekly", "monthly", "yearly"), newest
    assert newest["policyItems"][:2] == [hourly, daily] and newest["snapshotType"] == "scheduled"
    # A longer retention reaches those that exist only when that is asked for.
    lines = [item | {"retentionValue": 9} if item["id"] in (hourly, daily) else item
             for item in schedule["policies"][0]["policyItems"]]
    change = {"policies": [{"id": schedule["policies"][0]["id"], "policyItems": lines}]}
    world.call("PATCH", clusters(world) + "/backup/schedule", change)
    assert world.call("GET", path)["results"][1]["expiresAt"] == after_days(newest_of(world, path, 1), 7)
    world.call("PATCH", clusters(world) + "/backup/schedule", {**change, "updateSnapshots": True})
    assert world.call("GET", path)["results"][1]["expiresAt"] == after_days(newest_of(world, path, 1), 9)
    # None is taken any more once the policy is empty.
    world.call("DELETE", clusters(world) + "/backup/schedule")
    advance(world, 30 * 3_600, key)
    time.sleep(3)
    assert len(world.call("GET", path)["results"]) == 3


def newest_of(world, path, place):
    return world.call("GET", path)["results"][place]


def after_days(snapshot, days):
    taken = time.strptime(snapshot["createdAt"], "%Y-%m-%dT%H:%M:%SZ")
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(calendar.timegm(taken) + days * 86_400))


def test_the_go_sdk_does_what_terraform_does(attached):
    world, client = attached()
    names = {"BASE_URL": "baseUrl", "PUBLIC_KEY": "publicKey", "PRIVATE_KEY": "privateKey",
             "CLIENT_ID": "clientId", "CLIENT_SECRET": "clientSecret", "GROUP_ID": "groupId"}
    settings = {name: world.bootstrap[key] for name, key in names.items()}
    before = content(client)
    done = run([CLIENTS / "go-sdk" / "sdk-clusters"], env={**os.environ, **settings, "CLUSTER": "main"})
    assert done == "done\n"
    assert content(client) == before
