-- The restore job that replaces the data whose changes a range holds: the range does not grow past it.
ALTER TABLE oplog_ranges ADD COLUMN ended_by TEXT;
