//! Projects, which the API calls groups.

pub(crate) mod create_group;
pub(crate) mod delete_group;
pub(crate) mod delete_group_limit;
pub(crate) mod disable_group_managed_slow_ms;
pub(crate) mod enable_group_managed_slow_ms;
pub(crate) mod get_group;
pub(crate) mod get_group_by_name;
pub(crate) mod get_group_ip_addresses;
pub(crate) mod get_group_limit;
pub(crate) mod get_group_managed_slow_ms;
pub(crate) mod get_group_settings;
pub(crate) mod group;
pub(crate) mod group_settings;
pub(crate) mod limits;
pub(crate) mod list_group_limits;
pub(crate) mod list_group_teams;
pub(crate) mod list_group_users;
pub(crate) mod list_groups;
pub(crate) mod set_group_limit;
pub(crate) mod update_group;
pub(crate) mod update_group_settings;
