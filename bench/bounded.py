"""An instance at real size inside a memory limit: load, index, snapshot, restore, update, delete.

Every line shows the time, the peak and the present anonymous memory of the whole process, and the
disk of the instance as a multiple of its documents' bytes. With `--limit-megabytes N` the server runs
in a control group with that limit (version 1 or 2, as root). With `--check` the bounds that
docs/benchmarks.md promises are asserted. With `--hold-seconds N` a snapshot read is held for so long
while documents are changed at 20 MB/s; it must go on or be told that its moment is too old.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import threading
import time

import pymongo
from pymongo.errors import OperationFailure

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import world as tests_world  # noqa: E402

PEAK_MEGABYTES, QUIET_MEGABYTES, IDLE_MEGABYTES, DISK_TIMES = 512, 256, 64, 3.0
HELD_MEGABYTES_PER_SECOND = 20


class Group:
    """A control group that limits memory, page cache included; the kernel takes that back."""

    def __init__(self, megabytes):
        old, new = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        self.folder = (old if old.is_dir() else new) / f"tidemark-bench-{os.getpid()}"
        self.folder.mkdir()
        limit = "memory.limit_in_bytes" if old.is_dir() else "memory.max"
        (self.folder / limit).write_text(str(megabytes * 1024 * 1024))

    def take(self, pid):
        (self.folder / "cgroup.procs").write_text(str(pid))

    def close(self):
        self.folder.rmdir()


class Watch:
    def __init__(self, world):
        self.world, self.peak, self.is_over = world, 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def anonymous(self):
        for line in open(f"/proc/{self.world.process.pid}/status"):
            if line.startswith("RssAnon"):
                return int(line.split()[1]) // 1024

    def run(self):
        while not self.is_over:
            try:
                self.peak = max(self.peak, self.anonymous() or 0)
            except FileNotFoundError:
                return
            time.sleep(0.05)

    def take_peak(self):
        peak, self.peak = self.peak, self.anonymous()
        return peak


def disk_megabytes(folder):
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.failures = []
        tests_world.BINARY = TOP / "target" / "release" / "tidemark"
        tests_world.PATIENCE_SECONDS = 3_600
        self.world = tests_world.World(log_filter="warn")

    def run(self):
        arguments, world = self.arguments, self.world
        world.start()
        group = Group(arguments.limit_megabytes) if arguments.limit_megabytes else None
        if group:
            group.take(world.process.pid)
        self.watch = Watch(world)
        world.create_instance()
        world.create_user()
        self.megabytes = 0
        print("| what | seconds | peak memory | memory | disk of the instance | times the documents |\n|---|---|---|---|---|---|")
        self.idle()
        self.items = world.client().bench.items
        self.step("load, with a snapshot beside it", self.load)
        self.megabytes = self.items.database.command("collStats", "items")["size"] / 1e6
        self.step("index", lambda: self.items.create_index("k"))
        self.step("second index", lambda: self.items.create_index([("s", 1), ("_id", -1)]))
        self.quiet()
        self.step("snapshot", lambda: setattr(self, "snapshot", world.snapshot()["id"]))
        self.step("sort everything", lambda: sum(1 for _ in self.items.find({}, {"k": 1}).sort("k", 1)))
        self.step("group by a different value each", lambda: list(self.items.aggregate([{"$group": {"_id": "$k"}}, {"$count": "n"}])))
        self.step("restore", lambda: world.wait_restored(world.restore("automated", snapshotId=self.snapshot)))
        self.quiet()
        # The indexes of a restored collection are whole after everything that was dropped is purged.
        for number in range(0, self.arguments.documents, max(1, self.arguments.documents // 500)):
            assert self.items.find_one({"_id": number})["_id"] == number
        assert self.items.count_documents({"k": {"$gte": 0}}, hint="k_1") == self.arguments.documents
        if self.arguments.hold_seconds:
            self.step("a snapshot read held", self.hold)
            self.quiet(disk=False)
        self.step("update everything", lambda: self.items.update_many({}, {"$inc": {"s": 1}}))
        self.quiet()
        self.step("delete everything", lambda: self.items.delete_many({}))
        self.quiet(disk=False)
        world.stop()
        if group:
            group.close()

    def load(self):
        arguments, generator = self.arguments, random.Random(3)
        size = arguments.document_bytes

        def batch(first):
            for number in range(first, min(first + 5_000, arguments.documents)):
                text = generator.randbytes(size // 4).hex() + "harbour " * (size // 16)
                yield {"_id": number, "k": generator.getrandbits(40), "s": number % 1_000, "text": text[:size]}

        beside = threading.Thread(target=self.world.snapshot)
        for first in range(0, arguments.documents, 5_000):
            self.items.insert_many(batch(first), ordered=False)
            if first >= arguments.documents // 2 and not beside.ident:
                beside.start()
        beside.join()

    def idle(self):
        """Ten instances that nobody uses."""
        names = [f"idle{number}" for number in range(9)]
        for name in names:
            self.world.create_instance(name)
        self.watch.take_peak()
        memory, _ = self.step("ten idle instances", lambda: time.sleep(10))
        if memory >= IDLE_MEGABYTES:
            self.failures.append(f"{memory} MiB of memory with ten idle instances")
        for name in names:
            self.world.call("DELETE", self.world.instance_path(name))

    def hold(self):
        """One client reads in a snapshot while another changes documents all over the collection."""
        arguments, generator, client = self.arguments, random.Random(5), self.world.client()
        items, outcome = client.bench.items, "readable to the end"
        began, written, read = time.monotonic(), 0, 0
        with client.start_session(snapshot=True) as session:
            before = {row["_id"]: row["s"] for row in items.find({"_id": {"$lt": 100}}, session=session)}
            while (passed := time.monotonic() - began) < arguments.hold_seconds:
                if written > passed * HELD_MEGABYTES_PER_SECOND * 1e6:
                    time.sleep(0.01)
                    continue
                ids = [generator.randrange(arguments.documents) for _ in range(500)] + [generator.randrange(100)]
                changes = [pymongo.UpdateOne({"_id": number}, {"$inc": {"s": 1}}) for number in ids]
                written += len(changes) * arguments.document_bytes
                items.bulk_write(changes, ordered=False)
                if passed < (read + 1) * 10:
                    continue
                read += 1
                try:
                    now = {row["_id"]: row["s"] for row in items.find({"_id": {"$lt": 100}}, session=session)}
                except OperationFailure as error:
                    assert error.code == 239, error
                    outcome = f"too old after {passed:.0f} s"
                    break
                assert now == before
        print(f"(held: {written / 1e6:.0f} MB of documents changed, {outcome})", flush=True)

    def step(self, what, action):
        began = time.monotonic()
        action()
        return self.report(what, time.monotonic() - began)

    def quiet(self, disk=True):
        time.sleep(self.arguments.quiet_seconds)
        memory, times = self.report("a minute of quiet", self.arguments.quiet_seconds)
        if memory >= QUIET_MEGABYTES:
            self.failures.append(f"{memory} MiB of memory after a minute of quiet")
        if disk and times > DISK_TIMES:
            self.failures.append(f"{times:.2f} times the documents on disk")

    def report(self, what, seconds):
        peak, memory = self.watch.take_peak(), self.watch.anonymous()
        disk = disk_megabytes(self.world.data / "instances")
        times = disk / self.megabytes if self.megabytes else 0
        if peak >= PEAK_MEGABYTES:
            self.failures.append(f"{peak} MiB of memory at the peak of: {what}")
        print(f"| {what} | {seconds:.1f} | {peak} MiB | {memory} MiB | {disk:.0f} MB | {times:.2f} |", flush=True)
        return memory, times


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench bounded", description=__doc__)
    parser.add_argument("--documents", type=int, default=2_000_000)
    parser.add_argument("--document-bytes", type=int, default=500)
    parser.add_argument("--limit-megabytes", type=int, default=0)
    parser.add_argument("--quiet-seconds", type=int, default=60)
    parser.add_argument("--hold-seconds", type=int, default=0)
    parser.add_argument("--check", action="store_true")
    bench = Bench(parser.parse_args())
    try:
        bench.run()
    finally:
        bench.world.close()
    print(f"\n{bench.megabytes:.0f} MB of documents.")
    if bench.failures and bench.arguments.check:
        sys.exit("\n".join(["bounds that were not kept:", *bench.failures]))


if __name__ == "__main__":
    main()
