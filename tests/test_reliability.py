"""What may go wrong, and what is promised then. `docs/reliability.md` lists scenarios and tests."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from world import BINARY, ApiError, World, content, free_port, until


def readiness(world):
    """Status and text of /readyz."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{world.server_port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def unready(world):
    status, text = readiness(world)
    return (status, text) if status != 200 and "starting" not in text else None


def own(world, path, method="GET"):
    """A resource of Tidemark's own API below the project."""
    status, body, _ = world.raw(method, f"/api/tidemark/v1/groups/{world.group}{path}")
    assert status == 200, body
    return body


def metric(world, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{world.server_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return int(next(line for line in lines if line.startswith(f"tidemark_{name} ")).split()[1])


def verify(world):
    command = [BINARY, "vault", "verify", "--data-dir", world.data]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def filled(world, documents=3_000):
    world.start()
    world.create_instance()
    world.create_user()
    client = world.client()
    client.shop.items.insert_many({"_id": n, "text": str(n) * 50} for n in range(documents))
    return client


def packs(world):
    return sorted((world.data / "vault" / "packs").iterdir(), key=lambda path: path.stat().st_size)


def change_byte(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_pack_whose_table_is_damaged_is_kept_reported_and_mended(fresh):
    world = fresh()
    client = filled(world)
    before = content(client)
    snapshot = world.snapshot()
    world.stop()
    for pack in packs(world):
        change_byte(pack, -20)
    kept = {pack.name for pack in packs(world)}
    world.start()

    def is_reported():
        status, text = readiness(world)
        return status == 200 and all(name in text for name in kept) and snapshot["id"] in text

    until(is_reported, "the damage to be reported")
    assert metric(world, "vault_unreadable_packs") == len(kept) and metric(world, "vault_missing_chunks") > 0
    job = world.wait_job(world.restore("automated", snapshotId=snapshot["id"])["id"])
    assert job["failed"]
    assert content(world.client()) == before
    reason = own(world, f"/instances/one/restoreJobs/{job['id']}")["reason"]
    assert "tidemark vault verify" in reason
    checked = verify(world)
    assert checked.returncode == 1 and all(name in checked.stdout for name in kept)
    world.stop()
    assert kept <= {pack.name for pack in packs(world)}
    for pack in packs(world):
        if pack.name in kept:
            change_byte(pack, -20)
    world.start()
    world.client().shop.items.delete_many({})
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(world.client()) == before


def test_after_damage_the_next_snapshot_is_whole(fresh):
    world = fresh()
    client = filled(world)
    before = content(client)
    first = world.snapshot()
    for pack in packs(world):
        data = bytearray(pack.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 8] = bytes(8)
        pack.write_bytes(data)
    second = world.snapshot()
    client.shop.items.drop()
    for snapshot in (second, first):
        world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
        assert content(client) == before


def test_a_lost_key_or_configuration_changes_nothing(fresh):
    world = fresh()
    filled(world)
    snapshot = world.snapshot()
    world.stop()
    for name in ("vault.key", "vault/config"):
        lost = world.data / name
        saved = lost.read_bytes()
        lost.unlink()
        arguments = [BINARY, "serve", "--data-dir", world.data, "--listen", f"127.0.0.1:{free_port()}"]
        refused = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
        assert refused.returncode != 0 and lost.name in refused.stderr, refused.stderr
        assert not lost.exists()
        lost.write_bytes(saved)
    world.start()
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))


def test_two_servers_do_not_write_to_one_vault(fresh, tmp_path):
    world = fresh()
    filled(world)
    arguments = [
        BINARY, "serve", "--data-dir", tmp_path / "other", "--listen", f"127.0.0.1:{free_port()}",
        "--vault-folder", world.data / "vault", "--vault-key-file", world.data / "vault.key",
    ]
    refused = subprocess.run(arguments, capture_output=True, text=True, timeout=30)
    assert refused.returncode != 0 and "uses the vault" in refused.stderr, refused.stderr
    world.snapshot()


def test_a_deleted_instance_is_restored_into_another_one_from_the_vault(fresh):
    world = fresh()
    client = filled(world)
    snapshot = world.snapshot()
    client.shop.items.insert_one({"_id": "later"})
    before = content(client)
    position = newest_position(world)
    client.shop.items.delete_many({})
    until(lambda: restorable_through(world) > position, "the capture to pass the moment")
    world.create_instance("two")
    world.call("DELETE", world.instance_path())
    until(lambda: is_gone(world), "the instance to be gone")
    listed = world.call("GET", world.instance_path() + "/backup/snapshots")["results"]
    assert snapshot["id"] in [found["id"] for found in listed]
    [retired] = own(world, "/retired")["results"]
    assert retired["name"] == "one"
    job = world.restore("pointInTime", target="two", oplogTs=position[0], oplogInc=position[1])
    world.wait_restored(job)
    assert content(world.client("two")) == before
    # Another instance takes the name; the old backups are found under the old one's id only.
    world.create_instance()
    listed = world.call("GET", world.instance_path() + "/backup/snapshots")["results"]
    assert snapshot["id"] not in [found["id"] for found in listed]
    kept = own(world, f"/retired/{retired['id']}/snapshots")["results"]
    assert snapshot["id"] in [found["id"] for found in kept]


def newest_position(world):
    entry = world.client().local["oplog.rs"].find().sort("$natural", -1).limit(1).next()
    return entry["ts"].time, entry["ts"].inc


def restorable_through(world):
    spans = own(world, "/instances/one/restorable")["results"]
    segments = world.data / "vault" / "oplog"
    names = [path.name for folder in segments.iterdir() for path in folder.iterdir() if path.suffix != ".tmp"]
    last = max((int(name.split("-")[1], 16) for name in names), default=0)
    assert spans
    return last >> 32, last & 0xFFFFFFFF


def is_gone(world):
    try:
        world.call("GET", world.instance_path())
    except ApiError as error:
        assert error.code == "CLUSTER_NOT_FOUND"
        return True


def test_backups_that_are_given_up_end_with_the_instance(fresh):
    world = fresh()
    filled(world)
    world.snapshot()
    world.call("DELETE", world.instance_path() + "?retainBackups=false")
    until(lambda: is_gone(world), "the instance to be gone")
    until(lambda: not own(world, "/retired")["results"], "its backups to end")
    assert list((world.data / "vault" / "snapshots").iterdir()) == []
    with pytest.raises(ApiError) as error:
        world.call("GET", world.instance_path() + "/backup/snapshots")
    assert error.value.code == "CLUSTER_NOT_FOUND"


def test_what_can_be_restored_is_shown_and_a_refusal_names_the_nearest(fresh):
    world = fresh()
    filled(world)
    world.snapshot()
    [span] = own(world, "/instances/one/restorable")["results"]
    assert span["from"]["oplogTs"] <= span["through"]["oplogTs"]
    with pytest.raises(ApiError) as error:
        world.restore("pointInTime", pointInTimeUTCSeconds=span["from"]["oplogTs"] - 1000)
    assert error.value.code == "INVALID_PIT_RESTORE_TIME"
    assert str(span["from"]["oplogTs"]) in error.value.body["detail"]


def test_a_port_that_somebody_else_has_is_said_and_replaced(fresh):
    world = fresh()
    client = filled(world)
    before = content(client)
    world.stop()
    port = json.loads(subprocess.run(
        ["python3", "-c", PORT_OF_ONE, world.data / "catalog.sqlite"], capture_output=True, text=True, check=True
    ).stdout)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        world.start(ready=False)
        status, text = until(lambda: unready(world), "the server to say that an instance is not served")
        assert status == 503 and "not served" in text, text
        # People are let in to mend it.
        assert world.answers("/readyz?traffic")
        found = world.call("GET", world.instance_path())
        assert found["stateName"] == "REPAIRING" and "standardSrv" not in found.get("connectionStrings", {})
        reason = own(world, "/instances/one")["reason"]
        assert str(port) in reason, reason
        world.wait_idle()
        assert f":{port}/" not in world.uri()
    assert content(world.client()) == before
    assert readiness(world)[0] == 200


PORT_OF_ONE = """
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("SELECT port FROM instances").fetchone()[0])
"""


def test_an_instance_without_its_data_begins_anew_from_its_backups(fresh):
    world = fresh()
    client = filled(world)
    world.snapshot()
    client.shop.items.insert_one({"_id": "after the snapshot"})
    before = content(client)
    position = newest_position(world)
    until(lambda: restorable_through(world) >= position, "the capture to pass the last write")
    world.stop()
    subprocess.run(["rm", "-r", world.data / "instances"], check=True)
    world.start(ready=False)
    status, text = until(lambda: unready(world), "the server to say that an instance is not served")
    assert status == 503 and "rehost" in text, text
    assert world.call("GET", world.instance_path())["stateName"] == "REPAIRING"
    with pytest.raises(ApiError):
        world.call("POST", world.instance_path() + "/backup/snapshots", {})
    job = own(world, "/instances/one/rehost", "POST")["restoreJobId"]
    world.wait_restored({"id": job})
    world.wait_idle()
    assert content(world.client()) == before
    assert readiness(world)[0] == 200
    status, body, _ = world.raw("POST", f"/api/tidemark/v1/groups/{world.group}/instances/one/rehost")
    assert status == 400, body


def test_an_instance_whose_data_is_damaged_begins_anew_once_that_is_out_of_the_way(fresh):
    world = fresh()
    client = filled(world)
    world.snapshot()
    before = content(client)
    position = newest_position(world)
    until(lambda: restorable_through(world) >= position, "the capture to pass the last write")
    world.stop()
    (data,) = (world.data / "instances").glob("*/data.mdb")
    with data.open("r+b") as file:
        file.write(b"\x55" * 65_536)
    world.start(ready=False)
    status, text = until(lambda: unready(world), "the server to say that an instance is not served")
    assert status == 503 and "rehost" not in text, text
    refused, body, _ = world.raw("POST", f"/api/tidemark/v1/groups/{world.group}/instances/one/rehost")
    assert refused == 400, body
    data.parent.rename(world.data / "damaged")

    def begun():
        code, body, _ = world.raw("POST", f"/api/tidemark/v1/groups/{world.group}/instances/one/rehost")
        return code == 200 and body

    # What is wrong is something else now, and the way out is the one that is named.
    job = until(begun, "the instance to be found without its data")["restoreJobId"]
    world.wait_restored({"id": job})
    world.wait_idle()
    assert content(world.client()) == before
    assert readiness(world)[0] == 200


def test_a_restore_of_which_the_server_dies_fails_after_three_times(fresh):
    world = fresh()
    client = filled(world)
    before = content(client)
    snapshot = world.snapshot()
    world.stop()
    world.start(crash_at="replay")
    job = world.restore("automated", snapshotId=snapshot["id"])
    world.wait_for_crash()
    for _ in range(2):
        world.start(crash_at="replay")
        world.wait_for_crash()
    world.start(crash_at="replay")
    finished = world.wait_job(job["id"])
    assert finished["failed"]
    assert "3 times" in own(world, f"/instances/one/restoreJobs/{job['id']}")["reason"]
    assert content(world.client()) == before
    until(lambda: "tidemark" not in server_databases(world), "what was staged to be removed")


def server_databases(world):
    return world.client().list_database_names()


def test_a_cancelled_restore_is_not_taken_up_again(fresh):
    world = fresh()
    filled(world)
    snapshot = world.snapshot()
    world.stop()
    world.start(crash_at="replay")
    job = world.restore("automated", snapshotId=snapshot["id"])
    world.wait_for_crash()
    # Cancelled while nobody works on it: the next start must not begin with it first.
    program = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('UPDATE restore_jobs SET cancel_requested = 1'); c.commit()"
    subprocess.run(["python3", "-c", program, world.data / "catalog.sqlite"], check=True)
    world.start(crash_at="replay")
    assert world.wait_job(job["id"])["cancelled"]
    assert world.process.poll() is None


def test_links_to_downloads_are_not_what_a_client_says(fresh):
    world = fresh()
    del world.settings["server-public-url"]
    filled(world)
    snapshot = world.snapshot()
    job = world.restore("download", snapshotId=snapshot["id"])
    world.wait_job(job["id"])
    path = "/api/atlas/v2" + world.instance_path() + f"/backup/restoreJobs/{job['id']}"
    _, shown, _ = world.raw("GET", path, headers={"Host": "evil.example", "X-Forwarded-Proto": "https"})
    [url] = shown["deliveryUrl"]
    assert url.startswith(f"http://127.0.0.1:{world.server_port}/download/"), url
    token = url.split("/download/")[1].split("/")[0]
    stored = b"".join(path.read_bytes() for path in world.data.glob("catalog.sqlite*"))
    assert token.encode() not in stored, "the ticket is stored in clear"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.replace(token, "0" * len(token)), timeout=10)
    assert error.value.code == 404


def test_a_download_is_cut_and_resumed_anywhere(fresh):
    world = fresh()
    client = filled(world, 1)
    client.shop.items.insert_many({"_id": n, "text": os.urandom(500)} for n in range(1, 2_000))
    snapshot = world.snapshot()
    job = world.wait_job(world.restore("download", snapshotId=snapshot["id"])["id"])
    [url] = job["deliveryUrl"]
    with urllib.request.urlopen(url, timeout=30) as answer:
        whole, etag = answer.read(), answer.headers["ETag"]
    assert len(whole) > 512 * 1024
    for cut in range(0, len(whole), 64 * 1024):
        with socket.create_connection(("127.0.0.1", world.server_port), timeout=10) as connection:
            path = "/download" + url.split("/download", 1)[1]
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            while len(got) < cut:
                got += connection.recv(65536)
        request = urllib.request.Request(url, headers={"Range": f"bytes={cut}-", "If-Range": etag})
        with urllib.request.urlopen(request, timeout=30) as answer:
            rest = answer.read()
            assert answer.status == 206
        assert whole[:cut] + rest == whole, f"resumed at {cut}"


def test_half_sent_requests_end(fresh):
    world = fresh(server_deadline_seconds=1)
    world.start()
    connections = [socket.create_connection(("127.0.0.1", world.server_port), timeout=20) for _ in range(3)]
    connections[1].sendall(b"GET /readyz HTTP/1.1\r\nHos")
    connections[2].sendall(b"POST /api/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nab")
    for connection in connections:
        answer = b""
        while True:
            part = connection.recv(65536)
            if not part:
                break
            answer += part
        connection.close()
    assert readiness(world)[0] == 200


def test_connections_that_ask_for_nothing_do_not_hold_up_the_end(fresh):
    world = fresh(server_shutdown_seconds=600).start()
    address = ("127.0.0.1", world.server_port)
    with socket.create_connection(address), socket.create_connection(address) as half:
        half.sendall(b"GET /readyz HTTP/1.1\r\n")
        # One that is kept after its answer.
        with socket.create_connection(address) as kept:
            kept.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert kept.recv(4_096).startswith(b"HTTP/1.1 200")
            assert world.stop() == 0


def test_after_sigterm_nothing_listens(fresh):
    world = fresh()
    client = filled(world)
    ports = [world.server_port, client.address[1]]
    # A client that holds its connection and a request that is not finished.
    idle = socket.create_connection(("127.0.0.1", world.server_port))
    idle.sendall(b"GET /readyz HTTP/1.1\r\nHos")
    world.process.send_signal(signal.SIGTERM)

    def refuses(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    deadline = time.monotonic() + 5
    while not all(refuses(port) for port in ports):
        assert time.monotonic() < deadline, "something listens 5 s after SIGTERM"
        time.sleep(0.05)
    world.process.wait(30)
    idle.close()


def test_the_last_credential_of_an_owner_stays_and_there_is_a_way_back_in(fresh):
    world = fresh()
    world.start()
    org = world.bootstrap["orgId"]
    keys = world.call("GET", f"/orgs/{org}/apiKeys")["results"]
    for key in keys:
        world.call("DELETE", f"/orgs/{org}/apiKeys/{key['id']}")
    with pytest.raises(ApiError) as error:
        world.call("DELETE", f"/orgs/{org}/serviceAccounts/{world.bootstrap['clientId']}")
    assert error.value.code == "CANNOT_REMOVE_LAST_ORG_OWNER" and error.value.status == 409
    environment = [BINARY, "env", "--data-dir", world.data, "--client", "atlas"]
    dead = subprocess.run(environment, capture_output=True, text=True, timeout=30)
    assert dead.returncode != 0 and "tidemark keys create" in dead.stderr
    create = [BINARY, "keys", "create", "--data-dir", world.data, "--role", "ORG_OWNER"]
    made = subprocess.run(create, capture_output=True, text=True, timeout=30)
    assert made.returncode == 0 and "PRIVATE_KEY=" in made.stdout, made.stderr
    alive = subprocess.run(environment, capture_output=True, text=True, timeout=30)
    assert alive.returncode == 0, alive.stderr
    world.call("DELETE", f"/orgs/{org}/serviceAccounts/{world.bootstrap['clientId']}")


def test_env_waits_for_a_server_that_was_just_started(fresh, tmp_path):
    port = free_port()
    script = (
        f'{BINARY} serve --data-dir {tmp_path}/data --listen localhost:{port} 2> {tmp_path}/log & '
        f'eval "$({BINARY} env --data-dir {tmp_path}/data --client curl)"; echo "$BASE_URL $PUBLIC_KEY"; kill %1; wait'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert str(port) in done.stdout and len(done.stdout.split()) == 2, done.stderr


def test_a_token_ends_with_its_secret(fresh):
    world = fresh()
    world.start()
    org = world.bootstrap["orgId"]
    account = world.call("POST", f"/orgs/{org}/serviceAccounts", {
        "name": "other", "description": "d", "roles": ["ORG_OWNER"], "secretExpiresAfterHours": 8,
    })
    other = World.__new__(World)
    other.__dict__.update(world.__dict__)
    other.bootstrap = {"clientId": account["clientId"], "clientSecret": account["secrets"][0]["secret"]}
    other.token = None
    other.call("GET", f"/orgs/{org}")
    world.call("POST", f"/orgs/{org}/serviceAccounts/{account['clientId']}/secrets", {"secretExpiresAfterHours": 8})
    secret = account["secrets"][0]["id"]
    world.call("DELETE", f"/orgs/{org}/serviceAccounts/{account['clientId']}/secrets/{secret}")
    with pytest.raises(ApiError) as error:
        other.call("GET", f"/orgs/{org}")
    assert error.value.status == 401


def test_who_manages_access_grants_nothing_that_leads_to_data(fresh):
    world = fresh()
    world.start()
    body = {"name": "access", "description": "d", "roles": ["GROUP_ACCESS_MANAGER"], "secretExpiresAfterHours": 8}
    account = world.call("POST", f"/groups/{world.group}/serviceAccounts", body)
    owner = world.bootstrap
    key = world.call("GET", f"/orgs/{owner['orgId']}/apiKeys")["results"][0]["id"]
    manager = World.__new__(World)
    manager.__dict__.update(world.__dict__)
    manager.bootstrap = {"clientId": account["clientId"], "clientSecret": account["secrets"][0]["secret"]}
    manager.token = None
    group = f"/groups/{world.group}"
    tried = [
        ("PATCH", f"{group}/serviceAccounts/{account['clientId']}", {"roles": ["GROUP_BACKUP_MANAGER"]}),
        ("POST", f"{group}/serviceAccounts", {**body, "roles": ["GROUP_DATABASE_ACCESS_ADMIN"]}),
        ("POST", f"{group}/apiKeys", {"desc": "d", "roles": ["GROUP_OWNER"]}),
        ("PATCH", f"{group}/apiKeys/{key}", {"roles": ["GROUP_READ_ONLY"]}),
        ("POST", f"{group}/apiKeys/{key}", [{"roles": ["GROUP_ACCESS_MANAGER"]}]),
        ("DELETE", f"{group}/apiKeys/{key}", None),
        ("POST", f"{group}/serviceAccounts/{owner['clientId']}:invite", {"roles": ["GROUP_READ_ONLY"]}),
    ]
    for method, path, body_ in tried:
        status, answer, _ = manager.raw(method, "/api/atlas/v2" + path, body_)
        assert 400 <= status < 500, (method, path, status, answer)
    made = manager.call("POST", f"{group}/apiKeys", {"desc": "d", "roles": ["GROUP_READ_ONLY"]})
    assert made["roles"]


def test_a_vault_that_was_made_from_an_older_copy_loses_only_what_is_newer(fresh, tmp_path):
    world = fresh()
    client = filled(world)
    first = world.snapshot()
    before = content(client)
    world.stop()
    copy = tmp_path / "vault"
    subprocess.run(["cp", "-r", world.data / "vault", copy], check=True)
    world.start()
    world.client().shop.items.insert_one({"_id": "newer"})
    second = world.snapshot()
    world.stop()
    subprocess.run(["rm", "-r", world.data / "vault"], check=True)
    subprocess.run(["cp", "-r", copy, world.data / "vault"], check=True)
    world.start()
    lost = world.wait_job(world.restore("automated", snapshotId=second["id"])["id"])
    assert lost["failed"]
    world.wait_restored(world.restore("automated", snapshotId=first["id"]))
    assert content(world.client()) == before
    world.snapshot()


def test_a_catalog_that_was_made_from_an_older_copy_loses_no_backup(fresh, tmp_path):
    world = fresh()
    client = filled(world)
    world.snapshot()
    world.stop()
    saved = tmp_path / "catalog"
    subprocess.run(["cp", world.data / "catalog.sqlite", saved], check=True)
    world.start()
    newer = world.snapshot()
    world.stop()
    for path in world.data.glob("catalog.sqlite*"):
        path.unlink()
    subprocess.run(["cp", saved, world.data / "catalog.sqlite"], check=True)
    world.start()
    world.snapshot()
    # What the catalog does not know stays in the vault.
    assert (world.data / "vault" / "snapshots" / newer["id"]).exists()
    assert verify(world).returncode == 0


def test_backups_are_found_again_from_the_vault_alone(fresh, tmp_path):
    world = fresh()
    client = filled(world)
    snapshot = world.snapshot()
    client.shop.items.insert_one({"_id": "later"})
    before = content(client)
    position = newest_position(world)
    client.shop.items.delete_many({})
    until(lambda: restorable_through(world) > position, "the capture to pass the moment")
    world.stop()
    # Catalog, instances and configuration are lost; the vault and its key are there.
    for name in ("catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm", "bootstrap.json", "vault/config"):
        (world.data / name).unlink(missing_ok=True)
    subprocess.run(["rm", "-r", world.data / "instances"], check=True)
    rebuild = [BINARY, "vault", "rebuild", "--data-dir", world.data]
    done = subprocess.run(rebuild, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    world.token = None
    world.start()
    world.create_instance("two")
    world.create_user()
    listed = world.call("GET", world.instance_path() + "/backup/snapshots")["results"]
    assert snapshot["id"] in [found["id"] for found in listed]
    world.wait_restored(world.restore("pointInTime", target="two", oplogTs=position[0], oplogInc=position[1]))
    assert content(world.client("two")) == before
    # A second time there is nothing to do.
    world.stop()
    done = subprocess.run(rebuild, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "0 more snapshots" in done.stdout, done.stdout
