-- One set for SQLite and Postgres: only types and syntax that both have. Times are milliseconds since the Unix epoch.

-- Grows with every change of a topic; replicas compare it with what they have seen.
CREATE TABLE revisions (
    topic    TEXT PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- What is changed while the service runs: flags, the router's settings, rollouts. `body` is JSON.
CREATE TABLE documents (
    topic         TEXT NOT NULL,
    name          TEXT NOT NULL,
    body          TEXT NOT NULL,
    revision      BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    updated_by    TEXT NOT NULL,
    PRIMARY KEY (topic, name)
);

-- The audit trail of documents: who, when, from, to. Rows are only added.
CREATE TABLE document_changes (
    topic         TEXT NOT NULL,
    revision      BIGINT NOT NULL,
    name          TEXT NOT NULL,
    changed_at_ms BIGINT NOT NULL,
    changed_by    TEXT NOT NULL,
    old_body      TEXT,
    new_body      TEXT,
    PRIMARY KEY (topic, revision)
);
CREATE INDEX document_changes_by_name ON document_changes (topic, name, revision);

CREATE TABLE feedback (
    id                  TEXT PRIMARY KEY,
    request_id          TEXT,
    text                TEXT NOT NULL,
    original_intent     TEXT NOT NULL,
    correct_intent      TEXT NOT NULL,
    original_confidence DOUBLE PRECISION,
    kind                TEXT NOT NULL,
    user_id             TEXT,
    comment             TEXT,
    context             TEXT,
    model               TEXT,
    model_version       TEXT,
    experiment_group    TEXT,
    learn               BOOLEAN NOT NULL,
    received_at_ms      BIGINT NOT NULL,
    correction_revision BIGINT
);
CREATE INDEX feedback_by_time ON feedback (received_at_ms, id);
CREATE INDEX feedback_by_request ON feedback (request_id);
CREATE INDEX feedback_by_correction ON feedback (correction_revision);

CREATE TABLE exposures (
    request_id       TEXT PRIMARY KEY,
    experiment       TEXT NOT NULL,
    experiment_group TEXT NOT NULL,
    decided_at_ms    BIGINT NOT NULL,
    intent           TEXT NOT NULL,
    model            TEXT NOT NULL,
    model_version    TEXT NOT NULL,
    confidence       DOUBLE PRECISION NOT NULL,
    latency_ms       DOUBLE PRECISION NOT NULL,
    fallbacks        BIGINT NOT NULL,
    degraded         BOOLEAN NOT NULL
);
CREATE INDEX exposures_by_latency ON exposures (experiment, experiment_group, latency_ms);
CREATE INDEX exposures_by_time ON exposures (decided_at_ms);

CREATE TABLE api_keys (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    hash          TEXT NOT NULL UNIQUE,
    scopes        TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    created_by    TEXT NOT NULL,
    revoked_at_ms BIGINT
);

CREATE TABLE promotions (
    id             TEXT PRIMARY KEY,
    version        TEXT NOT NULL,
    promoted_at_ms BIGINT NOT NULL,
    promoted_by    TEXT NOT NULL
);
CREATE INDEX promotions_by_time ON promotions (promoted_at_ms);

-- Written to find out whether writing works.
CREATE TABLE write_probe (
    id           BIGINT PRIMARY KEY,
    probed_at_ms BIGINT NOT NULL
);
INSERT INTO write_probe (id, probed_at_ms) VALUES (1, 0);
