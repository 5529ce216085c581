"""Backups served as databases that can only be read."""

import json
import signal
import subprocess
import time

import bson
import jsonschema
import pymongo
import pytest
from pymongo.errors import OperationFailure, PyMongoError
from test_cli import CONFLICT, NOT_FOUND, UNREACHABLE, USAGE, logged_in
from world import BINARY, TOP, until

ORDERS = [{"_id": n, "item": f"thing {n % 7}", "price": bson.Decimal128("1.10")} for n in range(3_000)]


class Opened:
    """`tidemark snapshots open` while it runs."""

    def __init__(self, shell, *arguments):
        command = [str(BINARY), "snapshots", "open", *map(str, arguments), "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        env=shell.environment)
        lines = iter(self.process.stdout.readline, "")
        text = ""
        for line in lines:
            text += line
            if line == "}\n":
                break
        assert text, self.process.stderr.read()
        self.answer = json.loads(text)

    def client(self):
        return pymongo.MongoClient(self.answer["connectionString"], serverSelectionTimeoutMS=3_000)

    def is_up(self):
        try:
            with self.client() as client:
                return client.admin.command("ping")["ok"] == 1
        except PyMongoError:
            return False

    def end(self):
        # As Ctrl-C does, which shells make their background commands ignore.
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)


def names_of(client):
    """The databases of users."""
    return set(client.list_database_names()) - {"admin", "config", "local"}


@pytest.fixture
def shell(fresh, tmp_path):
    """A shell, its world with an instance `shop`, and a client of that."""
    world = fresh().start()
    shell = logged_in(world, tmp_path)
    world.create_instance("shop")
    world.create_user()
    client = world.client("shop")
    client.shop.orders.insert_many(ORDERS)
    client.shop.orders.create_index("item")
    client.other.things.insert_one({"_id": 1})
    return shell, world, client


def test_a_snapshot_is_read_by_drivers_and_mongodump_while_the_database_goes_on(shell, tmp_path):
    shell, world, client = shell
    snapshot = world.snapshot("shop")["id"]
    client.shop.orders.delete_many({})
    opened = Opened(shell, "shop", snapshot)
    schema = json.loads(shell.run("schema", "snapshots", "open").stdout)
    jsonschema.Draft202012Validator(schema).validate(opened.answer)
    assert opened.answer["leftOut"] == []
    reader = opened.client()
    assert names_of(reader) == {"other", "shop"}
    assert reader.shop.orders.find_one({"_id": 17}) == ORDERS[17]
    grouped = list(reader.shop.orders.aggregate([{"$group": {"_id": "$item", "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}]))
    assert [each["n"] for each in grouped] == [429, 429, 429, 429, 428, 428, 428]
    assert "item_1" in reader.shop.orders.index_information()
    for change in (lambda: reader.shop.orders.insert_one({}), lambda: reader.shop.orders.drop(),
                   lambda: reader.admin.command("shutdown")):
        with pytest.raises(OperationFailure):
            change()
    dump = tmp_path / "dump"
    subprocess.run([TOP / ".clients/bin/mongodump", "--uri", opened.answer["connectionString"], "--out", dump],
                   check=True, capture_output=True, timeout=60)
    dumped = bson.decode_file_iter(open(dump / "shop" / "orders.bson", "rb"))
    assert sorted(dumped, key=lambda document: document["_id"]) == ORDERS
    # The database itself is nowhere near.
    assert client.shop.orders.count_documents({}) == 0
    opened.end()
    until(lambda: not opened.is_up(), "what was opened to be closed")
    until(lambda: not list((world.data / "scratch").glob("*")), "its folder to be removed")


def test_a_moment_is_opened_in_part_under_an_address_of_the_users(shell):
    shell, world, client = shell
    world.snapshot("shop")
    client.shop.orders.update_one({"_id": 5}, {"$set": {"item": "right"}})
    time.sleep(1.1)
    moment = int(time.time())
    time.sleep(1.1)
    client.shop.orders.update_one({"_id": 5}, {"$set": {"item": "wrong"}})
    opened = Opened(shell, "shop", "--at", moment, "--ns", "shop.orders", "--listen", "127.0.0.1:0")
    assert opened.answer["shows"]["oplogTs"] <= moment
    reader = opened.client()
    assert reader.shop.orders.find_one({"_id": 5})["item"] == "right"
    assert reader.shop.orders.count_documents({}) == 3_000 and names_of(reader) == {"shop"}
    # A client that is gone without a word is found out.
    opened.process.kill()
    until(lambda: not list((world.data / "scratch").glob("*")), "what was opened to be closed")


def test_what_cannot_be_opened_is_said_and_places_are_counted(shell):
    shell, world, client = shell
    snapshot = world.snapshot("shop")["id"]
    taken = client.address[1]
    for arguments, code, words in [
        (("0" * 24,), NOT_FOUND, "snapshot"),
        ((), USAGE, "--at"),
        (("--at", "2020-01-01"), CONFLICT, "next:"),
        ((snapshot, "--listen", f"127.0.0.1:{taken}"), USAGE, "--listen"),
        ((snapshot, "--ns", "shop.nothing"), USAGE, "shop.nothing"),
        ((snapshot, "--minutes", "0"), USAGE, "minutes"),
    ]:
        done = shell.run("snapshots", "open", "shop", *arguments, code=code)
        assert words in done.stderr, (arguments, done.stderr)
    several = [Opened(shell, "shop", snapshot) for _ in range(4)]
    assert "at a time" in shell.run("snapshots", "open", "shop", snapshot, code=UNREACHABLE).stderr
    several[0].end()
    until(lambda: len(list((world.data / "scratch").glob("*"))) == 3, "one to be closed")
    several[0] = Opened(shell, "shop", snapshot)
    for opened in several:
        assert opened.is_up()
    # A server that ends closes them, and whoever waits is told.
    world.stop()
    assert all(opened.process.wait(20) != 0 for opened in several)


def test_it_closes_by_itself(shell):
    shell, world, _ = shell
    snapshot = world.snapshot("shop")["id"]
    opened = Opened(shell, "shop", snapshot, "--minutes", "1")
    assert opened.is_up()
    assert opened.process.wait(75) == 0
    assert not opened.is_up() and "the time is over" in opened.process.stderr.read()
