"""The power is cut at any sync: what was acknowledged is there, and what is there is whole.

The server's writes to an instance's file are recorded by a preloaded library. An image is what a disk
may hold at a cut: all that was synced, and of the writes since then a part, chosen at random.
"""

import os
import pathlib
import random
import struct
import subprocess

import pytest

from world import until

HERE = pathlib.Path(__file__).resolve().parent
IMAGES = 80


def build(folder):
    library = folder / "record_writes.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "record_writes.c", "-ldl"], check=True)
    return library


def records(path):
    """Kind, offset, bytes and the position in the log after each record."""
    log = path.read_bytes()
    at = 0
    while at + 17 <= len(log):
        kind, offset, length = struct.unpack_from("<cqq", log, at)
        if at + 17 + length > len(log):
            return
        yield kind, offset, log[at + 17 : at + 17 + length], at + 17 + length
        at += 17 + length


def image(path, cut, chance):
    """The file as the disk may hold it when the power goes after the record that ends at `cut`."""
    disk, waiting = bytearray(), []

    def put(offset, data):
        if len(disk) < offset + len(data):
            disk.extend(bytes(offset + len(data) - len(disk)))
        disk[offset : offset + len(data)] = data

    for kind, offset, data, end in records(path):
        if end > cut:
            break
        if kind == b"w":
            waiting.append((offset, data))
        elif kind == b"d":
            # On disk when it returned; those before it need not be.
            put(offset, data)
            waiting = [(at, old) for at, old in waiting if at != offset]
        else:
            for at, old in waiting:
                put(at, old)
            waiting = []
    for at, old in waiting:
        if chance.random() < 0.5:
            # A page reaches the disk, or a part of it does not.
            pages = [(at + n, old[n : n + 4096]) for n in range(0, len(old), 4096)]
            for place, page in pages:
                if chance.random() < 0.7:
                    put(place, page)
    return bytes(disk)


def test_a_power_cut_loses_nothing_that_was_acknowledged(fresh, tmp_path, monkeypatch):
    log = tmp_path / "writes.log"
    monkeypatch.setenv("LD_PRELOAD", str(build(tmp_path)))
    monkeypatch.setenv("RECORD_TO", str(log))
    monkeypatch.setenv("RECORD_NAME", "/data.mdb")
    world = fresh(backup_snapshot_interval_minutes=100_000).start()
    world.create_instance()
    world.create_user()
    until(lambda: log.exists() and log.stat().st_size > 0, "the first recorded write")
    items = world.client().power.items
    items.create_index("k")
    chance = random.Random(20261125)
    acknowledged = []
    for n in range(150):
        items.insert_one({"_id": n, "k": chance.random(), "text": "x" * chance.choice([10, 500, 9_000])})
        if n >= 10 and n % 5 == 0:
            items.update_one({"_id": n - 10}, {"$set": {"changed": n}})
        acknowledged.append((log.stat().st_size, n))
    world.kill()
    monkeypatch.delenv("LD_PRELOAD")
    syncs = [end for kind, _, _, end in records(log) if kind in (b"s", b"d")]
    first = acknowledged[0][0]
    cuts = [end for end in syncs if end >= first]
    assert len(cuts) > 200, "the commits were not recorded"
    [folder] = (world.data / "instances").iterdir()
    for cut in chance.sample(cuts, IMAGES):
        (folder / "data.mdb").write_bytes(image(log, cut, chance))
        (folder / "lock.mdb").unlink(missing_ok=True)
        world.start()
        client = world.client()
        found = {document["_id"]: document for document in client.power.items.find().sort("_id", 1)}
        expected = [n for end, n in acknowledged if end <= cut]
        assert set(expected) <= set(found), f"cut at {cut}: {max(expected)} was acknowledged, {len(found)} are there"
        assert list(found) == list(range(len(found))), "a later write is there and an earlier one is not"
        for n in expected:
            if n >= 10 and n % 5 == 0:
                assert found[n - 10]["changed"] == n
        by_index = list(client.power.items.find({"k": {"$gte": 0}}).hint("k_1"))
        assert len(by_index) == len(found), "the index has other entries than the collection"
        inserted = client.local["oplog.rs"].count_documents({"op": "i", "ns": "power.items"})
        assert inserted == len(found), "the oplog tells of other documents"
        client.close()
        world.kill()
