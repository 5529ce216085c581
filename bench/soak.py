"""Clients write, snapshots are taken, moments are restored, the server is killed and its vault damaged,
all at random; a model checks every acknowledged write and every restored state.

Prints its seed; `--seed N` repeats the same choices (not the same timing). Run by `cargo xtask soak`.
"""

import argparse
import contextlib
import datetime
import pathlib
import random
import sys
import threading
import time

import pymongo
from pymongo.errors import PyMongoError

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import world as tests_world  # noqa: E402
from world import ApiError  # noqa: E402

WRITERS = 3
DOCUMENTS = 60
PAUSE_SECONDS = 0.02
NEVER = (float("inf"), 0)
# What comes of asking for a server or an instance that is not there; one that is not served has no address.
UNREACHABLE = (PyMongoError, ApiError, OSError, AssertionError, KeyError)


class Model:
    """What every document was after each change, by the position of the change in the oplog."""

    def __init__(self):
        self.lock = threading.Lock()
        self.base, self.changes = {}, []

    def note(self, position, key, document):
        with self.lock:
            self.changes.append((position, key, document))

    def state(self, position=None):
        with self.lock:
            state = dict(self.base)
            for at, key, document in sorted(self.changes, key=lambda change: change[0]):
                if position is not None and at > position:
                    break
                if document is None:
                    state.pop(key, None)
                else:
                    state[key] = document
            return state

    def moments(self):
        with self.lock:
            return sorted(at for at, _, _ in self.changes)

    def replace(self, state):
        """Everything was replaced; what was before can be restored from older snapshots only."""
        with self.lock:
            self.base, self.changes = state, []


class Writer(threading.Thread):
    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.name = soak, f"w{number}"
        self.random = random.Random(f"{soak.seed}/{number}")
        self.writes = self.unsure = 0
        self.failure = None

    def run(self):
        try:
            while not self.soak.is_over:
                with self.soak.writing[self.name]:
                    self.write()
                time.sleep(PAUSE_SECONDS)
        except Exception as error:  # noqa: BLE001
            self.failure = error

    def write(self):
        key, value = self.random.randrange(DOCUMENTS), self.random.getrandbits(40)
        document = {"_id": key, "value": value, "text": "x" * self.random.randrange(2_000)}
        if self.random.random() < 0.25:
            document = None
        was_sent = False
        try:
            client = self.soak.client()
            collection = client.soak[self.name]
            before = self.last_position(client, key)
            was_sent = True
            with client.start_session() as session:
                if document is None:
                    done = collection.delete_one({"_id": key}, session=session).deleted_count
                else:
                    collection.replace_one({"_id": key}, document, upsert=True, session=session)
                    done = 1
        except UNREACHABLE:
            if not was_sent:
                return
            self.unsure += 1
            # It happened or not; the oplog knows.
            after, client = self.resolve(key)
            if after is None or after == before:
                return
            done = 1
        self.writes += 1
        if done:
            try:
                position = self.last_position(client, key)
            except (PyMongoError, OSError):
                # The server was killed after the write.
                position, _ = self.resolve(key)
            self.soak.model.note(position, (self.name, key), document)

    def resolve(self, key):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                client = self.soak.client(fresh=True)
                return self.last_position(client, key), client
            except UNREACHABLE:
                time.sleep(0.1)
        raise AssertionError("the instance did not come back")

    def last_position(self, client, key):
        """Where the oplog has the last change of a document."""
        entry = client.local["oplog.rs"].find_one(
            {"ns": f"soak.{self.name}", "$or": [{"o._id": key}, {"o2._id": key}]}, sort=[("$natural", -1)]
        )
        return (entry["ts"].time, entry["ts"].inc) if entry else None


class Soak:
    def __init__(self, arguments):
        self.seed = arguments.seed
        self.random = random.Random(self.seed)
        self.deadline = time.monotonic() + arguments.minutes * 60
        self.world = tests_world.World(log_filter="warn")
        self.model, self.is_over = Model(), False
        self.writing = {f"w{number}": threading.Lock() for number in range(WRITERS)}
        self.clients = threading.local()
        self.starts = 0
        # Moments before this one may have no snapshot that leads to them.
        self.reachable_from = (0, 0)
        self.snapshots = []
        self.counts, self.trail = {}, []

    def client(self, fresh=False):
        if fresh or getattr(self.clients, "start", None) != self.starts:
            self.clients.client = pymongo.MongoClient(
                self.world.uri(), serverSelectionTimeoutMS=3_000, socketTimeoutMS=20_000, retryWrites=False
            )
            self.clients.start = self.starts
        return self.clients.client

    def start_fleet(self):
        """Starts what works beside the server."""

    def choices(self):
        """What may happen, and how often."""
        return [(self.snapshot, 5), (self.restore_snapshot, 4), (self.restore_moment, 5), (self.kill, 3),
                (self.stop, 1), (self.damage, 1), (self.restore_in_place, 1), (self.kill_a_restore, 2)]

    def run(self):
        print(f"seed {self.seed}", flush=True)
        world = self.world
        world.start()
        self.start_fleet()
        for name in ("one", "two"):
            world.create_instance(name)
        world.create_user()
        writers = [Writer(self, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        actions, weights = zip(*self.choices())
        self.snapshot()
        while time.monotonic() < self.deadline:
            action = self.random.choices(actions, weights)[0]
            self.counts[action.__name__] = self.counts.get(action.__name__, 0) + 1
            self.trail.append((datetime.datetime.now(datetime.UTC).isoformat(), action.__name__))
            action()
            for writer in writers:
                assert writer.failure is None, writer.failure
            time.sleep(self.random.random() * 0.5)
        self.is_over = True
        for writer in writers:
            writer.join(180)
            assert writer.failure is None, writer.failure
        self.check("one", self.model.state(), "what was acknowledged at the end")
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        writes, unsure = sum(w.writes for w in writers), sum(w.unsure for w in writers)
        print(f"{writes} writes, {unsure} of them unsure at first; {counts}", flush=True)
        world.close()

    def found(self, name):
        client = pymongo.MongoClient(self.world.uri(name), serverSelectionTimeoutMS=10_000)
        return {(f"w{n}", d["_id"]): d for n in range(WRITERS) for d in client.soak[f"w{n}"].find()}

    def check(self, name, expected, what):
        found = self.found(name)
        missing = sorted(set(expected) - set(found))[:5]
        extra = sorted(set(found) - set(expected))[:5]
        other = [key for key in expected if key in found and found[key] != expected[key]][:5]
        assert found == expected, f"seed {self.seed}: {what}: missing {missing}, extra {extra}, other {other}"

    @contextlib.contextmanager
    def still(self):
        """Nobody writes, and everything that was written is in the model."""
        with contextlib.ExitStack() as stack:
            for lock in self.writing.values():
                stack.enter_context(lock)
            yield

    def restart(self):
        self.world.start(ready=False)
        # One lasts an hour.
        self.world.token = None
        tests_world.until(lambda: self.world.wait_idle("one") and self.world.wait_idle("two"), "the instances")
        self.starts += 1

    def kill(self):
        self.world.kill()
        self.restart()

    def stop(self):
        self.world.stop()
        self.restart()

    def own(self, path):
        status, body, _ = self.world.raw("GET", f"/api/tidemark/v1/groups/{self.world.group}/instances/{path}")
        assert status == 200, body
        return body

    def snapshot(self):
        taken = self.world.snapshot()
        shows = self.own(f"one/snapshots/{taken['id']}")["shows"]
        position = (shows["oplogTs"], shows["oplogInc"])
        with self.still():
            self.snapshots.append((taken["id"], self.model.state(position), False))
        if self.reachable_from == NEVER:
            self.reachable_from = position

    def restore_snapshot(self):
        number = self.random.randrange(len(self.snapshots))
        snapshot, expected, may_fail = self.snapshots[number]
        job = self.world.wait_job(self.world.restore("automated", target="two", snapshotId=snapshot)["id"])
        self.check_job(job, expected, may_fail, f"snapshot {snapshot}")

    def check_job(self, job, expected, may_fail, what):
        if job["failed"]:
            reason = self.own(f"one/restoreJobs/{job['id']}").get("reason")
            assert may_fail, f"seed {self.seed}: {what} could not be restored: {reason}"
            return
        self.check("two", expected, what)

    def restore_moment(self):
        with self.still():
            moments = self.model.moments()
            if not moments:
                return
            moment = self.random.choice(moments)
            expected = self.model.state(moment)
        may_fail = any(may_fail for _, _, may_fail in self.snapshots) or moment < self.reachable_from
        try:
            job = self.world.restore("pointInTime", target="two", oplogTs=moment[0], oplogInc=moment[1])
        except ApiError as error:
            # Before the first snapshot of its span.
            assert error.code == "INVALID_PIT_RESTORE_TIME", error
            return
        self.check_job(self.world.wait_job(job["id"]), expected, may_fail, f"moment {moment}")

    def kill_a_restore(self):
        snapshot, expected, may_fail = self.snapshots[-1]
        job = self.world.restore("automated", target="two", snapshotId=snapshot)
        time.sleep(self.random.random())
        self.kill()
        self.check_job(self.world.wait_job(job["id"]), expected, may_fail, f"snapshot {snapshot}, killed")

    def restore_in_place(self):
        snapshot, expected, may_fail = self.snapshots[-1]
        with self.still():
            before = self.model.state()
            job = self.world.wait_job(self.world.restore("automated", snapshotId=snapshot)["id"])
            if job["failed"]:
                assert may_fail, f"seed {self.seed}: {snapshot} could not be restored in place"
                expected = before
            self.check("one", expected, f"snapshot {snapshot} in place")
            self.model.replace(expected)
            self.reachable_from = NEVER

    def damage(self):
        """One bit of a pack; what was stored before may be lost, what is stored later is whole."""
        packs = sorted((self.world.data / "vault" / "packs").glob("*"))
        packs = [pack for pack in packs if pack.suffix != ".tmp"]
        if not packs:
            return
        pack = self.random.choice(packs)
        data = bytearray(pack.read_bytes())
        data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        pack.write_bytes(data)
        self.snapshots = [(snapshot, state, True) for snapshot, state, _ in self.snapshots]
        self.snapshot()
        snapshot, expected, _ = self.snapshots[-1]
        job = self.world.wait_job(self.world.restore("automated", target="two", snapshotId=snapshot)["id"])
        self.check_job(job, expected, False, f"snapshot {snapshot}, taken after damage")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--binary", type=pathlib.Path, help="another build than the one for tests")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1 << 31)
    if arguments.binary:
        tests_world.BINARY = arguments.binary.resolve()
    soak = Soak(arguments)
    try:
        soak.run()
    except BaseException:
        print(f"seed {arguments.seed}; the data is in {soak.world.folder}", flush=True)
        print("\n".join(" ".join(step) for step in soak.trail[-20:]), flush=True)
        print(soak.world.log_text()[-3_000:], flush=True)
        if soak.world.process and soak.world.process.poll() is None:
            soak.world.kill()
        raise


if __name__ == "__main__":
    main()
