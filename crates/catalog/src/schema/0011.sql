-- Which documents a restore brings back, where it is not whole collections.
ALTER TABLE restore_jobs ADD COLUMN documents TEXT;
