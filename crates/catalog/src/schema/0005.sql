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
