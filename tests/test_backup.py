"""Snapshots and restores of real data, by all three deliveries."""

import gzip
import json
import pathlib
import time
import urllib.error
import urllib.request

import bson
import pymongo
import pytest
from bson import json_util
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from world import CLIENTS, TOP, ApiError, content, run, until

DATA = TOP / "data"


@pytest.fixture
def shop(world):
    """An empty instance with a few collections, indexes among them."""
    client = world.client()
    for database in client.list_database_names():
        if database not in ("admin", "config", "local"):
            client.drop_database(database)
    shop = client.shop
    shop.orders.insert_many({"_id": n, "state": n % 7, "text": "x" * (n % 300)} for n in range(3000))
    shop.orders.create_index([("state", 1), ("text", -1)])
    shop.orders.create_index("text", sparse=True)
    shop.people.insert_many({"name": f"person {n}", "mail": f"{n}@example.com"} for n in range(200))
    shop.people.create_index("mail", unique=True)
    shop.people.create_index("seen", expireAfterSeconds=3600)
    client.other["with.dots and spaces"].insert_one({"_id": "only"})
    shop.create_collection("empty")
    return shop


def test_an_automated_restore_replaces_everything(world, shop):
    client = shop.client
    before = content(client)
    snapshot = world.snapshot()
    shop.orders.delete_many({"state": 3})
    shop.people.drop()
    shop.later.insert_one({"not": "in the snapshot"})
    client.drop_database("other")
    job = world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(client) == before
    assert job["deliveryType"] == "automated" and job["deliveryUrl"] == []
    assert (job["snapshotId"], job["targetClusterName"], job["targetGroupId"]) == (snapshot["id"], "one", world.group)
    with pytest.raises(pymongo.errors.DuplicateKeyError):
        shop.people.insert_one({"mail": "7@example.com"})


def test_a_large_collection_is_read_in_parts(world, shop):
    # More than a part holds, with numbers missing at its border and documents added meanwhile.
    rows = ({"_id": n, "n": n, "text": f"{n} harbour " * 90_000} for n in range(140))
    for row in rows:
        shop.large.insert_one(row)
    assert shop.command("collStats", "large")["tidemark"]["lastRecord"] >= 140
    shop.large.delete_many({"n": {"$gte": 60, "$lt": 70}})
    before = content(shop.client)
    snapshot = world.snapshot()
    shop.large.update_many({}, {"$set": {"text": ""}})
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(shop.client) == before


def test_a_moment_is_exact_to_the_oplog_entry(world, shop):
    client = shop.client
    world.snapshot()
    states = []
    oplog = client.local["oplog.rs"]
    for change in [
        lambda: shop.orders.update_many({"state": 1}, {"$inc": {"n": 1}, "$push": {"log": "a"}}),
        lambda: shop.orders.delete_many({"_id": {"$lt": 50}}),
        lambda: shop.orders.replace_one({"_id": 60}, {"replaced": True}),
        lambda: shop.people.rename("folk"),
        lambda: shop.folk.create_index("name"),
        lambda: shop.folk.drop_index("mail_1"),
        lambda: client.other.drop_collection("with.dots and spaces"),
        lambda: shop.fresh.insert_many([{"_id": 1}, {"_id": 2}]),
        lambda: shop.orders.update_one({"_id": 70}, {"$unset": {"text": 1}, "$set": {"a.b": [1, {"c": 2}]}}),
    ]:
        change()
        last = oplog.find({"op": {"$ne": "n"}}).sort("$natural", -1).limit(1).next()
        states.append((last["ts"], content(client)))
    for ts, expected in [states[-1], states[3], states[0], states[6]]:
        job = world.restore("pointInTime", oplogTs=ts.time, oplogInc=ts.inc)
        job = world.wait_restored(job)
        assert (job["oplogTs"], job["oplogInc"]) == (ts.time, ts.inc)
        assert content(client) == expected


def test_a_moment_by_its_second(world, shop):
    client = shop.client
    world.snapshot()
    shop.orders.insert_one({"_id": "before"})
    expected = content(client)
    second = int(time.time())
    until(lambda: time.time() > second + 1, "the next second")
    shop.orders.delete_many({})
    job = world.wait_restored(world.restore("pointInTime", pointInTimeUTCSeconds=second))
    assert job["pointInTimeUTCSeconds"] == second
    assert job["desiredTimestamp"]["date"].endswith("Z")
    assert content(client) == expected


def test_a_restore_into_another_instance_of_another_project(world, shop):
    other = world.call("POST", "/groups", {"name": "other project", "orgId": world.bootstrap["orgId"]})
    provider = {"backingProviderName": "GCP", "providerName": "SERVERLESS", "regionName": "CENTRAL_US"}
    path = f"/groups/{other['id']}/serverless"
    world.call("POST", path, {"name": "two", "providerSettings": provider})
    until(lambda: world.call("GET", f"{path}/two")["stateName"] == "IDLE", "the other instance")
    snapshot = world.snapshot()
    job = world.restore("automated", target="two", snapshotId=snapshot["id"], targetGroupId=other["id"])
    assert world.wait_restored(job)["targetGroupId"] == other["id"]
    user = {
        "username": "reader",
        "password": "a-password-for-tests",
        "databaseName": "admin",
        "roles": [{"roleName": "atlasAdmin", "databaseName": "admin"}],
    }
    world.call("POST", f"/groups/{other['id']}/databaseUsers", user)
    address = world.call("GET", f"{path}/two")["connectionStrings"]["standardSrv"]
    client = pymongo.MongoClient(address, username="reader", password="a-password-for-tests")
    assert content(client) == content(shop.client)


def test_a_download_is_a_file_for_mongorestore(world, shop, tmp_path):
    client = shop.client
    before = content(client)
    snapshot = world.snapshot()
    job = world.wait_restored(world.restore("download", snapshotId=snapshot["id"]))
    assert not job["expired"] and len(job["deliveryUrl"]) == 1
    url = job["deliveryUrl"][0]
    file = tmp_path / "snapshot.archive.gz"
    with urllib.request.urlopen(url) as answer:
        etag = answer.headers["ETag"]
        file.write_bytes(answer.read())
    whole = file.read_bytes()
    for wanted, expected in [("bytes=0-9", whole[:10]), ("bytes=100-", whole[100:]), ("bytes=-7", whole[-7:])]:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": wanted, "If-Range": etag})) as part:
            assert part.status == 206 and part.read() == expected
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.replace("/download/", "/download/0"))
    assert error.value.code == 404
    client.drop_database("shop")
    client.drop_database("other")
    run([CLIENTS / "bin" / "mongorestore", "--uri", world.uri(), f"--archive={file}", "--gzip"])
    assert content(client) == before


def test_a_download_link_ends(fresh):
    world = fresh(backup_download_lifetime_minutes=0).start()
    world.create_instance()
    world.create_user()
    world.client().shop.items.insert_one({"_id": 1})
    snapshot = world.snapshot()
    job = world.wait_restored(world.restore("download", snapshotId=snapshot["id"]))
    assert job["expired"] and job["deliveryUrl"] == [] and job["expiresAt"]
    until(lambda: not list((world.data / "downloads").iterdir()), "the file to be removed")


def test_every_bson_type_is_restored_byte_for_byte(world):
    client = world.client()
    client.drop_database("corpus")
    options = CodecOptions(RawBSONDocument)
    expected = {}
    skipped = []
    for path in sorted((CLIENTS / "pymongo-source" / "test" / "bson_corpus").glob("*.json")):
        collection = client.corpus.get_collection(path.stem, codec_options=options)
        for number, case in enumerate(json.loads(path.read_text()).get("valid", [])):
            value = bytes.fromhex(case["canonical_bson"])
            # The case becomes a field, behind an _id of our own.
            body = b"\x10_id\x00" + number.to_bytes(4, "little") + b"\x03case\x00" + value
            document = (len(body) + 5).to_bytes(4, "little") + body + b"\x00"
            try:
                collection.insert_one(RawBSONDocument(document))
                expected.setdefault(path.stem, []).append(document)
            except bson.errors.InvalidBSON:
                skipped.append(f"{path.stem}: {case['description']}")
    assert sum(map(len, expected.values())) > 150 and len(skipped) < 5, skipped
    snapshot = world.snapshot()
    client.drop_database("corpus")
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    for name, documents in expected.items():
        found = client.corpus.get_collection(name, codec_options=options).find().sort("$natural", 1)
        assert [document.raw for document in found] == documents, name


def test_real_data_survives_a_restore(world):
    client = world.client()
    client.drop_database("world")
    for path in sorted(DATA.glob("*.ndjson.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            documents = [json_util.loads(line) for line in lines]
        client.world[path.name.split(".")[0]].insert_many(documents[:4000])
    client.world.cities.create_index("alternateNames")
    before = content(client)
    snapshot = world.snapshot()
    client.world.cities.delete_many({"population": {"$gt": 100_000}})
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(client) == before


def test_a_flipped_byte_is_found_before_the_target_is_touched(fresh):
    world = fresh().start()
    world.create_instance()
    world.create_user()
    client = world.client()
    # The schedule's own first one is over: no pack holds what only that one needs.
    world.snapshot()
    client.shop.items.insert_many({"_id": n, "text": str(n) * 50} for n in range(5000))
    snapshot = world.snapshot()
    client.shop.items.delete_many({"_id": {"$lt": 100}})
    before = content(client)
    world.stop()
    packs = sorted((world.data / "vault" / "packs").iterdir(), key=lambda path: path.stat().st_size)
    damaged = bytearray(packs[-1].read_bytes())
    damaged[len(damaged) // 2] ^= 1
    packs[-1].write_bytes(damaged)
    world.start()
    job = world.wait_job(world.restore("automated", snapshotId=snapshot["id"])["id"])
    assert job["failed"]
    assert content(world.client()) == before
    world.stop()
    import subprocess

    verify = subprocess.run([world_binary(), "vault", "verify", "--data-dir", world.data], capture_output=True, text=True)
    assert verify.returncode == 1
    assert packs[-1].name in verify.stdout and snapshot["id"] in verify.stdout


def world_binary():
    from world import BINARY

    return BINARY


def test_snapshots_are_taken_by_the_schedule_and_removed_by_the_retention(fresh):
    world = fresh(backup_snapshot_interval_minutes=1).start()
    world.create_instance()
    path = world.instance_path() + "/backup/snapshots"
    first = until(lambda: world.call("GET", path)["results"], "the first scheduled snapshot")[0]
    assert first["snapshotType"] == "scheduled"
    world.wait_snapshot(first["id"])
    world.call("DELETE", f"{path}/{first['id']}")
    with pytest.raises(ApiError) as error:
        world.call("GET", f"{path}/{first['id']}")
    assert error.value.code == "SNAPSHOT_NOT_FOUND"
    manifests = world.data / "vault" / "snapshots"
    until(lambda: not (manifests / first["id"]).exists(), "the manifest to be removed")


def test_a_job_that_waits_or_runs_can_be_cancelled(world, shop):
    client = shop.client
    shop.big.insert_many({"_id": n, "text": "y" * 900} for n in range(20000))
    snapshot = world.snapshot()
    before = content(client)
    job = world.restore("automated", snapshotId=snapshot["id"])
    world.call("DELETE", world.instance_path() + f"/backup/restoreJobs/{job['id']}")
    job = world.wait_job(job["id"])
    assert job["cancelled"] and job["failed"]
    assert content(client) == before
    with pytest.raises(ApiError) as error:
        world.call("DELETE", world.instance_path() + f"/backup/restoreJobs/{job['id']}")
    assert error.value.status == 409
    world.wait_idle()


def test_documents_that_a_later_validator_forbids_are_restored(world):
    client = world.client()
    client.drop_database("strict")
    items = client.strict.items
    items.insert_many([{"_id": 1, "age": -5}, {"_id": 2, "age": 7, "at": bson.Timestamp(5, 0)}])
    client.strict.command("collMod", "items", validator={"age": {"$gte": 0}})
    snapshot = world.snapshot()
    before = content(client)
    client.strict.items.insert_one({"_id": 3, "age": 1})
    last = client.local["oplog.rs"].find({"op": "i", "ns": "strict.items"}).sort("ts", -1).limit(1).next()["ts"]
    after = content(client)
    moment = {"oplogTs": last.time, "oplogInc": last.inc}
    for delivery, what, expected in [
        ("automated", {"snapshotId": snapshot["id"]}, before),
        ("pointInTime", moment, after),
    ]:
        client.drop_database("strict")

        def asked(delivery=delivery, what=what):
            try:
                return world.restore(delivery, **what)
            except ApiError as error:
                # The moment is in the second in which the restore before it put its data in place.
                assert error.code == "INVALID_PIT_RESTORE_TIME", error
                return None

        world.wait_restored(until(asked, "the moment to be captured"))
        assert content(client) == expected
        with pytest.raises(pymongo.errors.WriteError) as error:
            client.strict.items.insert_one({"age": -1})
        assert error.value.code == 121
