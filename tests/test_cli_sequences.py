"""The requests of the `atlas` CLI, command by command, with what the CLI makes of each answer.

The sequences, the versions that are asked for and the codes that decide are those of the CLI's
source (releases 1.51.2 and newer). They are sent from here and show that a command would find what
it looks for; they are no run of the CLI itself.
"""

import json
import pathlib
import urllib.error
import urllib.request

import pytest

from world import until

# Codes after which a command of `atlas backups` asks the API of dedicated clusters.
NOT_FLEX = {"CANNOT_USE_NON_FLEX_CLUSTER_IN_FLEX_API", "FEATURE_UNSUPPORTED", "CLUSTER_NOT_FOUND"}
FLEX, CLUSTER, PINNED, ANY = "2024-11-13", "2024-08-05", "2023-02-01", "2023-01-01"
PAGE = "?includeCount=true&itemsPerPage=100&pageNum=1"


class Cli:
    """Asks as the CLI does: one media type, digest or bearer, errors read by their code."""

    def __init__(self, world, profile):
        self.world, self.profile = world, profile
        self.base = f"http://127.0.0.1:{world.port}"
        self.group = f"/groups/{world.group}"
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        keys = world.bootstrap["publicKey"], world.bootstrap["privateKey"]
        passwords.add_password(None, self.base, *keys)
        handlers = [urllib.request.HTTPDigestAuthHandler(passwords)] if profile == "api_keys" else []
        self.opener = urllib.request.build_opener(*handlers)

    def ask(self, method, path, date=ANY, body=None):
        """Status, body and the code of an error."""
        accept = f"application/vnd.atlas.{date}+json"
        headers = {"Accept": accept, "User-Agent": "replay of atlascli/1.51.2"}
        if body is not None:
            headers["Content-Type"] = accept
        return self.send(method, "/api/atlas/v2" + path, headers, body)

    def send(self, method, path, headers, body=None):
        if self.profile == "service_account":
            self.world.token = self.world.token or self.world.new_token()
            headers["Authorization"] = f"Bearer {self.world.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method, headers=headers)
        try:
            with self.opener.open(request, timeout=60) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None, None
        except urllib.error.HTTPError as error:
            # The CLI ends with a panic at an error without a code.
            return error.code, None, json.loads(error.read())["errorCode"]

    def watch(self, path, date, first, ends):
        """What a watcher of the CLI does; the first answer has to show the state that it expects."""
        status, body, code = self.ask("GET", path, date)
        assert status == 200 and body["stateName"] == first, (status, body, code)
        return until(lambda: ends(*self.ask("GET", path, date)), f"the end of watching {path}")


@pytest.fixture(scope="module", params=["api_keys", "service_account"])
def cli(world, request):
    return Cli(world, request.param)


@pytest.fixture(scope="module")
def flex(cli):
    """`atlas clusters create N --tier FLEX --watch`"""
    name = "flex" if cli.profile == "api_keys" else "flex2"
    provider = {"backingProviderName": "AWS", "providerName": "FLEX", "regionName": "US_EAST_1"}
    body = {"name": name, "providerSettings": provider, "terminationProtectionEnabled": False}
    status, created, code = cli.ask("POST", f"{cli.group}/flexClusters", FLEX, body)
    assert status == 201 and created["name"] == name, code
    idle = lambda status, body, code: body if body["stateName"] == "IDLE" else None  # noqa: E731
    cli.watch(f"{cli.group}/flexClusters/{name}", FLEX, "CREATING", idle)
    assert cli.ask("POST", f"{cli.group}/flexClusters", FLEX, body)[2] == "DUPLICATE_CLUSTER_NAME"
    body = {**body, "name": "elsewhere", "providerSettings": {**provider, "regionName": "ATLANTIS"}}
    assert cli.ask("POST", f"{cli.group}/flexClusters", FLEX, body)[2] is not None
    return name


@pytest.fixture(scope="module")
def snapshot(cli, flex):
    """`atlas backups snapshots list`, then `watch`: the first one is taken by itself."""
    path = f"{cli.group}/flexClusters/{flex}/backup/snapshots"
    listed = until(lambda: cli.ask("GET", path + PAGE, FLEX)[1]["results"], "a snapshot")
    one = f"{path}/{listed[0]['id']}"
    done = {"completed", "failed"}
    until(lambda: cli.ask("GET", one, FLEX)[1]["status"].lower() in done, "the snapshot")
    found = cli.ask("GET", one, FLEX)[1]
    assert found["status"] == "COMPLETED"
    return found


def test_a_profile_finds_its_organization_and_project(cli):
    """`atlas auth login` asks for these to pick defaults."""
    orgs = cli.ask("GET", "/orgs?name=&itemsPerPage=50")[1]["results"]
    assert [org["id"] for org in orgs] == [cli.world.bootstrap["orgId"]]
    org = f"/orgs/{orgs[0]['id']}"
    assert cli.ask("GET", org)[1]["name"] == orgs[0]["name"]
    for path in [f"{org}/groups?itemsPerPage=50", "/groups" + PAGE]:
        assert cli.world.group in [group["id"] for group in cli.ask("GET", path)[1]["results"]]
    assert cli.ask("GET", cli.group)[1]["id"] == cli.world.group


def test_projects(cli):
    """`atlas projects create|describe|update|list|delete`"""
    org = cli.world.bootstrap["orgId"]
    name = f"made-with-{cli.profile}"
    status, made, code = cli.ask("POST", "/groups", ANY, {"name": name, "orgId": org})
    assert status in (200, 201) and code is None
    path = f"/groups/{made['id']}"
    assert cli.ask("GET", path)[1]["name"] == name
    assert cli.ask("PATCH", path, ANY, {"name": name + "-2"})[1]["name"] == name + "-2"
    assert cli.ask("PATCH", path, ANY, {"tags": [{"key": "team", "value": "a"}]})[0] == 200
    listed = cli.ask("GET", f"/orgs/{org}/groups{PAGE}")[1]["results"]
    assert name + "-2" in [group["name"] for group in listed]
    assert cli.ask("DELETE", path)[0] in (200, 202, 204)
    assert cli.ask("GET", path)[2] == "GROUP_NOT_FOUND"


def test_what_every_command_sends_beside_its_own(cli):
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    status, _, code = cli.send("POST", "/api/private/v1.0/telemetry/events", dict(headers), [{"source": "atlascli"}])
    assert status < 300, code
    # `atlas accessLists create --currentIp`
    address = cli.send("GET", "/api/private/ipinfo", {"Accept": "application/json"})[1]["currentIpv4Address"]
    assert address == "127.0.0.1"
    entry = [{"ipAddress": address, "comment": "here"}]
    status, made, code = cli.ask("POST", f"{cli.group}/accessList", ANY, entry)
    assert status == 201 and made["totalCount"] == 1, code
    assert cli.ask("DELETE", f"{cli.group}/accessList/{address}")[0] == 204


def test_a_cluster_is_known_by_the_code_of_an_error(cli, flex):
    """`atlas clusters describe` and `watch` ask the API of dedicated clusters first."""
    assert cli.ask("GET", f"{cli.group}/clusters/{flex}", PINNED)[2] == "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API"
    assert cli.ask("GET", f"{cli.group}/flexClusters/{flex}", FLEX)[1]["stateName"] in ("IDLE", "UPDATING")
    assert cli.ask("GET", f"{cli.group}/clusters{PAGE}", PINNED)[0] == 200
    listed = cli.ask("GET", f"{cli.group}/flexClusters{PAGE}", FLEX)[1]["results"]
    assert flex in [cluster["name"] for cluster in listed]
    assert cli.ask("GET", f"{cli.group}/flexClusters/nothing", FLEX)[2] in NOT_FLEX
    assert cli.ask("GET", f"{cli.group}/clusters/nothing", PINNED)[2] == "CLUSTER_NOT_FOUND"


def test_a_restore_is_started_and_watched(cli, flex, snapshot):
    """`atlas backups restores start automated`, `list`, `describe`, `watch`"""
    probe = cli.ask("GET", f"{cli.group}/clusters/{flex}", CLUSTER)
    assert probe[2] == "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API"
    jobs = f"{cli.group}/flexClusters/{flex}/backup/restoreJobs"
    body = {"instanceName": flex, "snapshotId": snapshot["id"], "targetDeploymentItemName": flex}
    body["targetProjectId"] = cli.world.group
    status, job, code = cli.ask("POST", jobs, FLEX, body)
    assert status == 200 and job["deliveryType"] == "RESTORE", code
    assert job["id"] in [found["id"] for found in cli.ask("GET", jobs + PAGE, FLEX)[1]["results"]]
    ended = until(
        lambda: (found := cli.ask("GET", f"{jobs}/{job['id']}", FLEX)[1])["status"] in ("COMPLETED", "FAILED") and found,
        "the restore job",
    )
    assert ended["status"] == "COMPLETED", cli.world.log_text()


def test_a_snapshot_is_downloaded(cli, flex, snapshot, tmp_path):
    """`atlas backups snapshots download` opens the link of the first answer, without credentials."""
    path = f"{cli.group}/flexClusters/{flex}/backup/download"
    status, made, code = cli.ask("POST", path, FLEX, {"snapshotId": snapshot["id"]})
    assert status == 200 and made["snapshotUrl"], code
    file = pathlib.Path(tmp_path) / "snapshot.tgz"
    urllib.request.urlretrieve(made["snapshotUrl"], file)
    assert file.stat().st_size > 0 and file.read_bytes()[:2] == b"\x1f\x8b"


def test_a_serverless_instance_lives(cli):
    """`atlas serverless create|watch|describe|update|list|delete`"""
    path, name = f"{cli.group}/serverless", "old" if cli.profile == "api_keys" else "old2"
    provider = {"backingProviderName": "AWS", "providerName": "SERVERLESS", "regionName": "US_EAST_1"}
    status, made, code = cli.ask("POST", path, ANY, {"name": name, "providerSettings": provider})
    assert status == 201 and made["stateName"] == "CREATING", code
    until(lambda: cli.ask("GET", f"{path}/{name}")[1]["stateName"] == "IDLE", "the instance")
    options = {"serverlessBackupOptions": {"serverlessContinuousBackupEnabled": True}}
    assert cli.ask("PATCH", f"{path}/{name}", ANY, {**options, "terminationProtectionEnabled": False})[0] == 200
    assert name in [instance["name"] for instance in cli.ask("GET", path + PAGE)[1]["results"]]
    # The CLI decodes the body of this answer.
    assert cli.ask("DELETE", f"{path}/{name}")[:2] == (202, {})


def test_serverless_backups(cli):
    """`atlas serverless backups snapshots|restores …` and `atlas api cloudBackups …`"""
    path = f"{cli.group}/serverless/one/backup"
    taken = cli.world.snapshot()
    assert cli.ask("GET", f"{path}/snapshots{PAGE}")[1]["results"][0]["id"] == taken["id"]
    assert cli.ask("GET", f"{path}/snapshots/{taken['id']}")[1]["status"] == "completed"
    # A struct with required fields: the empty target of a download is sent too.
    download = {"deliveryType": "download", "snapshotId": taken["id"], "targetClusterName": "", "targetGroupId": ""}
    automated = {**download, "deliveryType": "automated", "targetClusterName": "one", "targetGroupId": cli.world.group}
    for body in [download, automated]:
        status, job, code = cli.ask("POST", f"{path}/restoreJobs", ANY, body)
        assert status == 200, code
        over = lambda found: found["expired"] or found["cancelled"] or found["failed"] or "finishedAt" in found  # noqa: E731
        until(lambda: over(cli.ask("GET", f"{path}/restoreJobs/{job['id']}")[1]), "the job")  # noqa: B023
        found = cli.ask("GET", f"{path}/restoreJobs/{job['id']}")[1]
        assert not found["failed"] and found["deliveryType"] == body["deliveryType"]
    # `atlas api` sends the query parameters of its command line only.
    assert cli.ask("GET", f"{path}/restoreJobs")[1]["results"][0]["id"] == job["id"]


def test_a_cluster_is_deleted_and_watched(cli, flex):
    """`atlas clusters delete N --watch`; the last of the tests here."""
    assert cli.ask("DELETE", f"{cli.group}/clusters/{flex}", PINNED)[2] == "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API"
    assert cli.ask("DELETE", f"{cli.group}/flexClusters/{flex}", FLEX)[0] in (202, 204)
    gone = lambda status, body, code: code == "CLUSTER_NOT_FOUND"  # noqa: E731
    cli.watch(f"{cli.group}/flexClusters/{flex}", FLEX, "DELETING", gone)
