//! Organizations.

pub(crate) mod create_org;
pub(crate) mod delete_org;
pub(crate) mod get_org;
pub(crate) mod get_org_groups;
pub(crate) mod get_org_settings;
pub(crate) mod list_org_users;
pub(crate) mod list_orgs;
pub(crate) mod org;
pub(crate) mod org_settings;
pub(crate) mod update_org;
pub(crate) mod update_org_settings;
