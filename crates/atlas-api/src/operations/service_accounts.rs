//! Service accounts of organizations and projects.

pub(crate) mod create_group_service_account;
pub(crate) mod create_group_service_account_secret;
pub(crate) mod create_org_service_account;
pub(crate) mod create_org_service_account_secret;
pub(crate) mod delete_group_service_account;
pub(crate) mod delete_group_service_account_secret;
pub(crate) mod delete_org_service_account;
pub(crate) mod delete_org_service_account_secret;
pub(crate) mod get_group_service_account;
pub(crate) mod get_org_service_account;
pub(crate) mod get_org_service_account_groups;
pub(crate) mod invite_group_service_account;
pub(crate) mod list_group_service_accounts;
pub(crate) mod list_org_service_accounts;
pub(crate) mod service_account;
pub(crate) mod update_group_service_account;
pub(crate) mod update_org_service_account;
