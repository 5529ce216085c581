"""Attached deployments: snapshots, restores, replay and snapshots that are made in the vault, each beside
its rival in the same run.

The deployment is a process of its own: our engine as somebody else's server (`tidemark engine` without
its extensions), or FerretDB. Processor time and peak memory are those of the client: of Tidemark on one
side, of mongodump and mongorestore on the other. With `--large-gigabytes N` nothing but a snapshot that
is made in the vault is measured: N GB of documents of which 0.1 % change, and every byte that the
deployment sends is counted by a forwarder between it and Tidemark.
"""

import argparse
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import threading
import time

import bson
import pymongo
from bson.raw_bson import RawBSONDocument

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import test_deployments as servers  # noqa: E402
import world as tests_world  # noqa: E402
from bench import TOOLS, documents, folder_bytes, timed, tool  # noqa: E402
from bounded import Watch  # noqa: E402

MARK = "<!-- deployments -->"
SERVERS = {"engine": "extensions", "ferretdb": "FerretDB on SQLite"}
NAMES = {"engine": "our engine", "ferretdb": "FerretDB 1.24.2 on SQLite"}
CHANGED_SHARE = 1_000


class Forwarder:
    """Passes connections on to a server, and counts the bytes that it sends."""

    def __init__(self, port):
        self.target, self.sent = port, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            for source, sink, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pump, args=(source, sink, counts), daemon=True).start()

    def pump(self, source, sink, counts):
        reading, writing = os.pipe()
        try:
            while moved := os.splice(source.fileno(), writing, 1 << 20):
                if counts:
                    self.sent += moved
                while moved:
                    moved -= os.splice(reading, sink.fileno(), moved)
        except OSError:
            pass
        finally:
            sink.close()
            os.close(reading)
            os.close(writing)


class Bench:
    def __init__(self, arguments):
        self.arguments, self.rows = arguments, []
        tests_world.BINARY = servers.BINARY = TOP / "target" / "release" / "tidemark"
        tests_world.PATIENCE_SECONDS = 7_200

    def attach(self, uri, **settings):
        world = tests_world.World(log_filter="warn", **settings)
        world.start()
        servers.tidemark(world, "attach", "mine", "--uri", uri)
        world.wait_idle("mine")
        return world, Watch(world)

    def snapshots(self, world):
        return world.call("GET", world.instance_path("mine") + "/backup/snapshots")["results"]

    def wait_quiet(self, world):
        done = ("completed", "failed")
        tests_world.until(lambda: all(s["status"] in done for s in self.snapshots(world)), "open snapshots")
        time.sleep(3)

    def processor_seconds(self, world):
        fields = open(f"/proc/{world.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def spent(self, world, action):
        """Seconds of wall time, and of Tidemark's processor time."""
        before = self.processor_seconds(world)
        wall = timed(action)[0]
        return wall, self.processor_seconds(world) - before

    def row(self, *cells):
        self.rows.append(cells)
        print(" | ".join(cells), flush=True)

    def compare(self, server):
        ports = tests_world.Ports()
        name, count = NAMES[server], self.arguments.documents
        with servers.started(SERVERS[server], ports) as uri:
            client = pymongo.MongoClient(uri)
            items = client.bench.items
            for batch in batches(documents(count), 10_000):
                items.insert_many(batch)
            items.create_index("count")
            # The tools know no name of a database in this place.
            size = sum(len(bson.encode(d)) for d in documents(2_000)) / 2_000 * count / 1e6
            print(f"{name}: {count} documents, {size:.0f} MB")
            dump = timed(lambda: tool(TOOLS / "mongodump", "--uri", uri, "--gzip", f"--archive={os.devnull}", "--db=bench"))
            world, watch = self.attach(uri, backup_full_read_interval_hours=0)
            try:
                self.compare_on(server, (world, watch), (client, uri), (size, dump))
                if server == "engine":
                    self.replay((world, watch), (client, uri))
            finally:
                world.close()
        ports.close()

    def compare_on(self, server, followed, deployment, measured):
        (world, watch), (client, uri), (size, dump), name = followed, deployment, measured, NAMES[server]
        folder = world.folder / "dump"
        archive = world.folder / "dump.archive.gz"
        vault = world.data / "vault"
        # The first one begins by itself.
        first = self.spent(world, lambda: tests_world.until(
            lambda: [s for s in self.snapshots(world) if s["status"] == "completed"], "the first snapshot"))
        stored = folder_bytes(vault)
        peak = watch.take_peak()
        self.wait_quiet(world)
        tool(TOOLS / "mongodump", "--uri", uri, "--gzip", f"--archive={archive}", "--db=bench")
        again = self.spent(world, lambda: world.snapshot("mine"))
        self.row(name, "snapshot of new data", f"{size / first[0]:.0f} MB/s, {first[1]:.1f} s of CPU, {peak} MiB",
                 "mongodump --gzip --archive", f"{size / dump[0]:.0f} MB/s, {dump[1]:.1f} s of CPU",
                 f"{dump[0] / first[0]:.1f} times faster")
        self.row(name, "snapshot of unchanged data, read again", f"{size / again[0]:.0f} MB/s, {again[1]:.1f} s of CPU",
                 "our own first snapshot", f"{size / first[0]:.0f} MB/s", f"{first[0] / again[0]:.1f} times faster")
        # The newest hundredth changes.
        client.bench.items.update_many(self.newest(), {"$set": {"changed": True}})
        before = folder_bytes(vault)
        newest = world.snapshot("mine")["id"]
        added = folder_bytes(vault) - before
        self.row(name, "stored bytes, then 1 % changed", f"{stored / 1e6:.0f} MB, {added / 1e6:.1f} MB more",
                 *self.restic(world, client, folder, uri))
        rival = timed(lambda: tool(TOOLS / "mongorestore", "--uri", uri, "--gzip", f"--archive={archive}", "--drop"))
        self.wait_quiet(world)
        watch.take_peak()
        in_place = {} if server == "engine" else {"replaceInPlace": True}
        mine = self.spent(world, lambda: self.restore(world, {"snapshotId": newest, **in_place}))
        self.row(name, "restore, verified and compared", f"{size / mine[0]:.0f} MB/s, {mine[1]:.1f} s of CPU, {watch.take_peak()} MiB",
                 "mongorestore --gzip --drop", f"{size / rival[0]:.0f} MB/s, {rival[1]:.1f} s of CPU",
                 f"{rival[0] / mine[0]:.1f} times faster, {mine[1] / rival[1]:.2f} of its CPU")

    def newest(self):
        return {"_id": {"$gte": self.arguments.documents * 99 // 100}}

    def restore(self, world, body):
        path = f"/api/tidemark/v1/groups/{world.group}/instances/mine/restoreJobs"
        status, job, _ = world.raw("POST", path, body)
        assert status < 300, job
        world.wait_restored(job, "mine")

    def restic(self, world, client, folder, uri):
        """The same data as files of mongodump, before and after the change, in a repository of restic."""
        if subprocess.run(["which", "restic"], capture_output=True).returncode:
            return ("restic", "skipped: restic is not installed (apt-get install restic)", "")
        repository = world.folder / "restic"
        environment = {**os.environ, "RESTIC_PASSWORD": "x", "RESTIC_REPOSITORY": str(repository)}
        run = {"env": environment, "check": True, "capture_output": True}
        subprocess.run(["restic", "init"], **run)
        sizes = []
        # The present state is the changed one; the one before has the change taken back.
        for change in ({"$unset": {"changed": 1}}, {"$set": {"changed": True}}):
            client.bench.items.update_many(self.newest(), change)
            tool(TOOLS / "mongodump", "--uri", uri, f"--out={folder}", "--db=bench")
            subprocess.run(["restic", "backup", str(folder)], **run)
            sizes.append(folder_bytes(repository))
        return ("restic on files of mongodump", f"{sizes[0] / 1e6:.0f} MB, {(sizes[1] - sizes[0]) / 1e6:.1f} MB more", "")

    def replay(self, followed, deployment):
        (world, watch), (client, uri) = followed, deployment
        operations = self.arguments.operations
        client.drop_database("bench")
        client.small.items.insert_many([{"_id": n, "n": 0} for n in range(10_000)])
        base = world.snapshot("mine")["id"]
        folder = world.folder / "small"
        tool(TOOLS / "mongodump", "--uri", uri, f"--out={folder}", "--db=small")
        begin = newest_entry(client)
        generator = random.Random(3)
        for _ in range(operations // 1_000):
            client.small.items.bulk_write([
                pymongo.UpdateOne({"_id": generator.randrange(10_000)}, {"$set": {"n": generator.random()}})
                for _ in range(1_000)
            ], ordered=False)
        end = newest_entry(client)
        entries = client.local["oplog.rs"].find({"ts": {"$gt": begin, "$lte": end}})
        with open(folder / "oplog.bson", "wb") as file:
            count = sum(bool(file.write(bson.encode(entry))) for entry in entries)
        self.wait_quiet(world)
        moment = {"oplogTs": end.time, "oplogInc": end.inc, "snapshotId": base}
        tests_world.until(lambda: servers.restorable_to(world, "mine", end), "the oplog to be captured")
        plain = self.spent(world, lambda: self.restore(world, {"snapshotId": base}))[0]
        world.snapshot("mine")
        mine = self.spent(world, lambda: self.restore(world, moment))
        rival_plain = timed(lambda: tool(TOOLS / "mongorestore", "--uri", uri, "--drop", "--nsInclude=small.*", folder))[0]
        rival = timed(lambda: tool(TOOLS / "mongorestore", "--uri", uri, "--drop", "--oplogReplay", folder))
        own, other = max(mine[0] - plain, 0.001), max(rival[0] - rival_plain, 0.001)
        self.row(NAMES["engine"], f"replay of {count} entries", f"{count / own:.0f} /s ({mine[1]:.1f} s of CPU for the job)",
                 "mongorestore --oplogReplay", f"{count / other:.0f} /s ({rival[1]:.1f} s of CPU)", f"{other / own:.1f} times faster")

    def large(self):
        ports, gigabytes = tests_world.Ports(), self.arguments.large_gigabytes
        with servers.started(SERVERS["engine"], ports) as uri:
            port = int(uri.rsplit(":", 1)[1].split("/")[0])
            forwarder = Forwarder(port)
            through = uri.replace(f":{port}/", f":{forwarder.port}/")
            client = pymongo.MongoClient(uri)
            count = gigabytes * 500_000
            began = time.monotonic()
            load(client.large.items, count)
            print(f"{count} documents of 2 kB, {gigabytes} GB, loaded in {time.monotonic() - began:.0f} s", flush=True)
            world, watch = self.attach(through)
            try:
                self.large_on((world, watch), client, forwarder, count)
            finally:
                world.close()
        ports.close()

    def large_on(self, followed, client, forwarder, count):
        world, watch = followed
        began = time.monotonic()
        tests_world.until(
            lambda: [s for s in self.snapshots(world) if s["status"] == "completed"], "the first snapshot")
        seconds, sent = time.monotonic() - began, forwarder.sent
        size = count * 2_000
        self.row(NAMES["engine"], "first snapshot, read", f"{seconds:.0f} s, {watch.take_peak()} MiB",
                 "sent by the deployment", f"{sent / 1e6:.0f} MB", f"{sent / size:.2f} of its data")
        generator = random.Random(5)
        changed = count // CHANGED_SHARE
        before = forwarder.sent
        begin = newest_entry(client)
        for batch in batches((generator.randrange(count) for _ in range(changed)), 1_000):
            client.large.items.bulk_write([pymongo.UpdateOne({"_id": n}, {"$inc": {"seen": 1}}) for n in batch], ordered=False)
        entries = client.local["oplog.rs"].find({"ts": {"$gt": begin}}, batch_size=10_000)
        oplog = sum(len(bson.encode(entry)) for entry in entries)
        vault = world.data / "vault"
        stored = folder_bytes(vault)
        wall, cpu = self.spent(world, lambda: world.snapshot("mine"))
        sent = forwarder.sent - before
        path = f"/api/tidemark/v1/groups/{world.group}/instances/mine/snapshots/{self.snapshots(world)[0]['id']}"
        found = world.raw("GET", path)[1]
        assert found["mode"] == "synthetic", found
        self.row(NAMES["engine"], f"{changed} documents changed, made in the vault",
                 f"{wall:.1f} s, {cpu:.1f} s of CPU, {watch.take_peak()} MiB, {(folder_bytes(vault) - stored) / 1e6:.0f} MB more stored",
                 "sent by the deployment", f"{sent / 1e6:.1f} MB, of which the oplog's entries {oplog / 1e6:.1f} MB",
                 f"{100 * sent / size:.3f} % of its data")

    def table(self):
        lines = ["| deployment | what | Tidemark | beside | its figure | ratio |", "|---|---|---|---|---|---|"]
        return "\n".join(lines + [f"| {' | '.join(row)} |" for row in self.rows])

    def write(self, place):
        page = TOP / "docs" / "benchmarks.md"
        mark = MARK.replace("deployments", place)
        head, _, rest = page.read_text().partition(mark)
        _, _, tail = rest.partition(mark)
        about = f"Measured on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores that all processes share; one run."
        page.write_text(f"{head}{mark}\n{about}\n\n{self.table()}\n{mark}{tail}")


def newest_entry(client):
    return client.local["oplog.rs"].find_one(sort=[("$natural", pymongo.DESCENDING)], projection=["ts"])["ts"]


def batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def load(items, count):
    """Documents of 2 kB, half of which does not compress; from two threads."""
    def some(first):
        generator = random.Random(first)
        for start in range(first * 5_000, count, 10_000):
            batch = []
            for number in range(start, min(start + 5_000, count)):
                body = {"_id": number, "seen": 0, "noise": generator.randbytes(900), "text": "word " * 208}
                batch.append(RawBSONDocument(bson.encode(body)))
            items.insert_many(batch, ordered=False)

    threads = [threading.Thread(target=some, args=(first,)) for first in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench deployments", description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--servers", nargs="*", choices=list(SERVERS), default=list(SERVERS))
    parser.add_argument("--large-gigabytes", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    if arguments.large_gigabytes:
        bench.large()
    else:
        for server in arguments.servers:
            bench.compare(server)
    if arguments.write:
        bench.write("large deployments" if arguments.large_gigabytes else "deployments")


if __name__ == "__main__":
    main()
