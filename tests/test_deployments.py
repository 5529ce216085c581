"""Deployments that Tidemark does not run: attached, protected, restored into."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pymongo
import pytest

from world import BINARY, CLIENTS, PASSWORD, ApiError, Ports, content, is_free, until

STRANGERS = ["FerretDB on SQLite", "FerretDB on PostgreSQL", "mongo-java-server"]
FERRETDB = CLIENTS / "bin" / "ferretdb"


@contextlib.contextmanager
def served(command, port, **environment):
    """A server of somebody else's, until the test is over."""
    process = subprocess.Popen([str(part) for part in command], env={**os.environ, **environment},
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        def answers():
            assert process.poll() is None, process.stderr.read().decode()
            return not is_free(port)

        until(answers, "a database to listen")
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def ports():
    ports = Ports()
    yield ports
    ports.close()


@pytest.fixture
def engine(ports, tmp_path):
    """Starts our engine on its own; what it lacks is given by name."""
    with contextlib.ExitStack() as stack:
        def start(without="extensions,applyOps", port=None):
            port = port or ports.take()
            folder = tmp_path / f"engine-{port}"
            command = [BINARY, "engine", "--folder", folder, "--listen", f"127.0.0.1:{port}",
                       "--user", "admin", "--without", without]
            process = stack.enter_context(served(command, port, TIDEMARK_ENGINE_PASSWORD=PASSWORD))
            return f"mongodb://admin:{PASSWORD}@127.0.0.1:{port}/?directConnection=true", process

        yield start


def initialized(folder):
    """A PostgreSQL that runs, and the address of a database in it. It refuses to run as root."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
    assert found, "PostgreSQL is missing; scripts/need clients says how to install it"
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(folder, "postgres")
    run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    subprocess.run([*as_user, found[-1] / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust",
                    "--no-sync", "-E", "UTF8", "--locale=C"], **run)
    return [*as_user, found[-1] / "postgres", "-D", folder / "data", "-k", folder, "-c", "fsync=off"]


@pytest.fixture
def stranger(request, ports):
    """A server that we did not write: FerretDB on SQLite or PostgreSQL, or mongo-java-server."""
    port = ports.take()
    # PostgreSQL's user has to reach it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-stranger-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        match request.param:
            case "FerretDB on SQLite":
                command = [FERRETDB, f"127.0.0.1:{port}", "sqlite", folder]
            case "FerretDB on PostgreSQL":
                behind = ports.take()
                server = [*initialized(folder), "-h", "127.0.0.1", "-p", str(behind)]
                stack.enter_context(served(server, behind))
                create = ["psql", "-h", "127.0.0.1", "-p", str(behind), "-U", "postgres", "-qc",
                          "CREATE DATABASE ferretdb"]
                until(lambda: subprocess.run(create, capture_output=True).returncode == 0, "PostgreSQL")
                command = [FERRETDB, f"127.0.0.1:{port}", "postgresql",
                           f"postgres://postgres@127.0.0.1:{behind}/ferretdb"]
            case "mongo-java-server":
                java = CLIENTS / "mongo-java-server"
                command = ["java", "-cp", f"{java}/lib/*:{java}/classes", "Main", "127.0.0.1", str(port)]
        stack.enter_context(served(command, port))
        yield f"mongodb://127.0.0.1:{port}/"


def tidemark(world, *arguments, code=0):
    """Runs a command against the server of a world."""
    command = [BINARY, "deployments", *arguments, "--data-dir", world.data]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=90)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def own(world, path, method="GET", body=None):
    status, answer, _ = world.raw(method, f"/api/tidemark/v1/groups/{world.group}/deployments{path}", body)
    assert status < 300, answer
    return answer


def connect(uri):
    return pymongo.MongoClient(uri, serverSelectionTimeoutMS=10_000)


def fill(client, documents=3_000):
    client.shop.items.insert_many([{"_id": n, "text": "x" * 300} for n in range(documents)])
    client.shop.items.create_index("text")
    client.shop.empty.create_index([("a", 1), ("b", -1)], unique=True)
    client.other["odd name é"].insert_one({"_id": "one"})


def everything_but(client, *databases):
    return {name: value for name, value in content(client).items() if name.split(".")[0] not in databases}


LIMITS = {
    "extensions,applyOps": "REACHABLE",
    "extensions,applyOps,snapshotReads,uuidReads,dropTarget": "REACHABLE",
    "extensions,applyOps,snapshotReads,uuidReads,dropTarget,replicaSet": "LIMITED",
}


@pytest.mark.parametrize("without", LIMITS)
def test_a_snapshot_of_an_attached_deployment_is_restored_into_it(fresh, engine, without):
    world = fresh().start()
    uri, _ = engine(without)
    client = connect(uri)
    fill(client)
    before = content(client)
    shown = json.loads(tidemark(world, "attach", "mine", "--uri", uri, "--json"))
    assert shown["state"] == LIMITS[without], shown
    world.wait_idle("mine")
    snapshot = world.snapshot("mine")
    client.shop.items.delete_many({"_id": {"$lt": 500}})
    client.shop.items.drop_index("text_1")
    client.other.drop_collection("odd name é")
    client.later.things.insert_one({"_id": 1})
    world.wait_restored(world.restore("automated", "mine", "mine", snapshotId=snapshot["id"]), "mine")
    assert content(client) == before
    names = [name for database in client.list_database_names() if database not in ("local", "admin", "config")
             for name in client[database].list_collection_names()]
    assert not [name for name in names if name.startswith("tidemark.stage.")], names


def test_a_moment_of_an_attached_deployment_is_restored_exactly(fresh, engine):
    world = fresh().start()
    uri, _ = engine()
    client = connect(uri)
    fill(client)
    tidemark(world, "attach", "mine", "--uri", uri)
    world.wait_idle("mine")
    world.snapshot("mine")
    client.shop.items.update_many({"_id": {"$lt": 100}}, {"$set": {"changed": True}})
    client.shop.items.delete_one({"_id": 200})
    before = content(client)
    newest = client.local["oplog.rs"].find_one(sort=[("$natural", -1)])["ts"]
    client.shop.items.delete_many({})

    def restorable():
        spans = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/mine/restorable")[1]["results"]
        return any(span["through"]["oplogTs"] > newest.time for span in spans) or any(
            (span["through"]["oplogTs"], span["through"].get("oplogInc", 2**32)) >= (newest.time, newest.inc)
            for span in spans)

    until(restorable, "the capture to reach the moment")
    job = world.restore("pointInTime", "mine", "mine", oplogTs=newest.time, oplogInc=newest.inc)
    world.wait_restored(job, "mine")
    assert content(client) == before


def test_data_moves_between_embedded_and_attached(fresh, engine):
    world = fresh().start()
    uri, _ = engine()
    outside = connect(uri)
    fill(outside)
    tidemark(world, "attach", "mine", "--uri", uri, "--view", "flex")
    world.create_instance("inside")
    world.create_user()
    inside = world.client("inside")
    inside.kept.things.insert_one({"_id": 1})
    until(lambda: own(world, "/mine")["state"] == "REACHABLE", "the deployment to answer")
    flex = f"/groups/{world.group}/flexClusters/mine"
    until(lambda: world.call("GET", flex)["stateName"] == "IDLE", "the deployment to be idle")
    taken = world.call("POST", f"{flex}/backup/snapshots", {})

    def complete():
        found = world.call("GET", f"{flex}/backup/snapshots/{taken['id']}")
        return found["status"] == "COMPLETED"

    until(complete, "the snapshot")
    body = {"snapshotId": taken["id"], "targetDeploymentItemName": "inside", "targetProjectId": world.group}
    job = world.call("POST", f"{flex}/backup/restoreJobs", body)
    until(lambda: world.call("GET", f"{flex}/backup/restoreJobs/{job['id']}")["status"] == "COMPLETED", "the job")
    assert content(inside) == content(outside)
    # And back, into what differs by now.
    inside.shop.items.delete_many({"_id": {"$gte": 10}})
    snapshot = world.snapshot("inside")
    world.wait_restored(world.restore("automated", "inside", "mine", snapshotId=snapshot["id"]), "inside")
    assert content(inside) == content(outside)


@pytest.mark.parametrize("stranger", STRANGERS, indirect=True)
def test_servers_that_we_did_not_write_are_protected_as_far_as_they_can_be(fresh, stranger):
    world = fresh().start()
    client = connect(stranger)
    client.shop.items.insert_many([{"_id": n, "text": "x" * 300} for n in range(3_000)])
    client.shop.items.create_index("text")
    client.other.things.insert_one({"_id": "one"})
    before = content(client)
    shown = tidemark(world, "attach", "ferret", "--uri", stranger)
    assert "LIMITED" in shown and "no point in time can be restored" in shown, shown
    world.wait_idle("ferret")
    snapshot = world.snapshot("ferret")
    client.shop.items.delete_many({"_id": {"$lt": 500}})
    client.other.drop_collection("things")
    client.later.things.insert_one({"_id": 1})
    world.wait_restored(world.restore("automated", "ferret", "ferret", snapshotId=snapshot["id"]), "ferret")
    after = content(client)
    assert {name: found for name, found in after.items()} == before
    with pytest.raises(ApiError) as error:
        world.restore("pointInTime", "ferret", "ferret", pointInTimeUTCSeconds=1_700_000_000)
    assert error.value.code == "INVALID_PIT_RESTORE_TIME"


def test_a_deployment_that_goes_away_is_said_and_comes_back(fresh, engine, ports):
    world = fresh().start()
    port = ports.take()
    uri, process = engine(port=port)
    other, _ = engine()
    fill(connect(uri), 100)
    fill(connect(other), 100)
    for name, where in (("mine", uri), ("other", other)):
        tidemark(world, "attach", name, "--uri", where)
        world.wait_idle(name)
    world.snapshot("mine")
    process.terminate()
    process.wait(30)
    gone = until(lambda: (found := own(world, "/mine"))["state"] == "UNREACHABLE" and found, "it to be noticed")
    assert "refused" in gone["reasons"][0] and PASSWORD not in json.dumps(gone), gone
    assert world.call("GET", world.instance_path("mine"))["stateName"] == "REPAIRING"
    # One that is dead disturbs no other, and the server goes on.
    assert own(world, "/other")["state"] == "REACHABLE"
    world.snapshot("other")
    with pytest.raises(ApiError):
        world.call("POST", world.instance_path("mine") + "/backup/snapshots", {})
    engine(port=port)
    until(lambda: own(world, "/mine")["state"] == "REACHABLE", "it to be back")
    world.wait_idle("mine")
    world.snapshot("mine")


def test_secrets_of_a_deployment_are_shown_nowhere(fresh, engine):
    world = fresh().start()
    uri, _ = engine()
    tidemark(world, "attach", "mine", "--uri", uri)
    assert PASSWORD not in json.dumps(own(world, "")) + tidemark(world, "show", "mine")
    wrong = uri.replace(PASSWORD, "not-this-password")
    refused = tidemark(world, "update", "mine", "--uri", wrong, code=1)
    assert "login" in refused and "not-this-password" not in refused, refused
    unreachable = tidemark(world, "attach", "two", "--uri", "mongodb://u:hunter2hunter2@127.0.0.1:1/", code=1)
    assert "refused" in unreachable and "hunter2" not in unreachable, unreachable
    world.wait_idle("mine")
    world.stop()
    kept = [path for path in world.folder.rglob("*") if path.is_file() and "instances" not in path.parts]
    for secret in (PASSWORD, "hunter2hunter2", "not-this-password"):
        assert [path for path in kept if secret.encode() in path.read_bytes()] == [], secret


def test_attaching_says_what_is_wrong(fresh, engine):
    world = fresh().start()
    uri, _ = engine()
    for arguments, said in [
        (["one", "--uri", "hunter2"], "connection string"),
        (["o_o", "--uri", uri], "CLUSTER_NAME_INVALID"),
        (["one", "--uri", uri + "&tlsCAFile=/etc/passwd&tls=true"], "tlsCAFile"),
        (["one"], "--uri"),
    ]:
        refused = tidemark(world, "attach", *arguments, code=1)
        assert said in refused and "hunter2" not in refused, refused
    assert own(world, "")["totalCount"] == 0
    tidemark(world, "attach", "one", "--uri", uri)
    assert "DUPLICATE" in tidemark(world, "attach", "one", "--uri", uri, code=1)
    changed = json.loads(tidemark(world, "update", "one", "--read-rate", 20, "--read-from", "nearest", "--json"))
    assert (changed["readRateMegabytes"], changed["readFrom"]) == (20, "nearest"), changed
    assert "one" in tidemark(world, "list")
    world.wait_idle("one")
    snapshot = world.snapshot("one")
    tidemark(world, "detach", "one")
    until(lambda: own(world, "")["totalCount"] == 0, "it to be let go")
    retired = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/retired")[1]["results"]
    [kept] = [found for found in retired if found["name"] == "one"]
    status, found, _ = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/retired/{kept['id']}/snapshots")
    assert status == 200 and [s["id"] for s in found["results"] if s["id"] == snapshot["id"]], found


def command(world, *arguments, code=0):
    """Runs any command against the server of a world."""
    done = subprocess.run([str(part) for part in [BINARY, *arguments, "--data-dir", world.data]],
                          capture_output=True, text=True, timeout=90)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def restore_jobs(world, name, body):
    return world.raw("POST", f"/api/tidemark/v1/groups/{world.group}/instances/{name}/restoreJobs", body)


@pytest.mark.parametrize("backing", ["embedded", "attached"])
def test_selected_namespaces_come_back_under_new_names(fresh, engine, backing):
    world = fresh().start()
    if backing == "attached":
        uri, _ = engine()
        client = connect(uri)
        fill(client, 500)
        tidemark(world, "attach", "one", "--uri", uri)
        world.wait_idle("one")
    else:
        world.create_instance()
        world.create_user()
        client = world.client()
        fill(client, 500)
    snapshot = world.snapshot()
    before = content(client)
    client.shop.items.delete_many({"_id": {"$lt": 100}})
    client.later.things.insert_one({"_id": 1})
    changed = content(client)
    body = {"snapshotId": snapshot["id"], "namespaces": [{"from": "shop.items", "to": "shop.items_yesterday"}]}
    status, plan, _ = restore_jobs(world, "one", {**body, "dryRun": True})
    assert status == 200, plan
    [planned] = plan["namespaces"]
    assert (planned["to"], planned["documents"], planned["replaces"]) == ("shop.items_yesterday", 500, False), plan
    assert plan["dropped"] == [] and "shop.items" in plan["kept"] and plan["obstacles"] == [], plan
    assert content(client) == changed, "a dry run changed something"
    job = json.loads(command(world, "restores", "create", "one", "--snapshot", snapshot["id"],
                             "--namespace", "shop.items=shop.items_yesterday", "--json"))
    assert job["namespaces"] == body["namespaces"], job
    world.wait_restored(job)
    after = content(client)
    assert after.pop("shop.items_yesterday") == before["shop.items"]
    assert after == changed
    progress = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/one/restoreJobs/{job['id']}/progress")[1]
    assert progress["state"] == "completed", progress
    assert "completed" in command(world, "restores", "show", "one", job["id"])
    # A whole dry run says what would be lost.
    text = command(world, "restores", "create", "one", "--snapshot", snapshot["id"], "--dry-run")
    assert "drop     later.things" in text and "replace  shop.items -> shop.items" in text, text
    # All of a database, beside itself; at a moment.
    world.wait_idle()
    status, job, _ = restore_jobs(world, "one", {
        "snapshotId": snapshot["id"], "namespaces": [{"from": "shop.*", "to": "copy.*"}]})
    assert status == 201, job
    world.wait_restored(job)
    assert content(client)["copy.items"] == before["shop.items"]
    for bad, said in [([], "namespaces"), ([{"from": "x"}], "INVALID_NAMESPACES"),
                      ([{"from": "admin.x"}], "INVALID_NAMESPACES"), ([{"to": "a.b"}], "from")]:
        status, refused, _ = restore_jobs(world, "one", {"snapshotId": snapshot["id"], "namespaces": bad})
        assert status == 400 and said in json.dumps(refused), (bad, refused)
    status, plan, _ = restore_jobs(world, "one", {
        "snapshotId": snapshot["id"], "namespaces": [{"from": "no.thing"}], "dryRun": True})
    assert status == 200 and plan["obstacles"], plan


def test_what_shows_no_one_moment_says_so_everywhere(fresh, engine):
    world = fresh().start()
    shown = {}
    for name, without in (("moment", "extensions"), ("fuzzy", "extensions,snapshotReads"),
                          ("as-is", "extensions,snapshotReads,replicaSet")):
        uri, _ = engine(without)
        connect(uri).shop.items.insert_one({"_id": 1})
        tidemark(world, "attach", name, "--uri", uri)
        world.wait_idle(name)
        taken = world.snapshot(name)["id"]
        found = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/{name}/snapshots/{taken}")[1]
        shown[name] = (found["mode"], found["isPointInTime"], "modeReason" in found, "shows" in found)
    assert shown == {
        "moment": ("snapshot", True, False, True),
        "fuzzy": ("fuzzyWithOplog", True, True, True),
        "as-is": ("asIs", False, True, False),
    }
