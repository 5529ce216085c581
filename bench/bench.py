"""Snapshot, restore and list, each beside its rival in the same run.

Everything runs on one machine against one instance: first the rival, then Tidemark, again and
again, so that a machine that is busy disturbs both. Prints a table of medians and ratios; with
`--write` it goes into docs/benchmarks.md.
"""

import argparse
import http.client
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests"))
import world as tests_world  # noqa: E402
from bounded import Watch, disk_megabytes  # noqa: E402

TOOLS = TOP / ".clients" / "bin"
MARK = "<!-- figures -->"


def documents(count):
    """Documents of about 500 bytes that compress about as well as real ones."""
    generator = random.Random(7)
    words = [f"w{generator.getrandbits(24):x}" for _ in range(4000)]
    for number in range(count):
        yield {
            "_id": number,
            "name": " ".join(generator.choices(words, k=4)),
            "tags": generator.choices(words, k=6),
            "value": generator.random(),
            "count": generator.randrange(1000),
            "text": " ".join(generator.choices(words, k=40)),
        }


def timed(action):
    """Seconds of wall time, and of processor time of child processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    action()
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tool(*command):
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=3_600)


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def requests_per_second(world, path, threads, seconds):
    """Keep-alive requests from several threads."""
    counts = [0] * threads
    end = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {world.token}", "Accept": "application/vnd.atlas.2023-01-01+json"}

    def ask(worker):
        connection = http.client.HTTPConnection("127.0.0.1", world.server_port)
        while time.monotonic() < end:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            counts[worker] += 1

    workers = [threading.Thread(target=ask, args=(worker,)) for worker in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


class Bench:
    def __init__(self, arguments):
        self.arguments = arguments
        self.rows = []
        tests_world.BINARY = TOP / "target" / "release" / "tidemark"
        self.world = tests_world.World(log_filter="warn")

    def prepare(self):
        self.world.start()
        self.watch = Watch(self.world)
        self.world.create_instance()
        self.world.create_user()
        items = self.world.client().bench.items
        began = time.monotonic()
        items.insert_many(documents(self.arguments.documents))
        items.create_index("count")
        self.bytes = self.world.client().bench.command("collStats", "items")["size"]
        self.megabytes = self.bytes / 1e6
        print(f"{self.arguments.documents} documents, {self.megabytes:.0f} MB, loaded in {time.monotonic() - began:.1f} s")

    def quiet(self):
        """Waits until the server has nothing left to do, so that nobody is measured beside it."""

        def is_idle():
            listed = self.world.call("GET", self.world.instance_path() + "/backup/snapshots?itemsPerPage=5")
            return all(snapshot["status"] in ("completed", "failed") for snapshot in listed["results"])

        time.sleep(1)
        tests_world.until(is_idle, "the snapshots that are open")
        time.sleep(4)

    def snapshot(self):
        dumps, firsts, agains = [], [], []
        archive = self.world.folder / "dump.archive.gz"
        vault = self.world.data / "vault"
        items = self.world.client().bench.items
        for attempt in range(self.arguments.runs):
            self.quiet()
            dumps.append(timed(lambda: tool(TOOLS / "mongodump", "--uri", self.world.uri(), "--gzip", f"--archive={archive}", "--db=bench")))
            # Every document changes, so that nothing of the last snapshot can be used again.
            items.update_many({}, {"$set": {"run": f"{attempt}"}})
            self.quiet()
            before = folder_bytes(vault)
            firsts.append(timed(self.world.snapshot)[0])
            stored = folder_bytes(vault) - before
            before = folder_bytes(vault)
            agains.append(timed(self.world.snapshot)[0])
            added = folder_bytes(vault) - before
        dump = statistics.median(wall for wall, _ in dumps)
        first, again = statistics.median(firsts), statistics.median(agains)
        self.row("snapshot of new data", f"{self.megabytes / first:.0f} MB/s", "mongodump --gzip --archive", f"{self.megabytes / dump:.0f} MB/s", f"{dump / first:.1f} times faster")
        self.row("snapshot of unchanged data", f"{self.megabytes / again:.0f} MB/s", "our own first snapshot", f"{self.megabytes / first:.0f} MB/s", f"{first / again:.1f} times faster")
        self.row("stored bytes of new data", f"{stored / 1e6:.1f} MB", "mongodump's archive", f"{archive.stat().st_size / 1e6:.1f} MB", f"{stored / archive.stat().st_size:.2f} of it")
        self.row("stored bytes of unchanged data", f"{added / 1e6:.2f} MB", "our own first snapshot", f"{stored / 1e6:.1f} MB", f"{100 * added / stored:.2f} %")
        self.archive = archive

    def restore(self):
        rivals, ours, spent = [], [], []
        snapshot = self.world.snapshot()["id"]
        for _ in range(self.arguments.runs):
            self.quiet()
            rivals.append(timed(lambda: tool(TOOLS / "mongorestore", "--uri", self.world.uri(), "--gzip", f"--archive={self.archive}", "--drop")))

            self.quiet()

            def restore():
                self.world.wait_restored(self.world.restore("automated", snapshotId=snapshot))

            before = self.processor_seconds()
            ours.append(timed(restore)[0])
            spent.append(self.processor_seconds() - before)
        rival = statistics.median(wall for wall, _ in rivals)
        mine = statistics.median(ours)
        cpu = statistics.median(cpu for _, cpu in rivals)
        self.row(f"restore, verified and compared ({statistics.median(spent):.1f} s of CPU, the database's included)", f"{self.megabytes / mine:.0f} MB/s", f"mongorestore --gzip --drop ({cpu:.1f} s of CPU)", f"{self.megabytes / rival:.0f} MB/s", f"{rival / mine:.1f} times faster")

    def processor_seconds(self):
        fields = open(f"/proc/{self.world.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def listing(self):
        snapshot = self.world.snapshot()["id"]
        self.world.wait_restored(self.world.restore("download", snapshotId=snapshot))
        path = "/api/atlas/v2" + self.world.instance_path() + "/backup/restoreJobs?itemsPerPage=5"
        self.quiet()
        limit = requests_per_second(self.world, "/livez", 4, 3)
        listed = requests_per_second(self.world, path, 4, 3)
        self.row("list restore jobs, 5 on a page, bearer", f"{listed:.0f} /s", "a static answer, same client", f"{limit:.0f} /s", f"{listed / limit:.2f} of it")

    def row(self, *cells):
        """Notes a figure, with the peak of anonymous memory since the last one and the disk now."""
        memory = f"{self.watch.take_peak()} MiB"
        disk = f"{disk_megabytes(self.world.data / 'instances') / self.megabytes:.2f}"
        cells = (*cells, memory, disk)
        self.rows.append(cells)
        print(" | ".join(cells), flush=True)

    def table(self):
        lines = [
            "| what | Tidemark | beside | its figure | ratio | peak memory | disk, times the documents |",
            "|---|---|---|---|---|---|---|",
        ]
        return "\n".join(lines + [f"| {' | '.join(row)} |" for row in self.rows])

    def write(self):
        page = TOP / "docs" / "benchmarks.md"
        head, mark, rest = page.read_text().partition(MARK)
        _, _, tail = rest.partition(MARK)
        about = (
            f"Measured on {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores: one collection of "
            f"{self.arguments.documents} documents, {self.megabytes:.0f} MB, one secondary index; medians of "
            f"{self.arguments.runs} runs."
        )
        page.write_text(f"{head}{mark}\n{about}\n\n{self.table()}\n{MARK}{tail}")


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask bench", description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    bench = Bench(parser.parse_args())
    try:
        bench.prepare()
        bench.snapshot()
        bench.restore()
        bench.listing()
    finally:
        bench.world.close()
    if bench.arguments.write:
        bench.write()


if __name__ == "__main__":
    main()
