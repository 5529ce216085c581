"""Looking into backups: documents found, read and compared in the vault, while the database is not asked."""

import json
import time

import bson
import bson.json_util
import pytest
from test_cli import CONFLICT, DENIED, DIFFERS, NOT_FOUND, USAGE, logged_in
from test_deployments import connect, engine, ports, tidemark  # noqa: F401
from world import until


@pytest.fixture(params=["embedded", "attached"])
def source(request, fresh, engine, tmp_path):  # noqa: F811
    """A shell, a world with an instance `shop`, and a client of it."""
    world = fresh().start()
    shell = logged_in(world, tmp_path)
    if request.param == "attached":
        uri, _ = engine()
        tidemark(world, "attach", "shop", "--uri", uri)
        world.wait_idle("shop")
        client = connect(uri)
    else:
        world.create_instance("shop")
        world.create_user()
        client = world.client("shop")
    client.shop.orders.insert_many(
        [{"_id": n, "item": f"thing {n % 7}", "text": bson.ObjectId().__str__() * 20} for n in range(4_000)])
    client.shop.odd.insert_many([{"_id": f"{n}" if n % 2 else n, "n": n} for n in range(300)])
    client.shop.same.insert_one({"_id": 1, "when": bson.Timestamp(1, 2), "price": bson.Decimal128("1.10")})
    return shell, world, client


def test_documents_are_found_and_read_without_the_database(source):
    shell, world, client = source
    snapshot = world.snapshot("shop")["id"]
    expected = client.shop.orders.find_one({"_id": 1234})
    client.drop_database("shop")
    found = shell.json("snapshots", "find", "shop", snapshot, "--ns", "shop.orders", "--where", '{"_id": 1234}')
    assert found["documents"] == [{"_id": {"$numberInt": "1234"}, "item": expected["item"], "text": expected["text"]}]
    summary = found["summary"]
    assert summary["chunksRead"] == 1 < summary["chunks"], summary
    # By anything else everything is read.
    found = shell.json("snapshots", "find", "shop", snapshot, "--ns", "shop.orders",
                       "--where", '{"item": "thing 3", "_id": {"$lt": 100}}', "--limit", "5")
    assert len(found["documents"]) == 5 and found["summary"]["isMore"], found["summary"]
    assert {document["item"] for document in found["documents"]} == {"thing 3"}
    # Each type comes back as it was; a line a document.
    done = shell.run("snapshots", "cat", "shop", snapshot, "--ns", "shop.same", "--id", "1")
    document = bson.json_util.loads(done.stdout)
    assert document == {"_id": 1, "when": bson.Timestamp(1, 2), "price": bson.Decimal128("1.10")}
    assert "1 of 1 chunks" in done.stderr
    # A text that is no JSON is a text, one in quotes too.
    found = shell.json("snapshots", "cat", "shop", snapshot, "--ns", "shop.odd", "--id", '"7"', "--id", "8")
    assert sorted(document["n"]["$numberInt"] for document in found["documents"]) == ["7", "8"]
    done = shell.run("snapshots", "cat", "shop", snapshot, "--ns", "shop.odd", "--id", "nothing", code=NOT_FOUND)
    assert "0 of 1 documents" in done.stderr
    for arguments, code, words in [
        ((snapshot, "--ns", "shop.nothing"), USAGE, "no shop.nothing"),
        ((snapshot, "--ns", "shop.odd", "--where", "{oops"), USAGE, "no Extended JSON"),
        ((snapshot, "--ns", "shop.odd", "--where", '{"a": {"$near": 1}}'), USAGE, "$near"),
        ((snapshot, "--ns", "shop.odd", "--where", '[1]'), USAGE, "object"),
        (("0" * 24, "--ns", "shop.odd"), NOT_FOUND, "snapshot"),
        (("--ns", "shop.odd"), USAGE, "--at"),
        (("--at", "2020-01-01", "--ns", "shop.odd"), CONFLICT, "next:"),
    ]:
        done = shell.run("snapshots", "find", "shop", *arguments, code=code)
        assert words in done.stderr, (arguments, done.stderr)


def test_documents_of_a_moment_are_found(source):
    shell, world, client = source
    world.snapshot("shop")
    client.shop.orders.update_one({"_id": 5}, {"$set": {"item": "the right one"}})
    client.shop.orders.delete_one({"_id": 6})
    time.sleep(1.1)
    moment = int(time.time())
    time.sleep(1.1)
    client.shop.orders.update_one({"_id": 5}, {"$set": {"item": "a wrong one"}})

    def at(moment, *where):
        return shell.json("snapshots", "find", "shop", "--at", str(moment), "--ns", "shop.orders", "--where", *where)

    found = at(moment, '{"_id": {"$in": [5, 6]}}')
    assert [document["item"] for document in found["documents"]] == ["the right one"], found
    assert found["summary"]["shows"]["oplogTs"] <= moment
    assert found["summary"]["chunksRead"] == 1
    later = int(time.time())
    found = until(lambda: at(later, '{"_id": 5}'), "the moment to be captured")
    assert [document["item"] for document in found["documents"]] == ["a wrong one"], found


def test_what_is_different_is_counted_and_shown(source):
    shell, world, client = source
    first = world.snapshot("shop")["id"]
    client.shop.orders.update_one({"_id": 5}, {"$set": {"item": "changed"}})
    client.shop.orders.delete_many({"_id": {"$in": [10, 2_000]}})
    client.shop.orders.insert_many([{"_id": n, "item": "new"} for n in (5_000, 5_001, 5_002)])
    client.shop.odd.delete_one({"_id": "7"})
    client.other.things.insert_one({"_id": 1})
    second = world.snapshot("shop")["id"]
    done = shell.run("snapshots", "diff", "shop", first, second, "--json", code=DIFFERS)
    found = {each["namespace"]: each for each in json.loads(done.stdout)["namespaces"]}
    counts = {name: (each["added"], each["removed"], each["changed"]) for name, each in found.items()}
    assert counts == {"shop.orders": (3, 2, 1), "shop.odd": (0, 1, 0), "shop.same": (0, 0, 0), "other.things": (1, 0, 0)}
    assert found["shop.same"]["chunksRead"] == 0 and found["shop.orders"]["chunksEqual"] > 0
    assert found["other.things"]["isInTo"] and not found["other.things"]["isInFrom"]
    # With documents, of one namespace, the other way round.
    done = shell.run("snapshots", "diff", "shop", second, first, "--ns", "shop.odd", "--documents", "--json", code=DIFFERS)
    answer = json.loads(done.stdout)
    assert [each["namespace"] for each in answer["namespaces"]] == ["shop.odd"]
    [document] = answer["documents"]
    assert document["after"]["_id"] == "7" and "before" not in document
    text = shell.run("snapshots", "diff", "shop", first, second, "--ns", "shop.*", "--documents", code=DIFFERS).stdout
    assert '- shop.odd  {"_id":"7"' in text and "~ shop.orders" in text and "other" not in text, text
    assert "nothing is different" in shell.run("snapshots", "diff", "shop", first, first).stderr
    # Moments are compared as snapshots are.
    now = str(int(time.time()))
    same = shell.json("snapshots", "diff", "shop", second, now)
    assert not any(each["added"] + each["removed"] + each["changed"] for each in same["namespaces"])


def test_who_may_only_read_sees_counts_and_no_documents(source):
    shell, world, client = source
    snapshot = world.snapshot("shop")["id"]
    key = shell.json("keys", "add")
    reader = {"TIDEMARK_SERVER": world.bootstrap["baseUrl"], "TIDEMARK_PROJECT": world.group,
              "TIDEMARK_PUBLIC_KEY": key["publicKey"], "TIDEMARK_PRIVATE_KEY": key["privateKey"]}
    shell.run("snapshots", "diff", "shop", snapshot, snapshot, **reader)
    shell.run("snapshots", "diff", "shop", snapshot, snapshot, "--documents", code=DENIED, **reader)
    shell.run("snapshots", "find", "shop", snapshot, "--ns", "shop.odd", code=DENIED, **reader)


def test_single_documents_and_results_of_queries_come_back_into_a_collection_that_goes_on(source):
    shell, world, client = source
    snapshot = world.snapshot("shop")["id"]
    orders = client.shop.orders
    before = orders.find_one({"_id": 5})
    orders.update_one({"_id": 5}, {"$set": {"item": "spoiled"}})
    orders.delete_many({"_id": {"$in": [6, 7]}})
    orders.insert_one({"_id": 9_999, "item": "made since"})
    count = orders.count_documents({})

    def restore(*arguments, **keywords):
        return shell.run("restores", "create", "shop", "--snapshot", snapshot, "--documents", "shop.orders",
                         *arguments, "--yes", "--wait", **keywords)

    # One that is there and is another: nothing at all is written, unless it is said what to do.
    done = restore("--where", '{"_id": {"$gte": 5, "$lt": 8}}', code=CONFLICT)
    assert "_id 5" in done.stderr and "--on-conflict" in done.stderr, done.stderr
    assert orders.count_documents({}) == count
    plan = shell.json("restores", "plan", "shop", "--snapshot", snapshot, "--documents", "shop.orders",
                      "--id", "5", "--id", "6", "--id", "8", "--on-conflict", "replace")
    assert (plan["documents"], plan["documentsThere"]) == (3, {"equal": 1, "different": 1}) and not plan["obstacles"], plan
    assert orders.find_one({"_id": 5})["item"] == "spoiled"
    restore("--where", '{"_id": {"$gte": 5, "$lt": 8}}', "--on-conflict", "skip")
    assert orders.find_one({"_id": 5})["item"] == "spoiled" and orders.count_documents({}) == count + 2
    restore("--id", "5", "--on-conflict", "replace")
    assert orders.find_one({"_id": 5}) == before
    # What is equal is no conflict; what was made since stays.
    done = restore("--where", '{"_id": {"$lt": 100}}')
    assert "100 documents" in done.stdout, done.stdout
    assert orders.count_documents({}) == 4_001 and orders.find_one({"_id": 9_999})
    # The result of a query, into a collection of its own.
    restore("--where", '{"item": "thing 3"}', "--into", "shop.back")
    assert client.shop.back.count_documents({}) == client.shop.orders.count_documents({"item": "thing 3"}) == 571
    [job, *_] = shell.json("restores", "list", "shop")["results"]
    assert job["documents"] == {"namespace": "shop.orders", "to": "shop.back", "filter": {"item": "thing 3"}, "onConflict": "insert"}


def test_documents_of_a_moment_come_back_and_each_type_as_it_was(source):
    shell, world, client = source
    world.snapshot("shop")
    client.shop.same.insert_one({"_id": bson.Int64(2), "n": float("nan"), "zero": bson.Timestamp(0, 0),
                                 "deep": [{"a": bson.Regex("^a", "i")}, bson.MinKey(), b"\x00"]})
    whole = list(client.shop.same.find({}, sort=[("_id", 1)]).sort("_id", 1))
    raw = [bson.encode(document) for document in whole]
    time.sleep(1.1)
    moment = int(time.time())
    time.sleep(1.1)
    client.shop.same.drop()
    shell.run("restores", "create", "shop", "--to", str(moment), "--documents", "shop.same", "--yes", "--wait")
    assert [bson.encode(document) for document in client.shop.same.find({}).sort("_id", 1)] == raw


def test_documents_that_cannot_be_restored_are_refused_before_anything_is_done(source):
    shell, world, client = source
    snapshot = world.snapshot("shop")["id"]
    create = ("restores", "create", "shop", "--snapshot", snapshot, "--yes")
    for arguments, code, words in [
        (("--documents", "shop.orders", "--where", '{"a": {"$near": 1}}'), USAGE, "$near"),
        (("--documents", "shop.orders", "--where", "[1]"), USAGE, "object"),
        (("--documents", "shop.nothing"), USAGE, "no shop.nothing"),
        (("--documents", "shop.*"), USAGE, "shop.*"),
        (("--documents", "shop.orders", "--into", "admin.orders"), USAGE, "admin.orders"),
        (("--documents", "shop.orders", "--namespace", "shop.orders"), USAGE, "cannot be used with"),
        (("--documents", "shop.orders", "--on-conflict", "merge"), USAGE, "merge"),
        (("--where", "{}"), USAGE, "--documents"),
    ]:
        done = shell.run(*create, *arguments, code=code)
        assert words in done.stderr, (arguments, done.stderr)
    # Of the API as well: nothing is taken that would be understood as something else.
    path = f"/api/tidemark/v1/groups/{world.group}/instances/shop/restoreJobs"
    body = {"snapshotId": snapshot, "documents": {"namespace": "shop.orders", "filter": {}}}
    for more, words in [({"namespaces": [{"from": "shop.a"}]}, "no namespaces"), ({"deliveryType": "download"}, "no download")]:
        status, answer, _ = world.raw("POST", path, {**body, **more})
        assert status == 400 and words in answer["detail"], answer
    assert shell.json("restores", "list", "shop")["totalCount"] == 0


def test_a_killed_server_goes_on_with_the_documents_that_are_missing(fresh, tmp_path):
    world = fresh().start()
    shell = logged_in(world, tmp_path)
    world.create_instance("shop")
    world.create_user()
    client = world.client("shop")
    client.shop.orders.insert_many([{"_id": n, "text": f"{n} " * 40} for n in range(60_000)])
    snapshot = world.snapshot("shop")["id"]
    client.shop.orders.drop()
    job = shell.json("restores", "create", "shop", "--snapshot", snapshot, "--documents", "shop.orders", "--yes")
    until(lambda: client.shop.orders.estimated_document_count() > 0, "documents to be written")
    world.kill()
    world.start()
    done = shell.run("restores", "watch", "shop", job["id"])
    assert "60,000 documents" in done.stdout, done.stdout
    client = world.client("shop")
    assert client.shop.orders.count_documents({}) == 60_000
    assert all(document["text"] == f"{document['_id']} " * 40 for document in client.shop.orders.find({}))
