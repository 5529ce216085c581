-- Captured oplog entries that are not in the vault yet, sealed as the segments of a vault are.
CREATE TABLE oplog_tails (
    instance_id TEXT NOT NULL REFERENCES instances (id),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (instance_id, first)
) STRICT;

-- The processes that serve these records, where there are several. One that was not heard of until `alive_until` is
-- gone; `run` is another one after every start.
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    role TEXT NOT NULL,
    host TEXT NOT NULL,
    ports INTEGER NOT NULL,
    vault TEXT NOT NULL,
    certificate TEXT,
    started_at INTEGER NOT NULL,
    alive_until INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX node_runs ON nodes (run);

-- What one process at a time does, and which one.
CREATE TABLE duties (
    name TEXT PRIMARY KEY,
    run TEXT NOT NULL
) STRICT;

-- Who follows the oplog of an instance; how often others wanted it to be stored, and how the last time ended.
CREATE TABLE captures (
    instance_id TEXT PRIMARY KEY REFERENCES instances (id),
    run TEXT,
    wanted INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    through INTEGER,
    failure TEXT
) STRICT;
CREATE INDEX wanted_captures ON captures (run) WHERE wanted > done;

-- The node on which an instance inside Tidemark is.
ALTER TABLE instances ADD COLUMN node TEXT;

-- Answers to challenges, so that none is accepted twice.
CREATE TABLE used_nonces (
    nonce TEXT NOT NULL,
    count INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (nonce, count)
) STRICT;

-- How many requests may still be made, in thousandths, and when that was.
CREATE TABLE rate_buckets (
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    left_over INTEGER NOT NULL,
    filled_at INTEGER NOT NULL,
    PRIMARY KEY (name, scope)
) STRICT;

-- What is asked of the snapshots of one instance: the newest complete one, those that failed since, open ones.
CREATE INDEX snapshots_by_state ON snapshots (instance_id, state, number);

-- Whether the last probe of a deployment found an oplog; nothing where it was made before this was kept.
ALTER TABLE deployments ADD COLUMN has_oplog INTEGER;
