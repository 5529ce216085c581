"""Who did what: the events of projects and organizations, and lines of JSON in a file."""

import json
import re
import subprocess
import urllib.parse
from datetime import datetime

import pytest
from test_console import Visitor
from world import until

OFFICIAL = {"apiKeyId", "created", "dbUserUsername", "eventTypeName", "groupId", "id", "isGlobalAdmin", "links", "orgId",
            "publicKey", "raw", "remoteAddress", "targetPublicKey", "userId", "whitelistEntry"}


@pytest.fixture
def world(fresh, tmp_path):
    return fresh(server_audit_file=tmp_path / "audit.jsonl").start()


def listed(world, of, **query):
    text = urllib.parse.urlencode(query, doseq=True)
    answer = world.call("GET", f"{of}/events?{text}")
    for event in answer["results"]:
        assert set(event) <= OFFICIAL and re.fullmatch("[a-f0-9]{24}", event["id"]), event
        assert datetime.fromisoformat(event["created"])
    return answer


def names(answer):
    return [event["eventTypeName"] for event in answer["results"]]


def test_what_is_done_is_listed_with_who_did_it_and_from_where(world):
    group, org = f"/groups/{world.group}", f"/orgs/{world.bootstrap['orgId']}"
    world.create_instance("shop")
    world.create_user("reader")
    key = world.call("POST", f"{org}/apiKeys", {"desc": "ci", "roles": ["ORG_MEMBER"]})
    world.snapshot("shop")
    world.call("DELETE", f"{group}/databaseUsers/admin/reader")
    found = listed(world, group)
    assert names(found) == ["MONGODB_USER_DELETED", "CPS_SNAPSHOT_SUCCESSFUL", "CPS_ON_DEMAND_SNAPSHOT_REQUESTED",
                            "MONGODB_USER_ADDED", "SERVERLESS_INSTANCE_CREATED", "NETWORK_PERMISSION_ENTRY_ADDED"][:len(found["results"])]
    assert found["totalCount"] == len(found["results"]) >= 5
    by = {event["eventTypeName"]: event for event in found["results"]}
    added = by["MONGODB_USER_ADDED"]
    assert added["dbUserUsername"] == "reader" and added["remoteAddress"] == "127.0.0.1"
    assert added["userId"] == world.bootstrap["clientId"].removeprefix("mdb_sa_id_") and "apiKeyId" not in added
    assert (added["groupId"], added["orgId"]) == (world.group, world.bootstrap["orgId"])
    # What the service does by itself has nobody.
    assert "userId" not in by["CPS_SNAPSHOT_SUCCESSFUL"] and "remoteAddress" not in by["CPS_SNAPSHOT_SUCCESSFUL"]
    one = world.call("GET", f"{group}/events/{added['id']}")
    assert one == added and one["links"][0]["href"].endswith(f"{group}/events/{added['id']}")
    raw = world.call("GET", f"{group}/events/{added['id']}?includeRaw=true")["raw"]
    assert raw["_t"] == "MONGODB_USER_ADDED" and raw["id"] == added["id"] and raw["severity"] == "INFO"
    created = listed(world, org)["results"][0]
    assert (created["eventTypeName"], created["targetPublicKey"]) == ("API_KEY_CREATED", key["publicKey"])
    assert "groupId" not in created
    assert world.call("GET", f"{org}/events/{created['id']}") == created
    assert world.raw("GET", f"/api/atlas/v2{org}/events/{added['id']}")[0] == 404
    # A key that does something is named by its public part.
    pair = f"{world.bootstrap['publicKey']}:{world.bootstrap['privateKey']}"
    subprocess.run(["curl", "-sf", "--digest", "-u", pair, "-H", "Accept: application/vnd.atlas.2023-01-01+json",
                    "-H", "Content-Type: application/json", "-d", '{"name": "more", "orgId": "%s"}' % world.bootstrap["orgId"],
                    f"http://127.0.0.1:{world.port}/api/atlas/v2/groups"], check=True, capture_output=True)
    made = listed(world, org)["results"][0]
    assert (made["eventTypeName"], made["publicKey"]) == ("GROUP_CREATED", world.bootstrap["publicKey"])
    assert re.fullmatch("[a-f0-9]{24}", made["apiKeyId"]) and "userId" not in made
    assert names(listed(world, f"/groups/{made['groupId']}")) == ["GROUP_CREATED"]


def test_lists_are_filtered_and_paged(world):
    group = f"/groups/{world.group}"
    for name in ("one", "two"):
        world.create_instance(name)
    users = [f"user{n}" for n in range(5)]
    for name in users:
        world.create_user(name)
    created = {"eventType": "SERVERLESS_INSTANCE_CREATED"}
    assert names(listed(world, group, clusterNames="two", **created)) == ["SERVERLESS_INSTANCE_CREATED"]
    assert names(listed(world, group, clusterNames=["one", "two"], **created)) == ["SERVERLESS_INSTANCE_CREATED"] * 2
    assert names(listed(world, group, eventType="MONGODB_USER_ADDED")) == ["MONGODB_USER_ADDED"] * 5
    rest = names(listed(world, group, excludedEventType=["MONGODB_USER_ADDED"]))
    assert rest and "MONGODB_USER_ADDED" not in rest
    # Kinds that never happen here are none, not all.
    assert listed(world, group, eventType="DATA_EXPLORER")["totalCount"] == 0
    assert listed(world, group, clusterNames="none")["totalCount"] == 0
    page = listed(world, group, eventType="MONGODB_USER_ADDED", itemsPerPage=2, pageNum=2)
    assert [event["dbUserUsername"] for event in page["results"]] == ["user2", "user1"]
    assert {link["rel"] for link in page["links"]} == {"self", "previous", "next"}
    assert listed(world, group, includeCount="false")["totalCount"] == 0
    now = page["results"][0]["created"]
    assert listed(world, group, maxDate="2020-01-01T00:00:00Z")["totalCount"] == 0
    assert listed(world, group, minDate=now)["totalCount"] >= 1
    for path, status, code in [
        (f"{group}/events?minDate=yesterday", 400, "INVALID_QUERY_PARAMETER"),
        (f"{group}/events/{'0' * 24}", 404, "EVENT_NOT_FOUND"),
        (f"{group}/events/x", 404, "EVENT_NOT_FOUND"),
        (f"/groups/{'0' * 24}/events", 404, "GROUP_NOT_FOUND"),
    ]:
        answer = world.raw("GET", f"/api/atlas/v2{path}")
        assert (answer[0], answer[1]["errorCode"]) == (status, code), answer
    kinds = world.call("GET", "/eventTypes?itemsPerPage=500")
    assert "CPS_SNAPSHOT_FAILED" in [kind["eventType"] for kind in kinds["results"]]


def test_an_event_of_a_project_is_not_in_another(world):
    other = world.call("POST", "/groups", {"name": "other", "orgId": world.bootstrap["orgId"]})["id"]
    world.create_user("mine")
    mine = listed(world, f"/groups/{world.group}")["results"][0]
    assert names(listed(world, f"/groups/{other}")) == ["GROUP_CREATED"]
    assert world.raw("GET", f"/api/atlas/v2/groups/{other}/events/{mine['id']}")[0] == 404


def test_every_change_is_a_line_whatever_happens_to_the_server(world, tmp_path):
    path = tmp_path / "audit.jsonl"

    def lines():
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    world.create_user("first")
    found = until(lambda: [line for line in lines() if line["action"] == "createGroupDatabaseUser"], "a line")
    [line] = found
    assert world.bootstrap["clientId"].endswith(line["actor"]) and line["address"] == "127.0.0.1"
    assert line["event"] == "MONGODB_USER_ADDED" and line["detail"] == {"dbUserUsername": "first"}
    assert path.stat().st_mode & 0o777 == 0o600
    # Killed in the middle of a line, and while nobody wrote lines.
    world.kill()
    with open(path, "a") as file:
        file.write('{"action": "cut sh')
    world.start()
    world.create_user("second")
    world.kill()
    world.start()
    until(lambda: [line for line in lines() if line["detail"] == {"dbUserUsername": "second"}], "the line of the second")
    numbers = [line["number"] for line in lines()]
    assert numbers == sorted(set(numbers)) and numbers == list(range(numbers[0], numbers[-1] + 1)), numbers


def test_what_is_done_in_the_console_is_an_event_of_its_project(world):
    world.create_instance("shop")
    visitor, path = Visitor(world), f"/projects/{world.group}/instances/shop"
    assert visitor.fill(path + "/snapshots", {"csrf": visitor.csrf(path)}).status_code == 303
    asked = listed(world, f"/groups/{world.group}", eventType="CPS_ON_DEMAND_SNAPSHOT_REQUESTED")["results"]
    assert len(asked) == 1 and asked[0]["publicKey"] == world.bootstrap["publicKey"]
