"""Deployments that Tidemark does not run: attached, protected, restored into."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.request

import pymongo
import pytest

from test_dev import advance
from world import BINARY, CLIENTS, PASSWORD, TOP, ApiError, Ports, content, is_free, until

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


@contextlib.contextmanager
def started(what, ports):
    """A server of its own, by what it is: a stranger's name, or what our engine is to lack."""
    port = ports.take()
    address = f"mongodb://127.0.0.1:{port}/"
    # PostgreSQL's user has to reach it.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tidemark-stranger-"))
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        match what:
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
            case without:
                command = [BINARY, "engine", "--folder", folder, "--listen", f"127.0.0.1:{port}",
                           "--user", "admin", "--without", without]
                address = f"mongodb://admin:{PASSWORD}@127.0.0.1:{port}/?directConnection=true"
        stack.enter_context(served(command, port, TIDEMARK_ENGINE_PASSWORD=PASSWORD))
        yield address


def tidemark(world, *arguments, code=0):
    """Runs a command against the server of a world."""
    command = [BINARY, "deployments", *arguments, "--data-dir", world.data]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=90)
    assert (done.returncode != 0) == (code != 0), done.stdout + done.stderr
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


# Servers by the names that the matrix has: what our engine is to lack, or a stranger; and the state.
SERVERS = {
    "own engine as a replica set": ("extensions,applyOps", "REACHABLE"),
    "own engine without snapshot reads and UUIDs": (
        "extensions,applyOps,snapshotReads,uuidReads,dropTarget", "REACHABLE"),
    "own engine on its own": ("extensions,applyOps,snapshotReads,uuidReads,dropTarget,replicaSet", "LIMITED"),
    "FerretDB 1.24.2 on SQLite": ("FerretDB on SQLite", "LIMITED"),
    "FerretDB 1.24.2 on PostgreSQL": ("FerretDB on PostgreSQL", "LIMITED"),
    "mongo-java-server 1.47.0": ("mongo-java-server", "LIMITED"),
}
MATRIX_HEAD = "| server | mode | `automated` | `pointInTime` | `download` |\n|---|---|---|---|---|\n"


@pytest.fixture(scope="module")
def matrix():
    """What came of each server; written into the documentation when all were tried."""
    rows = {}
    yield rows
    if set(rows) == set(SERVERS):
        path = TOP / "docs" / "deployments.md"
        text = path.read_text()
        begin, end = text.index(MATRIX_HEAD), text.index("\n\n", text.index(MATRIX_HEAD))
        lines = [f"| {server} | " + " | ".join(rows[server]) + " |" for server in SERVERS]
        path.write_text(text[:begin] + MATRIX_HEAD + "\n".join(lines) + text[end:])


@pytest.fixture
def server(request, ports):
    """A server of the matrix, by its name."""
    what = SERVERS[request.param][0]
    with started(what, ports) as address:
        yield request.param, address


def restorable_to(world, name, ts):
    spans = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/{name}/restorable")[1]["results"]
    return any((span["through"]["oplogTs"], span["through"].get("oplogInc", 2**32)) >= (ts.time, ts.inc)
               for span in spans)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_each_server_is_protected_as_far_as_it_can_be(fresh, server, matrix):
    label, uri = server
    world = fresh(backup_full_read_interval_hours=0).start()
    client = connect(uri)
    client.shop.items.insert_many([{"_id": n, "text": "x" * 300} for n in range(3_000)])
    client.shop.items.create_index("text")
    client.other.things.insert_one({"_id": "one"})
    if label.startswith("own engine"):
        client.shop.empty.create_index([("a", 1), ("b", -1)], unique=True)
        client.other["odd name é"].insert_one({"_id": "one"})
    before = content(client)
    shown = json.loads(tidemark(world, "attach", "mine", "--uri", uri, "--json"))
    assert shown["state"] == SERVERS[label][1], shown
    world.wait_idle("mine")
    snapshot = world.snapshot("mine")
    found = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/mine/snapshots/{snapshot['id']}")[1]
    mode = found["mode"]
    client.shop.items.delete_many({"_id": {"$lt": 500}})
    client.shop.items.drop_index("text_1")
    client.other.drop_collection("things")
    client.later.things.insert_one({"_id": 1})
    job = world.restore("automated", "mine", "mine", snapshotId=snapshot["id"])
    shown = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/mine/restoreJobs/{job['id']}")[1]
    assert "one after another" in shown["notice"]
    world.wait_restored(job, "mine")
    assert content(client) == before

    def left_behind():
        names = [name for database in client.list_database_names() if database not in ("local", "admin", "config")
                 for name in client[database].list_collection_names()]
        return [name for name in names if name.startswith("tidemark")]

    # What a job has recorded beside the data goes once its end is known.
    until(lambda: not left_behind(), "the records of the restore to go")
    if mode == "asIs":
        assert not found["isPointInTime"]
        with pytest.raises(ApiError) as error:
            world.restore("pointInTime", "mine", "mine", pointInTimeUTCSeconds=1_700_000_000)
        assert error.value.code == "INVALID_PIT_RESTORE_TIME"
        moment = "refused: no oplog"
    else:
        world.wait_idle("mine")
        world.snapshot("mine")
        client.shop.items.update_many({"_id": {"$lt": 100}}, {"$set": {"changed": True}})
        client.shop.items.delete_one({"_id": 200})
        wanted = content(client)
        newest = client.local["oplog.rs"].find_one(sort=[("$natural", -1)])["ts"]
        client.shop.items.delete_many({})
        until(lambda: restorable_to(world, "mine", newest), "the capture to reach the moment")
        job = world.restore("pointInTime", "mine", "mine", oplogTs=newest.time, oplogInc=newest.inc)
        world.wait_restored(job, "mine")
        assert content(client) == wanted
        moment = "exact to the entry"
    job = world.call("POST", world.instance_path("mine") + "/backup/restoreJobs",
                     {"deliveryType": "download", "snapshotId": snapshot["id"],
                      "targetClusterName": "mine", "targetGroupId": world.group})
    [link] = world.wait_restored(job, "mine")["deliveryUrl"]
    with urllib.request.urlopen(link, timeout=60) as answer:
        assert answer.read(2) == b"\x1f\x8b"
    matrix[label] = (f"`{mode}`", "exact", moment, "archive for `mongorestore`")


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
    tidemark(world, "detach", "one", "--yes")
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
                             "--namespace", "shop.items=shop.items_yesterday", "--yes", "--json"))
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
    assert "drop      later.things" in text and "replace   shop.items  500 documents" in text, text
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


@pytest.mark.parametrize("what", ["extensions,renameCollection,applyOps", "FerretDB on SQLite"])
def test_where_nothing_can_be_renamed_it_is_replaced_in_place_if_that_is_allowed(fresh, ports, what):
    with started(what, ports) as uri:
        check_replacing_in_place(fresh().start(), uri)


def check_replacing_in_place(world, uri):
    client = connect(uri)
    # FerretDB renames nothing that has a dot in its name.
    client.shop["items.old"].insert_many([{"_id": n, "text": "x" * 300} for n in range(20_000)])
    client.shop["items.old"].create_index("text")
    before = content(client)
    tidemark(world, "attach", "mine", "--uri", uri)
    world.wait_idle("mine")
    snapshot = world.snapshot("mine")
    client.shop["items.old"].delete_many({"_id": {"$lt": 5_000}})
    changed = content(client)
    plan = restore_jobs(world, "mine", {"snapshotId": snapshot["id"], "dryRun": True})[1]
    if plan["obstacles"]:
        refused = command(world, "restores", "create", "mine", "--snapshot", snapshot["id"], "--yes", "--json", code=6)
        assert "cannot rename collections" in refused, refused
    status, job, _ = restore_jobs(world, "mine", {"snapshotId": snapshot["id"]})
    assert status == 201, job
    assert world.wait_job(job["id"], "mine")["failed"]
    # What was staged goes when the failure is on record.
    until(lambda: content(client) == changed, "the deployment to be as it was")
    world.wait_idle("mine")
    job = json.loads(command(world, "restores", "create", "mine", "--snapshot", snapshot["id"],
                             "--replace-in-place", "--yes", "--json"))
    assert job["replaceInPlace"] is True
    world.wait_restored(job, "mine")
    assert content(client) == before
    assert client.shop.list_collection_names() == ["items.old"]


def certificates(folder):
    """An authority, and certificates that it signed for a server on this machine and a client."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-days", "2", "-subj", "/CN=authority")
    (folder / "san").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr",
                "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", f"{name}.crt", "-days", "2", "-extfile", "san")
        both = (folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text()
        (folder / f"{name}.pem").write_text(both)


def test_a_deployment_behind_tls_is_reached_with_its_own_authority_and_a_client_certificate(fresh, ports, tmp_path):
    world = fresh().start()
    certificates(tmp_path)
    port = ports.take()
    command_line = [BINARY, "engine", "--folder", tmp_path / "engine", "--listen", f"127.0.0.1:{port}",
                    "--user", "admin", "--tls-certificate-key-file", tmp_path / "server.pem",
                    "--tls-ca-file", tmp_path / "ca.pem"]
    # As a replica set: the driver follows the names that the server says.
    uri = f"mongodb://admin:{PASSWORD}@127.0.0.1:{port}/?tls=true"
    with served(command_line, port, TIDEMARK_ENGINE_PASSWORD=PASSWORD):
        client = pymongo.MongoClient(uri, tlsCAFile=str(tmp_path / "ca.pem"), directConnection=True,
                                     tlsCertificateKeyFile=str(tmp_path / "client.pem"))
        fill(client, 300)
        before = content(client)
        stranger = tidemark(world, "attach", "mine", "--uri", uri, code=1)
        assert "certificate" in stranger.lower(), stranger
        nobody = tidemark(world, "attach", "mine", "--uri", uri, "--tls-ca-file", tmp_path / "ca.pem", code=1)
        assert "DEPLOYMENT_UNREACHABLE" in nobody, nobody
        tidemark(world, "attach", "mine", "--uri", uri, "--tls-ca-file", tmp_path / "ca.pem",
                 "--tls-certificate-key-file", tmp_path / "client.pem")
        world.wait_idle("mine")
        snapshot = world.snapshot("mine")
        client.shop.items.drop()
        world.wait_restored(world.restore("automated", "mine", "mine", snapshotId=snapshot["id"]), "mine")
        assert content(client) == before
        # And after a restart, from what is sealed in the catalog.
        world.stop()
        world.start(ready=False)
        until(lambda: own(world, "/mine")["state"] == "REACHABLE", "it to answer again")
        world.wait_idle("mine")
        world.snapshot("mine")
        key = (tmp_path / "client.key").read_text().splitlines()[1]
        kept = [path for path in world.folder.rglob("*") if path.is_file()]
        assert [path for path in kept if key.encode() in path.read_bytes()] == []


def own_snapshot(world, name, snapshot):
    path = f"/api/tidemark/v1/groups/{world.group}/instances/{name}/snapshots/{snapshot['id']}"
    return world.raw("GET", path)[1]


def test_the_next_snapshot_is_made_in_the_vault_and_once_a_week_the_deployment_is_read(fresh, engine):
    world = fresh("--dev", backup_snapshot_interval_minutes=60 * 24 * 30).start()
    uri, _ = engine()
    client = connect(uri)
    fill(client)
    tidemark(world, "attach", "mine", "--uri", uri)
    world.wait_idle("mine")
    path = world.instance_path("mine") + "/backup/snapshots"
    first = until(lambda: world.call("GET", path)["results"], "the first snapshot")[0]
    world.wait_snapshot(first["id"], "mine")
    assert own_snapshot(world, "mine", first)["mode"] == "snapshot"
    for step in range(3):
        client.shop.items.update_many({"_id": {"$lt": 50}}, {"$inc": {"seen": 1}, "$set": {"a.b": step}})
        client.shop.items.insert_many([{"_id": 10_000 + 10 * step + n} for n in range(10)])
        client.shop.items.delete_many({"_id": {"$gte": 100, "$lt": 110 + step}})
        client.shop[f"new{step}"].insert_one({"_id": step})
        client.shop[f"new{step}"].create_index("a", unique=True)
        before = content(client)
        made = world.snapshot("mine")
        found = own_snapshot(world, "mine", made)
        assert found["mode"] == "synthetic" and found["isPointInTime"], found
        assert first["id"] in found["modeReason"] or step > 0
    client.shop.items.drop()
    world.wait_restored(world.restore("automated", "mine", "mine", snapshotId=made["id"]), "mine")
    assert content(client) == before
    # What a restore put there is in no oplog: the next one is read.
    read = own_snapshot(world, "mine", world.snapshot("mine"))
    assert read["mode"] in ("snapshot", "synthetic"), read
    advance(world, 8 * 86_400, f"{world.bootstrap['publicKey']}:{world.bootstrap['privateKey']}")
    client.shop.items.insert_one({"_id": "after a week"})
    weekly = own_snapshot(world, "mine", world.snapshot("mine"))
    assert weekly["mode"] == "snapshot" and "time to compare" in weekly["modeReason"], weekly
    assert weekly["comparison"]["differences"] == [], weekly
    assert own_snapshot(world, "mine", world.snapshot("mine"))["mode"] == "synthetic"
