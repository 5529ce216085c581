"""A catalog in PostgreSQL: the same server, its records elsewhere. `./test` runs the catalog's own suite
and the suites of the API and of backups a second time with such a catalog (`scripts/with-postgres`)."""

import os
import subprocess
import time

import pytest

from world import BINARY, Ports, content, run

SERVER = os.environ.get("TIDEMARK_TEST_POSTGRES")
pytestmark = pytest.mark.skipif(not SERVER, reason="runs under scripts/with-postgres")


def fill(world):
    world.create_instance()
    world.create_user()
    client = world.client()
    client.shop.orders.insert_many({"_id": n, "text": "x" * 300} for n in range(2000))
    return client


def test_a_killed_server_goes_on_where_its_records_say(fresh):
    world = fresh().start()
    client = fill(world)
    wanted = content(client)
    snapshot = world.snapshot()
    client.shop.orders.delete_many({})
    job = world.restore("automated", snapshotId=snapshot["id"])
    world.kill()
    assert not (world.data / "catalog.sqlite").exists()
    world.start()
    world.wait_restored(job)
    assert content(world.client()) == wanted


def test_a_second_server_with_a_vault_of_its_own_is_refused(fresh, tmp_path):
    world = fresh().start()
    ports = Ports()
    second = subprocess.run(
        [str(part) for part in (BINARY, "serve", "--data-dir", tmp_path / "second", "--listen",
                                f"127.0.0.1:{ports.take()}", "--catalog", world.settings["catalog"])],
        capture_output=True, text=True, timeout=30)
    ports.close()
    assert second.returncode != 0 and "share a vault in a bucket, and its key" in second.stderr, second.stderr
    assert "panicked" not in second.stderr
    # It goes on, and may be followed by another once it is gone.
    assert world.call("GET", "/groups")["totalCount"] >= 1
    world.kill()
    world.start()


def test_a_database_that_is_away_for_a_moment_costs_no_record(fresh):
    world = fresh().start()
    client = fill(world)
    wanted = content(client)
    name = world.settings["catalog"].rsplit("/", 1)[1]
    for _ in range(3):
        # Every connection breaks, also those that nobody uses at the moment.
        run(["psql", "--quiet", f"{SERVER}/postgres", "-c",
             f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"])
        # Who used one at that moment may be told so; after a second nobody is.
        time.sleep(1)
        assert world.raw("GET", "/api/atlas/v2/groups")[0] == 200
    snapshot = world.snapshot()
    client.drop_database("shop")
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(client) == wanted


def test_keys_and_credentials_are_found_there(fresh):
    world = fresh().start()
    arguments = ["--data-dir", world.data, "--catalog", world.settings["catalog"]]
    made = run([BINARY, "keys", "create", *arguments, "--role", "ORG_OWNER"])
    assert "PUBLIC_KEY=" in made
    shown = run([BINARY, "env", *arguments, "--client", "curl"])
    assert world.bootstrap["publicKey"] in shown


def test_an_address_that_cannot_be_used_is_told(tmp_path):
    for address, told in [
        (f"{SERVER}/no_such_database", "no_such_database"),
        ("postgres://postgres@127.0.0.1:1/x", "onnect"),
        ("postgres://postgres@127.0.0.1:x/x", "catalog database failed"),
    ]:
        refused = subprocess.run([str(BINARY), "serve", "--data-dir", str(tmp_path / "data"), "--catalog", address],
                                 capture_output=True, text=True, timeout=60)
        assert refused.returncode != 0 and told in refused.stderr, refused.stderr
        assert "panicked" not in refused.stderr


def test_tls_is_as_the_address_asks_for(fresh, tmp_path):
    root = os.environ["TIDEMARK_TEST_POSTGRES_CA"]

    def ssl_of(world):
        name = world.settings["catalog"].split("?")[0].rsplit("/", 1)[1]
        sql = ("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
               f"WHERE datname = '{name}' AND application_name = 'tidemark'")
        return run(["psql", "--quiet", "--tuples-only", "--no-align", f"{SERVER}/postgres", "-c", sql]).strip()

    for query, expected in [("", "t"), ("?sslmode=disable", "f"), ("?sslmode=require", "t"),
                            (f"?sslmode=verify-full&sslrootcert={root}", "t")]:
        world = fresh()
        world.settings["catalog"] += query
        world.start()
        assert ssl_of(world) == expected, query
        world.stop()
    for query, told in [("?sslmode=verify-full", "ertificate"), ("?sslmode=maybe", "sslmode=maybe"),
                        (f"?sslmode=verify-full&sslrootcert={tmp_path / 'none'}", "cannot be read")]:
        refused = subprocess.run([str(BINARY), "serve", "--data-dir", str(tmp_path / "data"), "--catalog",
                                  world.settings["catalog"].split("?")[0] + query],
                                 capture_output=True, text=True, timeout=60)
        assert refused.returncode != 0 and told in refused.stderr, refused.stderr


def test_records_are_moved_there_and_back(fresh, tmp_path):
    world = fresh()
    database = world.settings.pop("catalog")
    world.start()
    client = fill(world)
    wanted = content(client)
    snapshot = world.snapshot()
    client.shop.orders.delete_many({})
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))

    def listed():
        path = world.instance_path()
        return [world.call("GET", path + "/backup/" + kind)["results"] for kind in ("snapshots", "restoreJobs")]

    def move(source, target):
        return subprocess.run([str(BINARY), "catalog", "move", "--from", str(source), "--to", str(target)],
                              capture_output=True, text=True, timeout=60)

    file = world.data / "catalog.sqlite"
    in_use = move(file, database)
    assert in_use.returncode != 0 and "stop it first" in in_use.stderr, in_use
    world.stop()
    moved = move(file, database)
    assert moved.returncode == 0 and "records were moved and compared" in moved.stdout, moved
    again = move(file, database)
    assert again.returncode != 0 and "has records already" in again.stderr, again
    world.settings["catalog"] = database
    world.start()
    before = listed()
    assert snapshot["id"] in [found["id"] for found in before[0]] and len(before[1]) == 1
    world.client().drop_database("shop")
    world.wait_restored(world.restore("automated", snapshotId=snapshot["id"]))
    assert content(world.client()) == wanted
    world.stop()
    back = tmp_path / "back.sqlite"
    assert move(database, back).returncode == 0
    world.settings["catalog"] = f"sqlite:{back}"
    world.start()
    assert len(listed()[1]) == 2
