-- Whom an exposure was of, hashed: the requests of one subject resemble each other, which statistics must know. What was
-- stored before has no subject, and each of it stands for itself.
ALTER TABLE exposures ADD COLUMN subject TEXT;
CREATE INDEX exposures_by_subject ON exposures (experiment, experiment_group, subject);
