"""A vault in a bucket at real size: what each step costs in requests, seconds and memory.

An S3 server that we did not write (versitygw, `scripts/install-clients s3-servers`) is started beside
the release build, on the same machine: seconds are those of a bucket without a line between. Random
words, 460 bytes a document. Usage: bench/bucket.py [--documents N]
"""

import argparse
import os
import pathlib
import random
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import world as tests_world  # noqa: E402
from bounded import Watch  # noqa: E402
from test_object_stores import CREDENTIALS, S3, requests  # noqa: E402

BATCH = 20_000


def load(collection, count):
    words = [os.urandom(30).hex() for _ in range(5_000)]
    for first in range(0, count, BATCH):
        rows = ({"_id": n, "text": " ".join(random.choices(words, k=7)), "n": n % 97}
                for n in range(first, min(first + BATCH, count)))
        collection.insert_many(rows, ordered=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2_000_000)
    count = parser.parse_args().documents
    tests_world.BINARY = TOP / "target" / "release" / "tidemark"
    tests_world.PATIENCE_SECONDS = 3_600
    with tempfile.TemporaryDirectory(prefix="tidemark-bench-") as folder:
        bucket = S3("versitygw", pathlib.Path(folder)).start()
        world = tests_world.World(vault=bucket.url())
        world.environment = CREDENTIALS
        try:
            world.start()
            measure(world, bucket, count)
        finally:
            world.close()
            bucket.close()


def measure(world, bucket, count):
    world.create_instance()
    world.create_user()
    orders = world.client().shop.orders
    load(orders, count)
    size = world.client().shop.command("collStats", "orders")["size"]
    print(f"{count} documents, {size / 1e6:.0f} MB")
    print("| what | seconds | get | list | put | delete | peak memory |")
    print("|---|---|---|---|---|---|---|")

    def step(name, act):
        before, begun, watch = requests(world), time.monotonic(), Watch(world)
        done = act()
        seconds, after = time.monotonic() - begun, requests(world)
        watch.is_over = True
        watch.thread.join()
        costs = " | ".join(str(after[kind] - before[kind]) for kind in ("get", "list", "put", "delete"))
        print(f"| {name} | {seconds:.1f} | {costs} | {watch.peak} MiB |", flush=True)
        return done

    # What was written while documents were loaded is captured first.
    time.sleep(10)
    first = step("first snapshot", world.snapshot)
    step("a snapshot of what did not change", world.snapshot)
    orders.update_many({"_id": {"$lt": count // 1_000}}, {"$set": {"n": -1}})
    step("a snapshot with 0.1 % changed", world.snapshot)
    step("restore", lambda: world.wait_restored(world.restore("automated", snapshotId=first["id"])))
    step("a minute of quiet", lambda: time.sleep(60))
    stored = sum(file.stat().st_size for file in bucket.buckets.rglob("*") if file.is_file())
    print(f"{stored / 1e6:.0f} MB in the bucket")


if __name__ == "__main__":
    main()
