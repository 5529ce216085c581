ALTER TABLE orgs ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE orgs ADD COLUMN deleted_at INTEGER;

ALTER TABLE projects ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE projects ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';

-- Numbers are dense among the instances of a project that exist, in the order in which they were
-- made: a page is a range of them and the count is read. Serverless instances have a second
-- sequence, because the serverless API shows only them.
ALTER TABLE projects ADD COLUMN instance_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE projects ADD COLUMN serverless_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN number INTEGER;
ALTER TABLE instances ADD COLUMN serverless_number INTEGER;
UPDATE instances SET number = ranked.number FROM (
    SELECT id, row_number() OVER (PARTITION BY project_id ORDER BY id) AS number
    FROM instances WHERE state <> 'DELETED') AS ranked
WHERE ranked.id = instances.id;
UPDATE instances SET serverless_number = ranked.number FROM (
    SELECT id, row_number() OVER (PARTITION BY project_id ORDER BY id) AS number
    FROM instances WHERE state <> 'DELETED' AND family = 'serverless') AS ranked
WHERE ranked.id = instances.id;
UPDATE projects SET
    instance_count = (SELECT count(*) FROM instances i WHERE i.project_id = projects.id AND i.number IS NOT NULL),
    serverless_count =
        (SELECT count(*) FROM instances i WHERE i.project_id = projects.id AND i.serverless_number IS NOT NULL);
CREATE INDEX instance_numbers ON instances (project_id, number);
CREATE INDEX serverless_numbers ON instances (project_id, serverless_number);

-- Dense among the snapshots of an instance that are not deleted, oldest first.
ALTER TABLE snapshots ADD COLUMN number INTEGER;
ALTER TABLE snapshots ADD COLUMN started_at INTEGER;
UPDATE snapshots SET number = ranked.number FROM (
    SELECT id, row_number() OVER (PARTITION BY instance_id ORDER BY created_at, id) AS number
    FROM snapshots WHERE is_deleted = 0) AS ranked
WHERE ranked.id = snapshots.id;
UPDATE snapshots SET started_at = created_at WHERE state <> 'queued';
CREATE INDEX snapshot_numbers ON snapshots (instance_id, number);

-- The link of a download is made with its job; the file behind it comes later.
ALTER TABLE restore_jobs ADD COLUMN download_lifetime INTEGER;
UPDATE restore_jobs SET
    download_file = coalesce(download_file, id || '-' || snapshot_id || '.archive.gz'),
    download_token = coalesce(download_token, lower(hex(randomblob(12)))),
    download_lifetime = 3600
WHERE delivery = 'download';

-- Who wants a target, and when it was restored last, must not cost more with every job.
CREATE INDEX restore_jobs_by_target ON restore_jobs (target_id, state, finished_at);
CREATE INDEX restore_jobs_by_snapshot ON restore_jobs (snapshot_id, state);

ALTER TABLE service_account_secrets ADD COLUMN masked TEXT NOT NULL DEFAULT 'mdb_sa_sk_...';
ALTER TABLE service_account_secrets ADD COLUMN last_used_at INTEGER;

ALTER TABLE database_users ADD COLUMN description TEXT;
ALTER TABLE database_users ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
ALTER TABLE database_users ADD COLUMN delete_after INTEGER;

-- From where a principal may call the API; no entries means from everywhere.
CREATE TABLE access_entries (
    principal TEXT NOT NULL,
    block TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    request_count INTEGER NOT NULL DEFAULT 0,
    last_used_at INTEGER,
    last_used_address TEXT,
    PRIMARY KEY (principal, block)
) STRICT;

-- From where the instances of a project may be reached.
CREATE TABLE network_entries (
    project_id TEXT NOT NULL REFERENCES projects (id),
    value TEXT NOT NULL,
    comment TEXT,
    delete_after INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, value)
) STRICT;
