-- Captured oplog entries that are not in the vault yet, sealed as the segments of a vault are.
CREATE TABLE oplog_tails (
    instance_id TEXT NOT NULL REFERENCES instances (id),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (instance_id, first)
) STRICT;
