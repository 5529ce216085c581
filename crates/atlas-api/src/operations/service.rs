//! The service itself and its rate limits.

pub(crate) mod get_rate_limit;
pub(crate) mod get_system_status;
pub(crate) mod list_rate_limits;
pub(crate) mod rate_limits;
