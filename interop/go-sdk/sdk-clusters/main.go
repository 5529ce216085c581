// An attached deployment as a dedicated cluster, through the Go SDK: what Terraform's cloud backup
// resources do, call by call, and what the release that the CLI pins reads.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	pinned "go.mongodb.org/atlas-sdk/v20240530005/admin"
	"go.mongodb.org/atlas-sdk/v20250312020/admin"

	"tidemark/interop/go-sdk/flow"
)

func main() {
	flow.Main(func(settings flow.Settings) error {
		api, err := admin.NewClient(
			admin.UseBaseURL(settings.BaseURL), admin.UseDigestAuth(settings.PublicKey, settings.PrivateKey),
		)
		if err != nil {
			return err
		}
		old, err := pinned.NewClient(
			pinned.UseBaseURL(settings.BaseURL), pinned.UseDigestAuth(settings.PublicKey, settings.PrivateKey),
		)
		if err != nil {
			return err
		}
		c := cluster{api, old, settings.GroupID, os.Getenv("CLUSTER")}
		for _, step := range []func() error{c.read, c.schedule, c.backups} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
}

type cluster struct {
	api         *admin.APIClient
	old         *pinned.APIClient
	group, name string
}

// read finds the cluster by both releases.
func (c cluster) read() error {
	ctx := context.Background()
	found, _, err := c.api.ClustersApi.GetCluster(ctx, c.group, c.name).Execute()
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	specs := found.GetReplicationSpecs()
	if found.GetStateName() != "IDLE" || !found.GetBackupEnabled() || len(specs) != 1 || len(specs[0].GetRegionConfigs()) != 1 {
		return fmt.Errorf("a strange cluster: %+v", found)
	}
	list, _, err := c.api.ClustersApi.ListClusters(ctx, c.group).Execute()
	if err != nil || list.GetTotalCount() != 1 || list.GetResults()[0].GetId() != found.GetId() {
		return fmt.Errorf("list: %w", err)
	}
	older, _, err := c.old.ClustersApi.GetCluster(ctx, c.group, c.name).Execute()
	if err != nil || older.GetId() != found.GetId() || older.GetMongoDBVersion() != found.GetMongoDBVersion() {
		return fmt.Errorf("get by the pinned release: %w", err)
	}
	_, _, err = c.api.FlexClustersApi.GetFlexCluster(ctx, c.group, c.name).Execute()
	if !admin.IsErrorCode(err, "CANNOT_USE_NON_FLEX_CLUSTER_IN_FLEX_API") {
		return fmt.Errorf("the flex API must refuse a cluster: %w", err)
	}
	return nil
}

// schedule does what `mongodbatlas_cloud_backup_schedule` does: empty the default policy, find its id,
// write the wanted items, read them back.
func (c cluster) schedule() error {
	ctx := context.Background()
	backups := c.api.CloudBackupsApi
	emptied, _, err := backups.DeleteClusterBackupSchedule(ctx, c.group, c.name).Execute()
	if err != nil || len(emptied.GetPolicies()[0].GetPolicyItems()) != 0 || emptied.HasNextSnapshot() {
		return fmt.Errorf("emptying the schedule: %w", err)
	}
	found, _, err := backups.GetBackupSchedule(ctx, c.group, c.name).Execute()
	if err != nil {
		return fmt.Errorf("the schedule: %w", err)
	}
	policy := found.GetPolicies()[0].GetId()
	hour, minute, window := 3, 45, 4
	wanted := admin.DiskBackupSnapshotSchedule20240805{
		ReferenceHourOfDay:    &hour,
		ReferenceMinuteOfHour: &minute,
		RestoreWindowDays:     &window,
		Policies: []admin.AdvancedDiskBackupSnapshotSchedulePolicy{{
			Id: &policy,
			PolicyItems: []admin.DiskBackupApiPolicyItem{
				{FrequencyInterval: 6, FrequencyType: "hourly", RetentionUnit: "days", RetentionValue: 2},
				{FrequencyInterval: 1, FrequencyType: "daily", RetentionUnit: "days", RetentionValue: 7},
				{FrequencyInterval: 3, FrequencyType: "weekly", RetentionUnit: "weeks", RetentionValue: 4},
				{FrequencyInterval: 40, FrequencyType: "monthly", RetentionUnit: "months", RetentionValue: 12},
			},
		}},
	}
	changed, _, err := backups.UpdateBackupSchedule(ctx, c.group, c.name, &wanted).Execute()
	if err != nil {
		return fmt.Errorf("changing the schedule: %w", err)
	}
	again, _, err := backups.GetBackupSchedule(ctx, c.group, c.name).Execute()
	if err != nil || again.GetReferenceHourOfDay() != hour || again.GetRestoreWindowDays() != window || !again.HasNextSnapshot() {
		return fmt.Errorf("the changed schedule: %w", err)
	}
	ids := func(schedule *admin.DiskBackupSnapshotSchedule20240805) []string {
		var ids []string
		for _, item := range schedule.GetPolicies()[0].GetPolicyItems() {
			ids = append(ids, item.GetId())
		}
		return ids
	}
	if len(ids(again)) != 4 || !slices.Equal(ids(changed), ids(again)) {
		return fmt.Errorf("items: %v, then %v", ids(changed), ids(again))
	}
	return nil
}

// backups does what `mongodbatlas_cloud_backup_snapshot` and `…_snapshot_restore_job` do.
func (c cluster) backups() error {
	ctx := context.Background()
	api := c.api.CloudBackupsApi
	words, days := "from the SDK", 3
	request := admin.DiskBackupOnDemandSnapshotRequest{Description: &words, RetentionInDays: &days}
	var id string
	// One by schedule may be in the way.
	err := flow.Until("taken", func() (string, error) {
		taken, _, err := api.TakeSnapshots(ctx, c.group, c.name, &request).Execute()
		if admin.IsErrorCode(err, "UNFINISHED_ON_DEMAND_SNAPSHOT") {
			return "", nil
		}
		id = taken.GetId()
		return "taken", err
	})
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	err = flow.Until("completed", func() (string, error) {
		found, _, err := api.GetClusterBackupSnapshot(ctx, c.group, c.name, id).Execute()
		return found.GetStatus(), err
	})
	if err != nil {
		return err
	}
	snapshot, _, err := api.GetClusterBackupSnapshot(ctx, c.group, c.name, id).Execute()
	if err != nil || snapshot.GetDescription() != words || snapshot.GetStorageSizeBytes() == 0 || !snapshot.HasCreatedAt() {
		return fmt.Errorf("the snapshot: %w", err)
	}
	body := admin.DiskBackupSnapshotRestoreJob{
		DeliveryType: "automated", SnapshotId: &id, TargetClusterName: &c.name, TargetGroupId: &c.group,
	}
	job, _, err := api.CreateBackupRestoreJob(ctx, c.group, c.name, &body).Execute()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	err = flow.Until("finished", func() (string, error) {
		found, _, err := api.GetBackupRestoreJob(ctx, c.group, c.name, job.GetId()).Execute()
		if found.GetFailed() {
			return "", fmt.Errorf("the restore failed")
		}
		if found.HasFinishedAt() {
			return "finished", err
		}
		return "", err
	})
	if err != nil {
		return err
	}
	_, err = api.CancelBackupRestoreJob(ctx, c.group, c.name, job.GetId()).Execute()
	if !admin.IsErrorCode(err, "CANNOT_CANCEL_AUTOMATED_RESTORE") {
		return fmt.Errorf("an automated restore is not cancelled: %w", err)
	}
	retention := admin.BackupSnapshotRetention{RetentionUnit: "WEEKS", RetentionValue: 2}
	kept, _, err := api.UpdateBackupSnapshot(ctx, c.group, c.name, id, &retention).Execute()
	if err != nil || kept.GetExpiresAt().Sub(snapshot.GetCreatedAt()).Hours() != 14*24 {
		return fmt.Errorf("retention: %w", err)
	}
	if _, err := api.DeleteClusterBackupSnapshot(ctx, c.group, c.name, id).Execute(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if _, _, err := api.GetClusterBackupSnapshot(ctx, c.group, c.name, id).Execute(); !admin.IsErrorCode(err, "SNAPSHOT_NOT_FOUND") {
		return fmt.Errorf("after delete: %w", err)
	}
	return nil
}
