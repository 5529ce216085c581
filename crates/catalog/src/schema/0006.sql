-- Clusters are numbered by themselves: the serverless and the flex API do not show them.
ALTER TABLE projects ADD COLUMN cluster_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN cluster_number INTEGER;
CREATE INDEX cluster_numbers ON instances (project_id, cluster_number);

-- When the snapshots of an instance are taken, where it has a schedule of its own.
CREATE TABLE backup_schedules (
    instance_id TEXT PRIMARY KEY REFERENCES instances (id),
    schedule TEXT NOT NULL
) STRICT;

-- What who asked for a snapshot wrote; how often such a snapshot is taken, and the items of the policy
-- for which it stands, where a policy asked for it.
ALTER TABLE snapshots ADD COLUMN description TEXT;
ALTER TABLE snapshots ADD COLUMN frequency TEXT;
ALTER TABLE snapshots ADD COLUMN policy_items TEXT;
-- How one that was read compares with what would have been made of the one before.
ALTER TABLE snapshots ADD COLUMN comparison TEXT;
-- Whether it is made of a dump that was uploaded, and not of the instance.
ALTER TABLE snapshots ADD COLUMN is_imported INTEGER NOT NULL DEFAULT 0;
