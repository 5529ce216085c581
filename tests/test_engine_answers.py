"""Answers that were wrong in the first release: each is right now, or refused by its name."""

import datetime

import pymongo
import pytest
from bson import Binary, Decimal128, Int64, Regex, SON
from pymongo.errors import DuplicateKeyError, OperationFailure, WriteConcernError

from world import code_of


@pytest.fixture
def items(world):
    items = world.client().answers.items
    items.drop()
    return items


def command(items, **fields):
    return items.database.command(SON(fields))


def updated(items, before, update, **options):
    items.delete_many({})
    items.insert_one({"_id": 1, **before})
    items.update_one({"_id": 1}, update, **options)
    found = items.find_one({"_id": 1})
    return {name: value for name, value in found.items() if name != "_id"}


@pytest.mark.parametrize(
    "before, update, after",
    [
        ({"arr": [1, [1, 2], 3]}, {"$pull": {"arr": 1}}, {"arr": [[1, 2], 3]}),
        ({"arr": [{"a": 1}, {"b": 2}, {"c": 3}]}, {"$pull": {"arr": {"$or": [{"a": 1}, {"b": 2}]}}}, {"arr": [{"c": 3}]}),
        ({"a": [{"x": 1}, {"x": 2}]}, [{"$project": {"a.b": {"$literal": 99}}}], {"a": [{"b": 99}, {"b": 99}]}),
        ({"a": 1, "b": 2}, [{"$set": {"b": "$missing"}}], {"a": 1}),
        ({"a": -0.0}, {"$mul": {"a": 1}}, {"a": -0.0}),
        ({}, {"$inc": {"a": -0.0}}, {"a": -0.0}),
    ],
)
def test_updates_change_what_they_say(items, before, update, after):
    found = updated(items, before, update)
    assert found == after and repr(found) == repr(after)


@pytest.mark.parametrize(
    "before, update, code",
    [
        ({"n": 1}, {"$rename": {"_id": "n"}}, 66),
        ({"n": 1}, {"$unset": {"_id": 1}}, 66),
        ({"a": [{"b": 1}]}, {"$rename": {"a.b": "c"}}, 2),
        ({"a": [{"b": 1}], "c": 1}, {"$rename": {"c": "a.b"}}, 2),
        ({"a": [1]}, {"$push": {"a": {"$each": [2], "$sort": 0}}}, 2),
        ({"d": Decimal128("1.5")}, [{"$set": {"d": {"$divide": ["$d", Decimal128("2")]}}}], 115),
    ],
)
def test_updates_that_cannot_be_done_right_are_refused(items, before, update, code):
    assert code_of(lambda: updated(items, before, update)) == code
    assert items.find_one({"_id": 1}) == {"_id": 1, **before}


def test_an_upsert_takes_equalities_from_branches_that_must_hold(items):
    items.update_one({"$and": [{"a": 1}, {"$or": [{"b": 2}]}]}, {"$set": {"c": 3}}, upsert=True)
    assert items.find_one({}, {"_id": 0}) == {"a": 1, "b": 2, "c": 3}


def test_oplog_entries_need_the_id_of_their_document(items):
    items.insert_one({"_id": 1})
    entry = {"ns": items.full_name, "o": {"a": 1}}
    for op in ({"op": "i", **entry}, {"op": "u", "o2": {"a": 1}, **entry}, {"op": "d", **entry}):
        assert code_of(lambda op=op: items.database.client.admin.command("applyOps", [op])) == 4
    assert list(items.find()) == [{"_id": 1}]


@pytest.mark.parametrize("w, code", [(2, 100), (3, 100), ("dc", 79)])
def test_a_write_concern_that_one_member_cannot_fulfil_is_reported(items, w, code):
    concerned = items.with_options(write_concern=pymongo.WriteConcern(w=w))
    with pytest.raises(WriteConcernError) as error:
        concerned.insert_one({"_id": w})
    assert error.value.code == code
    assert items.find_one({"_id": w}), "as on a server, the one member has the write"


def test_indexes_that_differ_are_not_the_same(items):
    items.create_index("a")
    for options in ({"sparse": True}, {"unique": True}, {"expireAfterSeconds": 5}, {"hidden": True}):
        assert code_of(lambda options=options: items.create_index("a", **options)) == 86
    assert code_of(lambda: items.create_index("a", name="other")) == 85
    items.create_index("a", name="partial", partialFilterExpression={"b": 1})
    assert code_of(lambda: command(items, dropIndexes="items", index={"a": 1})) == 181
    assert code_of(lambda: items.create_index([("_id", -1)])) == 2
    assert code_of(lambda: items.create_index("_id", expireAfterSeconds=5)) == 197
    with pytest.raises(OperationFailure, match="wildcard"):
        items.create_index("$**")
    assert sorted(items.index_information()) == ["_id_", "a_1", "partial"]


def test_an_id_with_operators_is_refused(items):
    assert code_of(lambda: items.insert_one({"_id": {"$a": 1}})) == 52


@pytest.mark.parametrize(
    "fields",
    [
        {"insert": "items", "documents": [{"_id": 1}], "ordered": "true"},
        {"find": "items", "filter": 5},
        {"find": "items", "sort": "a"},
        {"find": "items", "limit": "5"},
        {"find": "items", "maxTimeMS": "5"},
        {"find": "items", "readConcern": "local"},
        {"find": "items", "readConcern": {"level": "local", "afterClusterTime": 5}},
        {"insert": "items", "documents": [{"_id": 1}], "writeConcern": 1},
        {"insert": "items", "documents": [{"_id": 1}], "writeConcern": {"w": True}},
        {"update": "items", "updates": [{"q": {}, "u": {"$set": {"a": 1}}, "multi": 1}]},
        {"aggregate": "items", "pipeline": {}, "cursor": {}},
        {"distinct": "items", "key": 5},
        {"listCollections": 1, "nameOnly": "yes"},
        {"collMod": "items", "validationLevel": 5},
    ],
)
def test_arguments_of_a_wrong_type_are_refused(items, fields):
    items.insert_one({"_id": 0})

    def run():
        reply = command(items, **fields)
        for error in reply.get("writeErrors", []):
            raise OperationFailure(error["errmsg"], error["code"])

    assert code_of(run) == 14
    assert list(items.find()) == [{"_id": 0}]


@pytest.mark.parametrize(
    "fields, code",
    [
        ({"findAndModify": "items", "remove": True, "new": True}, 9),
        ({"findAndModify": "items", "remove": True, "upsert": True}, 9),
        ({"find": "items", "maxTimeMS": -1}, 2),
        ({"find": "items", "sort": {"a": 2}}, 2),
        ({"find": "items", "filter": {"a": {"$ne": Regex("x")}}}, 2),
        ({"find": "items", "projection": {"a.b": 1, "a": 1}}, 31250),
        ({"find": "items", "readConcern": {"level": "bogus"}}, 2),
        ({"create": "other", "readConcern": {"level": "snapshot"}}, 72),
        ({"ping": 1, "apiVersion": "9"}, 322),
        ({"collMod": "items", "validationLevel": "bogus"}, 2),
        ({"aggregate": "items", "pipeline": [{"$group": {"_id": 1, "s": {"$sum": [1, 2]}}}], "cursor": {}}, 40237),
        ({"aggregate": "items", "pipeline": [{"$collStats": {}}, {"$bogus": 5}], "cursor": {}}, 40324),
        ({"aggregate": "items", "pipeline": [{"$unwind": {"path": "$a", "bogus": 1}}], "cursor": {}}, 9),
        ({"aggregate": "items", "pipeline": [{"$addFields": {"a": 1, "a.b": 1}}], "cursor": {}}, 31250),
    ],
)
def test_arguments_that_make_no_sense_are_refused(items, fields, code):
    items.insert_one({"_id": 0, "a": [1]})
    assert code_of(lambda: command(items, **fields)) == code


def ids(items, query):
    return sorted(found["_id"] for found in items.find(query, {"_id": 1}))


def test_filters_find_what_the_server_finds(items):
    zero, large = Decimal128("0.00"), Decimal128("9223372036854775807000")
    items.insert_many(
        [
            {"_id": 1, "bits": Binary(b"\x05\x80"), "n": large},
            {"_id": 2, "bits": 5, "n": Decimal128("7.9")},
            {"_id": 3, "bits": -1, "n": 1e20},
            {"_id": 4, "text": "١٢٣", "z": zero},
            {"_id": 5, "text": "Öyster"},
            {"_id": 6, "text": "abc\n"},
            {"_id": 7, "text": "the oyster 12"},
        ]
    )
    assert ids(items, {"bits": {"$bitsAllSet": [0, 2]}}) == [1, 2, 3]
    assert ids(items, {"bits": {"$bitsAllSet": [15]}}) == [1, 3]
    assert ids(items, {"bits": {"$bitsAllClear": [1]}}) == [1, 2]
    assert ids(items, {"bits": {"$bitsAnySet": Binary(b"\x00\x80")}}) == [1, 3]
    assert ids(items, {"bits": {"$bitsAnySet": [100]}}) == [3]
    assert ids(items, {"n": {"$mod": [4, 3]}}) == [2]
    assert ids(items, {"n": {"$mod": [1000, 0]}}) == [1, 3]
    assert ids(items, {"text": {"$regex": r"\d+$"}}) == [7]
    # On the server Ö is no word character, so a word begins after it.
    assert ids(items, {"text": {"$regex": r"\byster"}}) == [5]
    assert ids(items, {"text": Regex("abc$")}) == [6]
    assert ids(items, {"text": {"$regex": r"^[\w ]+$"}}) == [6, 7]
    assert ids(items, {"z": {"$exists": Decimal128("0")}}) == [1, 2, 3, 5, 6, 7]
    assert ids(items, {"$expr": "$z"}) == []


def aggregate(items, *stages):
    return list(items.aggregate(list(stages)))


def test_pipelines_answer_what_the_server_answers(items):
    items.insert_many([{"_id": {"x": 1, "y": 2}, "a": [{"b": 1}, {"b": 2}], "n": 0.1, "z": Decimal128("0")} for _ in range(1)])
    assert aggregate(items, {"$unwind": "$a.b"}) == []
    assert aggregate(items, {"$project": {"_id.x": 1}}) == [{"_id": {"x": 1}}]
    assert aggregate(items, {"$project": {"_id.x": 0, "a": 0, "n": 0, "z": 0}}) == [{"_id": {"y": 2}}]
    assert aggregate(items, {"$unset": ["_id.x", "a", "n", "z"]}) == [{"_id": {"y": 2}}]
    tenths = [{"$replaceWith": {"t": [0.1] * 100}}, {"$unwind": "$t"}, {"$group": {"_id": None, "s": {"$sum": "$t"}, "a": {"$avg": "$t"}}}]
    assert aggregate(items, *tenths) == [{"_id": None, "s": 10.0, "a": 0.1}]
    computed = {"c": {"$cond": [True, "$missing", 1]}, "i": {"$ifNull": ["$missing", "$gone"]}}
    assert aggregate(items, {"$project": {"_id": 0, **computed}}) == [{}]
    big = {"$add": [Int64(2**63 - 1), 1]}
    assert aggregate(items, {"$project": {"_id": 0, "v": big}}) == [{"v": 2.0**63}]
    truth = {"and": {"$and": ["$z"]}, "or": {"$or": ["$z"]}, "not": {"$not": ["$z"]}, "if": {"$cond": ["$z", 1, 2]}}
    assert aggregate(items, {"$project": {"_id": 0, **truth}}) == [{"and": False, "or": False, "not": True, "if": 2}]
    assert aggregate(items, {"$project": {"_id": 0, "v": {"$subtract": [-0.0, 0]}}})[0]["v"].hex() == (-0.0).hex()
    with pytest.raises(OperationFailure, match="dates"):
        aggregate(items, {"$project": {"v": {"$add": [datetime.datetime(2026, 1, 1), 5]}}})


def test_statistics_of_a_collection_feed_later_stages(items):
    items.insert_many({"_id": n} for n in range(10))
    [counted] = aggregate(items, {"$collStats": {"count": {}}}, {"$project": {"_id": 0, "n": "$count"}})
    assert counted == {"n": 10}
    [found] = aggregate(items, {"$collStats": {"storageStats": {"scale": 10}}})
    assert found["storageStats"]["scaleFactor"] == 10 and "count" not in found
    assert found["storageStats"]["size"] == items.database.command("collStats", "items")["size"] // 10


def test_what_tools_look_at_is_there(world, items):
    items.insert_one({"_id": 1})
    client = items.database.client
    assert {"admin", "config", "local"} <= set(client.list_database_names())
    assert "dropped" not in client["never-made"].command("dropDatabase")
    status = client.admin.command("serverStatus")
    assert status["opcounters"]["insert"] > 0 and status["connections"]["current"] > 0
    assert status["network"]["bytesIn"] > 0 and "mem" in status
    assert items.database.command("collStats", "items")["totalIndexSize"] > 0
    oplog = client.local.command("collStats", "oplog.rs")
    assert 0 < oplog["maxSize"] < 2**40


def test_a_collection_can_be_read_in_parts(items):
    items.insert_many({"_id": n} for n in range(100))
    items.delete_many({"_id": {"$gte": 30, "$lt": 40}})
    last = items.database.command("collStats", items.name)["tidemark"]["lastRecord"]

    def read(after, through, **more):
        part = {"after": after, "through": through}
        reply = items.database.command("find", items.name, tidemarkRecords=part, batchSize=1_000, **more)
        return [found["_id"] for found in reply["cursor"]["firstBatch"]]

    borders = [0, 1, last // 3, last // 2, last, 2**63 - 1]
    parts = [read(after, through) for after, through in zip(borders, borders[1:])]
    assert sum(parts, []) == [*range(30), *range(40, 100)] and parts[-1] == []
    assert read(0, last // 2, hint={"$natural": -1}) == sum(parts[:3], [])[::-1]
    assert read(0, last, filter={"_id": {"$lt": 3}}) == [0, 1, 2]
    assert code_of(lambda: read(0, 5, sort={"_id": 1})) == 9
    assert code_of(lambda: read(-1, 5)) == 9 and code_of(lambda: read("a", 5)) == 9


def test_distinct_values_come_in_order_where_an_index_has_them(items):
    items.insert_many([{"a": 3}, {"a": 1}, {"a": 2}, {"a": 1}])
    assert items.distinct("a") == [3, 1, 2]
    items.create_index("a")
    assert items.distinct("a") == [1, 2, 3]


def test_old_binary_data_sorts_by_its_whole_length(items):
    values = [Binary(b"aaaa", 2), Binary(b"aaaaaaaa", 0), Binary(b"a", 0), Binary(b"aaaaa", 0)]
    items.insert_many({"v": value} for value in values)
    assert [bytes(found["v"]) for found in items.find().sort("v", 1)] == [b"a", b"aaaaa", b"aaaaaaaa", b"aaaa"]


def test_lists_of_collections_and_indexes_come_in_batches(world):
    database = world.client().batches
    for n in range(30):
        database.create_collection(f"c{n}", validator={"text": {"$ne": "x" * 1_000_000}})
    # More than one answer holds.
    assert len(list(database.list_collections())) == 30
    reply = database.command("listCollections", cursor={"batchSize": 7})
    assert len(reply["cursor"]["firstBatch"]) == 7 and reply["cursor"]["id"] != 0
    database.c0.create_index("a")
    reply = database.command("listIndexes", "c0", cursor={"batchSize": 1})
    assert len(reply["cursor"]["firstBatch"]) == 1 and reply["cursor"]["id"] != 0
    world.client().drop_database("batches")


def test_lists_of_fifty_thousand_collections_and_large_validators_lose_nothing(world):
    database = world.client().crowd
    # 420 bytes each: 21 MB of validators, more than an answer holds.
    validator = {"text": {"$ne": "x" * 400}}
    names = {f"c{n:05}" for n in range(50_000)}
    waiting = sorted(names)
    while waiting:
        batch, waiting = waiting[:1_000], waiting[1_000:]
        operations = [
            {"op": "c", "ns": "crowd.$cmd", "o": {"create": name, "validator": validator}} for name in batch
        ]
        world.client().admin.command("applyOps", operations)
    listed = list(database.list_collections())
    assert len(listed) == len(names) and {one["name"] for one in listed} == names
    assert all(one["options"]["validator"] == validator for one in listed)
    assert set(database.list_collection_names()) == names
    # The largest filters that an index takes: 60 of 300 kB are 18 MB of specifications.
    indexes = {f"i{n}" for n in range(60)}
    for name in indexes:
        partial = {"text": {"$gt": name + "x" * 300_000}}
        database.c00000.create_index([(name, 1)], name=name, partialFilterExpression=partial)
    listed = list(database.c00000.list_indexes())
    assert {one["name"] for one in listed} == indexes | {"_id_"}
    world.client().drop_database("crowd")


def test_a_list_of_entries_with_commands_happens_as_a_whole_or_not_at_all(world):
    admin, database = world.client().admin, world.client().whole
    database.staged.insert_one({"_id": "staged"})
    database.old.insert_one({"_id": "old"})
    database.create_collection("records")
    database.create_collection("marker")
    entries = [
        {"op": "c", "ns": "whole.$cmd", "o": {"renameCollection": "whole.staged", "to": "whole.old", "dropTarget": True}},
        {"op": "i", "ns": "whole.records", "o": {"_id": "swapped"}},
        {"op": "c", "ns": "whole.$cmd", "o": {"drop": "marker"}},
    ]
    missing = {"op": "c", "ns": "whole.$cmd", "o": {"renameCollection": "whole.missing", "to": "whole.other"}}
    assert code_of(lambda: admin.command("applyOps", [*entries, missing])) == 26
    assert set(database.list_collection_names()) == {"staged", "old", "records", "marker"}
    assert database.old.find_one() == {"_id": "old"} and database.records.find_one() is None
    admin.command("applyOps", entries)
    assert set(database.list_collection_names()) == {"old", "records"}
    assert database.old.find_one() == {"_id": "staged"} and database.records.find_one() == {"_id": "swapped"}
    # A change to a collection that a command makes sees what the command did.
    entries = [
        {"op": "c", "ns": "whole.$cmd", "o": {"create": "made"}},
        {"op": "i", "ns": "whole.made", "o": {"_id": 1}},
        {"op": "c", "ns": "whole.$cmd", "o": {"createIndexes": "made", "v": 2, "key": {"a": 1}, "name": "a_1"}},
    ]
    admin.command("applyOps", entries)
    assert set(database.made.index_information()) == {"_id_", "a_1"} and database.made.count_documents({}) == 1
    world.client().drop_database("whole")


def test_a_unique_index_over_duplicates_is_refused_and_leaves_nothing(items):
    items.insert_many({"a": n % 7} for n in range(50))
    with pytest.raises((DuplicateKeyError, OperationFailure)):
        items.create_index("a", unique=True)
    assert list(items.index_information()) == ["_id_"]
    items.delete_many({"a": {"$gt": 0}})
    assert items.count_documents({"a": 0}) == 8
