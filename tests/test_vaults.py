"""Projects with a vault of their own, beside the common one."""

import json
import urllib.request

import pytest

from s3 import CREDENTIALS
from test_cli import DIFFERS, logged_in
from test_object_stores import s3, tidemark  # noqa: F401
from world import CLIENTS, content, run, until

RULES = """
[[vaults]]
name = "finance"
location = "{location}"
projects = ["finance"]
immutable_hours = {immutable}
"""


@pytest.fixture(params=["bucket", "folder"])
def world(request, fresh, s3, tmp_path):  # noqa: F811
    """A server whose project `finance` has a vault of its own."""
    location = s3().url() if request.param == "bucket" else str(tmp_path / "finance")
    rules = tmp_path / "tidemark.toml"
    rules.write_text(RULES.format(location=location, immutable=0))
    world = fresh("--config", str(rules))
    world.environment = dict(CREDENTIALS)
    world.rules, world.place = rules, location
    world.start()
    created = world.call("POST", "/groups", {"name": "finance", "orgId": world.bootstrap["orgId"]})
    world.finance, world.common = created["id"], world.group
    return world


def fill(world, project, name):
    world.group = project
    world.create_instance(name)
    world.create_user(f"app{name}")
    client = world.client(name, user=f"app{name}")
    client.shop.items.insert_many({"_id": n, "of": name, "text": f"{name} {n} " * 30} for n in range(2_000))
    return client


def command(world, *arguments, code=0):
    done = tidemark(*arguments, "--data-dir", world.data, "--config", world.rules)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def told_of(world, id, reason):
    """How often the log says why something of an id is not done."""
    return sum(id in line and reason in line for line in world.log_text().splitlines())


def snapshots_in(world, vault):
    """How many snapshots a vault has."""
    arguments = ["--vault-name", vault] if vault else ["--vault", world.data / "vault"]
    told = tidemark("vault", "verify", "--data-dir", world.data, "--config", world.rules, *arguments).stdout
    return int(told.split("read ")[1].split(" snapshots")[0])


def test_what_is_wrong_with_a_vault_is_shown(world, tmp_path):
    shell = logged_in(world, tmp_path)
    fill(world, world.common, "one")
    fill(world, world.finance, "two")
    taken = {}
    for project, name in [(world.common, "one"), (world.finance, "two")]:
        world.group = project
        taken[name] = world.snapshot(name)["id"]
    in_finance = {"TIDEMARK_PROJECT": world.finance}
    [common] = shell.json("vault", "show")["results"]
    assert "name" not in common and common["isForNew"]
    [vault] = shell.json("vault", "show", **in_finance)["results"]
    assert (vault["name"], vault["state"], vault["instances"]) == ("finance", "WHOLE", 1)
    assert vault["packs"] > 0 and vault["storedBytes"] > 0
    # A project that had its backups elsewhere before shows both.
    told = shell.run("vault", "show", **in_finance).stdout.splitlines()
    assert told[0].split()[:3] == ["VAULT", "STATE", "STORED"] and told[1].split()[:2] == ["finance", "whole"]
    if world.place.startswith("s3:"):
        return
    world.stop()
    for pack in (tmp_path / "finance" / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    world.start()
    done = shell.run("vault", "show", code=DIFFERS, **in_finance)
    assert done.stdout.splitlines()[1].split()[:2] == ["finance", "damaged"]
    assert f"snapshot {taken['two']} lacks" in done.stderr and "vault verify" in done.stderr
    [vault] = json.loads(shell.run("vault", "show", "--json", code=DIFFERS, **in_finance).stdout)["results"]
    assert {found["id"] for found in vault["damagedSnapshots"]} >= {taken["two"]}
    # The other one is as it was.
    assert shell.json("vault", "show")["results"][0]["state"] == "WHOLE"
    # A third project shares the common vault: of others' snapshots it learns only how many are damaged.
    third = world.call("POST", "/groups", {"name": "third", "orgId": world.bootstrap["orgId"]})["id"]
    for pack in (world.data / "vault" / "packs").rglob("*"):
        if pack.is_file():
            pack.unlink()
    # One cannot even be said what it needs.
    [manifest] = [file for file in (world.data / "vault" / "snapshots").rglob("*") if taken["one"] in file.name]
    manifest.write_bytes(manifest.read_bytes()[:-10])
    world.stop()
    world.start()
    [vault] = json.loads(shell.run("vault", "show", "--json", code=DIFFERS, TIDEMARK_PROJECT=third).stdout)["results"]
    assert (vault["state"], vault["damagedSnapshots"]) == ("DAMAGED", []) and vault["damagedElsewhere"] >= 1
    assert taken["one"] not in json.dumps(vault)
    [vault] = json.loads(shell.run("vault", "show", "--json", code=DIFFERS).stdout)["results"]
    assert taken["one"] in {found["id"] for found in vault["damagedSnapshots"]} and vault["damagedElsewhere"] == 0
    # What is deleted is missed by nobody.
    for found in vault["damagedSnapshots"]:
        shell.run("snapshots", "delete", "one", found["id"], "--yes")
    world.stop()
    world.start()
    until(lambda: shell.json("vault", "show")["results"][0]["state"] == "WHOLE", "what is deleted to be forgotten")


def test_a_project_keeps_its_backups_in_its_own_vault(world, tmp_path):
    ours, theirs = fill(world, world.common, "one"), fill(world, world.finance, "two")
    world.group = world.common
    wanted_ours, of_ours = content(ours), world.snapshot("one")
    world.group = world.finance
    wanted_theirs, of_theirs = content(theirs), world.snapshot("two")
    shown = world.raw("GET", f"/api/tidemark/v1/groups/{world.finance}/instances/two")[1]
    assert shown["vault"] == "finance"
    assert snapshots_in(world, "finance") >= 1
    before = snapshots_in(world, None)
    world.snapshot("two")
    assert snapshots_in(world, None) == before, "the common vault has nothing of it"

    theirs.shop.items.delete_many({"_id": {"$lt": 500}})
    moment = theirs.admin.command("hello")["lastWrite"]["opTime"]["ts"]
    at_moment = content(theirs)
    theirs.shop.items.delete_many({})
    world.wait_restored(world.restore("pointInTime", "two", "two", oplogTs=moment.time, oplogInc=moment.inc), "two")
    assert content(theirs) == at_moment
    # From one vault into an instance whose backups are in the other one, and the other way round.
    job = world.restore("automated", "two", "one", snapshotId=of_theirs["id"], targetGroupId=world.common)
    world.wait_restored(job, "two")
    assert content(ours) == wanted_theirs
    world.group = world.common
    job = world.restore("automated", "one", "two", snapshotId=of_ours["id"], targetGroupId=world.finance)
    world.wait_restored(job, "one")
    assert content(theirs) == wanted_ours
    # A download is a file that mongorestore takes.
    world.group = world.finance
    job = world.restore("download", "two", snapshotId=of_theirs["id"])
    link = world.wait_job(job["id"], "two")["deliveryUrl"][0]
    archive = tmp_path / "archive.gz"
    with urllib.request.urlopen(link) as answer:
        archive.write_bytes(answer.read())
    theirs.drop_database("shop")
    run([CLIENTS / "bin" / "mongorestore", f"--uri={world.uri('two', 'apptwo')}", "--gzip", f"--archive={archive}"])
    assert content(theirs) == wanted_theirs


def test_a_vault_that_is_not_configured_any_more_loses_nothing(world):
    theirs = fill(world, world.finance, "two")
    first = world.snapshot("two")
    wanted, snapshot = content(theirs), world.snapshot("two")
    with_it = world.rules.read_text()
    world.stop()
    before = snapshots_in(world, None)
    world.rules.write_text("")
    world.start()
    world.group = world.finance
    # What is in it is neither taken for gone nor written elsewhere, and the reason is told.
    job = world.restore("automated", "two", "two", snapshotId=snapshot["id"])
    reason = 'vault finance is not in the configuration of this node; add its section [[vaults]] again'
    assert world.wait_job(job["id"], "two")["failed"]
    assert told_of(world, job["id"], reason) > 4, "it was tried again and again before"
    shown = world.raw("GET", f"/api/tidemark/v1/groups/{world.group}/instances/two/restoreJobs/{job['id']}")[1]
    assert reason in shown["reason"]
    asked = world.call("POST", world.instance_path("two") + "/backup/snapshots", {})
    until(lambda: told_of(world, asked["id"], reason), "the reason to be told")
    older = f"/api/atlas/v2{world.instance_path('two')}/backup/snapshots/{first['id']}"
    assert world.raw("DELETE", older)[1]["errorCode"] == "CANNOT_DELETE_KEPT_SNAPSHOT"
    world.stop()
    world.rules.write_text(with_it)
    world.start()
    world.group = world.finance
    # The snapshot waited for it.
    world.wait_snapshot(asked["id"], "two")
    world.stop()
    assert snapshots_in(world, None) == before
    world.start()
    world.group = world.finance
    world.wait_restored(world.restore("automated", "two", "two", snapshotId=snapshot["id"]), "two")
    assert content(world.client("two", user="apptwo")) == wanted


def test_commands_name_a_vault(world):
    ours, theirs = fill(world, world.common, "one"), fill(world, world.finance, "two")
    world.group = world.common
    world.snapshot("one")
    world.group = world.finance
    wanted, snapshot = content(theirs), world.snapshot("two")
    ours.close()
    world.stop()
    both = command(world, "vault", "verify")
    assert both.count("everything is whole") == 2 and "vault finance:" in both
    command(world, "keys", "rotate", "--vault-name", "finance")
    assert "tidemark-vault-names-1" in (world.data / "finance.key").read_text()
    assert "names" not in (world.data / "vault.key").read_text()
    world.start()
    until(lambda: "sealed with its newest key" in world.log_text(), "the vault to be sealed anew")
    world.stop()
    assert "are gone from it" in command(world, "keys", "retire", "--vault-name", "finance")
    assert "no section [[vaults]]" in command(world, "vault", "verify", "--vault-name", "other", code=1)
    second = world.folder / "second"
    assert "everything is there" in command(world, "vault", "copy", "--vault-name", "finance", "--to", second)
    # The records are lost; each instance comes back in its own vault.
    for file in world.data.glob("catalog.sqlite*"):
        file.unlink()
    (world.data / "bootstrap.json").unlink()
    told = command(world, "vault", "rebuild")
    assert "vault finance:" in told and told.count("comes back as a deleted one") == 2
    world.token = None
    world.start()
    world.create_instance("new")
    world.create_user("appnew")
    job = world.restore("automated", "two", "new", snapshotId=snapshot["id"])
    world.wait_restored(job, "two")
    assert content(world.client("new", user="appnew")) == wanted


def test_each_vault_keeps_its_own_promise(fresh, tmp_path):
    rules = tmp_path / "tidemark.toml"
    rules.write_text(RULES.format(location=tmp_path / "finance", immutable=48))
    world = fresh("--config", str(rules)).start()
    created = world.call("POST", "/groups", {"name": "finance", "orgId": world.bootstrap["orgId"]})
    common = world.group
    for project, name, expected in ((common, "one", 200), (created["id"], "two", 409)):
        world.group = project
        world.create_instance(name)
        snapshot = world.snapshot(name)
        path = f"{world.instance_path(name)}/backup/snapshots/{snapshot['id']}"
        status, body, _ = world.raw("DELETE", "/api/atlas/v2" + path)
        assert status in (expected, 204 if expected == 200 else expected), body


@pytest.mark.parametrize("rules, told", [
    ('[[vaults]]\nname = "A b"\nlocation = "/a"', "lower-case letters"),
    ('[[vaults]]\nname = "a"\nlocation = "/a"\n[[vaults]]\nname = "a"\nlocation = "/b"', "two vaults are called a"),
    ('[[vaults]]\nname = "a"\nlocation = "/a"\nprojects = ["p"]\n[[vaults]]\nname = "b"\nlocation = "/b"\n'
     'projects = ["p"]', "project p has two vaults"),
    ('[[vaults]]\nname = "a"\nlocation = "/a"\n[[vaults]]\nname = "b"\nlocation = "/a"', "where another vault is"),
    ('[[vaults]]\nname = "a"', "location"),
    ('[[vaults]]\nname = "vault"\nlocation = "/a"', "has the key file of another vault"),
    ('[[vaults]]\nname = "a"\nlocation = "/a"\n[[vaults]]\nname = "b"\nlocation = "/b"\nkey_file = "DATA/a.key"',
     "has the key file of another vault"),
])
def test_sections_that_cannot_be_are_refused(tmp_path, rules, told):
    path = tmp_path / "tidemark.toml"
    path.write_text(rules.replace("DATA", str(tmp_path / "data")))
    done = tidemark("serve", "--data-dir", tmp_path / "data", "--config", path)
    assert done.returncode != 0 and told in done.stderr, done.stderr
