// The Go SDK v20230201002, older than service accounts: tokens come from another client.
package main

import (
	"context"

	"go.mongodb.org/atlas-sdk/v20230201002/admin"

	"tidemark/interop/go-sdk/flow"
)

type client struct {
	api   *admin.APIClient
	group string
}

func main() {
	flow.Main(func(settings flow.Settings) error {
		digest, err := admin.NewClient(
			admin.UseBaseURL(settings.BaseURL), admin.UseDigestAuth(settings.PublicKey, settings.PrivateKey),
		)
		if err != nil {
			return err
		}
		oauth, err := admin.NewClient(admin.UseBaseURL(settings.BaseURL), admin.UseHTTPClient(settings.OAuth()))
		if err != nil {
			return err
		}
		for name, api := range map[string]*admin.APIClient{"sdk-20230201002-digest": digest, "sdk-20230201002-oauth": oauth} {
			if err := flow.Serverless(client{api, settings.GroupID}, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c client) CreateInstance(name string) (string, error) {
	provider := "SERVERLESS"
	body := admin.ServerlessInstanceDescriptionCreate{
		Name: name,
		ProviderSettings: admin.ServerlessProviderSettings{
			BackingProviderName: "AWS", ProviderName: &provider, RegionName: "US_EAST_1",
		},
	}
	instance, _, err := c.api.ServerlessInstancesApi.CreateServerlessInstance(context.Background(), c.group, &body).Execute()
	return instance.GetStateName(), err
}

func (c client) DeleteInstance(name string) error {
	_, _, err := c.api.ServerlessInstancesApi.DeleteServerlessInstance(context.Background(), c.group, name).Execute()
	return err
}

func (c client) InstanceState(name string) (string, error) {
	instance, _, err := c.api.ServerlessInstancesApi.GetServerlessInstance(context.Background(), c.group, name).Execute()
	if err != nil {
		return "", err
	}
	return instance.GetStateName(), nil
}

func (c client) CompletedSnapshots(instance string) ([]string, error) {
	list, _, err := c.api.CloudBackupsApi.ListServerlessBackups(context.Background(), c.group, instance).Execute()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, snapshot := range list.GetResults() {
		if snapshot.GetStatus() == "completed" {
			ids = append(ids, snapshot.GetId())
		}
	}
	return ids, nil
}

func (c client) StartRestore(instance string, wanted flow.Wanted) (flow.Job, error) {
	body := admin.ServerlessBackupRestoreJob{DeliveryType: wanted.Delivery, TargetClusterName: wanted.Target}
	if wanted.Target != "" {
		body.TargetGroupId = c.group
	}
	if wanted.Snapshot != "" {
		body.SnapshotId = &wanted.Snapshot
	}
	if wanted.PointInTime != 0 {
		body.PointInTimeUTCSeconds = &wanted.PointInTime
	}
	job, _, err := c.api.CloudBackupsApi.CreateServerlessBackupRestoreJob(context.Background(), c.group, instance, &body).Execute()
	if err != nil {
		return flow.Job{}, err
	}
	return meaning(job), nil
}

func (c client) Job(instance, id string) (flow.Job, error) {
	job, _, err := c.api.CloudBackupsApi.GetServerlessBackupRestoreJob(context.Background(), c.group, instance, id).Execute()
	if err != nil {
		return flow.Job{}, err
	}
	return meaning(job), nil
}

func meaning(job *admin.ServerlessBackupRestoreJob) flow.Job {
	return flow.Job{
		ID:       job.GetId(),
		Delivery: job.GetDeliveryType(),
		URLs:     job.GetDeliveryUrl(),
		Finished: job.FinishedAt != nil,
		Failed:   job.GetFailed(),
	}
}

func (c client) Jobs(instance string, page, size int) ([]string, int, error) {
	list, _, err := c.api.CloudBackupsApi.ListServerlessBackupRestoreJobsWithParams(
		context.Background(),
		&admin.ListServerlessBackupRestoreJobsApiParams{GroupId: c.group, ClusterName: instance, ItemsPerPage: &size, PageNum: &page},
	).Execute()
	if err != nil {
		return nil, 0, err
	}
	var ids []string
	for _, job := range list.GetResults() {
		ids = append(ids, job.GetId())
	}
	return ids, list.GetTotalCount(), nil
}

func (c client) Failure(err error) (flow.Failure, bool) {
	failure, ok := admin.AsError(err)
	if !ok {
		return flow.Failure{}, false
	}
	return flow.Failure{Status: failure.GetError(), Code: failure.GetErrorCode(), Detail: failure.GetDetail()}, true
}
