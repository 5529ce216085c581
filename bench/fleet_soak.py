"""Several nodes over PostgreSQL and an S3 server, all of which are killed, stopped, frozen and cut off at random,
while clients write and moments are restored; a model checks every acknowledged write and every restored state.

    scripts/with-postgres .clients/python/bin/python bench/fleet_soak.py --minutes 20

Prints its seed; `--seed N` repeats the same choices (not the same timing).
"""

import argparse
import os
import pathlib
import random
import shlex
import signal
import subprocess
import tempfile
import time

from soak import Soak, tests_world

import fleet as fleets  # noqa: E402

CTL = shlex.split(os.environ.get("TIDEMARK_TEST_POSTGRES_CTL", ""))


class FleetSoak(Soak):
    def __init__(self, arguments):
        super().__init__(arguments)
        self.world.close()
        folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-fleet-"))
        settings = {"log_filter": "info", "nodes_lost_after_seconds": 60}
        self.fleet = fleets.Fleet(lambda **own: tests_world.World(**settings, **own), folder)
        self.world = self.fleet.node("api")
        self.faults = [self.kill_a_node, self.stop_a_node, self.freeze_a_node, self.restart_the_catalog,
                       self.stop_the_store]

    def start_fleet(self):
        for role in ("api", "worker", "worker", "worker"):
            self.fleet.node(role).start()

    def choices(self):
        return [(self.snapshot, 5), (self.restore_snapshot, 4), (self.restore_moment, 5), (self.restore_in_place, 1),
                (self.fault, 6), (self.fault_in_a_restore, 6), (self.fault_in_a_snapshot, 3)]

    def settle(self):
        """Waits until everything is served again."""
        def is_well():
            try:
                names = [self.world.call("GET", self.world.instance_path(name)) for name in ("one", "two")]
                return all(found["stateName"] == "IDLE" for found in names)
            except (tests_world.ApiError, OSError):
                return False

        tests_world.until(is_well, "the instances")
        self.starts += 1

    def fault(self):
        chosen = self.random.choice(self.faults)
        self.counts[chosen.__name__] = self.counts.get(chosen.__name__, 0) + 1
        self.trail.append(("", chosen.__name__))
        chosen()
        self.settle()
        self.look_for_two_owners()

    def fault_in_a_restore(self):
        snapshot, expected, may_fail = self.snapshots[-1]
        job = self.world.restore("automated", target="two", snapshotId=snapshot)
        time.sleep(self.random.random() * 2)
        self.fault()
        # A job is held for fifteen seconds after its worker is gone, no longer.
        self.check_job(self.world.wait_job(job["id"]), expected, may_fail, f"snapshot {snapshot}, with a fault")

    def fault_in_a_snapshot(self):
        posted = self.world.call("POST", self.world.instance_path() + "/backup/snapshots", {})
        time.sleep(self.random.random())
        self.fault()
        self.world.wait_snapshot(posted["id"])

    def kill_a_node(self):
        node = self.random.choice(self.fleet.nodes)
        node.kill()
        time.sleep(self.random.choice([0, 0, 3, 14]))
        node.start(ready=False)

    def stop_a_node(self):
        node = self.random.choice(self.fleet.nodes)
        node.stop()
        node.start(ready=False)

    def freeze_a_node(self):
        """Longer than its lease: others do its work, and it must not go on with it when it wakes."""
        node = self.random.choice(self.fleet.nodes)
        node.process.send_signal(signal.SIGSTOP)
        time.sleep(self.random.choice([3, 20]))
        node.process.send_signal(signal.SIGCONT)

    def restart_the_catalog(self):
        mode = self.random.choice(["fast", "immediate"])
        subprocess.run([*CTL, "-m", mode, "stop"], check=True, stdout=subprocess.DEVNULL)
        time.sleep(self.random.choice([0, 2, 12]))
        subprocess.run([*CTL, "start"], check=True, stdout=subprocess.DEVNULL)

    def stop_the_store(self):
        self.fleet.s3.stop()
        time.sleep(self.random.choice([0, 3, 10]))
        self.fleet.s3.start()

    def look_for_two_owners(self):
        """Every instance is served by one process: the others do not listen at its port."""
        ports = self.fleet.sql("SELECT count(*) - count(DISTINCT port) FROM instances WHERE port IS NOT NULL")
        assert ports == "0", "two instances have one port"
        held = self.fleet.sql("SELECT count(*) FROM restore_jobs WHERE state = 'running' AND worker NOT IN "
                              "(SELECT run FROM nodes) AND lease_until > extract(epoch FROM now()) + 16")
        assert held == "0", "a job is held by nobody for longer than a lease"

    def close(self):
        self.fleet.s3.close()
        for node in self.fleet.nodes:
            node.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--binary", type=pathlib.Path, help="another build than the one for tests")
    arguments = parser.parse_args()
    if arguments.binary:
        tests_world.BINARY = arguments.binary.resolve()
    run = FleetSoak(arguments)
    try:
        run.run()
    except BaseException:
        print(f"seed {arguments.seed}", flush=True)
        print("\n".join(" ".join(step) for step in run.trail[-20:]), flush=True)
        for node in run.fleet.nodes:
            print(node.settings["role"], node.server_port, node.folder, flush=True)
            print(node.log_text()[-2_500:], flush=True)
            if node.process and node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.kill()
        raise
    finally:
        run.fleet.s3.close()
    run.close()


if __name__ == "__main__":
    main()
