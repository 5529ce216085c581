"""Snapshots and moments as files, and dumps of others as snapshots."""

import json
import subprocess
import tarfile
import urllib.request

import bson
import pymongo
import pytest
from bson import json_util

from test_deployments import connect, engine, ports, restorable_to, tidemark  # noqa: F401
from world import BINARY, CLIENTS, content, until

TOOLS = CLIENTS / "bin"


def command(world, *arguments, code=0):
    line = [BINARY, "snapshots", *arguments, "--data-dir", world.data]
    done = subprocess.run([str(part) for part in line], capture_output=True, timeout=90)
    assert done.returncode == code, done.stdout.decode() + done.stderr.decode()
    return done.stdout if code == 0 else done.stderr.decode()


def fill(client):
    client.shop.items.insert_many([{"_id": n, "text": "x" * 300, "at": n * 1.5} for n in range(3_000)])
    client.shop.items.create_index("text")
    client.shop["odd/name é"].insert_one({"_id": "one", "when": bson.Timestamp(1, 2)})
    client.shop.empty.create_index("a", unique=True)
    client.other.things.insert_one({"_id": bson.ObjectId()})


@pytest.fixture(params=["embedded", "attached"])
def source(request, fresh, engine):  # noqa: F811
    """A world, the name of an instance in it, and a client of it."""
    world = fresh().start()
    if request.param == "attached":
        uri, _ = engine()
        tidemark(world, "attach", "one", "--uri", uri)
        world.wait_idle("one")
        client = connect(uri)
    else:
        world.create_instance("one")
        world.create_user()
        client = world.client("one")
    fill(client)
    return world, client


def test_a_snapshot_becomes_each_of_the_files(source, tmp_path):
    world, client = source
    before = content(client)
    snapshot = world.snapshot("one")["id"]
    client.drop_database("shop")
    # An archive and a folder are what mongorestore takes.
    archive, folder = tmp_path / "dump.archive.gz", tmp_path / "dump.tgz"
    said = command(world, "export", "one", snapshot, "--output", archive)
    assert str(archive).encode() in said and not archive.with_name("dump.archive.gz.part").exists()
    command(world, "export", "one", snapshot, "--format", "directory", "--output", folder)
    world.create_instance("two")
    if "app" not in [user["username"] for user in world.call("GET", f"/groups/{world.group}/databaseUsers")["results"]]:
        world.create_user()
    target = world.client("two")
    uri = world.uri("two")
    subprocess.run([TOOLS / "mongorestore", "--uri", uri, "--gzip", f"--archive={archive}"], check=True, capture_output=True)
    assert content(target) == before
    for database in ("shop", "other"):
        target.drop_database(database)
    tarfile.open(folder).extractall(tmp_path, filter="data")
    subprocess.run([TOOLS / "mongorestore", "--uri", uri, tmp_path / "dump"], check=True, capture_output=True)
    assert content(target) == before
    # Documents of one namespace, also to the standard output.
    raw = command(world, "export", "one", snapshot, "--format", "bson", "--namespace", "shop.items", "--output", "-")
    documents = bson.decode_all(raw)
    assert [d["_id"] for d in sorted(documents, key=lambda d: d["_id"])] == list(range(3_000))
    lines = command(world, "export", "one", snapshot, "--format", "ndjson", "--namespace", "shop.odd/name é",
                    "--output", "-")
    assert [json_util.loads(line) for line in lines.splitlines()] == [{"_id": "one", "when": bson.Timestamp(1, 2)}]
    # A part under another name.
    part = tmp_path / "part.tgz"
    said = json.loads(command(world, "export", "one", snapshot, "--format", "directory", "--namespace", "shop.items=old.items",
                              "--output", part, "--json"))
    assert said["bytes"] == part.stat().st_size
    assert sorted(tarfile.open(part).getnames()) == ["dump/old/items.bson", "dump/old/items.metadata.json"]


def test_a_moment_becomes_a_file(source):
    world, client = source
    base = world.snapshot("one")["id"]
    client.shop.items.update_many({"_id": {"$lt": 10}}, {"$set": {"state": "good"}})
    client.shop.items.delete_many({"_id": {"$gte": 2_000}})
    at = client.local["oplog.rs"].find_one(sort=[("$natural", pymongo.DESCENDING)], projection=["ts"])["ts"]
    client.shop.items.update_many({}, {"$set": {"state": "bad"}})
    until(lambda: restorable_to(world, "one", at), "the moment to be captured")
    path = f"/api/tidemark/v1/groups/{world.group}/instances/one/restoreJobs"
    body = {"deliveryType": "download", "oplogTs": at.time, "oplogInc": at.inc, "snapshotId": base, "format": "bson",
            "namespaces": [{"from": "shop.items"}]}
    status, job, _ = world.raw("POST", path, body)
    assert status == 201 and job["format"] == "bson", job

    def done():
        found = world.raw("GET", f"{path}/{job['id']}")[1]
        assert found["state"] != "failed", found
        return found if found["state"] == "completed" else None

    with urllib.request.urlopen(until(done, "the export")["downloadUrl"]) as file:
        assert file.headers["Content-Type"] == "application/bson"
        documents = {d["_id"]: d.get("state") for d in bson.decode_all(file.read())}
    assert documents == {n: "good" if n < 10 else None for n in range(2_000)}


def test_what_cannot_be_exported_is_said(source):
    world, _ = source
    snapshot = world.snapshot("one")["id"]
    said = command(world, "export", "one", snapshot, "--format", "bson", code=1)
    assert "name one namespace" in said
    said = command(world, "export", "one", snapshot, "--format", "ndjson", "--namespace", "shop.*", code=1)
    assert "name one namespace" in said
    said = command(world, "export", "one", snapshot, "--namespace", "shop.nothing", code=1)
    assert "no collection of it is among the namespaces" in said
    assert "say what to export" in command(world, "export", "one", code=1)
    assert "No snapshot with ID" in command(world, "export", "one", "0" * 24, code=1)
    # Whoever may not have the data is shown no link.
    command(world, "export", "one", snapshot, "--output", "-")
    key = world.call("POST", f"/groups/{world.group}/apiKeys", {"desc": "reader", "roles": ["GROUP_READ_ONLY"]})
    line = ["curl", "-s", "--digest", "-u", f"{key['publicKey']}:{key['privateKey']}",
            f"http://127.0.0.1:{world.port}/api/tidemark/v1/groups/{world.group}/instances/one/restoreJobs"]
    jobs = json.loads(subprocess.run(line, capture_output=True).stdout)["results"]
    assert jobs and all("downloadUrl" not in job for job in jobs)
    listed = command(world, "list", "one").decode()
    assert snapshot in listed and "completed" in listed
    assert "progress" in json.loads(command(world, "show", "one", snapshot, "--json"))
