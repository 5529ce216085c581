"""Restore drills: a backup comes back into a scratch database, is compared, and the report can be checked."""

import json
import time

import pytest
from test_cli import CONFLICT, DIFFERS, NOT_FOUND, USAGE
from test_looking import engine, ports, source  # noqa: F401
from world import until


def test_a_backup_is_proven_with_a_report_that_anybody_can_check(source, tmp_path):
    shell, world, client = source
    client.shop.orders.create_index("item")
    snapshot = world.snapshot("shop")["id"]
    checks = tmp_path / "checks.json"
    checks.write_text(json.dumps([
        {"name": "all orders", "namespace": "shop.orders", "count": 4_000},
        {"name": "some of a kind", "namespace": "shop.orders", "filter": {"item": "thing 3"}, "atLeast": 500},
        {"name": "the first two", "namespace": "shop.orders", "filter": {"_id": {"$lt": 2}},
         "documents": [{k: v for k, v in client.shop.orders.find_one({"_id": n}).items()} for n in (0, 1)]},
        {"name": "a sum", "namespace": "shop.orders",
         "pipeline": [{"$group": {"_id": None, "sum": {"$sum": "$_id"}}}],
         "documents": [{"_id": None, "sum": 4_000 * 3_999 // 2}]},
    ]))
    # What happens to the database does not matter: the backup is what is proven.
    before = client.shop.list_collection_names()
    client.drop_database("shop")
    report = tmp_path / "report.json"
    drill = shell.json("drill", "shop", "--snapshot", snapshot, "--checks", checks, "--report", report)
    assert drill["state"] == "proven" and drill["checks"] == 4, drill
    signed = json.loads(report.read_text())
    found = {each["namespace"]: each for each in signed["report"]["collections"]}
    assert set(found) == {f"shop.{name}" for name in before}
    assert found["shop.orders"]["found"]["documents"] == 4_000 and found["shop.orders"]["hasIndexes"]
    assert all(each["isEqual"] and each["found"] == each["expected"] for each in found.values())
    assert all(check["holds"] for check in signed["report"]["checks"])
    # Nothing is left of the scratch database, and nobody saw it as an instance.
    until(lambda: not list((world.data / "scratch").iterdir()), "the scratch database to be gone")
    assert [each["name"] for each in shell.json("instances", "list")["results"]] == ["shop"]
    # The report is good, and a changed one is not.
    assert "is good" in shell.run("drill", "verify", report).stdout
    key = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/reportKey")[1]["publicKey"]
    verified = json.loads(shell.run("drill", "verify", report, "--key", key, "--json").stdout)
    assert verified["outcome"] == "proven" and verified["publicKey"] == key
    shell.run("drill", "verify", report, "--key", "00" * 32, code=DIFFERS)
    changed = report.read_text().replace('"documents": 4000', '"documents": 4001')
    assert changed != report.read_text()
    (tmp_path / "changed.json").write_text(changed)
    assert "not what was signed" in shell.run("drill", "verify", tmp_path / "changed.json", code=DIFFERS).stderr
    # It is shown at the instance, and kept.
    proven = shell.json("instances", "show", "shop")["lastProvenRestore"]
    assert proven["drillId"] == drill["id"] and proven["snapshotId"] == snapshot
    assert [each["id"] for each in shell.json("drill", "list", "shop")["results"]] == [drill["id"]]
    assert shell.json("drill", "show", "shop", drill["id"])["state"] == "proven"
    assert shell.json("drill", "report", "shop", drill["id"]) == signed


def test_a_check_that_does_not_hold_fails_the_drill_and_says_so(source, tmp_path):
    shell, world, _ = source
    world.snapshot("shop")
    checks = tmp_path / "checks.json"
    checks.write_text(json.dumps([{"name": "too many", "namespace": "shop.orders", "count": 4_001},
                                  {"name": "nothing there", "namespace": "shop.nothing", "count": 0},
                                  {"name": "no operator", "namespace": "shop.orders", "filter": {"a": {"$near": 1}},
                                   "count": 0}]))
    report = tmp_path / "report.json"
    done = shell.run("drill", "shop", "--checks", checks, "--report", report, code=DIFFERS)
    assert "check too many: DOES NOT HOLD" in done.stdout and "too many, no operator" in done.stderr, done
    signed = json.loads(report.read_text())["report"]
    assert [check["holds"] for check in signed["checks"]] == [False, True, False]
    assert signed["checks"][0]["found"] == 4_000 and "$near" in signed["checks"][2]["found"]["error"]
    assert "lastProvenRestore" not in shell.json("instances", "show", "shop")
    checks.write_text('[{"name": "a", "namespace": "shop.orders"}]')
    assert "count" in shell.run("drill", "shop", "--checks", checks, code=USAGE).stderr
    checks.write_text("oops")
    shell.run("drill", "shop", "--checks", checks, code=USAGE)
    shell.run("drill", "show", "shop", "0" * 24, code=NOT_FOUND)


def test_moments_are_proven_too(source):
    shell, world, client = source
    world.snapshot("shop")
    client.shop.orders.delete_many({"_id": {"$lt": 100}})
    time.sleep(1.1)
    moment = int(time.time())
    time.sleep(1.1)
    client.shop.orders.delete_many({})
    drill = shell.json("drill", "shop", "--at", str(moment))
    assert drill["state"] == "proven" and drill["pointInTimeUTCSeconds"] == moment, drill
    signed = shell.json("drill", "report", "shop", drill["id"])["report"]
    counts = {each["namespace"]: each["found"]["documents"] for each in signed["collections"]}
    assert counts["shop.orders"] == 3_900 and signed["shows"]["seconds"] <= moment, signed
    assert shell.json("drill", "shop", "--random")["state"] == "proven"


def test_a_damaged_backup_is_not_proven(fresh, tmp_path):
    from test_cli import Shell
    world = fresh().start()
    shell = Shell(tmp_path)
    shell.run("login", "--data-dir", world.data)
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_many([{"_id": n, "text": "x" * 500} for n in range(5_000)])
    world.snapshot("shop")
    world.stop()
    for pack in (world.data / "vault" / "packs").rglob("*"):
        if pack.is_file():
            bytes_of = bytearray(pack.read_bytes())
            bytes_of[len(bytes_of) // 3] ^= 0xff
            pack.write_bytes(bytes_of)
    world.start()
    done = shell.run("drill", "shop", code=DIFFERS)
    assert "not proven" in done.stderr, done
    assert shell.json("drill", "list", "shop")["results"][0]["state"] == "failed"


@pytest.mark.parametrize("step", ["restore", "compare", "check"])
def test_a_drill_whose_process_died_begins_anew(fresh, tmp_path, step):
    from test_cli import Shell
    world = fresh().start()
    shell = Shell(tmp_path)
    shell.run("login", "--data-dir", world.data)
    world.create_instance("shop")
    world.create_user()
    world.client("shop").shop.orders.insert_many([{"_id": n} for n in range(1_000)])
    world.snapshot("shop")
    world.stop()
    world.start(crash_at=step)
    drill = json.loads(shell.run("drill", "shop", "--no-wait", "--json").stdout)
    until(lambda: world.has_crashed(step), "the process to die")
    world.start()
    until(lambda: shell.json("drill", "show", "shop", drill["id"])["state"] == "proven", "the drill to be over")
    assert not list((world.data / "scratch").iterdir())
