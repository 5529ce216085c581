"""Several nodes over one catalog in PostgreSQL and one vault in a bucket, and what becomes of their work when one
is killed. Runs under `scripts/with-postgres`."""

import contextlib
import datetime
import os
import pathlib
import random
import re
import shutil
import subprocess
import threading
import time
import urllib.request

import pymongo
import pytest

from fleet import Fleet
from s3 import CREDENTIALS
from test_tls import Authority
from world import ACCEPT, BINARY, CLIENTS, ApiError, content, run, until

pytestmark = pytest.mark.skipif(not os.environ.get("TIDEMARK_TEST_POSTGRES"), reason="runs under scripts/with-postgres")


@pytest.fixture
def fleet(fresh, tmp_path):
    fleet = Fleet(fresh, tmp_path)
    yield fleet
    for node in fleet.nodes:
        node.stop()
    fleet.s3.close()


def test_api_nodes_and_workers_share_the_work(fleet):
    api = fleet.node("api").start()
    workers = [fleet.node("worker").start() for _ in range(2)]
    api.create_user()
    for name in ("one", "two", "three"):
        api.create_instance(name)
    ports = {name: int(api.uri(name).rsplit(":", 1)[1].split("/")[0]) for name in ("one", "two", "three")}
    first = int(workers[0].settings["instances-first-port"])
    last = int(workers[0].settings["instances-last-port"])
    on_first = [name for name, port in ports.items() if first <= port <= last]
    assert 1 <= len(on_first) <= 2, "instances are shared out"
    for name in ports:
        client = api.client(name)
        client.shop.items.insert_many({"n": n, "name": name} for n in range(500))
        wanted = content(client)
        snapshot = api.snapshot(name)
        client.shop.items.delete_many({})
        moment = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
        client.shop.items.insert_one({"too": "late"})
        api.wait_restored(api.restore("pointInTime", name, name, oplogTs=moment.time, oplogInc=moment.inc), name)
        assert client.shop.items.count_documents({}) == 0
        api.wait_restored(api.restore("automated", name, name, snapshotId=snapshot["id"]), name)
        assert content(client) == wanted
    with pytest.raises(ApiError):
        workers[0].token = api.token
        workers[0].call("GET", "/groups")


def position(client):
    """Of the last entry of an oplog."""
    last = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
    return last.time, last.inc


def owner(fleet, api, name="one"):
    """The node on which an instance is."""
    port = int(api.uri(name).rsplit(":", 1)[1].split("/")[0])
    for node in fleet.nodes:
        if int(node.settings["instances-first-port"]) <= port <= int(node.settings["instances-last-port"]):
            return node
    raise AssertionError(f"no node has port {port}")


def test_files_are_served_and_taken_in_by_any_node(fleet, tmp_path):
    api, other = fleet.node("api").start(), fleet.node("api").start()
    worker = fleet.node("worker").start()
    api.create_user()
    api.create_instance()
    client = api.client()
    # More than one part of a file in the vault.
    client.shop.items.insert_many({"_id": n, "bytes": os.urandom(4096)} for n in range(5000))
    wanted = content(client)
    job = api.restore("download", snapshotId=api.snapshot()["id"])
    link = api.wait_restored(job)["deliveryUrl"][0].split("/", 3)[3]
    files = []
    for node in (api, other, worker):
        files.append(tmp_path / f"from-{node.server_port}.gz")
        run(["curl", "--silent", "--fail", "--output", files[-1], f"http://127.0.0.1:{node.server_port}/{link}"])
    whole = files[0].read_bytes()
    assert len(whole) > 2 * (8 << 20) and all(file.read_bytes() == whole for file in files)
    for first, last in [(0, 9), ((8 << 20) - 5, (8 << 20) + 5), (len(whole) - 7, len(whole) - 1)]:
        part = subprocess.run(["curl", "--silent", "--fail", "--range", f"{first}-{last}",
                               f"http://127.0.0.1:{other.server_port}/{link}"], capture_output=True, check=True).stdout
        assert part == whole[first:last + 1]
    client.drop_database("shop")
    run([CLIENTS / "bin" / "mongorestore", "--quiet", f"--uri={api.uri()}", "--gzip", f"--archive={files[0]}"])
    assert content(client) == wanted
    # The same as an upload, by another node than the one that is asked for the link.
    path = f"/api/tidemark/v1/groups/{api.group}/instances/one/imports"
    status, allowed, _ = api.raw("POST", path, {})
    assert status == 201, allowed
    address = allowed["uploadUrl"].split("/", 3)[3]
    run(["curl", "--silent", "--fail", "--upload-file", files[0], f"http://127.0.0.1:{other.server_port}/{address}"])
    api.wait_snapshot(allowed["id"])
    client.drop_database("shop")
    api.wait_restored(api.restore("automated", snapshotId=allowed["id"]))
    assert content(client) == wanted
    assert not list((api.data / "downloads").iterdir()) and not list((other.data / "imports").iterdir())


def test_what_a_killed_worker_did_another_one_goes_on_with(fleet):
    api = fleet.node("api").start()
    workers = [fleet.node("worker").start() for _ in range(3)]
    api.create_user()
    api.create_instance()
    home = owner(fleet, api)
    client = api.client()
    items = client.shop.items
    items.insert_many({"_id": n, "text": os.urandom(500)} for n in range(20_000))
    api.snapshot()
    wanted = content(client)
    job = api.restore("automated", snapshotId=api.snapshot()["id"])
    # Whoever has the job, or follows the oplog: both others are killed, one after another.
    for other in (worker for worker in workers if worker is not home):
        other.kill()
        items.database.marks.insert_one({"killed": other.server_port})
        written, began = position(client), time.monotonic()
        until(lambda: fleet.captured(api) >= written, "the capture to be taken over")
        assert time.monotonic() - began < 15 + 3, "taken over within 15 seconds"
        other.start()
    api.wait_restored(job)
    assert content(client)["shop.items"] == wanted["shop.items"]
    # Nothing is missing in between: what was written meanwhile was captured.
    assert fleet.sql("SELECT count(*) FROM oplog_ranges WHERE ended_by IS NULL AND ended_before IS NULL") == "1"
    assert fleet.sql("SELECT count(*) FROM nodes") == "4"


def test_an_instance_that_is_lost_with_its_node_begins_anew_on_another(fleet):
    api = fleet.node("api", nodes_lost_after_seconds=15).start()
    workers = [fleet.node("worker", nodes_lost_after_seconds=15).start() for _ in range(2)]
    api.create_user()
    api.create_instance()
    home = owner(fleet, api)
    client = api.client()
    client.shop.items.insert_many({"_id": n} for n in range(1000))
    api.snapshot()
    client.shop.items.insert_one({"_id": "later"})
    wanted = content(client)
    moment = position(client)
    # Whatever happens, what is older is safe.
    time.sleep(5)
    home.kill()
    state = lambda: api.call("GET", api.instance_path())["stateName"]
    until(lambda: state() == "REPAIRING", "the loss to be noticed")
    status, answer, _ = api.raw("POST", f"/api/tidemark/v1/groups/{api.group}/instances/one/rehost")
    assert status < 300, answer
    # What is lost is named: nothing of what was acknowledged here.
    lost = answer["lostAfter"]
    assert (lost["oplogTs"], lost["oplogInc"]) >= moment
    until(lambda: state() == "IDLE" and "finishedAt" in api.job(answer["restoreJobId"]), "it to be back")
    assert owner(fleet, api) is not home
    assert content(api.client()) == wanted
    api.client().shop.items.insert_one({"_id": "after"})
    # The lost node comes back, and leaves it alone; what it has is kept aside.
    home.start()
    time.sleep(3)
    assert owner(fleet, api) is not home
    assert api.client().shop.items.count_documents({}) == 1002
    kept = [folder.name for folder in (home.data / "instances").iterdir()]
    assert kept, "what the lost node had is gone"


def test_a_node_that_is_back_in_time_has_its_instances(fleet):
    api = fleet.node("api", nodes_lost_after_seconds=15).start()
    home = fleet.node("worker", nodes_lost_after_seconds=15).start()
    fleet.node("worker", nodes_lost_after_seconds=15).start()
    api.create_user()
    api.create_instance()
    home = owner(fleet, api)
    api.client().shop.items.insert_one({"_id": 1})
    home.kill()
    until(lambda: api.call("GET", api.instance_path())["stateName"] == "REPAIRING", "the loss to be noticed")
    home.start()
    api.wait_idle()
    assert owner(fleet, api) is home
    assert api.client().shop.items.count_documents({}) == 1


class Balancer:
    """What a load balancer does: asks only nodes that say that they are ready."""

    def __init__(self, nodes):
        self.nodes, self.ready, self.stop = nodes, set(), threading.Event()
        self.failures, self.answered = [], 0
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        while not self.stop.is_set():
            for node in self.nodes:
                try:
                    is_ready = node.process.poll() is None and node.answers("/readyz")
                except AssertionError:
                    is_ready = False
                (self.ready.add if is_ready else self.ready.discard)(node)
            self.stop.wait(0.1)

    def ask(self, token, path):
        node = random.choice(sorted(self.ready, key=lambda node: node.server_port) or [None])
        if node is None:
            self.failures.append("no node is ready")
            return time.sleep(0.1)
        request = urllib.request.Request(f"http://127.0.0.1:{node.server_port}/api/atlas/v2{path}",
                                         headers={"Authorization": f"Bearer {token}", "Accept": ACCEPT})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
                self.answered += 1
        except OSError as error:
            self.failures.append(f"{node.server_port}: {error}")

    def close(self):
        self.stop.set()
        self.thread.join()


def test_all_nodes_are_restarted_one_after_another_without_a_failed_request(fleet):
    nodes = [fleet.node("api", server_drain_seconds=1).start() for _ in range(2)]
    workers = [fleet.node("worker", server_drain_seconds=1).start() for _ in range(2)]
    api = nodes[0]
    api.create_user()
    api.create_instance()
    home = owner(fleet, api)
    client = api.client()
    client.shop.items.insert_one({"_id": -1})
    api.snapshot()
    balancer = Balancer(nodes)
    over = threading.Event()
    token, paths = api.token, ["/groups", api.instance_path(), api.instance_path() + "/backup/snapshots"]

    def load():
        until(lambda: balancer.ready, "a node that is ready")
        while not over.is_set():
            balancer.ask(token, random.choice(paths))

    def write():
        n = 0
        while not over.is_set():
            # Its own database is away while its node starts again; the driver waits for it.
            with contextlib.suppress(pymongo.errors.PyMongoError):
                client.shop.items.insert_one({"_id": n, "at": time.time()})
                n += 1

    threads = [threading.Thread(target=target) for target in (load, load, write)]
    for thread in threads:
        thread.start()
    try:
        for node in nodes + workers:
            assert node.stop() == 0
            node.start()
    finally:
        over.set()
        for thread in threads:
            thread.join()
        balancer.close()
    assert not balancer.failures and balancer.answered > 100, (balancer.answered, balancer.failures[:5])
    written = position(client)
    until(lambda: fleet.captured(api) >= written, "everything to be captured")
    assert fleet.sql("SELECT count(*) FROM oplog_ranges") == "1", "there is a gap"
    assert owner(fleet, api) is home


def test_a_node_may_be_given_its_secrets_by_variables_and_files(fleet, tmp_path):
    api = fleet.node("api").start()
    node = fleet.node("worker")
    node.environment["TIDEMARK_VAULT_KEY"] = (node.data / "vault.key").read_text()
    (node.data / "vault.key").unlink()
    secret = tmp_path / "catalog"
    secret.write_text(node.settings.pop("catalog") + "\n")
    node.environment["TIDEMARK_CATALOG_FILE"] = str(secret)
    node.start()
    assert not (node.data / "vault.key").exists() and not (node.data / "catalog.sqlite").exists()
    api.create_user()
    api.create_instance()
    api.client().shop.items.insert_one({"_id": 1})
    api.snapshot()
    node.stop()
    node.environment["TIDEMARK_VAULT_KEY"] = "nonsense"
    with pytest.raises(AssertionError, match="TIDEMARK_VAULT_KEY holds no vault key"):
        node.start()


def test_nodes_reach_each_others_databases_by_tls(fleet, tmp_path):
    authority = Authority(tmp_path / "authority")
    nodes = []
    for role in ("api", "worker", "worker"):
        files = tmp_path / f"{len(nodes)}.pem"
        # Each has a certificate of its own, which says nothing of its name.
        files.write_text(authority.issue(f"node{len(nodes)}"))
        node = fleet.node(role, tls_certificate_key_file=files)
        del node.settings["server-public-url"]
        node.tls = authority.context()
        nodes.append(node.start())
    api, near, far = nodes
    # Until each worker knows of the other.
    time.sleep(2)
    api.create_user()
    for name in ("one", "two"):
        api.create_instance(name)
    homes = {owner(fleet, api, name).server_port for name in ("one", "two")}
    assert homes == {near.server_port, far.server_port}
    # Whichever worker takes a job, half of the databases are the other one's.
    for name, target in [("one", "two"), ("two", "one"), ("one", "one")]:
        client = pymongo.MongoClient(api.uri(name), tlsCAFile=str(authority.ca))
        client.shop.items.insert_one({"from": name})
        wanted = content(client)
        snapshot = api.snapshot(name)
        api.wait_restored(api.restore("automated", name, target, snapshotId=snapshot["id"]), name)
        assert content(pymongo.MongoClient(api.uri(target), tlsCAFile=str(authority.ca))) == wanted
    assert fleet.sql("SELECT count(*) FROM nodes WHERE certificate IS NOT NULL AND role = 'worker'") == "2"
    # One that shows another certificate than it says is not spoken to.
    assert "not captured" not in near.log_text() + far.log_text()


def test_keys_are_rotated_from_node_to_node_while_all_go_on(fleet):
    api = fleet.node("api").start()
    workers = [fleet.node("worker").start() for _ in range(2)]
    api.create_user()
    for name in ("one", "two"):
        api.create_instance(name)
    clients = {name: api.client(name) for name in ("one", "two")}
    wanted, snapshots = {}, {}
    for name, client in clients.items():
        client.shop.items.insert_many({"_id": n, "text": f"{name} {n} " * 50} for n in range(2_000))
        wanted[name], snapshots[name] = content(client), api.snapshot(name)
    old = (api.data / "vault.key").read_text().strip()

    def keys(*arguments):
        command = [BINARY, "keys", *arguments, "--data-dir", api.data, "--vault", fleet.s3.url(),
                   "--catalog", api.settings["catalog"]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=os.environ | CREDENTIALS)
        return done.stdout + done.stderr

    def give_to_all():
        for node in workers:
            shutil.copy(api.data / "vault.key", node.data / "vault.key")
        # One after another: they reach each other's databases and read each other's objects meanwhile.
        for node in [workers[0], api, workers[1]]:
            assert node.stop() == 0
            node.start()
            for name, target in (("one", "two"), ("two", "one")):
                clients[name].shop.more.insert_one({"text": "written meanwhile"})
                api.snapshot(name)
                job = api.restore("automated", name, target, snapshotId=snapshots[name]["id"])
                api.wait_restored(job, name)
                assert content(clients[target]) == wanted[name]

    keys("rotate", "--prepare")
    give_to_all()
    keys("rotate")
    give_to_all()
    until(lambda: "are gone from it" in keys("retire"), "the older key not to be needed")
    assert old not in (api.data / "vault.key").read_text()
    give_to_all()
    for node in fleet.nodes:
        assert "damaged" not in node.log_text() and "not captured" not in node.log_text()


@pytest.fixture
def shifted(tmp_path):
    """Lets a node's clock be wrong by some seconds."""
    library = tmp_path / "shift_clock.so"
    compiler = os.environ.get("CC", "cc")
    source = pathlib.Path(__file__).with_name("shift_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)

    def shift(node, seconds):
        node.environment |= {"LD_PRELOAD": str(library), "SHIFT_SECONDS": str(seconds)}
        return node

    return shift


def test_clocks_of_nodes_that_are_a_minute_apart_do_no_harm(fleet, shifted):
    api = shifted(fleet.node("api"), 60).start()
    early, late = (shifted(fleet.node("worker"), seconds).start() for seconds in (-60, 60))
    # The fault is there: what a node says of its own clock in its log is a minute off.
    said = {node: log_time(node) for node in (api, early, late)}
    assert said[api] - time.time() > 40 and said[late] - time.time() > 40 and time.time() - said[early] > 40
    api.create_user()
    for name in ("one", "two"):
        api.create_instance(name)
    assert {owner(fleet, api, name) for name in ("one", "two")} == {early, late}
    for name in ("one", "two"):
        client = api.client(name)
        client.shop.items.insert_many({"_id": n, "name": name} for n in range(500))
        moment = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
        assert abs(moment.time - time.time()) < 10, "the database's clock is that of the others"
        wanted, snapshot = content(client), api.snapshot(name)
        created = datetime.datetime.fromisoformat(snapshot["createdAt"].replace("Z", "+00:00")).timestamp()
        assert abs(created - time.time()) < 30
        client.shop.items.delete_many({})
        # To a second by the clock of whoever asks.
        second = int(time.time()) - 1
        emptied = content(client)
        time.sleep(2.5)
        client.shop.items.insert_one({"too": "late"})
        job = api.restore("pointInTime", name, name, pointInTimeUTCSeconds=second + 2)
        api.wait_restored(job, name)
        assert content(client) == emptied
        api.wait_restored(api.restore("automated", name, name, snapshotId=snapshot["id"]), name)
        assert content(client) == wanted
    # Who is gone is replaced in time, whatever its clock said; nobody who is there is.
    early.kill()
    name = "one" if owner(fleet, api, "one") is late else "two"
    api.client(name).shop.items.insert_one({"after": "the other one is gone"})
    api.wait_restored(api.restore("automated", name, name, snapshotId=api.snapshot(name)["id"]), name)
    assert owner(fleet, api, name) is late
    assert fleet.sql("SELECT count(*) FROM restore_jobs WHERE attempt > 1") == "0", "a lease was taken too early"


def log_time(node):
    """When a node wrote the first line of its log, by its own clock."""
    found = re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", node.log_text())
    return datetime.datetime.fromisoformat(found.group(0) + "+00:00").timestamp()
