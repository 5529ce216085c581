"""What people do with backups, at real size: looking into one, opening it, bringing documents back, a drill.

Fills an instance inside Tidemark with N documents of 500 bytes (two million are 1 GB), takes a snapshot, changes 1 % and takes
another one, and times each command with the peak of the server's anonymous memory and the disk beside it.
`cargo xtask bench looking`; `--documents N` changes the size.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pymongo

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import world as tests_world  # noqa: E402
from bounded import Watch, disk_megabytes  # noqa: E402

BATCH = 10_000


class Bench:
    def __init__(self, documents):
        tests_world.BINARY = TOP / "target" / "release" / "tidemark"
        tests_world.PATIENCE_SECONDS = 3_600
        self.documents = documents
        self.world = tests_world.World().start()
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-bench-"))
        self.environment = {**os.environ, "HOME": str(self.home)}
        self.run("login", "--data-dir", str(self.world.data))
        self.watch = Watch(self.world)

    def run(self, *arguments, code=0):
        done = subprocess.run([tests_world.BINARY, *arguments], capture_output=True, text=True, env=self.environment)
        assert done.returncode == code, (arguments, done.stdout, done.stderr)
        return done

    def line(self, what, began, note=""):
        seconds = time.monotonic() - began
        per_second = self.documents / seconds
        print(f"| {what} | {seconds:.1f} s | {per_second:,.0f} | {self.watch.take_peak()} MiB | "
              f"{disk_megabytes(self.world.data):,.0f} MB | {note} |", flush=True)

    def fill(self):
        world = self.world
        world.create_instance("shop")
        world.create_user()
        orders = world.client("shop").shop.orders
        for first in range(0, self.documents, BATCH):
            last = min(first + BATCH, self.documents)
            orders.insert_many([{"_id": n, "customer": n % 1_000, "text": f"{n:08x}" * 55} for n in range(first, last)], ordered=False)
        return orders

    def measure(self):
        began = time.monotonic()
        orders = self.fill()
        print(f"{self.documents} documents, {self.documents * 500 / 1e6:,.0f} MB, two cores\n")
        print("| what | time | documents a second | peak of the server's memory | disk of all | |\n|---|---|---|---|---|---|")
        self.line("filled", began)
        began = time.monotonic()
        first = json.loads(self.run("snapshots", "create", "shop", "--wait", "--json").stdout)["id"]
        self.line("snapshot", began)
        changed = self.documents // 100
        orders.update_many({"_id": {"$lt": changed}}, {"$set": {"changed": True}})
        second = json.loads(self.run("snapshots", "create", "shop", "--wait", "--json").stdout)["id"]
        self.watch.take_peak()
        began = time.monotonic()
        done = self.run("snapshots", "find", "shop", first, "--ns", "shop.orders", "--where", f'{{"_id": {self.documents // 2}}}')
        self.line("find by _id", began, done.stderr.strip().splitlines()[-1][:80])
        began = time.monotonic()
        self.run("snapshots", "find", "shop", first, "--ns", "shop.orders", "--where", '{"customer": 7}', "--limit", "1000000")
        self.line("find by a field", began)
        began = time.monotonic()
        self.run("snapshots", "diff", "shop", first, second, code=8)
        self.line("diff, 1 % changed", began)
        self.open(first)
        began = time.monotonic()
        orders.delete_many({})
        self.line("all deleted", began)
        began = time.monotonic()
        self.run("restores", "create", "shop", "--snapshot", first, "--documents", "shop.orders", "--yes", "--wait")
        assert orders.estimated_document_count() == self.documents
        self.line("documents brought back", began)
        began = time.monotonic()
        self.run("restores", "create", "shop", "--snapshot", first, "--documents", "shop.orders", "--yes", "--wait")
        self.line("the same again: nothing to do", began)
        began = time.monotonic()
        self.run("drill", "shop")
        self.line("drill", began)

    def open(self, snapshot):
        began = time.monotonic()
        command = [tests_world.BINARY, "snapshots", "open", "shop", snapshot, "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self.environment)
        said = ""
        while not said.rstrip().endswith("}"):
            said += process.stdout.readline()
        uri = json.loads(said)["connectionString"]
        self.line("opened as a database", began)
        began = time.monotonic()
        orders = pymongo.MongoClient(uri).shop.orders
        assert sum(1 for _ in orders.find({}, {"_id": 1})) == self.documents
        self.line("its documents read", began)
        process.terminate()
        process.wait(60)

    def close(self):
        self.watch.is_over = True
        self.world.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2_000_000)
    bench = Bench(parser.parse_args().documents)
    try:
        bench.measure()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
