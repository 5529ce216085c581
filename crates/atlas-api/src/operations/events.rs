//! What happened in projects and organizations, in the words of Atlas.

pub(crate) mod event;
pub(crate) mod get_group_event;
pub(crate) mod get_org_event;
pub(crate) mod list_event_types;
pub(crate) mod list_group_events;
pub(crate) mod list_org_events;
