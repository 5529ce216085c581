//! From where API keys and service accounts may be used.

pub(crate) mod access_list;
pub(crate) mod create_group_service_account_access_list;
pub(crate) mod create_org_api_key_access_list_entry;
pub(crate) mod create_org_service_account_access_list;
pub(crate) mod delete_group_service_account_access_list_entry;
pub(crate) mod delete_org_api_key_access_list_entry;
pub(crate) mod delete_org_service_account_access_list_entry;
pub(crate) mod get_org_api_key_access_list_entry;
pub(crate) mod key_access_list;
pub(crate) mod list_group_service_account_access_list;
pub(crate) mod list_org_api_key_access_list_entries;
pub(crate) mod list_org_service_account_access_list;
