"""Any one call on the catalog's file fails: what was answered with success is there, the rest is not half there.

A preloaded library lets the n-th call from now on fail with an error of the disk.
"""

import errno
import mmap
import os
import pathlib
import struct
import subprocess

import pytest

from world import until

HERE = pathlib.Path(__file__).resolve().parent
CALLS = 36


class Faults:
    """The numbers of `fail_calls.c`."""

    def __init__(self, path):
        path.write_bytes(struct.pack("<4i", -1, 0, 0, 0))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 16)

    def arm(self, calls, error):
        self.map[4:8] = struct.pack("<i", error)
        self.map[0:4] = struct.pack("<i", calls)

    def disarm(self):
        self.map[0:4] = struct.pack("<i", -1)

    @property
    def calls(self):
        return struct.unpack_from("<i", self.map, 8)[0]

    @property
    def failures(self):
        return struct.unpack_from("<i", self.map, 12)[0]


@pytest.fixture
def faults(tmp_path, monkeypatch):
    library = tmp_path / "fail_calls.so"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, HERE / "fail_calls.c", "-ldl"], check=True)
    control = tmp_path / "control"
    faults = Faults(control)
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAIL_CONTROL", str(control))
    monkeypatch.setenv("FAIL_NAME", "/catalog.sqlite")
    return faults


def change(world, number):
    """One change of each kind; answers the identifiers of what was accepted."""
    path = "/api/atlas/v2" + world.instance_path()
    accepted = {}
    status, body, _ = world.raw("PATCH", path, {"tags": [{"key": "number", "value": str(number)}]})
    assert status == 200 or status >= 500, body
    accepted["tag"] = status == 200
    user = {"username": f"u{number}", "password": "a-password", "databaseName": "admin",
            "roles": [{"roleName": "read", "databaseName": "d"}]}
    status, _, _ = world.raw("POST", f"/api/atlas/v2/groups/{world.group}/databaseUsers", user)
    assert status == 201 or status >= 500, status
    accepted["user"] = status == 201
    status, body, _ = world.raw("POST", path + "/backup/snapshots", {})
    assert status in (200, 409) or status >= 500, (status, body)
    accepted["snapshot"] = body["id"] if status == 200 else None
    return accepted


def check(world, number, accepted):
    found = world.wait_idle()
    tags = [tag["value"] for tag in found.get("tags", [])]
    if accepted["tag"]:
        assert tags == [str(number)], tags
    else:
        assert len(tags) <= 1, tags
    users = world.call("GET", f"/groups/{world.group}/databaseUsers?itemsPerPage=500")["results"]
    names = [user["username"] for user in users]
    assert len(names) == len(set(names)), names
    # An error says that it is not known to have happened, never that it happened by half.
    assert not accepted["user"] or f"u{number}" in names, names
    if accepted["snapshot"]:
        own = f"/api/tidemark/v1/groups/{world.group}/instances/one/snapshots/{accepted['snapshot']}"

        def is_over():
            status, body, _ = world.raw("GET", own)
            assert status == 200, body
            return body if body["state"] in ("completed", "failed") else None

        ended = until(is_over, f"the end of the snapshot of round {number}")
        assert ended["state"] == "completed" or ended["reason"], ended


def test_any_call_on_the_catalog_may_fail(fresh, faults):
    world = fresh().start()
    world.create_instance()
    world.create_user()
    world.client().shop.items.insert_many({"_id": n} for n in range(100))
    first = world.snapshot()
    assert faults.calls > 0
    reached = 0
    for number in range(CALLS):
        before = faults.failures
        faults.arm(number, errno.EIO if number % 2 else errno.ENOSPC)
        accepted = change(world, number)
        until(lambda: faults.failures > before, "the fault to be reached")
        faults.disarm()
        reached += faults.failures - before
        check(world, number, accepted)
    assert reached == CALLS
    until(world.is_ready, "the server to be ready again")
    # What the process knows is what the file says.
    last = accepted
    world.kill()
    world.start()
    check(world, CALLS - 1, last)
    world.wait_restored(world.restore("automated", snapshotId=first["id"]))
    assert world.client().shop.items.count_documents({}) == 100
