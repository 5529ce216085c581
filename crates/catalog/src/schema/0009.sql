-- The vault in which the backups of an instance are, by its name in the configuration; NULL for the one that all have
-- who have none of their own.
ALTER TABLE instances ADD COLUMN vault TEXT;

-- With which keys a node seals: for each vault its name, '=' and the number of the key.
ALTER TABLE nodes ADD COLUMN keys TEXT NOT NULL DEFAULT '';
