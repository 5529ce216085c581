//! The table of operations, and a folder for each kind of resource: one file for each operation, one
//! more that says how the resource is shown.
//!
//! Official operations that are not offered stand in the table too: they answer a clear error, and
//! a count of them shows what users miss.

mod api_keys;
mod clusters;
mod database_users;
mod events;
mod flex;
mod groups;
pub(crate) mod instances;
mod key_access_lists;
mod network;
mod orgs;
mod principals;
mod regions;
mod roles_in_bodies;
mod serverless;
mod service;
mod service_accounts;
mod tags;

use tidemark_model::Role::{
    self, GroupAccessManager, GroupBackupCreator, GroupBackupExportOperator, GroupBackupManager,
    GroupBackupRecoveryOperator, GroupClusterCreator, GroupClusterManager,
    GroupDatabaseAccessAdmin, GroupNetworkAccessManager, GroupOwner, GroupReadOnly,
    GroupReplicaSetManager, GroupStreamProcessingOwner, OrgMember, OrgOwner, OrgReadOnly,
};

use crate::operation::Shape::{Many, Nothing, One, Page};
use crate::operation::{Operation, delete, get, patch, post, put};
use crate::version::{
    CLUSTERS_DELETE, CLUSTERS_READ, CLUSTERS_WRITE, COMPLIANCE, EXPORT_BUCKETS, SCHEDULES,
    SERVERLESS, USERS, V2024_05_30, V2024_08_05, V2024_11_13, V2025_02_19, V2025_03_12,
};

const READ: &[Role] = &[GroupReadOnly];
const OWN: &[Role] = &[GroupOwner];
const ACCESS: &[Role] = &[GroupAccessManager];
const NETWORK: &[Role] = &[GroupNetworkAccessManager];
const DATABASE: &[Role] = &[GroupDatabaseAccessAdmin, GroupStreamProcessingOwner];
const BACKUP: &[Role] = &[GroupBackupManager];
const TAKE: &[Role] = &[GroupBackupCreator];
const RESTORE: &[Role] = &[GroupBackupRecoveryOperator];
const EXPORT: &[Role] = &[GroupBackupExportOperator];
const RESTORE_OR_EXPORT: &[Role] = &[GroupBackupExportOperator, GroupBackupRecoveryOperator];
const CHANGE_CLUSTER: &[Role] = &[GroupClusterManager, GroupReplicaSetManager];
const MEMBER: &[Role] = &[OrgMember];
const READ_ORG: &[Role] = &[OrgReadOnly];
const OWN_ORG: &[Role] = &[OrgOwner];

const GROUP: &str = "/groups/{groupId}";
const NETWORK_LIST: &str = "/groups/{groupId}/accessList";
const NETWORK_ENTRY: &str = "/groups/{groupId}/accessList/{entryValue}";
const GROUP_KEYS: &str = "/groups/{groupId}/apiKeys";
const GROUP_KEY: &str = "/groups/{groupId}/apiKeys/{apiUserId}";
const GROUP_ACCOUNTS: &str = "/groups/{groupId}/serviceAccounts";
const GROUP_ACCOUNT: &str = "/groups/{groupId}/serviceAccounts/{clientId}";
const USERS_OF_DATABASES: &str = "/groups/{groupId}/databaseUsers";
const USER: &str = "/groups/{groupId}/databaseUsers/{databaseName}/{username}";
const LIMIT: &str = "/groups/{groupId}/limits/{limitName}";
const INSTANCES: &str = "/groups/{groupId}/serverless";
const INSTANCE: &str = "/groups/{groupId}/serverless/{name}";
const SNAPSHOTS: &str = "/groups/{groupId}/serverless/{clusterName}/backup/snapshots";
const SNAPSHOT: &str = "/groups/{groupId}/serverless/{clusterName}/backup/snapshots/{snapshotId}";
const JOBS: &str = "/groups/{groupId}/serverless/{clusterName}/backup/restoreJobs";
const JOB: &str = "/groups/{groupId}/serverless/{clusterName}/backup/restoreJobs/{restoreJobId}";
const AUTO_INDEXING: &str =
    "/groups/{groupId}/serverless/{clusterName}/performanceAdvisor/autoIndexing";
const FLEX: &str = "/groups/{groupId}/flexClusters";
const FLEX_ONE: &str = "/groups/{groupId}/flexClusters/{name}";
const FLEX_SNAPSHOTS: &str = "/groups/{groupId}/flexClusters/{name}/backup/snapshots";
const FLEX_SNAPSHOT: &str = "/groups/{groupId}/flexClusters/{name}/backup/snapshots/{snapshotId}";
const FLEX_JOBS: &str = "/groups/{groupId}/flexClusters/{name}/backup/restoreJobs";
const FLEX_JOB: &str = "/groups/{groupId}/flexClusters/{name}/backup/restoreJobs/{restoreJobId}";
const CLUSTERS: &str = "/groups/{groupId}/clusters";
const CLUSTER: &str = "/groups/{groupId}/clusters/{clusterName}";
const CLUSTER_JOBS: &str = "/groups/{groupId}/clusters/{clusterName}/backup/restoreJobs";
const CLUSTER_JOB: &str =
    "/groups/{groupId}/clusters/{clusterName}/backup/restoreJobs/{restoreJobId}";
const CLUSTER_SNAPSHOTS: &str = "/groups/{groupId}/clusters/{clusterName}/backup/snapshots";
const CLUSTER_SNAPSHOT: &str =
    "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/{snapshotId}";
const SHARDED: &str =
    "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/shardedCluster/{snapshotId}";
const SCHEDULE: &str = "/groups/{groupId}/clusters/{clusterName}/backup/schedule";
const BUCKETS: &str = "/groups/{groupId}/backup/exportBuckets";
const BUCKET: &str = "/groups/{groupId}/backup/exportBuckets/{exportBucketId}";
const POLICY: &str = "/groups/{groupId}/backupCompliancePolicy";
const MODEL_LIMITS: &str = "/groups/{groupId}/aiModelApiClouds/{cloud}/geographies/{geography}/modelGroupNames/{modelGroupName}/rateLimits";
const EVENTS: &[&str] =
    &["clusterNames", "eventType", "excludedEventType", "includeRaw", "maxDate", "minDate"];
const ORG_EVENTS: &[&str] = &["eventType", "includeRaw", "maxDate", "minDate"];
const ORG: &str = "/orgs/{orgId}";
const ORG_KEYS: &str = "/orgs/{orgId}/apiKeys";
const ORG_KEY: &str = "/orgs/{orgId}/apiKeys/{apiUserId}";
const KEY_LIST: &str = "/orgs/{orgId}/apiKeys/{apiUserId}/accessList";
const KEY_ENTRY: &str = "/orgs/{orgId}/apiKeys/{apiUserId}/accessList/{ipAddress}";
const ORG_ACCOUNTS: &str = "/orgs/{orgId}/serviceAccounts";
const ORG_ACCOUNT: &str = "/orgs/{orgId}/serviceAccounts/{clientId}";

/// All operations.
#[rustfmt::skip]
pub(crate) const OPERATIONS: &[Operation] = &[
    // The service itself.
    get("getSystemStatus", "").open(service::get_system_status::run).one("SystemStatus"),
    get("listRateLimits", "/rateLimits").versions(V2025_03_12).open(service::list_rate_limits::run)
        .page("RateLimitEndpointSet").query(&["groupId", "orgId", "userId", "ipAddress", "name", "endpointPath"]),
    get("getRateLimit", "/rateLimits/{endpointSetId}").versions(V2025_03_12).open(service::get_rate_limit::run)
        .one("RateLimitEndpointSet").query(&["groupId", "orgId", "userId", "ipAddress"]),
    get("listClusterDetails", "/clusters").open(clusters::list_cluster_details::run).page("GroupClusters"),

    // Events.
    get("listEventTypes", "/eventTypes").open(events::list_event_types::run).page("EventType"),
    get("listOrgEvents", "/orgs/{orgId}/events").org(MEMBER, events::list_org_events::run).page("OrgEvent").query(ORG_EVENTS),
    get("getOrgEvent", "/orgs/{orgId}/events/{eventId}").org(MEMBER, events::get_org_event::run).one("OrgEvent")
        .query(&["includeRaw"]),
    get("listGroupEvents", "/groups/{groupId}/events").project(READ, events::list_group_events::run).page("GroupEvent")
        .query(EVENTS),
    get("getGroupEvent", "/groups/{groupId}/events/{eventId}").project(READ, events::get_group_event::run).one("GroupEvent")
        .query(&["includeRaw"]),

    // Organizations.
    get("listOrgs", "/orgs").open(orgs::list_orgs::run).page("Org").query(&["name"]),
    post("createOrg", "/orgs").open(orgs::create_org::run).takes("OrgCreate").answers(201, One("OrgCreated")),
    get("getOrg", ORG).org(MEMBER, orgs::get_org::run).one("Org"),
    patch("updateOrg", ORG).org(OWN_ORG, orgs::update_org::run).takes("OrgUpdate").one("Org"),
    delete("deleteOrg", ORG).org(OWN_ORG, orgs::delete_org::run),
    get("getOrgGroups", "/orgs/{orgId}/groups").org(MEMBER, orgs::get_org_groups::run).page("Group").query(&["name"]),
    get("getOrgSettings", "/orgs/{orgId}/settings").org(MEMBER, orgs::get_org_settings::run).one("OrgSettings"),
    patch("updateOrgSettings", "/orgs/{orgId}/settings").org(OWN_ORG, orgs::update_org_settings::run)
        .takes("OrgSettings").one("OrgSettings"),
    get("listOrgUsers", "/orgs/{orgId}/users").versions(USERS).org(MEMBER, orgs::list_org_users::run).page("User"),
    post("createOrgUser", "/orgs/{orgId}/users").versions(V2025_02_19).not_offered(OWN_ORG),
    get("getOrgAiModelApiCloudGeographyModelGroupNameRateLimits", "/orgs/{orgId}/aiModelApiClouds/{cloud}/geographies/{geography}/modelGroupNames/{modelGroupName}/rateLimits")
        .versions(V2025_03_12).not_offered(READ_ORG),

    // API keys of organizations.
    get("listOrgApiKeys", ORG_KEYS).org(MEMBER, api_keys::list_org_api_keys::run).page("ApiKey"),
    post("createOrgApiKey", ORG_KEYS).org(OWN_ORG, api_keys::create_org_api_key::run).takes("ApiKeyCreate").one("ApiKey"),
    get("getOrgApiKey", ORG_KEY).org(MEMBER, api_keys::get_org_api_key::run).one("ApiKey"),
    patch("updateOrgApiKey", ORG_KEY).org(OWN_ORG, api_keys::update_org_api_key::run).takes("ApiKeyUpdate").one("ApiKey"),
    delete("deleteOrgApiKey", ORG_KEY).org(OWN_ORG, api_keys::delete_org_api_key::run),
    get("listOrgApiKeyAccessListEntries", KEY_LIST).org(MEMBER, key_access_lists::list_org_api_key_access_list_entries::run)
        .page("AccessListEntry"),
    post("createOrgApiKeyAccessListEntry", KEY_LIST).org(MEMBER, key_access_lists::create_org_api_key_access_list_entry::run)
        .takes_many("AddressRequest").page("AccessListEntry"),
    get("getOrgApiKeyAccessListEntry", KEY_ENTRY).org(MEMBER, key_access_lists::get_org_api_key_access_list_entry::run)
        .one("AccessListEntry"),
    delete("deleteOrgApiKeyAccessListEntry", KEY_ENTRY).org(MEMBER, key_access_lists::delete_org_api_key_access_list_entry::run),

    // Service accounts of organizations.
    get("listOrgServiceAccounts", ORG_ACCOUNTS).versions(V2024_08_05)
        .org(READ_ORG, service_accounts::list_org_service_accounts::run).page("ServiceAccount"),
    post("createOrgServiceAccount", ORG_ACCOUNTS).versions(V2024_08_05)
        .org(OWN_ORG, service_accounts::create_org_service_account::run).takes("ServiceAccountCreate")
        .answers(201, One("ServiceAccount")),
    get("getOrgServiceAccount", ORG_ACCOUNT).versions(V2024_08_05)
        .org(READ_ORG, service_accounts::get_org_service_account::run).one("ServiceAccount"),
    patch("updateOrgServiceAccount", ORG_ACCOUNT).versions(V2024_08_05)
        .org(OWN_ORG, service_accounts::update_org_service_account::run).takes("ServiceAccountUpdate").one("ServiceAccount"),
    delete("deleteOrgServiceAccount", ORG_ACCOUNT).versions(V2024_08_05)
        .org(OWN_ORG, service_accounts::delete_org_service_account::run),
    get("listOrgServiceAccountAccessList", "/orgs/{orgId}/serviceAccounts/{clientId}/accessList").versions(V2024_08_05)
        .org(READ_ORG, key_access_lists::list_org_service_account_access_list::run).page("ServiceAccountAddress"),
    post("createOrgServiceAccountAccessList", "/orgs/{orgId}/serviceAccounts/{clientId}/accessList").versions(V2024_08_05)
        .org(OWN_ORG, key_access_lists::create_org_service_account_access_list::run).takes_many("AddressRequest")
        .page("ServiceAccountAddress"),
    delete("deleteOrgServiceAccountAccessListEntry", "/orgs/{orgId}/serviceAccounts/{clientId}/accessList/{ipAddress}")
        .versions(V2024_08_05).org(OWN_ORG, key_access_lists::delete_org_service_account_access_list_entry::run),
    get("getOrgServiceAccountGroups", "/orgs/{orgId}/serviceAccounts/{clientId}/groups").versions(V2024_08_05)
        .org(READ_ORG, service_accounts::get_org_service_account_groups::run).page("ServiceAccountGroup"),
    post("createOrgServiceAccountSecret", "/orgs/{orgId}/serviceAccounts/{clientId}/secrets").versions(V2024_08_05)
        .org(OWN_ORG, service_accounts::create_org_service_account_secret::run).takes("SecretCreate").answers(201, One("Secret")),
    delete("deleteOrgServiceAccountSecret", "/orgs/{orgId}/serviceAccounts/{clientId}/secrets/{secretId}")
        .versions(V2024_08_05).org(OWN_ORG, service_accounts::delete_org_service_account_secret::run),

    // Projects.
    get("listGroups", "/groups").open(groups::list_groups::run).page("Group"),
    post("createGroup", "/groups").open(groups::create_group::run).takes("GroupCreate").answers(201, One("Group"))
        .query(&["projectOwnerId"]),
    get("getGroupByName", "/groups/byName/{groupName}").open(groups::get_group_by_name::run).one("Group"),
    get("getGroup", GROUP).project(READ, groups::get_group::run).one("Group"),
    patch("updateGroup", GROUP).project(OWN, groups::update_group::run).takes("GroupUpdate").one("Group"),
    delete("deleteGroup", GROUP).project(OWN, groups::delete_group::run).answers(202, One("Accepted")),
    get("getGroupIpAddresses", "/groups/{groupId}/ipAddresses").project(READ, groups::get_group_ip_addresses::run)
        .one("GroupIpAddresses"),
    get("listGroupLimits", "/groups/{groupId}/limits").project(READ, groups::list_group_limits::run)
        .answers(200, Many("Limit")),
    get("getGroupLimit", LIMIT).project(READ, groups::get_group_limit::run).one("Limit"),
    patch("setGroupLimit", LIMIT).project(OWN, groups::set_group_limit::run).takes("LimitUpdate").one("Limit"),
    delete("deleteGroupLimit", LIMIT).project(OWN, groups::delete_group_limit::run),
    get("getGroupManagedSlowMs", "/groups/{groupId}/managedSlowMs").project(READ, groups::get_group_managed_slow_ms::run)
        .one("Flag"),
    post("enableGroupManagedSlowMs", "/groups/{groupId}/managedSlowMs/enable")
        .project(OWN, groups::enable_group_managed_slow_ms::run).answers(204, Nothing),
    delete("disableGroupManagedSlowMs", "/groups/{groupId}/managedSlowMs/disable")
        .project(OWN, groups::disable_group_managed_slow_ms::run),
    get("getGroupSettings", "/groups/{groupId}/settings").project(READ, groups::get_group_settings::run).one("GroupSettings"),
    patch("updateGroupSettings", "/groups/{groupId}/settings").project(OWN, groups::update_group_settings::run)
        .takes("GroupSettings").one("GroupSettings"),
    get("listGroupTeams", "/groups/{groupId}/teams").project(READ, groups::list_group_teams::run).page("Team"),
    post("addGroupTeams", "/groups/{groupId}/teams").not_offered(ACCESS),
    get("listGroupUsers", "/groups/{groupId}/users").versions(USERS).project(READ, groups::list_group_users::run).page("User"),
    post("addGroupUsers", "/groups/{groupId}/users").versions(V2025_02_19).not_offered(ACCESS),
    get("getGroupAiModelApiCloudGeographyModelGroupNameRateLimits", MODEL_LIMITS).versions(V2025_03_12).not_offered(READ),
    patch("updateGroupAiModelApiCloudGeographyModelGroupNameRateLimits", MODEL_LIMITS)
        .versions(V2025_03_12).not_offered(OWN),
    post("resetGroupAiModelApiCloudGeographyModelGroupNameRateLimits", "/groups/{groupId}/aiModelApiClouds/{cloud}/geographies/{geography}/modelGroupNames/{modelGroupName}/rateLimits:reset")
        .versions(V2025_03_12).not_offered(OWN),
    get("getGroupDbAccessHistoryCluster", "/groups/{groupId}/dbAccessHistory/clusters/{clusterName}").not_offered(READ),

    // The IP access lists of projects.
    get("listGroupAccessListEntries", NETWORK_LIST).project(READ, network::list_group_access_list_entries::run)
        .page("NetworkEntry"),
    post("createGroupAccessListEntry", NETWORK_LIST).project(NETWORK, network::create_group_access_list_entry::run)
        .takes_many("NetworkEntryCreate").answers(201, Page("NetworkEntry")),
    get("getGroupAccessListEntry", NETWORK_ENTRY).project(READ, network::get_group_access_list_entry::run).one("NetworkEntry"),
    delete("deleteGroupAccessListEntry", NETWORK_ENTRY).project(NETWORK, network::delete_group_access_list_entry::run),
    get("getGroupAccessListStatus", "/groups/{groupId}/accessList/{entryValue}/status")
        .project(READ, network::get_group_access_list_status::run).one("NetworkEntryStatus"),

    // API keys in projects.
    get("listGroupApiKeys", GROUP_KEYS).project(READ, api_keys::list_group_api_keys::run).page("ApiKey"),
    post("createGroupApiKey", GROUP_KEYS).project(ACCESS, api_keys::create_group_api_key::run).takes("ApiKeyCreate").one("ApiKey"),
    patch("updateGroupApiKeyRoles", GROUP_KEY).project(ACCESS, api_keys::update_group_api_key_roles::run)
        .takes("ApiKeyUpdate").one("ApiKey"),
    post("addGroupApiKey", GROUP_KEY).project(OWN, api_keys::add_group_api_key::run).takes_many("RoleAssignment")
        .answers(204, Nothing),
    delete("removeGroupApiKey", GROUP_KEY).project(ACCESS, api_keys::remove_group_api_key::run),

    // Service accounts in projects.
    get("listGroupServiceAccounts", GROUP_ACCOUNTS).versions(V2024_08_05)
        .project(READ, service_accounts::list_group_service_accounts::run).page("ServiceAccount"),
    post("createGroupServiceAccount", GROUP_ACCOUNTS).versions(V2024_08_05)
        .project(OWN, service_accounts::create_group_service_account::run).takes("ServiceAccountCreate")
        .answers(201, One("ServiceAccount")),
    get("getGroupServiceAccount", GROUP_ACCOUNT).versions(V2024_08_05)
        .project(READ, service_accounts::get_group_service_account::run).one("ServiceAccount"),
    patch("updateGroupServiceAccount", GROUP_ACCOUNT).versions(V2024_08_05)
        .project(OWN, service_accounts::update_group_service_account::run).takes("ServiceAccountUpdate").one("ServiceAccount"),
    delete("deleteGroupServiceAccount", GROUP_ACCOUNT).versions(V2024_08_05)
        .project(OWN, service_accounts::delete_group_service_account::run),
    post("inviteGroupServiceAccount", "/groups/{groupId}/serviceAccounts/{clientId}:invite").versions(V2024_08_05)
        .project(OWN_ORG, service_accounts::invite_group_service_account::run).takes("RoleAssignment").one("ServiceAccount"),
    get("listGroupServiceAccountAccessList", "/groups/{groupId}/serviceAccounts/{clientId}/accessList")
        .versions(V2024_08_05).project(READ, key_access_lists::list_group_service_account_access_list::run)
        .page("ServiceAccountAddress"),
    post("createGroupServiceAccountAccessList", "/groups/{groupId}/serviceAccounts/{clientId}/accessList")
        .versions(V2024_08_05).project(ACCESS, key_access_lists::create_group_service_account_access_list::run)
        .takes_many("AddressRequest").page("ServiceAccountAddress"),
    delete("deleteGroupServiceAccountAccessListEntry", "/groups/{groupId}/serviceAccounts/{clientId}/accessList/{ipAddress}")
        .versions(V2024_08_05).project(ACCESS, key_access_lists::delete_group_service_account_access_list_entry::run),
    post("createGroupServiceAccountSecret", "/groups/{groupId}/serviceAccounts/{clientId}/secrets").versions(V2024_08_05)
        .project(OWN, service_accounts::create_group_service_account_secret::run).takes("SecretCreate").answers(201, One("Secret")),
    delete("deleteGroupServiceAccountSecret", "/groups/{groupId}/serviceAccounts/{clientId}/secrets/{secretId}")
        .versions(V2024_08_05).project(OWN, service_accounts::delete_group_service_account_secret::run),

    // Database users.
    get("listGroupDatabaseUsers", USERS_OF_DATABASES).project(READ, database_users::list_database_users::run).page("DatabaseUser"),
    post("createGroupDatabaseUser", USERS_OF_DATABASES).project(DATABASE, database_users::create_database_user::run)
        .takes("DatabaseUserCreate").answers(201, One("DatabaseUser")),
    get("getGroupDatabaseUser", USER).project(READ, database_users::get_database_user::run).one("DatabaseUser"),
    patch("updateGroupDatabaseUser", USER).project(DATABASE, database_users::update_database_user::run)
        .takes("DatabaseUserUpdate").one("DatabaseUser"),
    delete("deleteGroupDatabaseUser", USER).project(DATABASE, database_users::delete_database_user::run),

    // Serverless instances and their backups.
    get("listGroupServerlessInstances", INSTANCES).versions(SERVERLESS)
        .project(READ, serverless::list_serverless_instances::run).page("ServerlessInstance"),
    post("createGroupServerlessInstance", INSTANCES).versions(SERVERLESS)
        .project(OWN, serverless::create_serverless_instance::run).takes("ServerlessInstanceCreate")
        .answers(201, One("ServerlessInstance")),
    get("getGroupServerlessInstance", INSTANCE).versions(SERVERLESS)
        .serverless(READ, serverless::get_serverless_instance::run).one("ServerlessInstance"),
    patch("updateGroupServerlessInstance", INSTANCE).versions(SERVERLESS)
        .serverless(OWN, serverless::update_serverless_instance::run).takes("ServerlessInstanceUpdate").one("ServerlessInstance"),
    delete("deleteGroupServerlessInstance", INSTANCE).versions(SERVERLESS)
        .serverless(OWN, serverless::delete_serverless_instance::run).answers(202, One("Accepted"))
        .query(&["retainBackups"]),
    get("getGroupServerlessPerformanceAdvisorAutoIndexing", AUTO_INDEXING).versions(SERVERLESS)
        .serverless(READ, serverless::get_serverless_auto_indexing::run).one("Flag"),
    post("setGroupServerlessPerformanceAdvisorAutoIndexing", AUTO_INDEXING).versions(SERVERLESS)
        .serverless(OWN, serverless::set_serverless_auto_indexing::run).query(&["enable"]),
    get("listGroupServerlessBackupSnapshots", SNAPSHOTS).versions(SERVERLESS)
        .serverless(READ, serverless::list_serverless_snapshots::run).page("ServerlessSnapshot"),
    post("takeGroupServerlessBackupSnapshot", SNAPSHOTS).versions(SERVERLESS).added()
        .serverless(TAKE, serverless::take_serverless_snapshot::run).takes("SnapshotCreate").one("ServerlessSnapshot"),
    get("getGroupServerlessBackupSnapshot", SNAPSHOT).versions(SERVERLESS)
        .serverless(READ, serverless::get_serverless_snapshot::run).one("ServerlessSnapshot"),
    delete("deleteGroupServerlessBackupSnapshot", SNAPSHOT).versions(SERVERLESS).added()
        .serverless(BACKUP, serverless::delete_serverless_snapshot::run),
    get("listGroupServerlessBackupRestoreJobs", JOBS).versions(SERVERLESS)
        .serverless(OWN, serverless::list_serverless_restore_jobs::run).page("ServerlessRestoreJob"),
    post("createGroupServerlessBackupRestoreJob", JOBS).versions(SERVERLESS)
        .serverless(OWN, serverless::create_serverless_restore_job::run).takes("ServerlessRestoreJobCreate")
        .one("ServerlessRestoreJob"),
    get("getGroupServerlessBackupRestoreJob", JOB).versions(SERVERLESS)
        .serverless(OWN, serverless::get_serverless_restore_job::run).one("ServerlessRestoreJob"),
    delete("cancelGroupServerlessBackupRestoreJob", JOB).versions(SERVERLESS).added()
        .serverless(OWN, serverless::cancel_serverless_restore_job::run),

    // Flex clusters and their backups.
    get("listGroupFlexClusters", FLEX).versions(V2024_11_13).project(READ, flex::list_flex_clusters::run).page("FlexCluster"),
    post("createGroupFlexCluster", FLEX).versions(V2024_11_13).project(OWN, flex::create_flex_cluster::run)
        .takes("FlexClusterCreate").answers(201, One("FlexCluster")),
    get("getGroupFlexCluster", FLEX_ONE).versions(V2024_11_13).flex(READ, flex::get_flex_cluster::run).one("FlexCluster"),
    patch("updateGroupFlexCluster", FLEX_ONE).versions(V2024_11_13).flex(OWN, flex::update_flex_cluster::run)
        .takes("FlexClusterUpdate").one("FlexCluster"),
    delete("deleteGroupFlexCluster", FLEX_ONE).versions(V2024_11_13).flex(OWN, flex::delete_flex_cluster::run)
        .query(&["retainBackups"]),
    post("tenantGroupFlexClusterUpgrade", "/groups/{groupId}/flexClusters:tenantUpgrade").versions(V2024_11_13)
        .project(&[GroupClusterManager], serverless::tenant_upgrade::run).takes("TenantUpgrade").one("FlexCluster"),
    get("listGroupFlexClusterBackupSnapshots", FLEX_SNAPSHOTS).versions(V2024_11_13)
        .flex(READ, flex::list_flex_snapshots::run).page("FlexSnapshot"),
    post("takeGroupFlexClusterBackupSnapshot", FLEX_SNAPSHOTS).versions(V2024_11_13).added()
        .flex(TAKE, flex::take_flex_snapshot::run).takes("SnapshotCreate").one("FlexSnapshot"),
    get("getGroupFlexClusterBackupSnapshot", FLEX_SNAPSHOT).versions(V2024_11_13)
        .flex(READ, flex::get_flex_snapshot::run).one("FlexSnapshot"),
    delete("deleteGroupFlexClusterBackupSnapshot", FLEX_SNAPSHOT).versions(V2024_11_13).added()
        .flex(BACKUP, flex::delete_flex_snapshot::run),
    post("downloadGroupFlexClusterBackup", "/groups/{groupId}/flexClusters/{name}/backup/download").versions(V2024_11_13)
        .flex(EXPORT, flex::download_flex_backup::run).takes("FlexDownloadCreate").one("FlexRestoreJob"),
    get("listGroupFlexClusterBackupRestoreJobs", FLEX_JOBS).versions(V2024_11_13)
        .flex(READ, flex::list_flex_restore_jobs::run).page("FlexRestoreJob"),
    post("createGroupFlexClusterBackupRestoreJob", FLEX_JOBS).versions(V2024_11_13)
        .project(RESTORE, flex::create_flex_restore_job::run).takes("FlexRestoreJobCreate").one("FlexRestoreJob"),
    get("getGroupFlexClusterBackupRestoreJob", FLEX_JOB).versions(V2024_11_13)
        .flex(READ, flex::get_flex_restore_job::run).one("FlexRestoreJob"),
    delete("cancelGroupFlexClusterBackupRestoreJob", FLEX_JOB).versions(V2024_11_13).added()
        .flex(RESTORE, flex::cancel_flex_restore_job::run),

    // Clusters: attached deployments that are shown as such. Of other instances these say what they are.
    get("listGroupClusters", CLUSTERS).versions(CLUSTERS_READ).project(READ, clusters::list_clusters::run).page("Cluster"),
    post("createGroupCluster", CLUSTERS).versions(CLUSTERS_WRITE).not_offered(&[GroupClusterCreator]),
    get("getGroupCluster", CLUSTER).versions(CLUSTERS_READ).on_cluster(READ, clusters::get_cluster::run).one("Cluster"),
    patch("updateGroupCluster", CLUSTER).versions(CLUSTERS_WRITE)
        .on_cluster(CHANGE_CLUSTER, clusters::update_cluster::run).takes("ClusterUpdate").one("Cluster"),
    delete("deleteGroupCluster", CLUSTER).versions(CLUSTERS_DELETE).on_cluster(OWN, clusters::delete_cluster::run)
        .answers(202, One("Accepted")).query(&["retainBackups"]),
    get("listGroupClusterBackupExports", "/groups/{groupId}/clusters/{clusterName}/backup/exports").cluster(BACKUP),
    post("createGroupClusterBackupExport", "/groups/{groupId}/clusters/{clusterName}/backup/exports").cluster(EXPORT),
    get("getGroupClusterBackupExport", "/groups/{groupId}/clusters/{clusterName}/backup/exports/{exportId}").cluster(BACKUP),
    get("listGroupClusterBackupRestoreJobs", CLUSTER_JOBS)
        .on_cluster(BACKUP, clusters::list_cluster_restore_jobs::run).page("ClusterRestoreJob"),
    post("createGroupClusterBackupRestoreJob", CLUSTER_JOBS)
        .on_cluster(RESTORE_OR_EXPORT, clusters::create_cluster_restore_job::run).takes("ClusterRestoreJobCreate")
        .one("ClusterRestoreJob"),
    get("getGroupClusterBackupRestoreJob", CLUSTER_JOB)
        .on_cluster(BACKUP, clusters::get_cluster_restore_job::run).one("ClusterRestoreJob"),
    delete("cancelGroupClusterBackupRestoreJob", CLUSTER_JOB)
        .on_cluster(RESTORE_OR_EXPORT, clusters::cancel_cluster_restore_job::run),
    get("getGroupClusterBackupSchedule", SCHEDULE).versions(SCHEDULES)
        .on_cluster(READ, clusters::get_schedule::run).one("BackupSchedule"),
    patch("updateGroupClusterBackupSchedule", SCHEDULE).versions(SCHEDULES)
        .on_cluster(BACKUP, clusters::update_schedule::run).takes("BackupScheduleUpdate").one("BackupSchedule"),
    delete("deleteGroupClusterBackupSchedule", SCHEDULE).versions(SCHEDULES)
        .on_cluster(BACKUP, clusters::clear_schedule::run).one("BackupSchedule"),
    get("listGroupClusterBackupSnapshotShardedClusters", "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/shardedClusters").cluster(READ),
    get("getGroupClusterBackupSnapshotShardedCluster", SHARDED).cluster(READ),
    delete("deleteGroupClusterBackupSnapshotShardedCluster", SHARDED).cluster(BACKUP),
    get("listGroupClusterBackupSnapshots", CLUSTER_SNAPSHOTS)
        .on_cluster(READ, clusters::list_cluster_snapshots::run).page("ClusterSnapshot"),
    post("takeGroupClusterBackupSnapshots", CLUSTER_SNAPSHOTS)
        .on_cluster(TAKE, clusters::take_cluster_snapshot::run).takes("SnapshotCreate").one("ClusterSnapshot"),
    get("getGroupClusterBackupSnapshot", CLUSTER_SNAPSHOT)
        .on_cluster(READ, clusters::get_cluster_snapshot::run).one("ClusterSnapshot"),
    patch("updateGroupClusterBackupSnapshot", CLUSTER_SNAPSHOT)
        .on_cluster(BACKUP, clusters::update_cluster_snapshot::run).takes("SnapshotRetention").one("ClusterSnapshot"),
    delete("deleteGroupClusterBackupSnapshot", CLUSTER_SNAPSHOT)
        .on_cluster(BACKUP, clusters::delete_cluster_snapshot::run),
    get("listGroupClusterBackupSnapshotDatabases", "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/{snapshotId}/databases")
        .versions(V2025_03_12).cluster(BACKUP),
    get("getGroupClusterBackupSnapshotDatabase", "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/{snapshotId}/databases/{databaseName}")
        .versions(V2025_03_12).cluster(BACKUP),
    get("listGroupClusterBackupSnapshotDatabaseCollections", "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/{snapshotId}/databases/{databaseName}/collections")
        .versions(V2025_03_12).cluster(BACKUP),
    get("getGroupClusterBackupSnapshotDatabaseCollection", "/groups/{groupId}/clusters/{clusterName}/backup/snapshots/{snapshotId}/databases/{databaseName}/collections/{collectionName}")
        .versions(V2025_03_12).cluster(BACKUP),

    // Export and compliance.
    get("listGroupBackupExportBuckets", BUCKETS).versions(EXPORT_BUCKETS).not_offered(READ),
    post("createGroupBackupExportBucket", BUCKETS).versions(EXPORT_BUCKETS).not_offered(BACKUP),
    get("getGroupBackupExportBucket", BUCKET).versions(EXPORT_BUCKETS).not_offered(READ),
    patch("updateGroupBackupExportBucket", BUCKET).versions(V2024_05_30).not_offered(BACKUP),
    delete("deleteGroupBackupExportBucket", BUCKET).not_offered(BACKUP),
    get("getGroupBackupCompliancePolicy", POLICY).versions(COMPLIANCE).not_offered(OWN),
    put("updateGroupBackupCompliancePolicy", POLICY).versions(COMPLIANCE).not_offered(OWN),
    delete("disableGroupBackupCompliancePolicy", POLICY).versions(V2024_11_13).not_offered(OWN),
];
