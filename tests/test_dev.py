"""Time for testers: the clock and the beginning, in development mode."""

import json
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from world import BINARY, PASSWORD, run, until

ID = "0123456789abcdef01234567"
SEED = {
    "orgs": [
        {
            "name": "Seeded",
            "apiKeys": [{"desc": "ci", "publicKey": "cicicici", "privateKey": "not-a-secret", "roles": [{"roleName": "ORG_OWNER"}]}],
            "serviceAccounts": [{"name": "ci", "clientId": f"mdb_sa_id_{ID}", "secret": "mdb_sa_sk_known", "roles": [{"roleName": "GROUP_OWNER", "project": "p"}]}],
            "projects": [
                {
                    "id": ID,
                    "name": "p",
                    "instances": [{"name": "one"}, {"name": "two", "family": "flex"}],
                    "databaseUsers": [{"username": "app", "password": PASSWORD, "roles": [{"roleName": "atlasAdmin", "databaseName": "admin"}]}],
                }
            ],
        }
    ]
}


@pytest.fixture
def dev(fresh, tmp_path):
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(SEED))
    world = fresh("--dev", dev_seed_file=path, backup_snapshot_interval_minutes=60, backup_snapshot_retention_hours=3).start()
    world.group = ID
    return world


def owner(world, method, path, body=None, key="cicicici:not-a-secret"):
    """Status and body of a call to the development endpoints, as the owner, by curl."""
    command = ["curl", "--silent", "--digest", "--user", key, "--request", method, "--write-out", "\n%{http_code}"]
    if body is not None:
        command += ["--data", body if isinstance(body, str) else json.dumps(body)]
    command.append(f"http://127.0.0.1:{world.port}/api/tidemark/v1/dev{path}")
    text, _, code = run(command).rpartition("\n")
    return int(code), json.loads(text) if text else None


def advance(world, seconds, key="cicicici:not-a-secret"):
    code, clock = owner(world, "POST", "/clock", {"advanceSeconds": seconds}, key)
    assert code == 200, clock
    world.token = None
    return clock


def test_a_server_begins_with_its_seed(dev):
    assert dev.bootstrap["publicKey"] == "cicicici" and dev.bootstrap["groupId"] == ID
    assert dev.bootstrap["clientId"] == f"mdb_sa_id_{ID}" and dev.bootstrap["clientSecret"] == "mdb_sa_sk_known"
    dev.wait_idle("one")
    assert dev.client().admin.command("ping")["ok"] == 1
    names = [cluster["name"] for cluster in dev.call("GET", f"/groups/{ID}/flexClusters")["results"]]
    assert names == ["one", "two"]


def test_downloads_expire_and_snapshots_come_and_go_with_the_clock(dev):
    dev.wait_idle("one")
    first = dev.snapshot()
    job = dev.wait_restored(dev.restore("download", snapshotId=first["id"]))
    urllib.request.urlopen(job["deliveryUrl"][0]).close()
    advance(dev, 3_000)
    assert not dev.job(job["id"])["expired"]
    advance(dev, 601)
    ended = dev.job(job["id"])
    assert ended["expired"] and ended["deliveryUrl"] == []
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(job["deliveryUrl"][0])
    assert error.value.code == 410

    def scheduled():
        found = dev.call("GET", dev.instance_path() + "/backup/snapshots")["results"]
        hour_later = [s for s in found if s["snapshotType"] == "scheduled" and s["createdAt"] > job["finishedAt"]]
        return hour_later and hour_later[0]["status"] == "completed"

    until(scheduled, "the snapshot of the next hour")
    advance(dev, 2 * 3_600)
    until(lambda: dev.raw("GET", "/api/atlas/v2" + dev.instance_path() + f"/backup/snapshots/{first['id']}")[0] == 404, "the end of a snapshot")


def test_tokens_and_secrets_end_with_the_clock(dev):
    old = dev.new_token()
    advance(dev, 3_600)
    assert dev.raw("GET", f"/api/atlas/v2/groups/{ID}", headers={"Authorization": f"Bearer {old}"})[0] == 401
    assert dev.raw("GET", f"/api/atlas/v2/groups/{ID}")[0] == 200
    advance(dev, 366 * 24 * 3_600)
    with pytest.raises(urllib.error.HTTPError) as error:
        dev.new_token()
    assert error.value.code == 401


def test_the_clock_is_read_and_moves_forward_only(dev):
    code, clock = owner(dev, "GET", "/clock")
    assert code == 200 and clock["advancedSeconds"] == 0
    began = time.monotonic()
    assert advance(dev, 10)["advancedSeconds"] == 10
    code, clock = owner(dev, "POST", "/clock", {"now": "2031-05-06T07:08:09Z"})
    assert code == 200 and clock["now"] <= "2031-05-06T07:08:10Z" and time.monotonic() - began < 60
    for body, expected in [
        ({"now": "2020-01-01T00:00:00Z"}, "INVALID_ATTRIBUTE"),
        ({"advanceSeconds": -1}, "INVALID_ATTRIBUTE"),
        ({"advanceSeconds": 1, "now": "2040-01-01T00:00:00Z"}, "INVALID_ATTRIBUTE"),
        ({"back": 1}, "INVALID_ATTRIBUTE"),
        ({}, "MISSING_ONE_OF_ATTRIBUTES"),
        ("{", "MALFORMED_JSON"),
    ]:
        code, refused = owner(dev, "POST", "/clock", body)
        assert (code, refused["errorCode"]) == (400, expected)
    assert owner(dev, "DELETE", "/clock")[0] == 405


def test_a_reset_forgets_everything(dev):
    dev.wait_idle("one")
    dev.client().shop.items.insert_one({"_id": 1})
    dev.snapshot()
    advance(dev, 1_000_000)
    code, answer = owner(dev, "POST", "/reset")
    assert code == 200 and answer["publicKey"] == "cicicici" and answer["groupId"] == ID
    assert owner(dev, "GET", "/clock")[1]["advancedSeconds"] == 0
    dev.token = None
    dev.wait_idle("one")
    assert dev.client().shop.list_collection_names() == []
    assert dev.call("GET", dev.instance_path() + "/backup/restoreJobs")["totalCount"] == 0
    other = {"orgs": [{"name": "Other", "apiKeys": [{"publicKey": "otherkey", "privateKey": "x", "roles": [{"roleName": "ORG_OWNER"}]}]}]}
    code, answer = owner(dev, "POST", "/reset", {"orgs": [{"name": "locked"}]})
    assert (code, answer["errorCode"]) == (400, "INVALID_SEED")
    assert owner(dev, "GET", "/clock")[0] == 200, "nothing was changed"
    assert owner(dev, "POST", "/reset", other)[0] == 200
    assert owner(dev, "GET", "/clock")[0] == 401
    assert owner(dev, "GET", "/clock", key="otherkey:x")[0] == 200

    def folders():
        return list((dev.data / "instances").iterdir())

    until(lambda: not folders(), "the folders of instances that are gone")


def test_only_an_owner_may_and_only_in_the_mode(dev, fresh):
    assert dev.raw("POST", "/api/tidemark/v1/dev/reset", b"")[1]["errorCode"] == "USER_UNAUTHORIZED"
    assert owner(dev, "POST", "/reset", key="cicicici:wrong")[0] == 401
    plain = fresh().start()
    key = f"{plain.bootstrap['publicKey']}:{plain.bootstrap['privateKey']}"
    code, refused = owner(plain, "POST", "/reset", key=key)
    assert (code, refused["errorCode"]) == (403, "NOT_IN_DEV_MODE") and "--dev" in refused["detail"]


def test_a_seed_file_that_cannot_be_used_is_named(tmp_path):
    path = tmp_path / "seed.json"
    path.write_text('{"orgs": []}')
    command = [BINARY, "serve", "--data-dir", tmp_path / "data", "--listen", "127.0.0.1:0", "--dev-seed-file", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and "at least one organization" in done.stderr
