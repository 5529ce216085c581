//! From where databases of a project may be reached.

pub(crate) mod create_group_access_list_entry;
pub(crate) mod delete_group_access_list_entry;
pub(crate) mod get_group_access_list_entry;
pub(crate) mod get_group_access_list_status;
pub(crate) mod list_group_access_list_entries;
pub(crate) mod network_entry;
