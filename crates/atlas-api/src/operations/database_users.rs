//! Database users.

pub(crate) mod create_database_user;
pub(crate) mod database_user;
pub(crate) mod delete_database_user;
pub(crate) mod get_database_user;
pub(crate) mod list_database_users;
pub(crate) mod update_database_user;
