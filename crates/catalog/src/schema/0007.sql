-- Instances that are a part of an attached deployment: of which one, and what the names of their databases
-- begin with. `is_claimed` once it was seen that nothing was there before; `leaves_data` where what is there
-- stays when the instance is removed.
ALTER TABLE deployments ADD COLUMN placed_on TEXT;
ALTER TABLE deployments ADD COLUMN database_prefix TEXT;
ALTER TABLE deployments ADD COLUMN is_claimed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN leaves_data INTEGER NOT NULL DEFAULT 0;
CREATE INDEX parts_of_deployments ON deployments (placed_on) WHERE placed_on IS NOT NULL;
