"""Instances that are a part of an attached deployment: which ones, and what is theirs."""

import pytest

from test_deployments import connect, engine, own, ports, restorable_to, started, tidemark  # noqa: F401
from world import ApiError, content, until

RULES = """
[[placement]]
name = "inside*"
backing = "embedded"

[[placement]]
project = "Second"
backing = "attached"
deployment = "main"
deployment_project = "Project 0"
database_prefix = "tm_"

[[placement]]
backing = "attached"
deployment = "main"
database_prefix = "tm_"
"""


@pytest.fixture
def placing(fresh, tmp_path):
    """A server whose new instances are kept on the deployment `main`, which is not attached yet."""
    rules = tmp_path / "tidemark.toml"
    rules.write_text(RULES)
    return lambda: fresh("--config", str(rules)).start()


def part(client, name):
    """What an instance holds, as its users call it."""
    begin = f"tm_{name}_"
    return {namespace.removeprefix(begin): found for namespace, found in content(client).items()
            if namespace.startswith(begin) and not namespace.endswith("tidemark_stage_claim")}


def names(client):
    return {name for name in client.list_database_names() if name not in ("admin", "config", "local", "tidemark")}


def wait_gone(world, name):
    def gone():
        try:
            world.call("GET", world.instance_path(name))
        except ApiError:
            return True
        return False

    until(gone, f"{name} to be removed")


def test_instances_share_a_deployment_and_see_only_their_own(placing, engine):  # noqa: F811
    world = placing()
    with pytest.raises(ApiError) as error:
        world.create_instance("one")
    assert error.value.code == "CANNOT_PLACE_INSTANCE" and "main" in str(error.value), error.value
    uri, _ = engine()
    client = connect(uri)
    client.older.things.insert_one({"_id": 1})
    tidemark(world, "attach", "main", "--uri", uri)
    world.wait_idle("main")
    world.create_instance("one")
    world.create_instance("two")
    assert "27" in world.create_instance("inside-1")["connectionStrings"]["standardSrv"]
    shown = own(world, "/one")
    assert (shown["placedOn"], shown["databasePrefix"]) == ("main", "tm_one_")
    address = world.call("GET", world.instance_path("one"))["connectionStrings"]["standardSrv"]
    assert address == own(world, "/main")["address"]
    client.tm_one_shop.items.insert_many([{"_id": n} for n in range(100)])
    client.tm_one_shop.items.create_index("text")
    client.tm_two_shop.items.insert_one({"_id": "two"})
    wanted = part(client, "one")
    assert set(wanted) == {"shop.items"}
    snapshot = world.snapshot("one")
    # A moment: what others write meanwhile is in the same oplog.
    client.tm_one_shop.items.delete_many({"_id": {"$gte": 50}})
    client.tm_two_shop.items.insert_one({"_id": "meanwhile"})
    client.tm_one_new.things.insert_one({"_id": 1})
    at_moment = part(client, "one")
    newest = client.local["oplog.rs"].find_one(sort=[("$natural", -1)])["ts"]
    client.tm_one_shop.drop_collection("items")
    client.tm_two_shop.items.insert_one({"_id": "after"})
    until(lambda: restorable_to(world, "one", newest), "the capture to reach the moment")
    job = world.restore("pointInTime", "one", "one", oplogTs=newest.time, oplogInc=newest.inc)
    world.wait_restored(job, "one")
    assert part(client, "one") == at_moment
    world.wait_idle("one")
    world.wait_restored(world.restore("automated", "one", "one", snapshotId=snapshot["id"]), "one")
    assert part(client, "one") == wanted
    # Into the place of another one, and into an instance inside.
    world.wait_restored(world.restore("automated", "one", "two", snapshotId=snapshot["id"]), "one")
    assert part(client, "two") == wanted
    world.wait_restored(world.restore("automated", "one", "inside-1", snapshotId=snapshot["id"]), "one")
    world.create_user()
    assert content(world.client("inside-1")) == wanted
    assert client.older.things.count_documents({}) == 1
    left = [name for database in client.list_database_names() if database.endswith("tidemark")
            for name in client[database].list_collection_names()]
    assert set(left) <= {"tidemark_stage_claim"}, left


def test_what_an_instance_leaves_is_its_own_only(placing, engine):  # noqa: F811
    world = placing()
    uri, _ = engine()
    client = connect(uri)
    client.older.things.insert_one({"_id": 1})
    client.tm_taken_shop.items.insert_one({"_id": "of somebody"})
    tidemark(world, "attach", "main", "--uri", uri)
    world.wait_idle("main")
    world.create_instance("one")
    world.create_instance("kept")
    client.tm_one_shop.items.insert_one({"_id": 1})
    client.tm_kept_shop.items.insert_one({"_id": 1})
    # Where something is already, nothing is taken over, and nothing removed.
    provider = {"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}
    world.call("POST", f"/groups/{world.group}/serverless", {"name": "taken", "providerSettings": provider})
    reasons = until(lambda: own(world, "/taken")["reasons"], "a reason")
    assert "tm_taken_shop are there already" in reasons[0], reasons
    assert world.call("GET", world.instance_path("taken"))["stateName"] == "CREATING"
    world.call("DELETE", world.instance_path("taken"))
    wait_gone(world, "taken")
    # Instances of two projects with one name would have the same databases.
    org = world.call("GET", f"/groups/{world.group}")["orgId"]
    second = world.call("POST", "/groups", {"name": "Second", "orgId": org})["id"]
    create = {"name": "one", "providerSettings": provider}
    with pytest.raises(ApiError) as error:
        world.call("POST", f"/groups/{second}/serverless", create)
    assert error.value.code == "CANNOT_PLACE_INSTANCE" and "tm_one_" in str(error.value)
    with pytest.raises(ApiError) as error:
        world.call("POST", f"/groups/{world.group}/serverless", {**create, "name": "x" * 60})
    assert error.value.code == "CANNOT_PLACE_INSTANCE" and "shorter" in str(error.value)
    # The whole is held by its parts, and is not changed through one of them.
    for path, method in [("/main", "DELETE"), ("/one", "PATCH")]:
        status, answer, _ = world.raw(method, f"/api/tidemark/v1/groups/{world.group}/deployments{path}", {})
        assert status in (400, 409) and "deployment" in answer["detail"], answer
    with pytest.raises(ApiError) as error:
        world.call("DELETE", world.instance_path("main"))
    assert error.value.code == "DEPLOYMENT_HOLDS_INSTANCES"
    assert "part of   main, databases tm_one_*" in tidemark(world, "show", "one")
    assert own(world, "/one/probe", "POST")["report"]["databases"][0]["name"] == "shop"
    world.call("DELETE", world.instance_path("one"))
    wait_gone(world, "one")
    tidemark(world, "detach", "kept", "--yes")
    wait_gone(world, "kept")
    assert names(client) == {"older", "tm_taken_shop", "tm_kept_shop", "tm_kept_tidemark"}
    tidemark(world, "detach", "main", "--yes")
    wait_gone(world, "main")
    assert client.older.things.count_documents({}) == 1


def test_two_owners_never_have_the_same_databases(placing, fresh, engine):  # noqa: F811
    """The same deployment, attached to two servers that know nothing of each other."""
    uri, _ = engine()
    client = connect(uri)
    provider = {"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}
    worlds = [placing(), placing()]
    for world in worlds:
        tidemark(world, "attach", "main", "--uri", uri)
        world.wait_idle("main")
    for world in worlds:
        world.call("POST", f"/groups/{world.group}/serverless", {"name": "one", "providerSettings": provider})

    def state(world):
        return world.call("GET", world.instance_path("one"))["stateName"], own(world, "/one")["reasons"]

    first, second = sorted(worlds, key=lambda world: until(
        lambda: state(world)[0] == "IDLE" or state(world)[1], "an owner or a reason") is not True)
    assert state(first)[0] == "IDLE", state(first)
    assert state(second)[0] == "CREATING" and "are those of the instance" in state(second)[1][0], state(second)
    client.tm_one_shop.items.insert_one({"_id": 1})
    second.call("DELETE", second.instance_path("one"))
    wait_gone(second, "one")
    assert client.tm_one_shop.items.count_documents({}) == 1
    # A prefix that holds another one's is refused too; and what is called as the server's own databases are.
    client.tm_one_config.things.insert_one({"_id": 1})
    shown = own(first, "/one/probe", "POST")
    assert "tm_one_config" in shown["report"]["unprotected"][0], shown
    first.call("DELETE", first.instance_path("one"))
    wait_gone(first, "one")
    assert client.tm_one_config.things.count_documents({}) == 1
    # What is there keeps the next one of that name from taking it.
    first.call("POST", f"/groups/{first.group}/serverless", {"name": "one", "providerSettings": provider})
    assert "tm_one_config" in until(lambda: own(first, "/one")["reasons"], "a reason")[0]
    client.drop_database("tm_one_config")
    first.wait_idle("one")


def test_a_server_without_oplog_and_renames_holds_instances_too(placing, ports):  # noqa: F811
    world = placing()
    with started("FerretDB on SQLite", ports) as uri:
        client = connect(uri)
        client.tm_other_shop.items.insert_one({"_id": "other"})
        tidemark(world, "attach", "main", "--uri", uri)
        world.wait_idle("main")
        world.create_instance("one")
        client.tm_one_shop.items.insert_many([{"_id": n} for n in range(100)])
        wanted = part(client, "one")
        snapshot = world.snapshot("one")
        client.tm_one_shop.items.delete_many({})
        client.tm_one_later.items.insert_one({"_id": 1})
        world.wait_restored(world.restore("automated", "one", "one", snapshotId=snapshot["id"]), "one")
        assert part(client, "one") == wanted
        world.call("DELETE", world.instance_path("one"))
        wait_gone(world, "one")
        assert names(client) == {"tm_other_shop"}
