-- What holds the data of an instance: an engine inside Tidemark, or a deployment that somebody else
-- runs.
ALTER TABLE instances ADD COLUMN backing TEXT NOT NULL DEFAULT 'embedded';

-- Attached deployments. `sealed` is how one is reached, encrypted under a key that is not in this
-- file; `version` rises whenever that changes.
CREATE TABLE deployments (
    instance_id TEXT PRIMARY KEY REFERENCES instances (id),
    address TEXT NOT NULL,
    sealed TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1,
    read_from TEXT NOT NULL,
    read_rate INTEGER,
    condition TEXT NOT NULL,
    reasons TEXT NOT NULL,
    condition_since INTEGER NOT NULL,
    probed_at INTEGER,
    report TEXT
) STRICT;

-- Which namespaces a job restores, and under which names; NULL for everything.
ALTER TABLE restore_jobs ADD COLUMN selection TEXT;
-- Whether documents may be replaced where they are, where a target cannot rename.
ALTER TABLE restore_jobs ADD COLUMN replaces_in_place INTEGER NOT NULL DEFAULT 0;

-- What a job moves at the moment, how fast, and how much there is to move (0 while that is not known).
ALTER TABLE restore_jobs ADD COLUMN bytes_total INTEGER NOT NULL DEFAULT 0;
ALTER TABLE restore_jobs ADD COLUMN bytes_per_second INTEGER NOT NULL DEFAULT 0;
ALTER TABLE restore_jobs ADD COLUMN namespace_now TEXT;
ALTER TABLE snapshots ADD COLUMN bytes_total INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN bytes_per_second INTEGER NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN namespace_now TEXT;
-- How a snapshot was made consistent, and why not in a stronger way.
ALTER TABLE snapshots ADD COLUMN mode TEXT;
ALTER TABLE snapshots ADD COLUMN mode_reason TEXT;
