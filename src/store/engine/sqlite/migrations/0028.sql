-- After how many days messages are removed from Trash and Junk; NULL: as configured, 0: never.
ALTER TABLE inbox ADD COLUMN trash_days INTEGER;
ALTER TABLE inbox ADD COLUMN junk_days INTEGER;
