"""The Node client of the API that MongoDB publishes with its MCP server, with a token of ours.

Its own token provider speaks to `https` addresses only.
"""

import json

from world import CLIENTS, run

SCRIPT = """
import {ApiClient, ApiClientError} from '@mongodb-js/mcp-atlas-api-client';
const {base, token, group, org} = JSON.parse(process.argv[1]);
const client = new ApiClient({
    options: {baseUrl: base, userAgent: 'mcp-atlas-api-client/3.0.4', httpClient: {fetch, Request}},
    logger: {error: console.error, debug() {}, info() {}, warning() {}},
    authProvider: {getAuthHeaders: async () => ({Authorization: `Bearer ${token}`}), validate: async () => true, revoke: async () => {}},
});
const path = (more) => ({params: {path: {groupId: group, ...more}}});
const out = {};
out.ip = await client.getIpInfo();
out.groups = (await client.listGroups()).results.map((g) => g.name);
out.group = (await client.getGroup(path())).id;
out.orgs = (await client.listOrgs()).totalCount;
out.orgGroups = (await client.getOrgGroups({params: {path: {orgId: org}}})).totalCount;
out.details = (await client.listClusterDetails()).results.flatMap((g) => g.clusters.map((c) => c.name));
out.clusters = (await client.listClusters(path())).totalCount;
try {
    await client.getCluster(path({clusterName: 'one'}));
} catch (error) {
    out.code = error instanceof ApiClientError && error.apiError.errorCode;
}
out.flex = (await client.getFlexCluster(path({name: 'one'}))).stateName;
const provider = {backingProviderName: 'AWS', regionName: 'US_EAST_1'};
out.created = (await client.createFlexCluster({...path(), body: {name: 'node', providerSettings: provider, terminationProtectionEnabled: false}})).stateName;
while ((await client.getFlexCluster(path({name: 'node'}))).stateName !== 'IDLE') await new Promise((r) => setTimeout(r, 100));
out.list = (await client.listFlexClusters(path())).results.map((c) => c.name);
await client.deleteFlexCluster(path({name: 'node'}));
out.deleting = (await client.getFlexCluster(path({name: 'node'}))).stateName;
await client.createDatabaseUser({...path(), body: {groupId: group, databaseName: 'admin', username: 'node', password: 'long-enough', roles: [{roleName: 'read', databaseName: 'a'}]}});
out.users = (await client.listDatabaseUsers(path())).results.map((u) => u.username);
await client.deleteDatabaseUser(path({databaseName: 'admin', username: 'node'}));
out.entries = (await client.createAccessListEntry({...path(), body: [{ipAddress: '192.0.2.5', comment: 'node'}]})).results.map((e) => e.cidrBlock);
await client.deleteAccessListEntry(path({entryValue: '192.0.2.5'}));
out.left = (await client.listAccessListEntries(path())).totalCount;
await client.sendEvents([]);
console.log(JSON.stringify(out));
"""


def test_the_node_client_manages_projects_and_flex_clusters(world):
    settings = {
        "base": f"http://127.0.0.1:{world.port}",
        "token": world.new_token(),
        "group": world.group,
        "org": world.bootstrap["orgId"],
    }
    command = ["node", "--input-type=module", "--eval", SCRIPT, "--", json.dumps(settings)]
    found = json.loads(run(command, cwd=CLIENTS / "node").splitlines()[-1])
    assert found == {
        "ip": {"currentIpv4Address": "127.0.0.1"},
        "groups": ["Project 0"],
        "group": world.group,
        "orgs": 1,
        "orgGroups": 1,
        "details": ["one"],
        "clusters": 0,
        "code": "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API",
        "flex": "IDLE",
        "created": "CREATING",
        "list": ["one", "node"],
        "deleting": "DELETING",
        "users": ["app", "node"],
        "entries": ["192.0.2.5/32"],
        "left": 0,
    }
