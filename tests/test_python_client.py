"""A Python client of the API, generated from the official description: every answer is validated by
its models."""

import contextlib
import json

import pytest
from pyatlassdk.admin import AtlasAdminClient
from pyatlassdk.admin import models

from world import PASSWORD, until


def model(name):
    return getattr(models, name)


def delete(call, *arguments, **named):
    """Deletes; the client looks for a body in an answer that has none."""
    with contextlib.suppress(json.JSONDecodeError):
        call(*arguments, **named)


@pytest.fixture(scope="module", params=["digest", "oauth"])
def client(request, world):
    credentials = {
        "digest": {"public_key": world.bootstrap["publicKey"], "private_key": world.bootstrap["privateKey"]},
        "oauth": {"client_id": world.bootstrap["clientId"], "client_secret": world.bootstrap["clientSecret"]},
    }
    base = f"http://127.0.0.1:{world.port}"
    with AtlasAdminClient(
        base_url=f"{base}/api/atlas/v2", oauth_token_url=f"{base}/api/oauth/token", **credentials[request.param]
    ) as client:
        client.kind = request.param
        yield client


def test_flex_clusters_and_their_backups(world, client):
    name = f"python-{client.kind}"
    body = model("FlexClusterDescriptionCreate20241113")(
        name=name, providerSettings={"backingProviderName": "AWS", "regionName": "US_EAST_1"}
    )
    made = client.flex_clusters.create_group_flex_cluster(world.group, body)
    assert made.state_name == "CREATING"
    until(lambda: client.flex_clusters.get_group_flex_cluster(world.group, name).state_name == "IDLE", "the cluster")
    assert name in [c.name for c in client.flex_clusters.list_group_flex_clusters(world.group).results]

    def completed():
        listed = client.flex_snapshots.list_group_flex_cluster_backup_snapshots(world.group, name).results
        return listed[0] if listed and listed[0].status == "COMPLETED" else None

    snapshot = until(completed, "the first snapshot")
    assert client.flex_snapshots.get_group_flex_cluster_backup_snapshot(world.group, name, snapshot.id) == snapshot
    wanted = model("FlexBackupRestoreJobCreate20241113")(
        snapshotId=snapshot.id, targetDeploymentItemName=name, targetProjectId=world.group
    )
    jobs = client.flex_restore_jobs
    job = jobs.create_group_flex_cluster_backup_restore_job(world.group, name, wanted)
    until(lambda: jobs.get_group_flex_cluster_backup_restore_job(world.group, name, job.id).status == "COMPLETED", "the job")
    assert [j.id for j in jobs.list_group_flex_cluster_backup_restore_jobs(world.group, name).results] == [job.id]
    until(lambda: client.flex_clusters.get_group_flex_cluster(world.group, name).state_name == "IDLE", "the cluster")
    delete(client.flex_clusters.delete_group_flex_cluster, world.group, name)
    assert client.flex_clusters.get_group_flex_cluster(world.group, name).state_name == "DELETING"


def test_a_flag_of_a_serverless_instance_is_read(world, client):
    # Its models of instances do not know the size FLEX, which the real service was recorded with.
    assert client.performance_advisor.get_group_serverless_performance_advisor_auto_indexing(group_id=world.group, cluster_name="one") is True


def test_projects_and_organizations(world, client):
    org = world.bootstrap["orgId"]
    status = client.root.get_system_status()
    assert status.ip_address == "127.0.0.1" and (status.api_key is None) == (client.kind == "oauth")
    assert client.organizations.get_org(org).name == "Tidemark"
    assert client.organizations.list_orgs().total_count == 1
    settings = client.organizations.get_org_settings(org)
    assert settings.api_access_list_required is False
    made = client.projects.create_group(model("Group")(name=f"python {client.kind}", orgId=org, clusterCount=0, created="2026-01-01T00:00:00Z"))
    assert client.projects.get_group_by_name(f"python {client.kind}").id == made.id
    assert client.projects.get_group_settings(made.id).is_data_explorer_enabled is True
    assert len(client.projects.list_group_limits(made.id)) == 9
    client.projects.get_group_ip_addresses(made.id)
    delete(client.projects.delete_group, made.id)


def test_keys_accounts_users_and_lists(world, client):
    org = world.bootstrap["orgId"]
    keys = client.programmatic_api_keys
    made = keys.create_org_api_key(org, model("CreateAtlasOrganizationApiKey")(desc="py", roles=["ORG_MEMBER"]))
    assert keys.get_org_api_key(org_id=org, api_user_id=made.id).private_key.startswith("****")
    delete(keys.delete_org_api_key, org_id=org, api_user_id=made.id)
    accounts = client.service_accounts
    body = model("OrgServiceAccountRequest")(name="py", description="py", roles=["ORG_MEMBER"], secretExpiresAfterHours=8)
    account = accounts.create_org_service_account(org, body)
    assert account.secrets[0].secret
    delete(accounts.delete_org_service_account, org_id=org, client_id=account.client_id)
    user = model("CloudDatabaseUser")(
        username=f"py-{client.kind}",
        password=PASSWORD,
        databaseName="admin",
        groupId=world.group,
        roles=[{"roleName": "read", "databaseName": "a"}],
    )
    client.database_users.create_group_database_user(world.group, user)
    name = {"database_name": "admin", "username": f"py-{client.kind}"}
    delete(client.database_users.delete_group_database_user, group_id=world.group, **name)
    assert client.rate_limiting.list_rate_limits().total_count > 10
