package main

import (
	"context"
	"fmt"

	"go.mongodb.org/atlas-sdk/v20250312020/admin"

	"tidemark/interop/go-sdk/flow"
)

// flexClusters does with a flex cluster what the other releases do with a serverless instance.
func flexClusters(c client, name string) error {
	ctx := context.Background()
	body := admin.FlexClusterDescriptionCreate20241113{
		Name: name,
		ProviderSettings: admin.FlexProviderSettingsCreate20241113{
			BackingProviderName: "AWS", RegionName: "US_EAST_1",
		},
	}
	created, _, err := c.api.FlexClustersApi.CreateFlexCluster(ctx, c.group, &body).Execute()
	if err != nil || created.GetStateName() != "CREATING" {
		return fmt.Errorf("create: %w", err)
	}
	state := func() (string, error) {
		cluster, _, err := c.api.FlexClustersApi.GetFlexCluster(ctx, c.group, name).Execute()
		if failure, ok := c.Failure(err); ok {
			return failure.Code, nil
		}
		return cluster.GetStateName(), err
	}
	if err := flow.Until("IDLE", state); err != nil {
		return err
	}
	if _, _, err := c.api.ClustersApi.GetCluster(ctx, c.group, name).Execute(); !admin.IsErrorCode(err, "CANNOT_USE_FLEX_CLUSTER_IN_CLUSTER_API") {
		return fmt.Errorf("the cluster API must refuse a flex cluster: %w", err)
	}
	if err := flexRestores(c, name); err != nil {
		return err
	}
	if err := flow.Until("IDLE", state); err != nil {
		return err
	}
	if _, err := c.api.FlexClustersApi.DeleteFlexCluster(ctx, c.group, name).Execute(); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if now, err := state(); err != nil || now != "DELETING" {
		return fmt.Errorf("after delete: %s %w", now, err)
	}
	if err := flow.Until("CLUSTER_NOT_FOUND", state); err != nil {
		return err
	}
	return events(c, name)
}

// events reads what happened to a flex cluster that is gone.
func events(c client, name string) error {
	ctx := context.Background()
	list, _, err := c.api.EventsApi.ListGroupEvents(ctx, c.group).ClusterNames([]string{name}).Execute()
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	seen := map[string]admin.EventViewForNdsGroup{}
	for _, event := range list.GetResults() {
		seen[event.GetEventTypeName()] = event
	}
	for _, wanted := range []string{
		"CLUSTER_CREATED", "TENANT_SNAPSHOT_COMPLETED_AUDIT", "TENANT_RESTORE_REQUESTED_AUDIT",
		"TENANT_RESTORE_COMPLETED_AUDIT", "CLUSTER_DELETE_SUBMITTED",
	} {
		event, ok := seen[wanted]
		if !ok {
			return fmt.Errorf("no event %s in %v", wanted, seen)
		}
		one, _, err := c.api.EventsApi.GetGroupEvent(ctx, c.group, event.GetId()).Execute()
		if err != nil || one.GetEventTypeName() != wanted || !one.GetCreated().Equal(event.GetCreated()) {
			return fmt.Errorf("one event %s: %w", wanted, err)
		}
	}
	only, _, err := c.api.EventsApi.ListGroupEvents(ctx, c.group).EventType([]string{"CLUSTER_CREATED"}).Execute()
	if err != nil || only.GetTotalCount() == 0 || only.GetResults()[0].GetEventTypeName() != "CLUSTER_CREATED" {
		return fmt.Errorf("events of one kind: %w", err)
	}
	kinds, _, err := c.api.EventsApi.ListEventTypes(ctx).Execute()
	if err != nil || kinds.GetTotalCount() == 0 {
		return fmt.Errorf("kinds of events: %w", err)
	}
	return nil
}

func flexRestores(c client, name string) error {
	ctx := context.Background()
	var snapshot string
	err := flow.Until("COMPLETED", func() (string, error) {
		list, _, err := c.api.FlexSnapshotsApi.ListFlexBackupSnapshots(ctx, c.group, name).Execute()
		if err != nil || len(list.GetResults()) == 0 {
			return "", err
		}
		first := list.GetResults()[0]
		snapshot = first.GetId()
		return first.GetStatus(), nil
	})
	if err != nil {
		return err
	}
	body := admin.FlexBackupRestoreJobCreate20241113{
		InstanceName: &name, SnapshotId: snapshot, TargetDeploymentItemName: name, TargetProjectId: &c.group,
	}
	job, _, err := c.api.FlexRestoreJobsApi.CreateFlexRestoreJob(ctx, c.group, name, &body).Execute()
	if err != nil || job.GetStatus() != "PENDING" {
		return fmt.Errorf("restore: %w", err)
	}
	err = flow.Until("COMPLETED", func() (string, error) {
		found, _, err := c.api.FlexRestoreJobsApi.GetFlexRestoreJob(ctx, c.group, name, job.GetId()).Execute()
		return found.GetStatus(), err
	})
	if err != nil {
		return err
	}
	download := admin.FlexBackupSnapshotDownloadCreate20241113{SnapshotId: snapshot}
	file, _, err := c.api.FlexSnapshotsApi.DownloadFlexBackup(ctx, name, c.group, &download).Execute()
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	// The link is followed at once, before its file can be there.
	if err := flow.Fetch(file.GetSnapshotUrl()); err != nil {
		return err
	}
	jobs, _, err := c.api.FlexRestoreJobsApi.ListFlexRestoreJobs(ctx, c.group, name).Execute()
	if err != nil || jobs.GetTotalCount() != 2 || jobs.GetResults()[1].GetId() != job.GetId() {
		return fmt.Errorf("list: %w", err)
	}
	return nil
}
