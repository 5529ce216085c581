"""The embedded database through PyMongo: what it has, and what it refuses by name."""

import contextlib
import random
import socket
import struct
import threading

import bson
import pymongo
import pytest
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from world import until


@pytest.fixture
def items(world):
    items = world.client().engine.items
    items.drop()
    return items


def code_of(action):
    with pytest.raises(OperationFailure) as error:
        action()
    return error.value.code, str(error.value)


def test_it_poses_as_a_replica_set(world):
    client = pymongo.MongoClient(world.uri().replace("directConnection=true", "replicaSet=rs0"))
    assert client.admin.command("hello")["setName"] == "rs0"
    assert client.topology_description.topology_type_name == "ReplicaSetWithPrimary"
    assert client.server_info()["version"].startswith("7.0.")


def test_reads_sort_skip_limit_and_project(items):
    items.insert_many({"_id": n, "a": n % 5, "b": {"c": str(n)}} for n in range(400))
    found = items.find({"a": {"$in": [1, 2]}, "b.c": {"$regex": "^1"}}, {"b.c": 1}).sort([("a", -1), ("_id", 1)]).skip(2).limit(3)
    matching = [n for n in range(400) if n % 5 in (1, 2) and str(n).startswith("1")]
    matching.sort(key=lambda n: (-(n % 5), n))
    assert list(found) == [{"_id": n, "b": {"c": str(n)}} for n in matching[2:5]]
    assert [d["_id"] for d in items.find().sort("$natural", -1).limit(3)] == [399, 398, 397]
    assert len(list(items.find({}, batch_size=7))) == 400
    assert items.count_documents({"a": 3}) == 80 and items.estimated_document_count() == 400
    assert sorted(items.distinct("a", {"_id": {"$lt": 3}})) == [0, 1, 2]


@pytest.mark.parametrize("indexed", [False, True])
def test_an_index_changes_no_answer(items, indexed):
    items.insert_many(
        [{"_id": n, "v": value} for n, value in enumerate([1, 1.0, "1", None, [1, 5], [], {"x": 1}, bson.Int64(5), -3, 5.5, bson.Decimal128("5.5"), True])]
        + [{"_id": 50}]
    )
    if indexed:
        items.create_index("v")
        items.create_index([("v", -1), ("_id", 1)])
    for query, expected in [
        ({"v": 1}, [0, 1, 4]),
        ({"v": None}, [3, 50]),
        ({"v": {"$gt": 2}}, [4, 7, 9, 10]),
        ({"v": {"$gte": 1, "$lt": 5}}, [0, 1, 4]),
        ({"v": 5.5}, [9, 10]),
        ({"v": {"$in": ["1", 5]}}, [2, 4, 7]),
        ({"v": {"x": 1}}, [6]),
        ({"v": []}, [5]),
        ({"v": {"$lt": 0}}, [8]),
        ({"v": {"$ne": 1}}, [2, 3, 5, 6, 7, 8, 9, 10, 11, 50]),
    ]:
        assert [document["_id"] for document in items.find(query).sort("_id", 1)] == expected, query


def test_unique_and_sparse_indexes(items):
    items.create_index([("mail", 1), ("kind", 1)], unique=True)
    items.create_index("phone", unique=True, sparse=True)
    items.insert_many([{"mail": "a", "kind": 1}, {"mail": "a", "kind": 2}])
    with pytest.raises(DuplicateKeyError) as error:
        items.insert_one({"mail": "a", "kind": 1.0})
    assert error.value.details["keyPattern"] == {"mail": 1, "kind": 1}
    assert error.value.details["keyValue"] == {"mail": "a", "kind": 1.0}
    with pytest.raises(BulkWriteError) as error:
        items.insert_many([{"_id": 1, "mail": "x"}, {"_id": 1, "mail": "y"}, {"_id": 2, "mail": "z"}], ordered=False)
    assert error.value.details["nInserted"] == 2
    with pytest.raises(DuplicateKeyError):
        items.update_one({"kind": 2}, {"$set": {"kind": 1}})
    items.drop_index("mail_1_kind_1")
    items.insert_one({"mail": "a", "kind": 1})
    assert set(items.index_information()) == {"_id_", "phone_1"}


def test_updates_and_find_and_modify(items):
    items.insert_many({"_id": n, "n": n, "tags": ["a"]} for n in range(10))
    change = {"$inc": {"n": 10}, "$push": {"tags": {"$each": ["b", "c"]}}, "$unset": {"gone": 1}, "$currentDate": {"at": True}}
    assert items.update_many({"n": {"$gte": 5}}, change).modified_count == 5
    assert items.update_one({"_id": 99}, {"$setOnInsert": {"n": 1}, "$addToSet": {"tags": "x"}}, upsert=True).upserted_id == 99
    assert items.find_one({"_id": 99}) == {"_id": 99, "n": 1, "tags": ["x"]}
    before = items.find_one_and_update({"_id": 0}, {"$mul": {"n": 2}, "$rename": {"tags": "labels"}})
    assert before["tags"] == ["a"] and items.find_one({"_id": 0}) == {"_id": 0, "n": 0, "labels": ["a"]}
    assert items.find_one_and_delete({"n": {"$gt": 0}}, sort=[("n", -1)])["_id"] == 9
    assert items.update_one({"_id": 1}, {"$set": {"n": 1}}).modified_count == 0
    assert items.replace_one({"_id": 2}, {"fresh": True}).modified_count == 1
    assert items.delete_many({"n": {"$exists": True}}).deleted_count == 9


def test_aggregation(items):
    items.insert_many([{"k": "a", "n": [1, 2]}, {"k": "b", "n": [3]}, {"k": "a", "n": [4]}])
    pipeline = [
        {"$match": {"k": {"$ne": "z"}}},
        {"$unwind": "$n"},
        {"$group": {"_id": "$k", "sum": {"$sum": "$n"}, "avg": {"$avg": "$n"}, "all": {"$push": "$n"}}},
        {"$sort": {"_id": -1}},
        {"$project": {"_id": 0, "k": "$_id", "sum": 1, "avg": 1, "all": 1}},
    ]
    assert list(items.aggregate(pipeline)) == [
        {"sum": 3, "avg": 3.0, "all": [3], "k": "b"},
        {"sum": 7, "avg": 7 / 3, "all": [1, 2, 4], "k": "a"},
    ]
    assert list(items.aggregate([{"$skip": 1}, {"$limit": 1}, {"$count": "n"}])) == [{"n": 1}]


def test_a_sample_holds_documents_that_are_there(items):
    items.insert_many([{"_id": n} for n in range(5_000)])
    sampled = [found["_id"] for found in items.aggregate([{"$sample": {"size": 100}}])]
    assert len(set(sampled)) == 100 and all(0 <= n < 5_000 for n in sampled)
    assert max(sampled) > 1_000, "they are the first ones"
    assert len(list(items.aggregate([{"$sample": {"size": 6_000}}]))) == 5_000
    for wrong in ({}, {"size": 0}, {"size": "x"}, {"size": 1, "other": 1}, 5):
        with pytest.raises(pymongo.errors.OperationFailure):
            items.aggregate([{"$sample": wrong}])


def test_conditions_on_id_from_both_sides(items):
    ids = [*range(100), *(n + 0.5 for n in range(100)), *(f"s{n:03}" for n in range(100)), None, True,
           bson.ObjectId(), b"x", {"a": 1}, bson.MinKey(), bson.MaxKey()]
    items.insert_many([{"_id": id} for id in ids])

    def found(condition):
        return [document["_id"] for document in items.find({"_id": condition})]

    assert sorted(found({"$gte": 10, "$lt": 12})) == [10, 10.5, 11, 11.5]
    assert sorted(found({"$gt": "s010", "$lte": "s012"})) == ["s011", "s012"]
    assert found({"$gte": 12, "$lt": 10}) == [] and found({"$gte": 5, "$lt": "s005"}) == []
    assert found({"$gt": 98, "$lt": 99, "$ne": 98.5}) == []
    rest = found({"$type": [name for name in ("object", "binData", "objectId", "bool", "null", "minKey", "maxKey")]})
    assert len(rest) == 7


def test_snapshot_sessions_read_one_moment(items):
    items.insert_many({"_id": n} for n in range(10))
    with items.database.client.start_session(snapshot=True) as session:
        assert items.count_documents({}, session=session) == 10
        items.insert_one({"_id": "later"})
        items.delete_one({"_id": 0})
        assert items.count_documents({}, session=session) == 10
        assert items.find_one({"_id": 0}, session=session)
    assert items.count_documents({}) == 10 and not items.find_one({"_id": 0})


def test_the_oplog_can_be_tailed(world, items):
    oplog = world.client().local["oplog.rs"]
    last = oplog.find().sort("$natural", -1).limit(1).next()["ts"]
    assert oplog.find().sort("ts", -1).limit(1).next()["ts"] >= last
    assert oplog.find({"ts": {"$lte": last}}).sort([("ns", 1), ("ts", -1)]).limit(1).next()["ns"] == ""
    query = {"ts": {"$gt": last}, "ns": "engine.items", "op": {"$ne": "n"}}
    seen = []

    def tail():
        cursor = oplog.find(query, cursor_type=pymongo.CursorType.TAILABLE_AWAIT)
        while len(seen) < 3:
            # The loop ends whenever the server has waited in vain.
            for entry in cursor:
                seen.append(entry)
                if len(seen) == 3:
                    break

    tailer = threading.Thread(target=tail)
    tailer.start()
    items.insert_one({"_id": 1, "text": "x" * 200, "n": 1})
    items.update_one({"_id": 1}, {"$set": {"n": 2}})
    items.delete_one({"_id": 1})
    until(lambda: len(seen) == 3, "three entries")
    tailer.join()
    insert, update, delete = seen
    assert (insert["op"], insert["o"]["_id"]) == ("i", 1)
    assert (update["op"], update["o"], update["o2"]) == ("u", {"$v": 2, "diff": {"u": {"n": 2}}}, {"_id": 1})
    assert (delete["op"], delete["o"]) == ("d", {"_id": 1})
    assert insert["ts"] < update["ts"] < delete["ts"] and insert["ui"] == delete["ui"]
    assert {"t", "v", "wall", "lsid", "txnNumber"} <= set(insert)


def test_what_is_not_supported_is_refused_by_name(world, items):
    database = items.database
    items.insert_one({"a": [1, 2]})
    items.create_index("s", sparse=True)
    for action, code, name in [
        (lambda: database.command("mapReduce", "items"), 59, "mapReduce"),
        (lambda: list(items.aggregate([{"$lookup": {}}])), 40324, "$lookup"),
        (lambda: list(items.find({"$where": "1"})), 115, "$where"),
        (lambda: list(items.find({}, {"a": {"$slice": 1}})), 115, "$slice"),
        (lambda: items.update_one({}, {"$set": {"a.$[]": 1}}), 115, "$[]"),
        (lambda: items.update_one({}, {"$set": {"a.$[x]": 1}}, array_filters=[{"x": 1}]), 115, "arrayFilters"),
        (lambda: list(items.find({}, collation={"locale": "de"})), 115, "collation"),
        (lambda: items.create_index([("a", "text")]), 115, "text"),
        (lambda: database.create_collection("c", capped=True, size=1000), 115, "capped"),
        (lambda: database.create_collection("v", viewOn="items"), 115, "view"),
        (lambda: list(items.find({"s": 1}).hint("s_1")), 115, "sparse"),
        (lambda: database.command("find", "items", sideways=True), 40415, "sideways"),
        (lambda: database.command("renameCollection", "engine.items", to="engine.x"), 13, "admin"),
    ]:
        found, text = code_of(action)
        assert (found, name in text) == (code, True), text
    with database.client.start_session() as session:
        session.start_transaction()
        found, text = code_of(lambda: items.insert_one({}, session=session))
        assert found == 115 and "transaction" in text


def test_bad_requests_have_the_official_codes(world, items):
    items.insert_one({"_id": 1})
    database = items.database
    for action, code in [
        (lambda: items.update_one({"_id": 1}, {"$set": {"_id": 2}}), 66),
        (lambda: items.update_one({"_id": 1}, {"$set": {"a": 1, "a.b": 1}}), 40),
        (lambda: items.update_one({"_id": 1}, {"$bogus": {"a": 1}}), 9),
        (lambda: list(items.find({"a": {"$bogus": 1}})), 2),
        (lambda: database.command("getMore", bson.Int64(12345), collection="items"), 43),
        (lambda: database.create_collection("items", check_exists=False), 48),
        (lambda: database.nothing.rename("other"), 26),
        (lambda: items.drop_index("nothing"), 27),
        (lambda: items.insert_one({"_id": [1]}), 2),
        (lambda: world.client().local.items.insert_one({}), 73),
    ]:
        found, text = code_of(action)
        assert found == code, text


def test_garbage_on_the_wire_ends_its_connection_and_nothing_else(world):
    generator = random.Random(11)
    host, port = world.client().address
    command = bson.encode({"hello": 1, "$db": "admin", "x": [1, {"y": "z"}]})
    for attempt in range(300):
        body = bytearray(b"\0\0\0\0\0" + command)
        for _ in range(generator.randrange(4)):
            body[generator.randrange(len(body))] = generator.randrange(256)
        length = 16 + len(body) + generator.choice([0, 0, 0, -5, 7, -(2**30), 2**30])
        head = struct.pack("<iiii", max(-(2**31), min(length, 2**31 - 1)), attempt, 0, generator.choice([2013, 2013, 2004, 1, 2012]))
        # The server may hang up before everything is sent.
        with socket.create_connection((host, port), timeout=5) as connection, contextlib.suppress(OSError):
            connection.sendall(head + bytes(body))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert world.client().admin.command("ping")["ok"] == 1
    assert "panicked" not in world.log_text()
