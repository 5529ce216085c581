-- Why a job failed, as a word beside the sentence: programs and readers of other languages understand it.
ALTER TABLE snapshots ADD COLUMN failure_cause TEXT;
ALTER TABLE restore_jobs ADD COLUMN failure_cause TEXT;
ALTER TABLE drills ADD COLUMN failure_cause TEXT;

-- Forms of the console that were sent: one that is sent again does nothing again.
CREATE TABLE console_forms (
    id TEXT NOT NULL PRIMARY KEY,
    used_at INTEGER NOT NULL
) STRICT;
