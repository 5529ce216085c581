-- The restore job that replaces the data whose changes a range holds, and when it began to: what
-- happens from then on does not belong to the range.
ALTER TABLE oplog_ranges ADD COLUMN ended_by TEXT;
ALTER TABLE oplog_ranges ADD COLUMN ended_at INTEGER;
-- The position of the entry that replaced it: before that, no entry is lacking.
ALTER TABLE oplog_ranges ADD COLUMN ended_before INTEGER;
