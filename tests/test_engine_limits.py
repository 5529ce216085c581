"""Attacks on the embedded database: what is too deep, too large, too long, or somebody else's."""

import re
import socket
import struct
import threading
import time

import bson
import pymongo
import pytest
from pymongo.errors import AutoReconnect, ExecutionTimeout, OperationFailure

from world import PASSWORD, code_of, until


@pytest.fixture
def items(world):
    items = world.client().limits.items
    items.drop()
    return items


def client_as(world, name, *roles):
    roles = [{"roleName": role, "databaseName": database, **({"collectionName": c[0]} if c else {})} for role, database, *c in roles]
    world.create_user(name, roles=roles)
    return world.client(user=name)


def nested(levels, key="a"):
    """A document of so many levels, as bytes: encoders would recurse."""
    inner = b"\x05\x00\x00\x00\x00"
    for _ in range(levels - 1):
        inner = struct.pack("<i", len(inner) + len(key) + 7) + b"\x03" + key.encode() + b"\x00" + inner + b"\x00"
    return bson.raw_bson.RawBSONDocument(inner)


@pytest.mark.parametrize("levels", [150, 178])
def test_what_the_server_stores_is_stored(items, levels):
    items.insert_one(bson.raw_bson.RawBSONDocument(nested(levels).raw))
    assert items.count_documents({"b": None}) == 1
    assert list(items.aggregate([{"$match": {"b": None}}, {"$count": "n"}])) == [{"n": 1}]


@pytest.mark.parametrize("levels", [181, 1_300, 5_000])
def test_documents_that_are_too_deep_are_refused(world, items, levels):
    with pytest.raises(OperationFailure) as error:
        items.insert_one(nested(levels))
    assert error.value.code == 15
    assert items.count_documents({}) == 0 and world.is_ready()


@pytest.mark.parametrize(
    "run",
    [
        lambda items, deep: items.find_one({"a": deep}),
        lambda items, deep: items.find_one({"a": {"$elemMatch": deep}}),
        lambda items, deep: items.find_one({}, {"a": deep}),
        lambda items, deep: items.update_one({}, {"$set": {"a": deep}}),
        lambda items, deep: items.update_one({"a": deep}, {"$set": {"b": 1}}, upsert=True),
        lambda items, deep: list(items.aggregate([{"$project": {"a": deep}}])),
        lambda items, deep: items.create_index("b", partialFilterExpression={"a": deep}),
    ],
)
def test_commands_that_are_too_deep_are_refused(world, items, run):
    items.insert_one({"_id": 1})
    assert code_of(lambda: run(items, nested(2_000))) == 15
    assert world.is_ready()


def deep_operator(name, levels):
    inner = {"a": 1}
    for _ in range(levels):
        inner = {name: [inner]}
    return inner


def test_deep_conditions_are_refused_and_shallow_ones_are_not(items):
    items.insert_one({"a": 1})
    assert items.count_documents(deep_operator("$and", 90)) == 1
    assert code_of(lambda: items.count_documents(deep_operator("$and", 120))) == 15


@pytest.mark.parametrize("components", [250, 5_000])
def test_a_flat_message_makes_no_deep_document(world, items, components):
    items.insert_one({"_id": 1})
    path = ".".join(["a"] * components)
    for update in ({"$set": {path: 1}}, {"$inc": {path: 1}}, {"$push": {path: 1}}, [{"$set": {path: 1}}]):
        assert code_of(lambda update=update: items.update_one({"_id": 1}, update)) == 15
    assert code_of(lambda: items.find_one({path: 1})) == 15
    assert code_of(lambda: items.find().sort(path, 1).next()) == 15
    assert code_of(lambda: items.create_index(path)) == 15
    assert code_of(lambda: items.update_one({path: 2}, {"$set": {"x": 1}}, upsert=True)) == 15
    assert list(items.find()) == [{"_id": 1}] and world.is_ready()


def test_updates_cannot_nest_step_by_step(items):
    items.insert_one({"_id": 1})
    with pytest.raises(OperationFailure) as error:
        for _ in range(10):
            items.update_one({"_id": 1}, [{"$set": {"a": {"b": {"c": "$$ROOT"}}}}] * 10)
    assert error.value.code == 15
    assert items.count_documents({}) == 1


def anonymous_memory(world):
    status = open(f"/proc/{world.process.pid}/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def test_one_query_cannot_take_all_memory(world, items):
    arrays = {name: list(range(80)) for name in "abc"}
    items.insert_one({"_id": 1, **arrays, "text": "x" * 100})
    peak, done = [0], threading.Event()

    def watch():
        while not done.is_set():
            peak[0] = max(peak[0], anonymous_memory(world))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    unwinds = [{"$unwind": f"${name}"} for name in "abc"]
    count = list(items.aggregate([*unwinds, {"$group": {"_id": ["$a", "$b", "$c"], "n": {"$sum": 1}}}, {"$count": "n"}]))
    assert count == [{"n": 80**3}]
    with pytest.raises(OperationFailure) as error:
        list(items.aggregate([*unwinds, {"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}]))
    assert error.value.code == 146
    done.set()
    watcher.join()
    assert peak[0] < 512 * 1024 * 1024


@pytest.mark.parametrize(
    "stages",
    [
        [{"$unwind": "$a"}, {"$unwind": "$b"}, {"$unwind": "$c"}, {"$unwind": "$d"}, {"$count": "n"}],
        [{"$unwind": "$a"}, {"$unwind": "$b"}, {"$unwind": "$c"}, {"$sort": {"a": -1, "c": 1}}],
    ],
)
def test_a_time_limit_is_kept(items, stages):
    items.insert_one({name: list(range(200)) for name in "abcd"})
    began = time.monotonic()
    with pytest.raises(ExecutionTimeout) as error:
        list(items.aggregate(stages, maxTimeMS=200))
    assert error.value.code == 50 and time.monotonic() - began < 20


def test_large_conditions_are_quick_or_end_in_time(items):
    items.insert_many({"a": list(range(300)), "n": n} for n in range(300))
    assert items.count_documents({"a": {"$all": list(range(300))}}) == 300
    assert items.count_documents({"n": {"$in": list(range(10_000))}}, maxTimeMS=60_000) == 300
    with pytest.raises(ExecutionTimeout):
        items.count_documents({"$or": [{"a": -n} for n in range(1, 20_000)]}, maxTimeMS=100)
    # One document is work enough.
    items.insert_one({"_id": "long", "b": list(range(100_000)), "text": ["a" * 200] * 50_000})
    never = [{"b": -n} for n in range(1, 20_000)]
    for condition in (
        {"$or": never},
        {"$nor": never},
        {"$or": [{"b": {"$elemMatch": {"$eq": -n}}} for n in range(1, 20_000)]},
        # A path through an array of values leads nowhere, and an expression copies the array.
        {"$or": [{"b.x": 1} for n in range(20_000)]},
        {"$expr": {"$or": [{"$eq": ["$b", n]} for n in range(20_000)]}},
        {"text": {"$in": [re.compile(f"(a+)+{n}$") for n in range(1_000)]}},
    ):
        with pytest.raises(ExecutionTimeout):
            items.count_documents({"_id": "long", **condition}, maxTimeMS=100)
        with pytest.raises(ExecutionTimeout):
            update = {"q": {"_id": "long", **condition}, "u": {"$set": {"c": 1}}}
            items.database.command("update", items.name, updates=[update], maxTimeMS=100)
    assert "c" not in items.find_one("long", {"c": 1})


def test_too_many_stages_are_refused(items):
    assert code_of(lambda: list(items.aggregate([{"$skip": 0}] * 50_000))) == 7749501


def test_work_ends_when_its_client_is_gone(world, items):
    items.insert_one({name: list(range(300)) for name in "abcde"})
    stages = [{"$unwind": f"${name}"} for name in "abcde"] + [{"$count": "n"}]
    impatient = pymongo.MongoClient(world.uri(), socketTimeoutMS=500, retryReads=False)
    with pytest.raises(AutoReconnect):
        list(impatient.limits.items.aggregate(stages))
    impatient.close()

    def is_idle():
        before = sum(map(int, open(f"/proc/{world.process.pid}/stat").read().split()[13:15]))
        time.sleep(0.5)
        return sum(map(int, open(f"/proc/{world.process.pid}/stat").read().split()[13:15])) - before < 25

    until(is_idle, "the server to rest")


def test_a_uuid_opens_no_other_database(world):
    root = world.client()
    root.secret.docs.insert_one({"_id": 1, "word": "hidden"})
    root.open.docs.insert_one({"_id": 1})
    [listed] = root.secret.command("listCollections")["cursor"]["firstBatch"]
    uuid = listed["info"]["uuid"]
    reader = client_as(world, "uuid-reader", ("read", "open"))
    for name, more in [
        ("find", {}),
        ("aggregate", {"pipeline": [], "cursor": {}}),
        ("count", {}),
        ("distinct", {"key": "word"}),
        ("listIndexes", {}),
    ]:
        for database in ("open", "secret"):
            code = code_of(lambda: reader[database].command({name: uuid, **more}))
            assert code in (13, 26), (name, database, code)
    assert root.secret.command({"find": uuid})["cursor"]["firstBatch"], "who may read it may use it"


def test_users_see_and_move_only_what_is_theirs(world):
    root = world.client()
    for database in ("theirs", "mine"):
        root[database].one.insert_one({"_id": 1})
        root[database].two.insert_one({"_id": 1})
    limited = client_as(world, "limited", ("read", "mine", "one"))
    assert [c["name"] for c in limited.mine.list_collections()] == ["one"]
    assert limited.list_database_names() == ["mine"]
    assert code_of(lambda: limited.mine.command("dbStats")) == 13
    assert code_of(lambda: limited.theirs.list_collection_names()) == 13
    admin = client_as(world, "schema-admin", ("dbAdminAnyDatabase", "admin"))
    rename = lambda source, target: admin.admin.command("renameCollection", source, to=target)  # noqa: E731
    assert code_of(lambda: rename("theirs.one", "mine.three")) == 13
    rename("theirs.one", "theirs.three")
    writer = client_as(world, "writer", ("readWrite", "mine"))
    assert code_of(lambda: writer.drop_database("mine")) == 13
    writer.mine.two.drop()
    assert root.mine.one.find_one() == {"_id": 1}


def test_a_user_that_is_deleted_is_out_at_once(world, items):
    items.insert_one({"_id": 1})
    client = client_as(world, "leaving", ("readWriteAnyDatabase", "admin"))
    assert client.limits.items.find_one() == {"_id": 1}
    path = f"/groups/{world.group}/databaseUsers/admin/leaving"
    world.call("PATCH", path, {"roles": [{"roleName": "read", "databaseName": "limits"}]})
    assert client.limits.items.find_one() == {"_id": 1}
    assert code_of(lambda: client.limits.items.insert_one({"_id": 2})) == 13
    world.call("DELETE", path)
    assert code_of(lambda: client.limits.items.find_one()) == 13


def test_guessing_a_password_slows_down(world):
    began, attempts = time.monotonic(), 0
    while time.monotonic() - began < 3:
        client = pymongo.MongoClient(world.uri().replace(PASSWORD, "wrong"), serverSelectionTimeoutMS=20_000)
        with pytest.raises(OperationFailure) as error:
            client.admin.command("listDatabases")
        assert error.value.code == 18
        client.close()
        attempts += 1
    assert attempts < 20
    # Whoever knows a password gets in, after a while.
    assert world.client().admin.command("ping")["ok"] == 1


def test_large_messages_before_login_end_the_connection(world):
    host, port = world.uri().split("@")[1].split("/")[0].split(":")
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(struct.pack("<iiii", 40_000_000, 1, 0, 2013))
        stream.settimeout(10)
        assert stream.recv(1) == b""
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(struct.pack("<iiii", 2_000, 1, 0, 2013) + b"x" * 100)
        # Half a message: the others are served meanwhile.
        assert world.client().admin.command("ping")["ok"] == 1


def test_a_retried_write_of_another_user_is_another_write(world, items):
    items.insert_one({"_id": 1, "n": 0})
    session = {"id": bson.Binary(b"0123456789abcdef", 4)}
    change = {"update": "items", "updates": [{"q": {"_id": 1}, "u": {"$inc": {"n": 1}}}], "lsid": session, "txnNumber": bson.Int64(5)}
    other = client_as(world, "other-writer", ("readWriteAnyDatabase", "admin"))

    def run(client):
        with client._conn_for_writes(None, "update") as connection:
            return connection.command("limits", dict(change), codec_options=client.codec_options)

    run(world.client())
    run(world.client())
    assert items.find_one()["n"] == 1
    run(other)
    assert items.find_one()["n"] == 2
