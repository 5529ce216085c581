-- Which documents a restore brings back, where it is not whole collections.
ALTER TABLE restore_jobs ADD COLUMN documents TEXT;

-- What a record of the audit is about, and what Atlas calls it. Records of earlier releases say nothing of that.
ALTER TABLE audit ADD COLUMN event_id TEXT;
ALTER TABLE audit ADD COLUMN event_type TEXT;
ALTER TABLE audit ADD COLUMN org_id TEXT;
ALTER TABLE audit ADD COLUMN project_id TEXT;
ALTER TABLE audit ADD COLUMN instance_name TEXT;
ALTER TABLE audit ADD COLUMN public_key TEXT;
ALTER TABLE audit ADD COLUMN detail TEXT;

CREATE INDEX audit_of_project ON audit (project_id, number);
CREATE INDEX audit_of_org ON audit (org_id, number);
CREATE UNIQUE INDEX audit_by_event ON audit (event_id);
CREATE INDEX audit_outcomes ON audit (action) WHERE action IN ('snapshotCompleted', 'snapshotFailed', 'restoreCompleted',
    'restoreFailed', 'restoreCancelled', 'drillProven', 'drillFailed');
