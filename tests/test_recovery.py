"""SIGKILL at any time: nothing acknowledged is lost, no target is left between two states."""

import subprocess
import threading

import pymongo
import pytest

from world import BINARY, PASSWORD, content, until


def prepared(world):
    world.start()
    world.create_instance()
    world.create_user()
    client = world.client()
    client.shop.items.insert_many({"_id": n, "text": str(n) * 40} for n in range(8000))
    client.shop.items.create_index("text")
    client.other.things.insert_one({"_id": 1})
    return client


@pytest.mark.parametrize("step", ["verify", "stage", "replay", "index", "compare", "swap", "after-swap"])
def test_a_restore_that_is_killed_at_any_step_is_finished_after_the_restart(fresh, step):
    world = fresh()
    client = prepared(world)
    restored = content(client)
    both = [content(client, at_one_moment=True)]
    snapshot = world.snapshot()
    client.shop.items.delete_many({"_id": {"$lt": 1000}})
    client.shop.more.insert_one({"_id": "not in the snapshot"})
    both.append(content(client, at_one_moment=True))
    world.stop()
    world.start(crash_at=step)
    job = world.restore("automated", snapshotId=snapshot["id"])
    world.wait_for_crash()
    # Before anybody finishes the job, the target is in one of the two states as a whole.
    world.start(crash_at=step if step not in ("swap", "after-swap") else None)
    if step in ("swap", "after-swap"):
        world.wait_restored(job)
    else:
        world.wait_for_crash()
        world.start()
    assert content(world.client(), at_one_moment=True) in both
    world.wait_restored(job)
    assert content(world.client()) == restored
    assert world.wait_idle()["stateName"] == "IDLE"
    names = world.client().list_database_names()
    assert "tidemark" not in names, "staging collections were left behind"


def test_a_snapshot_that_is_killed_is_taken_after_the_restart(fresh):
    world = fresh()
    client = prepared(world)
    client.shop.big.insert_many({"_id": n, "text": "z" * 1000} for n in range(40000))
    path = world.instance_path() + "/backup/snapshots"
    snapshot = until(lambda: try_post(world, path), "a place for a snapshot")

    def in_progress():
        return world.call("GET", f"{path}/{snapshot['id']}")["status"] in ("inProgress", "completed")

    until(in_progress, "the snapshot to begin")
    world.kill()
    world.start()
    world.wait_snapshot(snapshot["id"])
    before = content(world.client())
    world.client().drop_database("shop")
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(world.client()) == before
    world.stop()
    verify = subprocess.run([BINARY, "vault", "verify", "--data-dir", world.data], capture_output=True, text=True)
    assert verify.returncode == 0, verify.stdout


def try_post(world, path):
    status, body, _ = world.raw("POST", "/api/atlas/v2" + path, {})
    return body if status == 200 else None


def test_acknowledged_writes_survive_sigkill(fresh):
    world = fresh()
    prepared(world)
    uri = world.uri()
    acknowledged = []
    stop = threading.Event()

    def write(worker):
        client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=2000, retryWrites=False)
        number = 0
        while not stop.is_set():
            try:
                client.shop.written.insert_one({"_id": f"{worker}-{number}"})
                acknowledged.append(f"{worker}-{number}")
                number += 1
            except pymongo.errors.PyMongoError:
                return

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for writer in writers:
        writer.start()
    until(lambda: len(acknowledged) > 500, "enough writes")
    world.kill()
    stop.set()
    for writer in writers:
        writer.join()
    world.start()
    client = world.client()
    found = {document["_id"] for document in client.shop.written.find()}
    assert set(acknowledged) <= found
    inserted = client.local["oplog.rs"].count_documents({"op": "i", "ns": "shop.written"})
    assert inserted == len(found), "documents and oplog entries belong together"


def test_the_data_folder_belongs_to_one_process(fresh):
    world = fresh().start()
    command = [BINARY, "serve", "--data-dir", world.data, "--listen", "127.0.0.1:0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert second.returncode != 0 and "another tidemark process" in second.stderr


def test_the_server_stops_on_sigterm_and_keeps_everything(fresh):
    world = fresh()
    client = prepared(world)
    before = content(client)
    token = world.token
    assert world.stop() == 0
    world.start()
    assert content(world.client()) == before
    assert world.token == token and world.call("GET", "/groups")["totalCount"] == 1
    mode = (world.data / "bootstrap.json").stat().st_mode & 0o777
    assert mode == 0o600
    for secret in ("privateKey", "clientSecret"):
        for path in [world.data / "catalog.sqlite", world.data / "catalog.sqlite-wal", world.folder / "server.log"]:
            if path.exists():
                assert world.bootstrap[secret].encode() not in path.read_bytes(), path
    assert PASSWORD.encode() not in (world.data / "catalog.sqlite").read_bytes()
