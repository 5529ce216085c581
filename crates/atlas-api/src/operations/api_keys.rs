//! API keys of organizations and projects.

pub(crate) mod add_group_api_key;
pub(crate) mod api_key;
pub(crate) mod create_group_api_key;
pub(crate) mod create_org_api_key;
pub(crate) mod delete_org_api_key;
pub(crate) mod get_org_api_key;
pub(crate) mod list_group_api_keys;
pub(crate) mod list_org_api_keys;
pub(crate) mod remove_group_api_key;
pub(crate) mod update_group_api_key_roles;
pub(crate) mod update_org_api_key;
