CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE orgs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES orgs (id),
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    tags TEXT NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX project_names ON projects (org_id, name) WHERE deleted_at IS NULL;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES orgs (id),
    public_key TEXT NOT NULL UNIQUE,
    ha1 TEXT NOT NULL,
    masked_private_key TEXT NOT NULL,
    description TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE service_accounts (
    id TEXT PRIMARY KEY,
    org_id TEXT NOT NULL REFERENCES orgs (id),
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE service_account_secrets (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES service_accounts (id),
    hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE revoked_tokens (
    id TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name TEXT NOT NULL,
    family TEXT NOT NULL,
    state TEXT NOT NULL,
    settings TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    port INTEGER,
    snapshot_count INTEGER NOT NULL DEFAULT 0,
    restore_job_count INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX instance_names ON instances (project_id, name) WHERE state <> 'DELETED';

CREATE TABLE database_users (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    username TEXT NOT NULL,
    database_name TEXT NOT NULL,
    password TEXT NOT NULL,
    roles TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, database_name, username)
) STRICT;

CREATE TABLE snapshots (
    id TEXT PRIMARY KEY,
    instance_id TEXT NOT NULL REFERENCES instances (id),
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    finished_at INTEGER,
    consistent_seconds INTEGER,
    consistent_increment INTEGER,
    size_bytes INTEGER,
    server_version TEXT,
    failure TEXT,
    is_deleted INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX snapshots_by_instance ON snapshots (instance_id, created_at DESC, id DESC) WHERE is_deleted = 0;
CREATE INDEX open_snapshots ON snapshots (state) WHERE state IN ('queued', 'inProgress');

-- `number` is dense per instance: a page is a range of it and the count is its last value.
CREATE TABLE restore_jobs (
    id TEXT PRIMARY KEY,
    instance_id TEXT NOT NULL REFERENCES instances (id),
    number INTEGER NOT NULL,
    delivery TEXT NOT NULL,
    snapshot_id TEXT NOT NULL REFERENCES snapshots (id),
    snapshot_at INTEGER NOT NULL,
    target_id TEXT REFERENCES instances (id),
    target_project_id TEXT NOT NULL,
    target_name TEXT NOT NULL,
    pit_seconds INTEGER,
    pit_oplog_seconds INTEGER,
    pit_oplog_increment INTEGER,
    state TEXT NOT NULL,
    step TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    failure TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    download_token TEXT,
    download_file TEXT,
    expires_at INTEGER,
    worker TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    UNIQUE (instance_id, number)
) STRICT;
CREATE INDEX open_restore_jobs ON restore_jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX restore_job_downloads ON restore_jobs (download_file) WHERE download_file IS NOT NULL;

CREATE TABLE oplog_ranges (
    instance_id TEXT NOT NULL REFERENCES instances (id),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (instance_id, first)
) STRICT;
