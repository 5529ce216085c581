"""Organizations, projects, API keys, service accounts, access lists: who may do what from where."""

import base64
import datetime
import json
import subprocess
import time
import urllib.error
import urllib.request

import pymongo
import pytest

from test_api import UNKNOWN, refused
from world import ACCEPT, PASSWORD, until


def org(world):
    return f"/orgs/{world.bootstrap['orgId']}"


def group(world):
    return f"/groups/{world.group}"


def status(world, method, path, body=None):
    return world.raw(method, "/api/atlas/v2" + path, body)[0]


def as_key(world, key, path, method="GET", body=None):
    """Status and body of a call with an API key, by curl."""
    command = ["curl", "--silent", "--digest", "--user", f"{key['publicKey']}:{key['privateKey']}"]
    command += ["--header", f"Accept: {ACCEPT}", "--request", method, "--write-out", "\n%{http_code}"]
    if body is not None:
        command += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
    command.append(f"http://127.0.0.1:{world.port}/api/atlas/v2{path}")
    text, _, code = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rpartition("\n")
    return int(code), json.loads(text) if text else None


def token(world, client, secret):
    pair = base64.b64encode(f"{client}:{secret}".encode()).decode()
    answered = world.raw("POST", "/api/oauth/token", b"grant_type=client_credentials", {"Authorization": f"Basic {pair}"})
    return answered[1].get("access_token")


def as_token(world, bearer, path):
    return world.raw("GET", "/api/atlas/v2" + path, headers={"Authorization": f"Bearer {bearer}"})[0]


def test_the_service_says_who_asks(world):
    key = {"publicKey": world.bootstrap["publicKey"], "privateKey": world.bootstrap["privateKey"]}
    code, found = as_key(world, key, "/")
    assert code == 200 and found["apiKey"]["publicKey"] == key["publicKey"] and found["apiKey"]["accessList"] == []
    assert "apiKey" not in world.call("GET", "")


def test_organizations(world):
    found = world.call("GET", org(world))
    assert [link["rel"].split("/")[-1] for link in found["links"]] == ["self", "groups", "teams", "users"]
    listed = world.call("GET", "/orgs?name=Tide")["results"]
    assert [item["id"] for item in listed] == [found["id"]] and len(listed[0]["links"]) == 1
    assert world.call("GET", "/orgs?name=other")["results"] == []
    assert world.call("PATCH", org(world), {"name": "Renamed"})["name"] == "Renamed"
    assert world.call("PATCH", org(world), {"name": "Tidemark"})["name"] == "Tidemark"
    assert refused(world, "PATCH", org(world), {"name": "a/b"})[1] == "INVALID_ORG_NAME"
    assert refused(world, "DELETE", org(world))[:2] == (409, "ORG_NOT_EMPTY")
    assert refused(world, "GET", "/orgs/xyz") == (404, "INVALID_ORG_ID", ["xyz"])
    assert refused(world, "GET", f"/orgs/{UNKNOWN}") == (404, "ORG_NOT_FOUND", [UNKNOWN])
    for path in (f"{org(world)}/users", f"{group(world)}/users", f"{group(world)}/teams"):
        assert world.call("GET", path)["results"] == []
    names = [item["name"] for item in world.call("GET", f"{org(world)}/groups?name=Project")["results"]]
    assert names == ["Project 0"]


def test_another_organization_is_made_and_ends(world):
    body = {"name": "Second", "apiKey": {"desc": "owner", "roles": ["ORG_OWNER"]}}
    answered = world.raw("POST", "/api/atlas/v2/orgs", body)
    assert answered[0] == 201
    made, key = answered[1]["organization"], answered[1]["apiKey"]
    path = f"/orgs/{made['id']}"
    assert refused(world, "GET", path)[:2] == (401, "USER_CANNOT_ACCESS_ORG")
    assert as_key(world, key, path)[0] == 200
    project = {"name": "Project 0", "orgId": made["id"]}
    code, second = as_key(world, key, "/groups", "POST", project)
    assert code == 201, "the name is free in another organization"
    assert as_key(world, key, f"{group(world)}")[1]["errorCode"] == "NOT_IN_GROUP"
    assert as_key(world, key, f"/groups/{second['id']}", "DELETE")[0] == 202
    assert as_key(world, key, path, "DELETE")[0] == 204
    assert as_key(world, key, path)[0] == 401
    assert refused(world, "POST", "/orgs", {"name": "Third"})[1] == "MISSING_ONE_OF_ATTRIBUTES"
    account = {"name": "sa", "description": "d", "roles": ["ORG_OWNER"], "secretExpiresAfterHours": 8}
    third = world.call("POST", "/orgs", {"name": "Third", "serviceAccount": account})
    made = third["serviceAccount"]
    bearer = token(world, made["clientId"], made["secrets"][0]["secret"])
    assert as_token(world, bearer, f"/orgs/{third['organization']['id']}") == 200


def test_settings_of_organizations_and_projects(world):
    path = f"{org(world)}/settings"
    assert world.call("GET", path)["apiAccessListRequired"] is False
    changed = world.call("PATCH", path, {"securityContact": "x@example.com", "customSessionTimeouts": {"idleSessionTimeoutInSeconds": 600}})
    assert changed == world.call("GET", path) and changed["securityContact"] == "x@example.com"
    assert "securityContact" not in world.call("PATCH", path, {"securityContact": None})
    assert refused(world, "PATCH", path, {"maxServiceAccountSecretValidityInHours": 7})[1] == "INVALID_ATTRIBUTE"
    path = f"{group(world)}/settings"
    before = world.call("GET", path)
    assert len(before) == 11
    changed = world.call("PATCH", path, {"isDataExplorerEnabled": False})
    assert changed == {**before, "isDataExplorerEnabled": False} == world.call("GET", path)
    assert refused(world, "PATCH", path, {"isDataExplorerEnabled": "no"}) == (400, "INVALID_JSON_ATTRIBUTE", ["isDataExplorerEnabled"])
    assert refused(world, "PATCH", path, {"isBlue": True}) == (400, "INVALID_ATTRIBUTE", ["isBlue"])


def test_a_project_is_renamed_and_found_by_name(world):
    made = world.call("POST", "/groups", {"name": "first name", "orgId": world.bootstrap["orgId"]})
    path = f"/groups/{made['id']}"
    changed = world.call("PATCH", path, {"name": "second name", "tags": [{"key": "a", "value": "b"}]})
    assert changed["name"] == "second name" and changed["tags"] == [{"key": "a", "value": "b"}]
    assert world.call("PATCH", path, {"tags": []})["tags"] == []
    assert world.call("GET", "/groups/byName/second%20name")["id"] == made["id"]
    assert refused(world, "GET", "/groups/byName/first%20name") == (404, "GROUP_NAME_NOT_FOUND", ["first name"])
    assert refused(world, "PATCH", path, {"name": "Project 0"}) == (409, "GROUP_ALREADY_EXISTS", ["Project 0"])
    addresses = world.call("GET", f"{group(world)}/ipAddresses")["services"]["clusters"]
    assert addresses[0] == {"clusterName": "one", "futureInbound": [], "futureOutbound": [], "inbound": ["127.0.0.1"], "outbound": ["127.0.0.1"]}
    assert status(world, "DELETE", path) == 202


def test_limits_are_read_set_and_obeyed(world):
    path = f"{group(world)}/limits"
    name = "atlas.project.security.databaseAccess.users"
    listed = {limit["name"]: limit for limit in world.call("GET", path)}
    assert listed["atlas.project.deployment.clusters"]["currentUsage"] >= 1
    assert world.call("GET", f"{path}/{name}") == listed[name]
    used = listed[name]["currentUsage"]
    assert world.call("PATCH", f"{path}/{name}", {"value": used})["value"] == used
    user = {"username": "beyond", "password": PASSWORD, "databaseName": "admin", "roles": [{"roleName": "read", "databaseName": "a"}]}
    assert refused(world, "POST", f"{group(world)}/databaseUsers", user)[:2] == (403, "GROUP_USERS_LIMIT_EXCEEDED")
    assert status(world, "DELETE", f"{path}/{name}") == 204
    assert world.call("GET", f"{path}/{name}")["value"] == listed[name]["value"]
    assert refused(world, "PATCH", f"{path}/{name}", {"value": -1}) == (400, "ATTRIBUTE_NEGATIVE", ["value"])
    assert refused(world, "GET", f"{path}/speed") == (400, "INVALID_PATH_PARAMETER", ["limitName"])
    slow = f"{group(world)}/managedSlowMs"
    assert world.call("GET", slow) is True
    assert status(world, "DELETE", f"{slow}/disable") == 204 and world.call("GET", slow) is False
    assert status(world, "POST", f"{slow}/enable", {}) == 204 and world.call("GET", slow) is True


def test_the_life_of_an_api_key(world):
    path = f"{org(world)}/apiKeys"
    made = world.call("POST", path, {"desc": "reader", "roles": ["ORG_READ_ONLY"]})
    assert len(made["publicKey"]) == 8 and made["roles"] == [{"orgId": world.bootstrap["orgId"], "roleName": "ORG_READ_ONLY"}]
    assert as_key(world, made, group(world))[0] == 200
    assert as_key(world, made, f"{group(world)}/serverless/one/backup/restoreJobs")[1]["errorCode"] == "USER_UNAUTHORIZED"
    shown = world.call("GET", f"{path}/{made['id']}")
    assert shown["privateKey"] == "********-****-****-" + made["privateKey"].rsplit("-")[-1]
    assert shown in world.call("GET", path)["results"]
    changed = world.call("PATCH", f"{path}/{made['id']}", {"desc": "member", "roles": ["ORG_MEMBER"]})
    assert changed["desc"] == "member"
    assert as_key(world, made, group(world))[1]["errorCode"] == "NOT_IN_GROUP", "at once"
    # Into the project, with other roles there, and out again.
    there = f"{group(world)}/apiKeys/{made['id']}"
    assert status(world, "POST", there, [{"roles": ["GROUP_OWNER"]}]) == 204
    assert as_key(world, made, f"{group(world)}/serverless/one/backup/restoreJobs")[0] == 200
    world.call("PATCH", there, {"roles": ["GROUP_READ_ONLY"]})
    assert as_key(world, made, f"{group(world)}/serverless/one/backup/restoreJobs")[0] == 401
    assert made["id"] in [key["id"] for key in world.call("GET", f"{group(world)}/apiKeys")["results"]]
    assert status(world, "DELETE", there) == 204
    assert refused(world, "DELETE", there) == (400, "API_KEY_NOT_FOUND", [made["id"]])
    assert as_key(world, made, group(world))[0] == 401
    assert status(world, "DELETE", f"{path}/{made['id']}") == 204
    assert as_key(world, made, "/")[0] == 401
    assert refused(world, "GET", f"{path}/{made['id']}") == (400, "API_KEY_NOT_FOUND", [made["id"]])
    for body, code in [
        ({"roles": ["ORG_OWNER"]}, "API_KEY_REQUIRES_DESCRIPTION"),
        ({"desc": "x" * 251, "roles": ["ORG_OWNER"]}, "INVALID_API_KEY_DESC"),
        ({"desc": "x", "roles": []}, "MISSING_API_KEY_ROLES"),
        ({"desc": "x", "roles": ["GROUP_OWNER"]}, "INVALID_ROLE_FOR_ORG"),
        ({"desc": "x", "roles": ["KING"]}, "INVALID_ENUM_VALUE"),
    ]:
        assert refused(world, "POST", path, body)[:2] == (400, code)
    in_project = world.call("POST", f"{group(world)}/apiKeys", {"desc": "p", "roles": ["GROUP_BACKUP_MANAGER"]})
    assert {role["roleName"] for role in in_project["roles"]} == {"ORG_MEMBER", "GROUP_BACKUP_MANAGER"}
    assert as_key(world, in_project, group(world))[0] == 200
    assert refused(world, "POST", f"{group(world)}/apiKeys", {"desc": "p", "roles": ["ORG_OWNER"]})[1] == "INVALID_ROLE_FOR_GROUP"


def test_whoever_makes_a_project_owns_it(world):
    made = world.call("POST", f"{org(world)}/apiKeys", {"desc": "creator", "roles": ["ORG_GROUP_CREATOR"]})
    body = {"name": "by the creator", "orgId": world.bootstrap["orgId"]}
    code, project = as_key(world, made, "/groups", "POST", body)
    assert code == 201
    assert as_key(world, made, f"/groups/{project['id']}/settings", "PATCH", {"isDataExplorerEnabled": False})[0] == 200
    assert as_key(world, made, group(world))[1]["errorCode"] == "NOT_IN_GROUP"
    assert [item["id"] for item in as_key(world, made, "/groups")[1]["results"]] == [project["id"]]
    member = world.call("POST", f"{org(world)}/apiKeys", {"desc": "member", "roles": ["ORG_MEMBER"]})
    assert as_key(world, member, "/groups", "POST", {**body, "name": "no"})[1]["errorCode"] == "NOT_ORG_GROUP_CREATOR"


def test_the_access_list_of_an_api_key(world):
    made = world.call("POST", f"{org(world)}/apiKeys", {"desc": "listed", "roles": ["ORG_OWNER"]})
    path = f"{org(world)}/apiKeys/{made['id']}/accessList"
    listed = world.call("POST", path, [{"ipAddress": "192.0.2.1"}, {"cidrBlock": "198.51.100.0/24"}])
    assert listed["totalCount"] == 2 and "pageNum=1" in listed["links"][0]["href"]
    entry = world.call("GET", path)["results"][0]
    assert entry == listed["results"][0] and entry["cidrBlock"] == "192.0.2.1/32" and entry["ipAddress"] == "192.0.2.1" and entry["count"] == 0
    assert entry["links"][0]["href"].endswith("/accessList/192.0.2.1")
    refusal = as_key(world, made, "/groups")
    assert refusal[0] == 403 and refusal[1]["errorCode"] == "IP_ADDRESS_NOT_ON_ACCESS_LIST"
    assert refusal[1]["parameters"] == ["127.0.0.1"]
    world.call("POST", path, [{"ipAddress": "127.0.0.1"}])
    assert as_key(world, made, "/groups")[0] == 200
    used = world.call("GET", f"{path}/127.0.0.1")
    assert used["count"] == 1 and used["lastUsedAddress"] == "127.0.0.1" and used["lastUsed"]
    code, body = as_key(world, made, f"{path}/127.0.0.1", "DELETE")
    assert code == 400 and body["errorCode"] == "CANNOT_REMOVE_CALLER_FROM_WHITELIST"
    assert status(world, "DELETE", f"{path}/198.51.100.0%2F24") == 204
    assert refused(world, "GET", f"{path}/198.51.100.0%2F24")[:2] == (404, "API_KEY_WHITELIST_NOT_FOUND")
    for entries, code in [
        ([{"ipAddress": "300.1.1.1"}], "INVALID_IP_ADDRESS_OR_CIDR_NOTATION"),
        ([{"cidrBlock": "10.0.0.0/99"}], "INVALID_CIDR_BLOCK"),
        ([{"cidrBlock": "10.0.0.0/8", "ipAddress": "10.0.0.1"}], "MULTIPLE_VALUES_SPECIFIED_FOR_ONE_NETWORK_PERMISSION_ENTRY"),
        ([{}], "MISSING_ONE_OF_ATTRIBUTES"),
        ([{"ipAddress": "10.0.0.1"}, {"cidrBlock": "10.0.0.1/32"}], "DUPLICATE_ADDRESSES_IN_INPUT"),
        ({"ipAddress": "10.0.0.1"}, "INVALID_JSON"),
    ]:
        assert refused(world, "POST", path, entries)[:2] == (400, code)


def test_the_life_of_a_service_account(world):
    path = f"{org(world)}/serviceAccounts"
    good = {"name": "robot", "description": "does things", "roles": ["ORG_READ_ONLY"], "secretExpiresAfterHours": 8}
    code, made, _ = world.raw("POST", "/api/atlas/v2" + path, good)
    first = made["secrets"][0]
    assert code == 201 and first["secret"].startswith("mdb_sa_sk_") and "maskedSecretValue" not in first
    bearer = token(world, made["clientId"], first["secret"])
    assert as_token(world, bearer, org(world)) == 200
    shown = world.call("GET", f"{path}/{made['clientId']}")
    secret = shown["secrets"][0]
    assert "secret" not in secret and secret["maskedSecretValue"].startswith("mdb_sa_sk_...") and secret["lastUsedAt"]
    assert shown in world.call("GET", path)["results"]
    # A second secret, and the first one goes.
    code, second, _ = world.raw("POST", f"/api/atlas/v2{path}/{made['clientId']}/secrets", {"secretExpiresAfterHours": 24})
    assert code == 201 and token(world, made["clientId"], second["secret"])
    third = refused(world, "POST", f"{path}/{made['clientId']}/secrets", {"secretExpiresAfterHours": 24}, violations=True)
    assert third[1] == "BAD_REQUEST"
    assert status(world, "DELETE", f"{path}/{made['clientId']}/secrets/{first['id']}") == 204
    assert token(world, made["clientId"], first["secret"]) is None
    assert as_token(world, bearer, org(world)) == 401, "a token ends with its secret"
    bearer = token(world, made["clientId"], second["secret"])
    assert refused(world, "DELETE", f"{path}/{made['clientId']}/secrets/{first['id']}")[:2] == (404, "RESOURCE_NOT_FOUND")
    changed = world.call("PATCH", f"{path}/{made['clientId']}", {"name": "new name", "roles": ["ORG_OWNER"]})
    assert changed["name"] == "new name" and changed["roles"] == ["ORG_OWNER"] and changed["description"] == "does things"
    assert as_token(world, bearer, f"{group(world)}/serverless/one/backup/restoreJobs") == 200, "at once"
    # Into the project and out again.
    there = f"{group(world)}/serviceAccounts/{made['clientId']}"
    world.call("PATCH", f"{path}/{made['clientId']}", {"roles": ["ORG_MEMBER"]})
    invited = world.call("POST", f"{there}:invite", {"roles": ["GROUP_OWNER"]})
    assert invited["roles"] == ["GROUP_OWNER"] == world.call("GET", there)["roles"]
    groups = world.call("GET", f"{path}/{made['clientId']}/groups")["results"]
    assert groups == [{"groupId": world.group, "roles": ["GROUP_OWNER"]}]
    assert as_token(world, bearer, f"{group(world)}/serverless/one/backup/restoreJobs") == 200
    world.call("PATCH", there, {"roles": ["GROUP_READ_ONLY"]})
    assert as_token(world, bearer, f"{group(world)}/serverless/one/backup/restoreJobs") == 401
    assert status(world, "DELETE", there) == 204
    assert refused(world, "GET", there)[:2] == (404, "RESOURCE_NOT_FOUND")
    assert status(world, "DELETE", f"{path}/{made['clientId']}") == 204
    assert as_token(world, bearer, org(world)) == 401
    code, body, headers = world.raw("POST", "/api/atlas/v2" + path, {**good, "name": "a/b", "roles": ["KING", "GROUP_OWNER"], "secretExpiresAfterHours": 1})
    assert (code, body["errorCode"]) == (400, "BAD_REQUEST") and headers["X-Error-Code"] == "BAD_REQUEST"
    assert [field["field"] for field in body["badRequestDetail"]["fields"]] == ["name", "_roles", "_roles", "secretExpiresAfterHours"]
    assert "Invalid role name 'KING'. Must be a valid Role name." in body["badRequestDetail"]["fields"][1]["description"]
    assert refused(world, "POST", path, {"name": "x"}) == (400, "MISSING_ATTRIBUTE", ["description"])


def test_a_service_account_of_a_project(world):
    path = f"{group(world)}/serviceAccounts"
    good = {"name": "robot", "description": "d", "roles": ["GROUP_OWNER"], "secretExpiresAfterHours": 8}
    made = world.call("POST", path, good)
    assert made["roles"] == ["GROUP_OWNER"]
    bearer = token(world, made["clientId"], made["secrets"][0]["secret"])
    assert as_token(world, bearer, group(world)) == 200
    assert made["clientId"] in [item["clientId"] for item in world.call("GET", path)["results"]]
    secret = world.call("POST", f"{path}/{made['clientId']}/secrets", {"secretExpiresAfterHours": 8})
    assert status(world, "DELETE", f"{path}/{made['clientId']}/secrets/{secret['id']}") == 204
    entries = f"{path}/{made['clientId']}/accessList"
    assert world.call("POST", entries, [{"cidrBlock": "192.0.2.0/24"}])["totalCount"] == 1
    assert as_token(world, bearer, group(world)) == 403
    assert world.call("GET", entries)["results"][0]["cidrBlock"] == "192.0.2.0/24"
    assert status(world, "DELETE", f"{entries}/192.0.2.0%2F24") == 204
    assert as_token(world, bearer, group(world)) == 200
    org_entries = f"{org(world)}/serviceAccounts/{made['clientId']}/accessList"
    assert world.call("POST", org_entries, [{"ipAddress": "192.0.2.7"}])["results"][0]["ipAddress"] == "192.0.2.7"
    assert world.call("GET", org_entries)["totalCount"] == 1
    assert status(world, "DELETE", f"{org_entries}/192.0.2.7") == 204
    assert refused(world, "DELETE", f"{org_entries}/192.0.2.7")[0] == 404


def test_the_access_list_of_a_project(world):
    path = f"{group(world)}/accessList"
    now = datetime.datetime.now(datetime.timezone.utc)
    soon = (now + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    code, listed, _ = world.raw("POST", "/api/atlas/v2" + path, [{"ipAddress": "192.168.0.243", "comment": "test", "deleteAfterDate": soon}, {"cidrBlock": "10.0.0.0/8"}])
    assert code == 201 and listed["totalCount"] == 2
    entry = listed["results"][0]
    assert entry["cidrBlock"] == "192.168.0.243/32" and entry["ipAddress"] == "192.168.0.243" and entry["deleteAfterDate"] == soon
    assert entry["links"][0]["href"].endswith("/accessList/192.168.0.243%2F32")
    assert world.call("GET", f"{path}/192.168.0.243") == world.call("GET", f"{path}/192.168.0.243%2F32") == entry
    assert world.call("GET", f"{path}/10.0.0.0%2F8/status") == {"STATUS": "ACTIVE"}
    again = world.call("POST", path, [{"cidrBlock": "10.0.0.0/8", "comment": "all"}])
    assert again["totalCount"] == 2 and again["results"][1]["comment"] == "all"
    # The machine itself still reaches the instance.
    world.client().admin.command("ping")
    for item, code in [
        ({"ipAddress": "10.0.0.1", "deleteAfterDate": "2020-01-01T00:00:00Z"}, "EXPIRATION_DATE_IN_PAST"),
        ({"ipAddress": "10.0.0.1", "deleteAfterDate": (now + datetime.timedelta(days=8)).isoformat()}, "EXPIRATION_DATE_EXCEEDS_MAX"),
        ({"ipAddress": "10.0.0.1", "comment": "x" * 81}, "INVALID_NETWORK_PERMISSION_COMMENT"),
        ({"awsSecurityGroup": "sg-1", "deleteAfterDate": soon}, "NETWORK_PERMISSION_EXPIRATION_NOT_SUPPORTED"),
        ({"awsSecurityGroup": "group"}, "INVALID_ATTRIBUTE"),
        ({"ipAddress": "10.0.0.1", "groupId": UNKNOWN}, "GROUP_MISMATCH"),
    ]:
        assert refused(world, "POST", path, [item])[:2] == (400, code)
    for value in ("192.168.0.243", "10.0.0.0%2F8"):
        assert status(world, "DELETE", f"{path}/{value}") == 204
    code = "ATLAS_NETWORK_PERMISSION_ENTRY_NOT_FOUND"
    assert refused(world, "GET", f"{path}/192.168.0.243") == (404, code, ["192.168.0.243", world.group])
    assert world.call("GET", path)["results"] == []


def test_a_database_user_is_changed_and_limited_to_a_collection(world):
    admin = world.client()
    admin.store.mine.insert_one({"_id": 1})
    admin.store.other.insert_one({"_id": 1})
    roles = [{"roleName": "readWrite", "databaseName": "store", "collectionName": "mine"}]
    made = world.call("POST", f"{group(world)}/databaseUsers", {"username": "clerk", "password": PASSWORD, "databaseName": "admin", "roles": roles, "labels": [{"key": "k", "value": "v"}], "description": "a clerk"})
    assert made["roles"] == roles and made["labels"] == [{"key": "k", "value": "v"}] and made["description"] == "a clerk"
    clerk = world.client(user="clerk")
    clerk.store.mine.insert_one({"_id": 2})
    assert clerk.store.mine.count_documents({}) == 2
    for forbidden in (clerk.store.other.find_one, clerk.store.mine.drop, clerk.other.mine.find_one):
        with pytest.raises(pymongo.errors.OperationFailure) as error:
            forbidden()
        assert error.value.code == 13
    path = f"{group(world)}/databaseUsers/admin/clerk"
    changed = world.call("PATCH", path, {"roles": [{"roleName": "read", "databaseName": "store"}], "password": "another-password", "labels": []})
    assert changed["labels"] == [] and changed["description"] == "a clerk"
    with pytest.raises(pymongo.errors.OperationFailure):
        world.client(user="clerk").store.other.find_one()
    reader = pymongo.MongoClient(world.uri(user="clerk").replace(PASSWORD, "another-password"))
    assert reader.store.other.find_one() == {"_id": 1}
    assert refused(world, "PATCH", path, {"username": "boss"})[:2] == (409, "DATABASE_USERNAME_CANNOT_BE_CHANGED")
    assert refused(world, "PATCH", path, {"databaseName": "other"})[:2] == (409, "DATABASE_NAME_CANNOT_BE_CHANGED")
    doubled = [{"roleName": "read", "databaseName": "a"}] * 2
    assert refused(world, "PATCH", path, {"roles": doubled})[:2] == (400, "DUPLICATE_DATABASE_ROLES")


def test_automatic_indexing_is_a_flag(world):
    path = f"{group(world)}/serverless/one/performanceAdvisor/autoIndexing"
    assert world.call("GET", path) is True
    assert status(world, "POST", f"{path}?enable=false") == 200
    assert world.call("GET", path) is False
    assert refused(world, "POST", path) == (400, "MISSING_QUERY_PARAMETER", ["enable"])
    assert refused(world, "POST", f"{path}?enable=perhaps") == (400, "INVALID_QUERY_PARAMETER", ["enable"])


def test_rate_limits_are_listed(world):
    listed = world.call("GET", "/rateLimits")["results"]
    assert {found["scope"] for found in listed} == {"GROUP", "ORGANIZATION", "USER"}
    one = next(found for found in listed if found["endpointSetId"] == "flexRestoreJobs_group")
    assert one["capacity"]["value"] == 1200 and one["refillRate"]["value"] == 500 and one["endpoints"]
    assert world.call("GET", "/rateLimits/flexRestoreJobs_group") == one
    in_group = world.call("GET", f"/rateLimits?groupId={world.group}&name=Flex%20Restore%20Jobs")["results"]
    assert in_group == [one]
    by_path = world.call("GET", "/rateLimits?endpointPath=%2Fapi%2Fatlas%2Fv2%2Forgs")["results"]
    assert [found["endpointSetId"] for found in by_path] == ["root_user"]
    assert world.call("GET", f"/rateLimits?userId={world.bootstrap['clientId']}")["totalCount"] == 3
    assert refused(world, "GET", "/rateLimits?userId=somebody")[0] == 401
    assert refused(world, "GET", f"/rateLimits?groupId={world.group}&orgId={UNKNOWN}")[1] == "MUTUALLY_EXCLUSIVE_QUERY_PARAMETERS"
    assert refused(world, "GET", "/rateLimits/nothing")[:2] == (404, "RESOURCE_NOT_FOUND")


def test_what_is_not_offered_says_so_and_is_counted(world):
    path = f"{group(world)}/backup/exportBuckets"
    assert refused(world, "GET", path) == (403, "FEATURE_UNSUPPORTED", ["listGroupBackupExportBuckets"])
    body = {"roles": ["ORG_MEMBER"], "username": "a@example.com"}
    assert refused(world, "POST", f"{org(world)}/users", body)[:2] == (403, "FEATURE_UNSUPPORTED")
    metrics = world.raw("GET", "/metrics", headers={"Authorization": None})[1].decode()
    line = next(line for line in metrics.splitlines() if 'operation="listGroupBackupExportBuckets"' in line)
    assert 'offered="false"' in line and int(line.split()[-1]) >= 1


def attempts_in(seconds, attempt):
    """How many attempts are answered in so many seconds, and with what."""
    end, statuses = time.monotonic() + seconds, []
    while time.monotonic() < end:
        statuses.append(attempt())
    return statuses


def test_guessing_keys_and_secrets_slows_down(fresh):
    world = fresh().start()
    base = f"http://127.0.0.1:{world.port}"
    public = world.bootstrap["publicKey"]

    def digest(private):
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, base, public, private)
        opener = urllib.request.build_opener(urllib.request.HTTPDigestAuthHandler(manager))
        request = urllib.request.Request(f"{base}/api/atlas/v2/groups", headers={"Accept": ACCEPT})
        try:
            with opener.open(request, timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except ValueError:
            # urllib gives up on a second challenge in its own way.
            return 401

    def token(secret):
        pair = base64.b64encode(f"{world.bootstrap['clientId']}:{secret}".encode()).decode()
        status, _, _ = world.raw("POST", "/api/oauth/token", b"grant_type=client_credentials", {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"})
        return status

    assert digest(world.bootstrap["privateKey"]) == 200
    for guess, right in ((digest, world.bootstrap["privateKey"]), (token, world.bootstrap["clientSecret"])):
        statuses = attempts_in(3, lambda guess=guess: guess("wrong"))
        assert set(statuses) <= {401, 429} and len(statuses) < 60, statuses
        assert guess(right) == 200
