"""Snapshots and moments as files, and dumps of others as snapshots."""

import json
import socket
import subprocess
import tarfile
import time
import urllib.request

import bson
import pymongo
import pytest
from bson import json_util

from test_deployments import connect, engine, ports, restorable_to, tidemark  # noqa: F401
from world import BINARY, CLIENTS, ApiError, content, until

TOOLS = CLIENTS / "bin"


def command(world, *arguments, code=0):
    line = [BINARY, "snapshots", *arguments, "--data-dir", world.data]
    done = subprocess.run([str(part) for part in line], capture_output=True, timeout=90)
    assert (done.returncode != 0) == (code != 0), done.stdout.decode() + done.stderr.decode()
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
    assert "not said what to export" in command(world, "export", "one", code=1)
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


@pytest.fixture
def dumps(fresh, tmp_path):
    """A world with two instances, a dump of the first in every form, and what is in it."""
    world = fresh().start()
    world.create_user()
    for name in ("one", "two"):
        world.create_instance(name)
    client = world.client("one")
    fill(client)
    uri = world.uri("one")
    run = {"check": True, "capture_output": True}
    archive, plain = tmp_path / "a.archive.gz", tmp_path / "a.archive"
    subprocess.run([TOOLS / "mongodump", "--uri", uri, "--gzip", f"--archive={archive}"], **run)
    subprocess.run([TOOLS / "mongodump", "--uri", uri, f"--archive={plain}"], **run)
    subprocess.run([TOOLS / "mongodump", "--uri", uri, f"--out={tmp_path / 'folder'}"], **run)
    subprocess.run([TOOLS / "mongodump", "--uri", uri, "--gzip", f"--out={tmp_path / 'packed'}"], **run)
    forms = [("--archive", archive), ("--archive", plain), ("--dir", tmp_path / "folder"), ("--dir", tmp_path / "packed")]
    return world, forms, content(client)


def test_a_dump_becomes_a_snapshot_and_is_restored(dumps):
    world, forms, before = dumps
    target = world.client("two")
    for form in forms:
        target.drop_database("shop")
        target.leftover.things.insert_one({})
        found = json.loads(command(world, "import", "two", *form, "--retention-days", "3", "--json"))
        assert found["state"] == "completed" and found["mode"] == "asIs", (form, found)
        assert "imported" in found["modeReason"] and not found["isPointInTime"]
        listed = world.call("GET", world.instance_path("two") + f"/backup/snapshots/{found['id']}")
        assert listed["status"] == "completed" and listed["storageSizeBytes"] > 0
        world.wait_restored(world.restore("automated", "two", "two", snapshotId=found["id"]), "two")
        assert content(target) == before, form
    assert not list((world.data / "imports").iterdir()), "what was uploaded is gone"
    # The same data is in the vault once.
    vault = sum(path.stat().st_size for path in (world.data / "vault" / "packs").rglob("*") if path.is_file())
    command(world, "import", "two", *forms[0])
    assert sum(path.stat().st_size for path in (world.data / "vault" / "packs").rglob("*") if path.is_file()) < vault + 20_000


def test_an_imported_snapshot_is_no_base_of_a_moment_and_no_reason_to_take_none(dumps):
    world, forms, _ = dumps
    snapshot = json.loads(command(world, "import", "two", *forms[0], "--json"))["id"]
    with pytest.raises(ApiError) as error:
        world.restore("pointInTime", "two", "two", snapshotId=snapshot, pointInTimeUTCSeconds=int(time.time()) - 1)
    assert error.value.code == "INVALID_PIT_RESTORE_TIME"


def test_what_is_no_whole_dump_is_refused(dumps, tmp_path):
    world, forms, _ = dumps
    whole = forms[1][1].read_bytes()
    bad = tmp_path / "bad"
    for damage, words in [
        (b"", "cannot be imported"),
        (b"nonsense" * 1_000, "neither an archive"),
        (whole[: len(whole) // 2], "cannot be imported"),
        (whole.replace(b"x" * 300, b"y" * 300, 1), "checksum of shop.items"),
        (forms[0][1].read_bytes()[:-40], "cannot be imported"),
    ]:
        bad.write_bytes(damage)
        assert words in command(world, "import", "two", "--archive", bad, code=1), damage[:20]
    assert not list((world.data / "imports").iterdir())
    assert "no folder" in command(world, "import", "two", "--dir", bad, code=1)
    assert "not said what to import" in command(world, "import", "two", code=1)
    (tmp_path / "empty").mkdir()
    assert "cannot be imported" in command(world, "import", "two", "--dir", tmp_path / "empty", code=1)
    # A link is for one dump, and for who has it.
    status, link, _ = world.raw("POST", f"/api/tidemark/v1/groups/{world.group}/instances/two/imports", {})
    assert status == 201
    path = link["uploadUrl"].split(f":{world.port}")[1]
    forged = path.replace(path.split("/")[2], "0" * len(path.split("/")[2]))
    assert world.raw("PUT", forged, b"x", {"Authorization": None})[0] == 404
    # Whoever goes away in the middle of it may begin again; whoever is done may not put another in its place.
    begin = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", world.server_port)) as connection:
        connection.sendall(begin + whole[:1_000])
        until(lambda: list((world.data / "imports").iterdir()), "the upload to begin")
        assert world.raw("PUT", path, b"x", {"Authorization": None})[0] == 409
    until(lambda: not list((world.data / "imports").iterdir()), "the upload to be given up")
    assert world.raw("PUT", path, whole, {"Authorization": None})[0] == 201
    assert world.raw("PUT", path, b"another", {"Authorization": None})[0] == 409, "it is there already"
    snapshot = world.instance_path("two") + "/backup/snapshots/" + path.split("/")[4]
    until(lambda: world.call("GET", snapshot)["status"] == "completed", "the import")
    assert world.raw("PUT", path, b"another", {"Authorization": None})[0] == 409
    assert not list((world.data / "imports").iterdir())


def test_a_dump_with_its_oplog_shows_what_it_was_at_its_end(dumps, tmp_path):
    world, _, _ = dumps
    client, folder = world.client("one"), tmp_path / "with"
    subprocess.run([TOOLS / "mongodump", "--uri", world.uri("one"), f"--out={folder}"], check=True, capture_output=True)
    begin = client.local["oplog.rs"].find_one(sort=[("$natural", pymongo.DESCENDING)])
    client.shop.items.update_many({"_id": {"$lt": 5}}, {"$set": {"late": True}})
    client.shop.items.delete_one({"_id": 7})
    entries = list(client.local["oplog.rs"].find({"ts": {"$gte": begin["ts"]}}))
    (folder / "oplog.bson").write_bytes(b"".join(bson.encode(entry) for entry in entries))
    before = content(client)
    found = json.loads(command(world, "import", "two", "--dir", folder, "--json"))
    assert found["mode"] == "fuzzyWithOplog"
    world.wait_restored(world.restore("automated", "two", "two", snapshotId=found["id"]), "two")
    assert content(world.client("two")) == before
