-- The tables of version 7, for PostgreSQL; later steps are common to both databases. Texts are in the
-- order of their bytes, as in SQLite; `rowid` is the order in which rows were made.
CREATE TABLE settings (
    name TEXT COLLATE "C" PRIMARY KEY,
    value TEXT COLLATE "C" NOT NULL
);
CREATE TABLE orgs (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    settings TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    deleted_at BIGINT
);
CREATE TABLE projects (
    id TEXT COLLATE "C" PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id),
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    tags TEXT COLLATE "C" NOT NULL,
    deleted_at BIGINT,
    settings TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    limits TEXT COLLATE "C" NOT NULL DEFAULT '{}',
    instance_count BIGINT NOT NULL DEFAULT 0,
    serverless_count BIGINT NOT NULL DEFAULT 0,
    cluster_count BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE api_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id),
    public_key TEXT COLLATE "C" NOT NULL UNIQUE,
    ha1 TEXT COLLATE "C" NOT NULL,
    masked_private_key TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    roles TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE service_accounts (
    id TEXT COLLATE "C" PRIMARY KEY,
    org_id TEXT COLLATE "C" NOT NULL REFERENCES orgs (id),
    name TEXT COLLATE "C" NOT NULL,
    description TEXT COLLATE "C" NOT NULL,
    roles TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE service_account_secrets (
    id TEXT COLLATE "C" PRIMARY KEY,
    account_id TEXT COLLATE "C" NOT NULL REFERENCES service_accounts (id),
    hash TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    masked TEXT COLLATE "C" NOT NULL DEFAULT 'mdb_sa_sk_...',
    last_used_at BIGINT
);
CREATE TABLE revoked_tokens (
    id TEXT COLLATE "C" PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE TABLE instances (
    id TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    name TEXT COLLATE "C" NOT NULL,
    family TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    settings TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    port BIGINT,
    snapshot_count BIGINT NOT NULL DEFAULT 0,
    restore_job_count BIGINT NOT NULL DEFAULT 0,
    number BIGINT,
    serverless_number BIGINT,
    retained_until BIGINT,
    keeps_backups BIGINT NOT NULL DEFAULT 1,
    trouble TEXT COLLATE "C",
    backing TEXT COLLATE "C" NOT NULL DEFAULT 'embedded',
    cluster_number BIGINT
);
CREATE TABLE database_users (
    id TEXT COLLATE "C" PRIMARY KEY,
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    username TEXT COLLATE "C" NOT NULL,
    database_name TEXT COLLATE "C" NOT NULL,
    password TEXT COLLATE "C" NOT NULL,
    roles TEXT COLLATE "C" NOT NULL,
    scopes TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    description TEXT COLLATE "C",
    labels TEXT COLLATE "C" NOT NULL DEFAULT '[]',
    delete_after BIGINT,
    UNIQUE (project_id, database_name, username)
);
CREATE TABLE snapshots (
    id TEXT COLLATE "C" PRIMARY KEY,
    instance_id TEXT COLLATE "C" NOT NULL REFERENCES instances (id),
    kind TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    finished_at BIGINT,
    consistent_seconds BIGINT,
    consistent_increment BIGINT,
    size_bytes BIGINT,
    server_version TEXT COLLATE "C",
    failure TEXT COLLATE "C",
    is_deleted BIGINT NOT NULL DEFAULT 0,
    worker TEXT COLLATE "C",
    attempt BIGINT NOT NULL DEFAULT 0,
    lease_until BIGINT NOT NULL DEFAULT 0,
    number BIGINT,
    started_at BIGINT,
    quarantined TEXT COLLATE "C",
    is_held BIGINT NOT NULL DEFAULT 0,
    silent_ends BIGINT NOT NULL DEFAULT 0,
    documents_done BIGINT NOT NULL DEFAULT 0,
    bytes_done BIGINT NOT NULL DEFAULT 0,
    is_purged BIGINT NOT NULL DEFAULT 0,
    bytes_total BIGINT NOT NULL DEFAULT 0,
    bytes_per_second BIGINT NOT NULL DEFAULT 0,
    namespace_now TEXT COLLATE "C",
    mode TEXT COLLATE "C",
    mode_reason TEXT COLLATE "C",
    description TEXT COLLATE "C",
    frequency TEXT COLLATE "C",
    policy_items TEXT COLLATE "C",
    comparison TEXT COLLATE "C",
    is_imported BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE restore_jobs (
    id TEXT COLLATE "C" PRIMARY KEY,
    instance_id TEXT COLLATE "C" NOT NULL REFERENCES instances (id),
    number BIGINT NOT NULL,
    delivery TEXT COLLATE "C" NOT NULL,
    snapshot_id TEXT COLLATE "C" NOT NULL REFERENCES snapshots (id),
    snapshot_at BIGINT NOT NULL,
    target_id TEXT COLLATE "C" REFERENCES instances (id),
    target_project_id TEXT COLLATE "C" NOT NULL,
    target_name TEXT COLLATE "C" NOT NULL,
    pit_seconds BIGINT,
    pit_oplog_seconds BIGINT,
    pit_oplog_increment BIGINT,
    state TEXT COLLATE "C" NOT NULL,
    step TEXT COLLATE "C",
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    failure TEXT COLLATE "C",
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    download_token TEXT COLLATE "C",
    download_file TEXT COLLATE "C",
    expires_at BIGINT,
    worker TEXT COLLATE "C",
    attempt BIGINT NOT NULL DEFAULT 0,
    lease_until BIGINT NOT NULL DEFAULT 0,
    download_lifetime BIGINT,
    quarantined TEXT COLLATE "C",
    is_held BIGINT NOT NULL DEFAULT 0,
    silent_ends BIGINT NOT NULL DEFAULT 0,
    documents_done BIGINT NOT NULL DEFAULT 0,
    bytes_done BIGINT NOT NULL DEFAULT 0,
    selection TEXT COLLATE "C",
    replaces_in_place BIGINT NOT NULL DEFAULT 0,
    bytes_total BIGINT NOT NULL DEFAULT 0,
    bytes_per_second BIGINT NOT NULL DEFAULT 0,
    namespace_now TEXT COLLATE "C",
    UNIQUE (instance_id, number)
);
CREATE TABLE oplog_ranges (
    instance_id TEXT COLLATE "C" NOT NULL REFERENCES instances (id),
    first BIGINT NOT NULL,
    last BIGINT NOT NULL,
    ended_by TEXT COLLATE "C",
    ended_at BIGINT,
    ended_before BIGINT,
    PRIMARY KEY (instance_id, first)
);
CREATE TABLE access_entries (
    principal TEXT COLLATE "C" NOT NULL,
    block TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    request_count BIGINT NOT NULL DEFAULT 0,
    last_used_at BIGINT,
    last_used_address TEXT COLLATE "C",
    rowid BIGINT GENERATED BY DEFAULT AS IDENTITY,
    PRIMARY KEY (principal, block)
);
CREATE TABLE network_entries (
    project_id TEXT COLLATE "C" NOT NULL REFERENCES projects (id),
    value TEXT COLLATE "C" NOT NULL,
    comment TEXT COLLATE "C",
    delete_after BIGINT,
    created_at BIGINT NOT NULL,
    rowid BIGINT GENERATED BY DEFAULT AS IDENTITY,
    PRIMARY KEY (project_id, value)
);
CREATE TABLE audit (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C",
    action TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL
);
CREATE TABLE deployments (
    instance_id TEXT COLLATE "C" PRIMARY KEY REFERENCES instances (id),
    address TEXT COLLATE "C" NOT NULL,
    sealed TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    read_from TEXT COLLATE "C" NOT NULL,
    read_rate BIGINT,
    condition TEXT COLLATE "C" NOT NULL,
    reasons TEXT COLLATE "C" NOT NULL,
    condition_since BIGINT NOT NULL,
    probed_at BIGINT,
    report TEXT COLLATE "C",
    placed_on TEXT COLLATE "C",
    database_prefix TEXT COLLATE "C",
    is_claimed BIGINT NOT NULL DEFAULT 0,
    leaves_data BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE backup_schedules (
    instance_id TEXT COLLATE "C" PRIMARY KEY REFERENCES instances (id),
    schedule TEXT COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX project_names ON projects (org_id, name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX instance_names ON instances (project_id, name) WHERE state <> 'DELETED';
CREATE INDEX snapshots_by_instance ON snapshots (instance_id, created_at DESC, id DESC) WHERE is_deleted = 0;
CREATE INDEX open_snapshots ON snapshots (state) WHERE state IN ('queued', 'inProgress');
CREATE INDEX open_restore_jobs ON restore_jobs (state) WHERE state IN ('queued', 'running');
CREATE INDEX restore_job_downloads ON restore_jobs (download_file) WHERE download_file IS NOT NULL;
CREATE INDEX instance_numbers ON instances (project_id, number);
CREATE INDEX serverless_numbers ON instances (project_id, serverless_number);
CREATE INDEX snapshot_numbers ON snapshots (instance_id, number);
CREATE INDEX restore_jobs_by_target ON restore_jobs (target_id, state, finished_at);
CREATE INDEX restore_jobs_by_snapshot ON restore_jobs (snapshot_id, state);
CREATE INDEX unpurged_snapshots ON snapshots (id) WHERE is_deleted = 1 AND is_purged = 0;
CREATE INDEX retired_instances ON instances (project_id, name) WHERE state = 'DELETED' AND retained_until IS NOT NULL;
CREATE INDEX expiring_snapshots ON snapshots (expires_at) WHERE is_deleted = 0;
CREATE INDEX cluster_numbers ON instances (project_id, cluster_number);
CREATE INDEX parts_of_deployments ON deployments (placed_on) WHERE placed_on IS NOT NULL;
