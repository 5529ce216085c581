// Package flow is what a user of the Go SDK does with serverless instances: create one, look at its
// snapshots, restore by all three deliveries, list with paging, and read errors.
//
// Every SDK release has types of its own; each program adapts its release to Client.
package flow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2/clientcredentials"
)

// Job is a restore job.
type Job struct {
	ID       string
	Delivery string
	URLs     []string
	Finished bool
	Failed   bool
}

// Failure is what the SDK's error type holds.
type Failure struct {
	Status int
	Code   string
	Detail string
}

// Wanted is a restore that is asked for; PointInTime is used where it is not zero.
type Wanted struct {
	Delivery    string
	Snapshot    string
	Target      string
	PointInTime int
}

// Client is one release of the SDK.
type Client interface {
	CreateInstance(name string) (state string, err error)
	InstanceState(name string) (string, error)
	DeleteInstance(name string) error
	CompletedSnapshots(instance string) ([]string, error)
	StartRestore(instance string, wanted Wanted) (Job, error)
	Job(instance, id string) (Job, error)
	Jobs(instance string, page, size int) (ids []string, total int, err error)
	Failure(err error) (Failure, bool)
}

// Settings are where the service is and who asks.
type Settings struct {
	BaseURL, PublicKey, PrivateKey, ClientID, ClientSecret, GroupID string
}

// FromEnvironment reads the settings.
func FromEnvironment() Settings {
	return Settings{
		BaseURL:      os.Getenv("BASE_URL"),
		PublicKey:    os.Getenv("PUBLIC_KEY"),
		PrivateKey:   os.Getenv("PRIVATE_KEY"),
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		GroupID:      os.Getenv("GROUP_ID"),
	}
}

// OAuth is a client with a token of the service account, for releases that have no option for it.
func (s Settings) OAuth() *http.Client {
	config := clientcredentials.Config{
		ClientID:     s.ClientID,
		ClientSecret: s.ClientSecret,
		TokenURL:     strings.TrimSuffix(s.BaseURL, "/") + "/api/oauth/token",
	}
	return config.Client(context.Background())
}

// Main runs a program.
func Main(run func(Settings) error) {
	if err := run(FromEnvironment()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("done")
}

// Serverless does everything with an instance of its own, and removes it.
func Serverless(client Client, name string) error {
	state, err := client.CreateInstance(name)
	if err != nil || state != "CREATING" {
		return fmt.Errorf("create: %s %w", state, err)
	}
	if err := Until("IDLE", func() (string, error) { return client.InstanceState(name) }); err != nil {
		return err
	}
	if err := Restores(client, name); err != nil {
		return err
	}
	if err := Until("IDLE", func() (string, error) { return client.InstanceState(name) }); err != nil {
		return err
	}
	if err := client.DeleteInstance(name); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if state, err := client.InstanceState(name); err != nil || state != "DELETING" {
		return fmt.Errorf("after delete: %s %w", state, err)
	}
	return Until("CLUSTER_NOT_FOUND", func() (string, error) {
		state, err := client.InstanceState(name)
		if failure, ok := client.Failure(err); ok {
			return failure.Code, nil
		}
		return state, err
	})
}

// Restores restores an instance by all three deliveries and lists the jobs.
func Restores(client Client, name string) error {
	var snapshots []string
	err := Until("found", func() (state string, err error) {
		snapshots, err = client.CompletedSnapshots(name)
		if len(snapshots) > 0 {
			return "found", err
		}
		return "", err
	})
	if err != nil {
		return err
	}
	// The second is to be over when the first restore replaces what it shows.
	present := time.Now().Unix()
	time.Sleep(time.Until(time.Unix(present+1, 0)))
	wanted := []Wanted{
		{Delivery: "automated", Snapshot: snapshots[0], Target: name},
		{Delivery: "download", Snapshot: snapshots[0]},
		{Delivery: "pointInTime", Target: name, PointInTime: int(present)},
	}
	var started []string
	for _, want := range wanted {
		job, err := restore(client, name, want)
		if err != nil {
			return fmt.Errorf("%s: %w", want.Delivery, err)
		}
		started = append(started, job.ID)
	}
	return errors.Join(list(client, name, started), refusals(client, name))
}

func restore(client Client, name string, wanted Wanted) (Job, error) {
	job, err := client.StartRestore(name, wanted)
	if err != nil {
		return job, err
	}
	err = Until("finished", func() (state string, err error) {
		job, err = client.Job(name, job.ID)
		if job.Finished {
			return "finished", err
		}
		return "", err
	})
	if err != nil || job.Failed || job.Delivery != wanted.Delivery {
		return job, fmt.Errorf("%+v: %w", job, err)
	}
	if wanted.Delivery == "download" {
		return job, Fetch(job.URLs[0])
	}
	return job, nil
}

// Fetch follows the link of a download.
func Fetch(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	size, err := io.Copy(io.Discard, answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK || size == 0 {
		return fmt.Errorf("%s: %s, %d bytes, %w", url, answer.Status, size, err)
	}
	return nil
}

func list(client Client, name string, started []string) error {
	var paged []string
	for page := 1; page <= len(started); page++ {
		ids, total, err := client.Jobs(name, page, 1)
		if err != nil || total != len(started) {
			return fmt.Errorf("page %d: %d jobs, %w", page, total, err)
		}
		paged = append(paged, ids...)
	}
	slices.Reverse(paged)
	if !slices.Equal(paged, started) {
		return fmt.Errorf("the list has %v, not %v", paged, started)
	}
	return nil
}

func refusals(client Client, name string) error {
	_, err := client.Job(name, strings.Repeat("0", 24))
	failure, ok := client.Failure(err)
	if !ok || failure.Status != http.StatusNotFound || failure.Code != "RESTORE_JOB_NOT_FOUND" || failure.Detail == "" {
		return fmt.Errorf("a job that does not exist: %+v %w", failure, err)
	}
	_, err = client.StartRestore(name, Wanted{Delivery: "automated", Snapshot: "xyz", Target: name})
	if failure, ok = client.Failure(err); !ok || failure.Code != "INVALID_ATTRIBUTE" {
		return fmt.Errorf("a snapshot that is none: %+v %w", failure, err)
	}
	return nil
}

// Until asks until the answer is the wanted one.
func Until(wanted string, ask func() (string, error)) error {
	deadline := time.Now().Add(time.Minute)
	for {
		state, err := ask()
		if err != nil || state == wanted {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %s: %s", wanted, state)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
