-- Restore drills: a backup of an instance brought back into a scratch database and compared. `number` counts the drills
-- of an instance without a gap. The report and its signature are there once it is over.
CREATE TABLE drills (
    id TEXT NOT NULL PRIMARY KEY,
    instance_id TEXT NOT NULL REFERENCES instances (id),
    number INTEGER NOT NULL,
    is_scheduled INTEGER NOT NULL,
    snapshot_id TEXT NOT NULL,
    pit_seconds INTEGER,
    pit_oplog_seconds INTEGER,
    pit_oplog_increment INTEGER,
    checks TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL,
    step TEXT,
    finished_at INTEGER,
    failure TEXT,
    documents_done INTEGER NOT NULL DEFAULT 0,
    bytes_done INTEGER NOT NULL DEFAULT 0,
    bytes_total INTEGER NOT NULL DEFAULT 0,
    bytes_per_second INTEGER NOT NULL DEFAULT 0,
    namespace_now TEXT,
    report TEXT,
    signature TEXT,
    worker TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    silent_ends INTEGER NOT NULL DEFAULT 0,
    is_held INTEGER NOT NULL DEFAULT 0,
    quarantined TEXT
) STRICT;

CREATE UNIQUE INDEX drills_by_number ON drills (instance_id, number);
CREATE INDEX open_drills ON drills (lease_until) WHERE state IN ('queued', 'running');
CREATE INDEX proven_drills ON drills (instance_id, finished_at) WHERE state = 'proven';

-- Who is signed in to the console. Of the cookie only its hash is kept.
CREATE TABLE console_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    org_id TEXT NOT NULL,
    principal_kind TEXT NOT NULL,
    principal_id TEXT NOT NULL,
    secret_id TEXT,
    name TEXT NOT NULL,
    csrf TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;

CREATE INDEX console_sessions_of ON console_sessions (principal_id);
