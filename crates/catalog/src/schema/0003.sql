-- A row that cannot be decoded is set aside with the reason, so that others are claimed.
ALTER TABLE restore_jobs ADD COLUMN quarantined TEXT;
ALTER TABLE snapshots ADD COLUMN quarantined TEXT;

-- Whether a worker holds the job and has not said how that ended, and how often one ended without
-- a word: its process died of the job.
ALTER TABLE restore_jobs ADD COLUMN is_held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE restore_jobs ADD COLUMN silent_ends INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN is_held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN silent_ends INTEGER NOT NULL DEFAULT 0;

-- How far a job is.
ALTER TABLE restore_jobs ADD COLUMN documents_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE restore_jobs ADD COLUMN bytes_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN documents_done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN bytes_done INTEGER NOT NULL DEFAULT 0;

-- Whether the vault still has something of a snapshot that was deleted.
ALTER TABLE snapshots ADD COLUMN is_purged INTEGER NOT NULL DEFAULT 0;
CREATE INDEX unpurged_snapshots ON snapshots (id) WHERE is_deleted = 1 AND is_purged = 0;

-- Until when the backups of a deleted instance are kept; NULL while it exists, and once they are gone.
ALTER TABLE instances ADD COLUMN retained_until INTEGER;
ALTER TABLE instances ADD COLUMN keeps_backups INTEGER NOT NULL DEFAULT 1;
CREATE INDEX retired_instances ON instances (project_id, name) WHERE state = 'DELETED' AND retained_until IS NOT NULL;

-- Why an instance is not served: `data lost`, or a text.
ALTER TABLE instances ADD COLUMN trouble TEXT;

-- Who changed what.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    address TEXT,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;

-- The secret part of a link is made of the job's id with a key, and kept nowhere.
UPDATE restore_jobs SET download_token = NULL;
CREATE INDEX expiring_snapshots ON snapshots (expires_at) WHERE is_deleted = 0;
