"""A disk without space: nothing acknowledged is lost, the server says so, and goes on by itself."""

import os
import subprocess
import urllib.error
import urllib.request

import pymongo
import pytest
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from world import until


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 192 MiB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", tmp_path], capture_output=True, text=True)
    if mounted.returncode != 0:
        assert not os.environ.get("CI"), f"no file system could be mounted: {mounted.stderr}"
        pytest.skip(f"no file system could be mounted: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def readiness(world):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{world.server_port}/readyz", timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_full_disk_is_said_and_survived(fresh, small_disk):
    world = fresh()
    world.data = small_disk / "data"
    world.start()
    world.create_instance()
    world.create_user()
    items = pymongo.MongoClient(world.uri(), retryWrites=False).full.items
    items.insert_one({"_id": "first"})
    filler = small_disk / "filler"
    with open(filler, "wb") as file:
        free = os.statvfs(small_disk).f_bavail * 4096
        file.write(b"x" * max(0, free - 24 * 1024 * 1024))
    acknowledged, failure = [], None
    for n in range(4_000):
        try:
            items.insert_one({"_id": n, "text": os.urandom(10_000)})
            acknowledged.append(n)
        except PyMongoError as error:
            failure = error
            break
    assert isinstance(failure, (OperationFailure, BulkWriteError)) and failure.code == 14031, failure
    assert acknowledged, "nothing was written before the disk was full"
    assert readiness(world) == 503
    assert items.count_documents({}) == len(acknowledged) + 1, "reads go on"
    filler.unlink()

    def writes_again():
        try:
            return items.insert_one({"_id": "again"})
        except OperationFailure:
            return None

    until(writes_again, "the instance to write again")
    # The capture tries again by itself, a moment later than the instance.
    until(lambda: readiness(world) == 200, "the server to be ready again")
    world.kill()
    world.start()
    found = {document["_id"] for document in world.client().full.items.find({}, {"_id": 1})}
    assert found >= {"first", "again", *acknowledged}


def test_a_snapshot_that_a_full_disk_stops_comes_to_an_end(fresh, small_disk):
    world = fresh()
    world.data = small_disk / "data"
    world.start()
    world.create_instance()
    world.create_user()
    client = pymongo.MongoClient(world.uri(), retryWrites=False)
    client.full.items.insert_many({"_id": n, "text": os.urandom(10_000)} for n in range(2_500))
    filler = small_disk / "filler"
    with open(filler, "wb") as file:
        free = os.statvfs(small_disk).f_bavail * 4096
        file.write(b"x" * max(0, free - 6 * 1024 * 1024))
    posted = until(lambda: post_snapshot(world, filler), "a place for a snapshot")
    own = f"/api/tidemark/v1/groups/{world.group}/instances/one/snapshots/{posted['id']}"

    def is_stopped():
        # Either its failure is recorded, or the server says that it cannot be.
        _, found, _ = world.raw("GET", own)
        return found["state"] == "failed" or (found["state"] != "completed" and readiness(world) == 503)

    until(is_stopped, "the full disk to be said")
    filler.unlink()

    def is_over():
        _, found, _ = world.raw("GET", own)
        return found if found["state"] in ("failed", "completed") else None

    found = until(is_over, "the snapshot to come to an end without a restart")
    assert found["state"] == "completed" or found["reason"], found
    until(lambda: readiness(world) == 200, "the server to be ready again")
    world.snapshot()


def post_snapshot(world, filler):
    """The snapshot that was asked for; nothing, and a little more room, if not even its record had a place.

    What the instance and the capture had still to write may have taken all that was left."""
    status, body, _ = world.raw("POST", f"/api/atlas/v2{world.instance_path()}/backup/snapshots", {})
    if status == 200:
        return body
    assert status == 503, body
    os.truncate(filler, max(0, filler.stat().st_size - 1024 * 1024))
    return None
