"""Nodes on hosts of their own, in network namespaces, whose packets to one of the others vanish for a while. Runs
under `scripts/with-postgres`; making namespaces needs root and iproute2."""

import os
import random
import shlex
import socket
import subprocess
import time

import pymongo
import pytest

from fleet import Fleet
from world import BINARY, PASSWORD, Ports, content, run, until

pytestmark = pytest.mark.skipif(not os.environ.get("TIDEMARK_TEST_POSTGRES"), reason="runs under scripts/with-postgres")

# What is on the host, each at an address of its own, so that the way to one can be cut alone.
POSTGRES, STORE, DATABASES = 1, 2, 3
# From which clients come: the first address of a wire.
CLIENTS = 9
GUEST = 100


def can_make_hosts():
    made = subprocess.run(["ip", "netns", "add", "tidemark-probe"], capture_output=True)
    subprocess.run(["ip", "netns", "del", "tidemark-probe"], capture_output=True)
    return made.returncode == 0


@pytest.fixture(scope="module", autouse=True)
def permission():
    if not can_make_hosts():
        reason = "skipped: `ip netns add` is not possible here (root and iproute2 are needed)"
        assert not os.environ.get("CI"), reason
        print(reason)
        pytest.skip(reason)


class Host:
    """A host behind a wire."""

    def __init__(self):
        self.number = random.randrange(1, 250)
        self.name = f"tm{os.getpid()}x{self.number}"
        self.wire = f"tm{self.number}h{random.randrange(1000)}"
        self.ip("netns", "add", self.name)
        self.ip("link", "add", self.wire, "type", "veth", "peer", "name", "wire", "netns", self.name)
        for last in (CLIENTS, POSTGRES, STORE, DATABASES):
            self.ip("address", "add", f"{self.address(last)}/24", "dev", self.wire)
        self.ip("link", "set", self.wire, "up")
        self.inside("address", "add", f"{self.address(GUEST)}/24", "dev", "wire")
        for device in ("lo", "wire"):
            self.inside("link", "set", device, "up")

    def ip(self, *arguments):
        run(["ip", *arguments])

    def inside(self, *arguments):
        run(["ip", "-n", self.name, *arguments])

    def address(self, last):
        return f"10.91.{self.number}.{last}"

    def cut(self, last):
        """What goes there goes to nobody: no error, no answer."""
        self.inside("neighbor", "replace", self.address(last), "lladdr", "02:00:00:00:00:99", "dev", "wire", "nud", "permanent")

    def heal(self, last):
        self.inside("neighbor", "del", self.address(last), "dev", "wire")

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.wire], capture_output=True)


@pytest.fixture
def host():
    host = Host()
    yield host
    host.close()


@pytest.fixture
def fleet(fresh, tmp_path, host):
    fleet = Fleet(fresh, tmp_path, s3_host=host.address(STORE))
    yield fleet
    for node in fleet.nodes:
        node.stop()
    fleet.s3.close()


def remote(fleet, host, **settings):
    """A worker on that host."""
    node = fleet.node("worker", instances_host=host.address(GUEST), **settings)
    node.prefix, node.host = ["ip", "netns", "exec", host.name], host.address(GUEST)
    node.settings["catalog"] = node.settings["catalog"].replace("127.0.0.1", host.address(POSTGRES))
    return node


def last_position(client):
    at = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
    return at.time, at.inc


def test_a_worker_that_is_cut_off_from_the_records_loses_its_job_and_writes_nothing_more(fleet, host):
    api = fleet.node("api").start()
    fleet.node("worker", instances_host=host.address(DATABASES)).start()
    api.create_user()
    api.create_instance()
    client = api.client()
    client.shop.items.insert_many({"_id": n, "text": os.urandom(2000)} for n in range(20_000))
    snapshot = api.snapshot()
    wanted = content(client)
    client.shop.items.delete_many({"_id": {"$lt": 10_000}})
    far = remote(fleet, host).start()
    # Only the far one is there to take the job; the near one keeps the database.
    near_run = fleet.sql("SELECT run FROM nodes WHERE role = 'worker' ORDER BY started_at LIMIT 1")
    taken = None
    while taken != "far":
        job = api.restore("automated", snapshotId=snapshot["id"])

        def worker():
            return fleet.sql(f"SELECT worker FROM restore_jobs WHERE id = '{job['id']}' AND state = 'running'")

        run_of_job = until(lambda: worker() or "finishedAt" in api.job(job["id"]), "a worker to take the job")
        taken = "far" if isinstance(run_of_job, str) and run_of_job != near_run else "near"
        if taken == "near":
            api.wait_restored(job)
    host.cut(POSTGRES)
    cut_at = time.monotonic()
    # Proof that the cut is reached: somebody else has it before the way is free again.
    until(lambda: fleet.sql(f"SELECT attempt FROM restore_jobs WHERE id = '{job['id']}'") == "2", "the job to be taken over")
    assert time.monotonic() - cut_at < 15 + 5, "no job is stuck for longer than its lease"
    api.wait_restored(job)
    assert content(client) == wanted
    client.shop.items.insert_one({"_id": "after"})
    host.heal(POSTGRES)
    until(far.is_ready, "the far worker to be back")
    time.sleep(3)
    # What the one that was cut off did is nowhere.
    assert client.shop.items.count_documents({}) == 20_001
    assert not [name for name in client.shop.list_collection_names() if "stage" in name]
    assert "lease" in far.log_text() or "could not be said" in far.log_text()


def test_a_database_is_served_while_its_node_is_cut_off_from_the_records(fleet, host):
    api = fleet.node("api").start()
    far = remote(fleet, host).start()
    api.create_user()
    api.create_instance()
    client, uri = api.client(), api.uri()
    client.shop.items.insert_one({"_id": 0})
    host.cut(POSTGRES)
    for n in range(1, 120):
        client.shop.items.insert_one({"_id": n})
        time.sleep(0.2)
    assert pymongo.MongoClient(uri, serverSelectionTimeoutMS=15_000).shop.items.count_documents({}) == 120
    assert "could not be said" in far.log_text(), "the cut was not reached"
    host.heal(POSTGRES)
    until(far.is_ready, "the far worker to be back")
    written = last_position(client)
    until(lambda: fleet.captured(api) >= written, "the capture to go on")
    assert fleet.sql("SELECT count(*) FROM oplog_ranges") == "1", "there is a gap"


def test_a_worker_that_is_cut_off_from_the_store_goes_on_when_it_is_back(fleet, host):
    api = fleet.node("api").start()
    far = remote(fleet, host).start()
    api.create_user()
    api.create_instance()
    client = api.client()
    client.shop.items.insert_many({"_id": n} for n in range(500))
    api.snapshot()
    host.cut(STORE)
    client.shop.items.insert_many({"_id": n} for n in range(500, 1000))
    written = last_position(client)
    # Entries are safe all the same: they wait in the catalog.
    until(lambda: fleet.captured(api) >= written, "the capture to go on")
    assert int(fleet.sql("SELECT count(*) FROM oplog_tails")) > 0
    wanted = content(client)
    asked = api.call("POST", api.instance_path() + "/backup/snapshots", {})
    time.sleep(10)
    found = api.call("GET", api.instance_path() + f"/backup/snapshots/{asked['id']}")
    assert found["status"] in ("queued", "inProgress"), found
    host.heal(STORE)
    api.wait_snapshot(asked["id"])
    assert fleet.sql("SELECT count(*) FROM oplog_ranges") == "1", "there is a gap"
    client.shop.items.delete_many({})
    api.wait_restored(api.restore("automated", snapshotId=asked["id"]))
    assert content(client) == wanted
    assert far.process.poll() is None


def test_a_worker_that_is_cut_off_from_a_deployment_misses_nothing(fleet, host, tmp_path):
    engine = Engine(tmp_path / "engine", host=host.address(DATABASES))
    api = fleet.node("api").start()
    remote(fleet, host).start()
    run([BINARY, "deployments", "attach", "main", "--uri", engine.uri, "--data-dir", api.data])
    client = pymongo.MongoClient(engine.uri)
    client.shop.items.insert_one({"_id": 0})
    until(lambda: captured(fleet) >= last_position(client), "the capture to begin")
    # What operators ask, with a deployment attached.
    for node in fleet.nodes:
        assert node.answers("/readyz") and node.answers("/metrics")
    host.cut(DATABASES)
    client.shop.items.insert_many({"_id": n} for n in range(1, 200))
    written = last_position(client)
    time.sleep(12)
    assert captured(fleet) < written, "the cut was not reached"
    host.heal(DATABASES)
    until(lambda: captured(fleet) >= written, "what was missed to be captured")
    assert fleet.sql("SELECT count(*) FROM oplog_ranges") == "1", "there is a gap"
    engine.close()


class Engine:
    """A deployment of somebody else's."""

    def __init__(self, folder, host):
        self.ports = Ports()
        port = self.ports.take()
        self.uri = f"mongodb://admin:{PASSWORD}@{host}:{port}/?directConnection=true"
        command = [BINARY, "engine", "--folder", folder, "--listen", f"{host}:{port}", "--user", "admin",
                   "--without", "extensions,applyOps"]
        environment = os.environ | {"TIDEMARK_ENGINE_PASSWORD": PASSWORD}
        self.process = subprocess.Popen([str(part) for part in command], env=environment, stderr=subprocess.DEVNULL)

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex((host, port)) == 0

        until(listens, "the engine to listen")

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.ports.close()


def captured(fleet):
    return divmod(int(fleet.sql("SELECT coalesce(max(last), 0) FROM oplog_ranges")), 1 << 32)


def test_databases_are_served_while_the_records_are_away(fleet):
    api = fleet.node("api").start()
    fleet.node("worker").start()
    api.create_user()
    api.create_instance()
    client, uri = api.client(), api.uri()
    client.shop.items.insert_one({"_id": 0})
    ctl = shlex.split(os.environ["TIDEMARK_TEST_POSTGRES_CTL"])
    subprocess.run([*ctl, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)
    try:
        for n in range(1, 40):
            client.shop.items.insert_one({"_id": n})
            time.sleep(0.1)
        # And who comes anew is known still.
        assert pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000).shop.items.count_documents({}) == 40
        status, body, headers = api.raw("GET", "/api/atlas/v2/groups")
        assert status == 503 and headers["Retry-After"], (status, body)
    finally:
        subprocess.run([*ctl, "start"], check=True, stdout=subprocess.DEVNULL)
    until(lambda: api.raw("GET", "/api/atlas/v2/groups")[0] == 200, "the records to be back")
    written = last_position(client)
    until(lambda: fleet.captured(api) >= written, "the capture to go on")
    assert fleet.sql("SELECT count(*) FROM oplog_ranges") == "1", "there is a gap"


def test_an_empty_answer_is_not_taken_for_the_truth(fleet):
    """PostgreSQL comes back without its records, as after a failover to a wrong place, and then with them."""
    api = fleet.node("api").start()
    home = fleet.node("worker").start()
    api.create_user()
    api.create_instance()
    client = api.client()
    client.shop.items.insert_many({"_id": n} for n in range(100))
    snapshot = api.snapshot()
    server, name = api.settings["catalog"].rsplit("/", 1)

    def sql(text, database="postgres"):
        run(["psql", "--quiet", f"{server}/{database}", "-v", "ON_ERROR_STOP=1", "-c", text])

    def replace(old, new):
        sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        sql(f"ALTER DATABASE {name} RENAME TO {old}")
        sql(f"ALTER DATABASE {new} RENAME TO {name}")
        sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    # The same tables, and nothing in them.
    dump = run(["pg_dump", "--schema-only", api.settings["catalog"]])
    sql(f"CREATE DATABASE {name}_empty")
    subprocess.run(["psql", "--quiet", f"{server}/{name}_empty"], input=dump, text=True, check=True, capture_output=True)
    sql("INSERT INTO tidemark_schema VALUES ((SELECT 8))", f"{name}_empty")
    replace(f"{name}_kept", f"{name}_empty")
    until(lambda: "the records do not know this node" in home.log_text(), "the nodes to see the empty records")
    time.sleep(5)
    replace(f"{name}_lost", f"{name}_kept")
    until(home.is_ready, "the worker to go on")
    api.wait_idle()
    assert home.log_text().count("an instance runs") == 1, "its database was stopped meanwhile"
    client.shop.items.delete_many({})
    written = last_position(client)
    until(lambda: fleet.captured(api) >= written, "the capture to go on")
    assert fleet.sql("SELECT count(*) FROM oplog_ranges") == "1", "there is a gap"
    api.wait_restored(api.restore("automated", snapshotId=snapshot["id"]))
    assert client.shop.items.count_documents({}) == 100
    assert [folder.name for folder in (home.data / "instances").iterdir() if "aside" in folder.name] == []
