//! `PATCH …/backup/schedule`: says anew when the snapshots of a cluster are taken.

use tidemark_actions::schedules::{self, ItemChange, PolicyChange, ScheduleChange};
use tidemark_model::{Frequency, LONGEST_WINDOW_DAYS, Retention, RetentionUnit};

use crate::answer::Answer;
use crate::body::Body;
use crate::call::{Call, Target};
use crate::error::{ApiError, Result};

use super::schedule::{describe, refuse};

/// What the schemas have, read-only attributes included: clients send them.
const ATTRIBUTES: &[&str] = &[
    "autoCopySettingsEnabled",
    "autoExportEnabled",
    "clusterId",
    "clusterName",
    "copyPolicyItemsEnabled",
    "copySettings",
    "deleteCopiedBackups",
    "deleteCopySnapshots",
    "deleteSnapshots",
    "export",
    "extraRetentionSettings",
    "links",
    "nextSnapshot",
    "policies",
    "referenceHourOfDay",
    "referenceMinuteOfHour",
    "restoreWindowDays",
    "updateCopySnapshots",
    "updateSnapshots",
    "useOrgAndGroupNamesInExportPrefix",
];
const ITEM_ATTRIBUTES: &[&str] =
    &["frequencyInterval", "frequencyType", "id", "retentionUnit", "retentionValue"];
/// What this service has nowhere to copy or export to.
const FLAGS_NOT_OFFERED: &[&str] =
    &["autoCopySettingsEnabled", "autoExportEnabled", "copyPolicyItemsEnabled"];
const LISTS_NOT_OFFERED: &[&str] =
    &["copySettings", "deleteCopiedBackups", "extraRetentionSettings"];

pub(crate) fn run(call: &Call<'_>, target: &Target) -> Result<Answer> {
    let change = parse(&call.body()?)?;
    let now = call.api.clock.now();
    let schedule = schedules::change(call.catalog, &target.instance, &change, now)
        .map_err(|error| refuse(target, error))?;
    Ok(Answer::entity(describe(call, target, &schedule)))
}

fn parse(body: &Body<'_>) -> Result<ScheduleChange> {
    body.allow(ATTRIBUTES)?;
    for name in FLAGS_NOT_OFFERED {
        if body.flag(name)? == Some(true) {
            return Err(ApiError::attribute_not_offered(name));
        }
    }
    for name in LISTS_NOT_OFFERED {
        if body.objects(name)?.is_some_and(|list| !list.is_empty()) {
            return Err(ApiError::attribute_not_offered(name));
        }
    }
    if body.object("export")?.is_some_and(|export| export.names().next().is_some()) {
        return Err(ApiError::attribute_not_offered("export"));
    }
    let within = |name: &str, most: i64, wrong: fn() -> ApiError| -> Result<Option<i8>> {
        let Some(value) = body.integer(name)? else { return Ok(None) };
        i8::try_from(value).ok().filter(|_| (0..=most).contains(&value)).map(Some).ok_or_else(wrong)
    };
    Ok(ScheduleChange {
        hour: within("referenceHourOfDay", 23, ApiError::invalid_reference_hour)?,
        minute: within("referenceMinuteOfHour", 59, ApiError::invalid_reference_minute)?,
        restore_window_days: parse_window(body)?,
        policy: parse_policy(body)?,
        updates_snapshots: body.flag("updateSnapshots")?.unwrap_or(false),
        deletes_snapshots: body.flag("deleteSnapshots")?.unwrap_or(false),
        uses_names_in_export_prefix: body.flag("useOrgAndGroupNamesInExportPrefix")?,
    })
}

fn parse_window(body: &Body<'_>) -> Result<Option<u32>> {
    let Some(days) = body.integer("restoreWindowDays")? else { return Ok(None) };
    let days = u32::try_from(days).ok().filter(|days| (1..=LONGEST_WINDOW_DAYS).contains(days));
    days.map(Some).ok_or_else(ApiError::invalid_restore_window)
}

/// The policy of a body: one, or none, which is how clients say that it stays.
fn parse_policy(body: &Body<'_>) -> Result<Option<PolicyChange>> {
    let policies = body.objects("policies")?.unwrap_or_default();
    let policy = match policies.as_slice() {
        [] => return Ok(None),
        [policy] => policy,
        _ => return Err(ApiError::several_policies()),
    };
    policy.allow(&["id", "policyItems"])?;
    let parse = |text: &str| text.parse().map_err(|_| ApiError::invalid_policy_id(text));
    let id = policy.text("id")?.filter(|text| !text.is_empty()).map(parse).transpose()?;
    let items = policy.objects("policyItems")?.ok_or_else(|| policy.missing("policyItems"))?;
    if items.is_empty() {
        return Err(ApiError::no_policy_items());
    }
    let items = items.iter().map(parse_item).collect::<Result<_>>()?;
    Ok(Some(PolicyChange { id, items }))
}

fn parse_item(item: &Body<'_>) -> Result<ItemChange> {
    item.allow(ITEM_ATTRIBUTES)?;
    let number = |name: &str| -> Result<u32> {
        let value = item.integer(name)?.ok_or_else(|| item.missing(name))?;
        u32::try_from(value).map_err(|_| item.invalid(name))
    };
    let word = item.required_text("frequencyType")?;
    let frequency = Frequency::parse(word).ok_or_else(|| ApiError::invalid_enum_value(word))?;
    let interval = number("frequencyInterval")?;
    if !frequency.allows(interval) {
        return Err(item.invalid("frequencyInterval"));
    }
    let word = item.required_text("retentionUnit")?;
    let unit = RetentionUnit::parse(word).ok_or_else(|| ApiError::invalid_enum_value(word))?;
    let retention = Retention { unit, value: number("retentionValue")? };
    if !retention.is_sound() {
        return Err(item.invalid("retentionValue"));
    }
    let parse = |text: &str| text.parse().map_err(|_| ApiError::invalid_policy_item_id(text));
    let id = item.text("id")?.filter(|text| !text.is_empty()).map(parse).transpose()?;
    Ok(ItemChange { id, frequency, interval, retention })
}
