"""Vaults in buckets of S3 servers that we did not write."""

import datetime
import os
import shutil
import subprocess
import time
import urllib.request
from xml.etree import ElementTree

import pytest

from s3 import CREDENTIALS, S3, SECRET
from world import BINARY, CLIENTS, ApiError, content, run, until

@pytest.fixture
def s3(tmp_path):
    servers = []

    def make(kind="versitygw"):
        servers.append(S3(kind, tmp_path / f"s3-{len(servers)}").start())
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def start(world):
    world.environment = CREDENTIALS
    return world.start()


def tidemark(*arguments, environment=CREDENTIALS):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEMARK_", "AWS_"))}
    command = [str(part) for part in (BINARY, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, env=kept | environment)


def fill(world):
    world.create_instance()
    world.create_user()
    shop = world.client().shop
    shop.orders.insert_many({"_id": n, "text": os.urandom(700), "state": n % 7} for n in range(4000))
    shop.orders.create_index("state")
    shop.people.insert_many({"name": f"person {n}"} for n in range(100))
    return shop


def requests(world):
    with urllib.request.urlopen(f"http://127.0.0.1:{world.server_port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("tidemark_vault_requests_total")]
    return {line.split('"')[1]: int(line.rsplit(" ", 1)[1]) for line in counted}


@pytest.mark.parametrize("kind", ["versitygw", "s3s-fs"])
def test_backups_in_a_bucket_are_restored_by_all_deliveries(fresh, s3, kind, tmp_path):
    bucket = s3(kind)
    world = start(fresh(vault=bucket.url()))
    shop = fill(world)
    client = shop.client
    wanted = content(client)
    snapshot = world.snapshot()
    assert not (world.data / "vault").exists()
    shop.orders.delete_many({"state": 3})
    later = content(client)
    moment = client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
    client.drop_database("shop")
    job = world.restore("pointInTime", oplogTs=moment.time, oplogInc=moment.inc)
    world.wait_restored(job)
    assert content(client) == later
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(client) == wanted
    job = world.wait_restored(world.restore("download", snapshotId=snapshot["id"]))
    archive = tmp_path / "archive.gz"
    run(["curl", "--silent", "--fail", "--output", archive, job["deliveryUrl"][0]])
    client.drop_database("shop")
    run([CLIENTS / "bin" / "mongorestore", "--quiet", f"--uri={world.uri()}", "--gzip", f"--archive={archive}"])
    assert content(client) == wanted
    assert all(count > 0 for name, count in requests(world).items() if name != "delete"), requests(world)
    # While it runs others may read; afterwards the bucket and the key are enough.
    arguments = ("vault", "verify", "--data-dir", world.data, "--vault", bucket.url())
    verified = tidemark(*arguments)
    assert verified.returncode == 0 and "everything is whole" in verified.stdout, verified
    world.stop()
    kept = world.data / "catalog.sqlite"
    for file in world.data.glob("catalog.sqlite*"):
        file.unlink()
    (world.data / "bootstrap.json").unlink()
    rebuilt = tidemark("vault", "rebuild", "--data-dir", world.data, "--vault", bucket.url())
    assert rebuilt.returncode == 0 and kept.exists(), rebuilt
    assert "more snapshots" in rebuilt.stdout and " 0 more snapshots" not in rebuilt.stdout, rebuilt


def test_a_busy_instance_costs_an_object_a_minute_and_a_killed_server_loses_nothing(fresh, s3):
    world = start(fresh(vault=s3().url()))
    world.create_instance()
    world.create_user()
    items = world.client().shop.items
    world.snapshot()
    before, began = requests(world), time.monotonic()
    for n in range(40):
        items.insert_one({"_id": n})
        time.sleep(0.5)
    # What took longer than 20 seconds may have been a full minute.
    minutes = 1 + (time.monotonic() - began) // 60
    assert requests(world)["put"] - before["put"] <= minutes, (before, requests(world))
    moment = items.database.client.admin.command("hello")["lastWrite"]["opTime"]["ts"]
    time.sleep(5)
    world.kill()
    world.start()
    items = world.client().shop.items
    items.delete_many({})
    world.wait_restored(world.restore("pointInTime", oplogTs=moment.time, oplogInc=moment.inc))
    assert items.count_documents({}) == 40


def test_a_folder_that_is_copied_into_a_bucket_is_the_same_vault(fresh, s3):
    bucket = s3()
    world = fresh().start()
    shop = fill(world)
    wanted = content(shop.client)
    snapshot = world.snapshot()
    world.stop()
    vault = world.data / "vault"
    for file in vault.rglob("*"):
        if file.is_file() and file.name != "lock":
            bucket.put(f"copied/{file.relative_to(vault)}", file)
    shutil.rmtree(vault)
    world.arguments += ["--vault", bucket.url("copied")]
    start(world)
    world.client().drop_database("shop")
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(world.client()) == wanted
    # And it goes on there.
    world.client().shop.more.insert_one({})
    world.snapshot()
    assert tidemark("vault", "verify", "--data-dir", world.data, "--vault", bucket.url("copied")).returncode == 0


def test_a_bucket_that_cannot_be_used_is_told_at_the_start(s3, tmp_path):
    bucket = s3()

    def told(url, environment=CREDENTIALS):
        refused = tidemark("serve", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0", "--vault", url,
                           environment=environment)
        assert refused.returncode != 0 and "panicked" not in refused.stderr, refused.stderr
        assert SECRET not in refused.stderr
        return refused.stderr

    assert "NoSuchBucket" in told(bucket.url().replace("//bucket/", "//other/"))
    wrong = CREDENTIALS | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    assert "SignatureDoesNotMatch" in told(bucket.url(), wrong)
    assert "color" in told(bucket.url() + "&color=red")
    assert "s3://BUCKET/PREFIX" in told("ftp://bucket/prefix")
    assert "`nobody`" in told(bucket.url() + "&profile=nobody")
    bucket.stop()
    assert "127.0.0.1" in told(bucket.url())


def test_a_second_place_is_filled_while_the_server_runs_and_stands_alone(fresh, s3):
    bucket = s3()
    world = fresh().start()
    shop = fill(world)
    wanted = content(shop.client)
    snapshot = world.snapshot()
    copy = ("vault", "copy", "--data-dir", world.data, "--to", bucket.url("second"), "--verify-after-copy")
    done = tidemark(*copy)
    assert done.returncode == 0 and "everything is there" in done.stdout, done
    assert "copied 0 snapshots" not in done.stdout
    shop.orders.delete_many({"state": 3})
    world.snapshot()
    again = tidemark(*copy)
    assert again.returncode == 0 and "copied 1 snapshots" in again.stdout, again
    assert SECRET not in done.stdout + done.stderr
    # The first place is lost.
    world.stop()
    shutil.rmtree(world.data / "vault")
    world.arguments += ["--vault", bucket.url("second")]
    start(world)
    world.client().drop_database("shop")
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(world.client()) == wanted
    same = tidemark("vault", "copy", "--data-dir", world.data, "--vault", bucket.url("second"), "--to",
                    bucket.url("second"))
    assert same.returncode != 0 and "name another place" in same.stderr, same


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_what_is_immutable_is_removed_by_no_path(fresh, s3, place, tmp_path):
    settings = {"vault": s3().url()} if place == "bucket" else {}
    world = start(fresh("--dev", vault_immutable_hours=48, **settings))
    shop = fill(world)
    snapshot = world.snapshot()
    path = world.instance_path() + f"/backup/snapshots/{snapshot['id']}"
    with pytest.raises(ApiError) as refused:
        world.call("DELETE", path)
    assert refused.value.status == 409 and "CANNOT_DELETE_KEPT_SNAPSHOT" == refused.value.code
    # Without the setting it is the same: the vault says so itself.
    world.stop()
    del world.settings["vault-immutable-hours"]
    world.start()
    with pytest.raises(ApiError):
        world.call("DELETE", path)
    # An instance that is deleted, with its backups given up.
    shop.client.close()
    world.call("DELETE", world.instance_path())
    until(lambda: world.call("GET", f"/groups/{world.group}/serverless")["totalCount"] == 0, "the instance to be gone")
    time.sleep(3)
    # Emptying a second place that made the same promise, after the first one is lost.
    vault = settings.get("vault", world.data / "vault")
    copy = tmp_path / "copy"
    arguments = ("vault", "copy", "--data-dir", world.data, "--vault", vault, "--to", copy)
    assert tidemark(*arguments).returncode == 0
    world.stop()
    listed = tidemark("vault", "verify", "--data-dir", world.data, "--vault", vault)
    assert listed.returncode == 0, listed
    catalog = world.data / "catalog.sqlite"
    for file in world.data.glob("catalog.sqlite*"):
        file.unlink()
    rebuilt = tidemark("vault", "rebuild", "--data-dir", world.data, "--vault", vault)
    assert rebuilt.returncode == 0 and catalog.exists(), rebuilt
    assert " 0 more snapshots" not in rebuilt.stdout, rebuilt.stdout


def versions_in(server):
    """Names, versions and whether they are marks of removal, of all objects in the locked bucket."""
    status, body = server.ask("GET", "locked?max-keys=1000&versions=")
    assert status == 200, body
    root = ElementTree.fromstring(body)
    found = []
    for element in root:
        tag = element.tag.rsplit("}", 1)[-1]
        if tag in ("Version", "DeleteMarker"):
            text = {child.tag.rsplit("}", 1)[-1]: child.text for child in element}
            found.append((text["Key"], text["VersionId"], tag == "DeleteMarker"))
    return found


def retained_until(server, name):
    status, body = server.ask("GET", f"locked/{name}?retention=")
    assert status == 200, body
    return datetime.datetime.fromisoformat(body.split("<RetainUntilDate>")[1].split("<")[0].replace("Z", "+00:00"))


def test_a_bucket_with_object_lock_keeps_what_whoever_has_its_credentials_removes(fresh, tmp_path):
    server = S3("versitygw", tmp_path / "s3", versions=True).start()
    try:
        status, body = server.ask("PUT", "locked", "--header", "x-amz-bucket-object-lock-enabled: true")
        assert status == 200, body
        place = f"s3://locked/some/prefix?endpoint=http://127.0.0.1:{server.port}&lock=compliance"
        world = start(fresh("--dev", vault=place, vault_immutable_hours=48))
        shop = fill(world)
        wanted, snapshot = content(shop.client), world.snapshot()
        now = datetime.datetime.now(datetime.timezone.utc)
        kept = ("/packs/", "/snapshots/", "/oplog/", "/keeping/")
        objects = [name for name, _, _ in versions_in(server) if any(folder in name for folder in kept)]
        assert {folder for folder in kept for name in objects if folder in name} == set(kept)
        for name in objects:
            assert retained_until(server, name) > now + datetime.timedelta(hours=48), name
        # A pack that later snapshots need stays as long from now on: it is looked at when packs are removed.
        packs = [name for name in objects if "/packs/" in name]
        world.stop()
        world.start()

        def are_extended():
            return all(retained_until(server, name) > now + datetime.timedelta(hours=100) for name in packs)

        until(are_extended, "the locks of packs to be extended")
        world.stop()
        # Somebody removes all that can be removed, versions too.
        for name, _, _ in versions_in(server):
            server.ask("DELETE", f"locked/{name}")
        for name, version, is_mark in versions_in(server):
            if not is_mark:
                status, _ = server.ask("DELETE", f"locked/{name}?versionId={version}")
                assert status == 403 or not any(folder in name for folder in kept), (name, status)
        # The marks of removal are taken away, and everything is there.
        for name, version, is_mark in versions_in(server):
            if is_mark:
                server.ask("DELETE", f"locked/{name}?versionId={version}")
        rebuilt = tidemark("vault", "rebuild", "--data-dir", world.data, "--vault", place, "--vault-immutable-hours", "48")
        assert rebuilt.returncode == 0, rebuilt
        world.start()
        world.client().drop_database("shop")
        world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
        assert content(world.client()) == wanted
    finally:
        server.close()


def test_a_lock_that_cannot_be_is_told_at_the_start(s3, tmp_path):
    url = s3().url()

    def told(*arguments):
        done = tidemark("serve", "--data-dir", tmp_path / "data", *arguments)
        assert done.returncode != 0
        return done.stderr

    assert "needs vault.immutable_hours" in told("--vault", url + "&lock=compliance")
    assert "no mode of object lock" in told("--vault", url + "&lock=yes", "--vault-immutable-hours", "1")
    without = told("--vault", url + "&lock=governance", "--vault-immutable-hours", "1")
    assert "cannot be locked" in without, without
