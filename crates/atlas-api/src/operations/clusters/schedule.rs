//! How a backup schedule is shown, as recorded.

use serde_json::{Value, json};
use tidemark_actions::schedules::{ChangeScheduleError, utc_time};
use tidemark_model::{BackupSchedule, PolicyItem, format_instant};

use crate::call::{Call, Target};
use crate::error::ApiError;
use crate::links::{link, part_link};
use crate::version::D2024_08_05;

pub(super) fn describe(call: &Call<'_>, target: &Target, schedule: &BackupSchedule) -> Value {
    let (instance, group) = (&target.instance, target.project.id);
    let here = call.href(&format!("/groups/{group}/clusters/{}/backup/schedule", instance.name));
    // The recorded link leads to an older API.
    let group = format!("{}/api/public/v1.0/groups/{group}", call.base_url);
    let (hour, minute) = utc_time(schedule, call.api.clock.now());
    let mut body = json!({
        "autoExportEnabled": false,
        "clusterId": instance.id.to_string(),
        "clusterName": instance.name.as_str(),
        "copySettings": [],
        "links": [link(here, "self"), part_link(group, "group")],
        "policies": [{
            "id": schedule.policy.to_string(),
            "policyItems": schedule.items.iter().map(describe_item).collect::<Vec<_>>(),
        }],
        "referenceHourOfDay": hour,
        "referenceMinuteOfHour": minute,
        "restoreWindowDays": schedule.restore_window_days,
        "useOrgAndGroupNamesInExportPrefix": schedule.uses_names_in_export_prefix,
    });
    let Some(fields) = body.as_object_mut() else { return body };
    if call.version.date >= D2024_08_05 {
        fields.insert("copyPolicyItemsEnabled".to_owned(), false.into());
    }
    if let Some(next) = schedule.next_slot(call.api.clock.now()) {
        fields.insert("nextSnapshot".to_owned(), format_instant(next).into());
    }
    body
}

fn describe_item(item: &PolicyItem) -> Value {
    json!({
        "frequencyInterval": item.interval,
        "frequencyType": item.frequency.as_str(),
        "id": item.id.to_string(),
        "retentionUnit": item.retention.unit.as_str(),
        "retentionValue": item.retention.value,
    })
}

/// Why a schedule is not changed or shown.
pub(super) fn refuse(target: &Target, error: ChangeScheduleError) -> ApiError {
    match error {
        ChangeScheduleError::NoSchedule => {
            ApiError::no_backup_schedule(target.instance.id, target.project.id)
        }
        ChangeScheduleError::UnknownPolicy(id) => ApiError::invalid_policy_id(&id.to_string()),
        ChangeScheduleError::UnknownItem(id) | ChangeScheduleError::ItemTwice(id) => {
            ApiError::invalid_policy_item_id(&id.to_string())
        }
        ChangeScheduleError::FrequencyChanged(id) => {
            ApiError::policy_item_frequency_is_fixed(&id.to_string())
        }
        error @ ChangeScheduleError::KeptShorter { .. } => {
            ApiError::invalid_backup_policy(&error.to_string())
        }
        ChangeScheduleError::Catalog(error) => error.into(),
    }
}
