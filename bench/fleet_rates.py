"""What looking after 10,000 instances with 2,000,000 snapshots and 1,000,000 restore jobs costs: the processor time of
workers with nothing to do but look, of PostgreSQL beside them, and the answers of lists; with 1, 2 and 4 workers.

    scripts/with-postgres .clients/python/bin/python bench/fleet_rates.py

`--instances N` changes the size (200 snapshots and 100 jobs of each). Figures are of one run, side by side.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests"))
import fleet as fleets  # noqa: E402
import world as worlds  # noqa: E402

FILL = """
INSERT INTO instances (id, project_id, name, family, state, settings, created_at, changed_at, number, serverless_number,
                       backing, snapshot_count, restore_job_count)
SELECT 'a' || lpad(to_hex(n), 23, '0'), '{project}', 'i' || n, 'serverless', 'IDLE', settings, {now}, {now}, n + 1, n + 1,
       'attached', {snapshots}, {jobs}
FROM generate_series(1, {instances}) n, (SELECT settings FROM instances LIMIT 1) s;
INSERT INTO snapshots (id, instance_id, kind, state, created_at, expires_at, finished_at, consistent_seconds,
                       consistent_increment, size_bytes, server_version, number, mode)
SELECT 'b' || lpad(to_hex(n * 1000 + k), 23, '0'), 'a' || lpad(to_hex(n), 23, '0'), 'scheduled', 'completed',
       {now} - ({snapshots} - k) * 60, {now} + 8640000, {now} - ({snapshots} - k) * 60, {now} - ({snapshots} - k) * 60, 1, 1000000,
       '7.0.0', k, 'snapshot'
FROM generate_series(1, {instances}) n, generate_series(1, {snapshots}) k;
INSERT INTO restore_jobs (id, instance_id, number, delivery, snapshot_id, snapshot_at, target_id, target_project_id,
                          target_name, state, created_at, finished_at)
SELECT 'c' || lpad(to_hex(n * 1000 + k), 23, '0'), 'a' || lpad(to_hex(n), 23, '0'), k, 'automated',
       'b' || lpad(to_hex(n * 1000 + 1), 23, '0'), {now} - 99999, 'a' || lpad(to_hex(n), 23, '0'), '{project}', 'i' || n,
       'completed', {now} - 99999, {now} - 99990
FROM generate_series(1, {instances}) n, generate_series(1, {jobs}) k;
INSERT INTO oplog_ranges (instance_id, first, last)
SELECT 'a' || lpad(to_hex(n), 23, '0'), ({now} - 20000) * 4294967296, ({now} - 10) * 4294967296 FROM generate_series(1, {instances}) n;
UPDATE projects SET instance_count = instance_count + {instances}, serverless_count = serverless_count + {instances};
ANALYZE;
"""


def cpu(pids):
    """Seconds of processor time of processes, their dead children not counted."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / 100
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--binary", type=pathlib.Path, default=worlds.TOP / "target/release/tidemark")
    arguments = parser.parse_args()
    worlds.BINARY = arguments.binary.resolve()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-rates-"))
    fleet = fleets.Fleet(lambda **own: worlds.World(log_filter="error", **own), folder)
    api = fleet.node("api").start()
    fleet.node("worker").start()
    api.create_instance()
    fleet.nodes[1].stop()
    sizes = {"instances": arguments.instances, "snapshots": 200, "jobs": 100, "project": api.group, "now": int(time.time())}
    began = time.monotonic()
    script = FILL.format(**sizes)
    subprocess.run(["psql", "--quiet", "-v", "ON_ERROR_STOP=1", api.settings["catalog"]], input=script, text=True, check=True)
    print(f"{arguments.instances} instances, {arguments.instances * 200} snapshots, {arguments.instances * 100} restore jobs"
          f" (filled in {time.monotonic() - began:.0f} s)\n")
    print("| workers | processor of all workers | of PostgreSQL | of one core each |\n|---|---|---|---|")
    workers = []
    for count in (1, 2, 4):
        while len(workers) < count:
            workers.append(fleet.node("worker").start())
        time.sleep(15)
        pids = [node.process.pid for node in workers]

        def backends():
            return fleet.sql("SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type = 'client backend'").split()

        before, began = cpu(pids), time.monotonic()
        databases = {pid: cpu([pid]) for pid in backends() if pathlib.Path(f"/proc/{pid}").exists()}
        time.sleep(arguments.seconds)
        passed = time.monotonic() - began
        used = (cpu(pids) - before) / passed
        alive = [pid for pid in databases if pathlib.Path(f"/proc/{pid}").exists()]
        database = sum(cpu([pid]) - databases[pid] for pid in alive) / passed
        print(f"| {count} | {used:.2f} cores | {database:.2f} cores | {used / count:.2f} |", flush=True)
    path = f"/groups/{api.group}/serverless/i1/backup/restoreJobs?itemsPerPage=10"
    for page in (1, 10):
        began = time.monotonic()
        for _ in range(200):
            api.call("GET", f"{path}&pageNum={page}")
        print(f"\npage {page} of a list of jobs: {(time.monotonic() - began) / 200 * 1000:.1f} ms, as this client sees it")
    for node in fleet.nodes:
        node.close()
    fleet.s3.close()


if __name__ == "__main__":
    main()
