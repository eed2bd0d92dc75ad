-- Who among several processes does what only one may do, and until when. Times are those of the database's own clock.
CREATE TABLE leases (
    name          TEXT PRIMARY KEY,
    holder        TEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);

-- What was observed while a step of a rollout was in force: sums for each subject that is known by name, hashed, and one
-- row, with an empty subject, for all those that are observed once.
CREATE TABLE rollout_observations (
    rollout       TEXT NOT NULL,
    stage         BIGINT NOT NULL,
    measure       TEXT NOT NULL,
    is_treatment  BOOLEAN NOT NULL,
    subject       TEXT NOT NULL,
    observations  DOUBLE PRECISION NOT NULL,
    total         DOUBLE PRECISION NOT NULL,
    total_squared DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (rollout, stage, measure, is_treatment, subject)
);
