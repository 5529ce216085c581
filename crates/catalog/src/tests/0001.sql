INSERT INTO orgs VALUES ('65a0000000000000000000a1', 'o', 1700000000);
INSERT INTO projects VALUES ('65a0000000000000000000b1', '65a0000000000000000000a1', 'p', 1700000000, '[]', NULL);
INSERT INTO api_keys VALUES ('65a0000000000000000000f1', '65a0000000000000000000a1', 'oldkeyab', 'ha1', '****', 'd',
    '[[null,"ORG_OWNER"]]', 1700000000);
INSERT INTO instances VALUES
    ('65a0000000000000000000c1', '65a0000000000000000000b1', 'gone', 'serverless', 'DELETED',
     '{"backing_provider":"AWS","region":"US_EAST_1","termination_protection":false,"continuous_backup":true,"tags":[]}',
     1700000000, 1700000000, NULL, 0, 0),
    ('65a0000000000000000000c2', '65a0000000000000000000b1', 'kept', 'serverless', 'IDLE',
     '{"backing_provider":"AWS","region":"US_EAST_1","termination_protection":false,"continuous_backup":true,"tags":[]}',
     1700000000, 1700000000, 27100, 2, 1),
    ('65a0000000000000000000c3', '65a0000000000000000000b1', 'flexible', 'flex', 'IDLE',
     '{"backing_provider":"AWS","region":"US_EAST_1","termination_protection":false,"continuous_backup":true,"tags":[]}',
     1700000000, 1700000000, 27101, 0, 0);
INSERT INTO snapshots (id, instance_id, kind, state, created_at, expires_at, finished_at, size_bytes, is_deleted) VALUES
    ('65a0000000000000000000d1', '65a0000000000000000000c2', 'scheduled', 'completed', 1700000100, 1800000000, 1700000101, 5, 0),
    ('65a0000000000000000000d2', '65a0000000000000000000c2', 'scheduled', 'completed', 1700000200, 1800000000, 1700000201, 5, 1),
    ('65a0000000000000000000d3', '65a0000000000000000000c2', 'onDemand', 'completed', 1700000300, 1800000000, 1700000301, 5, 0);
INSERT INTO restore_jobs (id, instance_id, number, delivery, snapshot_id, snapshot_at, target_project_id, target_name,
    state, created_at) VALUES
    ('65a0000000000000000000e1', '65a0000000000000000000c2', 1, 'download', '65a0000000000000000000d1', 1700000100,
     '65a0000000000000000000b1', 'kept', 'queued', 1700000400);
