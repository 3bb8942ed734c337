-- One question may have several requests, its parts: each call of a tool that a batch asks for is decided by
-- itself. A uniqueness cannot be dropped in SQLite, so the table is made anew, and so are those that refer to it.
ALTER TABLE executions RENAME TO executions_before;
ALTER TABLE due RENAME TO due_before;
ALTER TABLE receipts RENAME TO receipts_before;
ALTER TABLE outbox RENAME TO outbox_before;
ALTER TABLE decisions RENAME TO decisions_before;
ALTER TABLE requests RENAME TO requests_before;

CREATE TABLE requests (
  request_id TEXT PRIMARY KEY,
  interrupt_id TEXT NOT NULL REFERENCES interrupts (interrupt_id),
  thread_id TEXT NOT NULL,
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  graph TEXT NOT NULL,
  node TEXT NOT NULL,
  title TEXT NOT NULL,
  action TEXT,
  facts TEXT NOT NULL,
  digest TEXT NOT NULL,
  policy_name TEXT NOT NULL,
  policy TEXT NOT NULL,
  requester TEXT,
  also TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN
    ('open', 'approved', 'edited', 'rejected', 'responded', 'timed_out', 'withdrawn', 'superseded')),
  revision INTEGER NOT NULL,
  deadline_at BIGINT,
  opened_at BIGINT NOT NULL,
  closed_at BIGINT,
  terms TEXT,
  -- Whose words the question is in; NULL for ours.
  shape TEXT,
  part INTEGER NOT NULL,
  parts INTEGER NOT NULL,
  -- What was decided, in those words, until the last part is and answers the question with all of them.
  answer TEXT
);
INSERT INTO requests (request_id, interrupt_id, thread_id, run_id, graph, node, title, action, facts, digest,
  policy_name, policy, requester, also, status, revision, deadline_at, opened_at, closed_at, terms, part, parts)
SELECT request_id, interrupt_id, thread_id, run_id, graph, node, title, action, facts, digest,
  policy_name, policy, requester, also, status, revision, deadline_at, opened_at, closed_at, terms, 0, 1
FROM requests_before;

CREATE TABLE decisions (
  decision_id TEXT PRIMARY KEY,
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  reviewer TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'edit', 'reject', 'respond', 'withdraw')),
  reason TEXT,
  digest TEXT NOT NULL,
  surface TEXT NOT NULL,
  groups TEXT NOT NULL,
  stage INTEGER NOT NULL,
  round INTEGER NOT NULL,
  arguments TEXT,
  decided_at BIGINT NOT NULL
);
INSERT INTO decisions (decision_id, request_id, reviewer, verdict, reason, digest, surface, groups, stage, round,
  arguments, decided_at)
SELECT decision_id, request_id, reviewer, verdict, reason, digest, surface, groups, stage, round,
  arguments, decided_at
FROM decisions_before;

CREATE TABLE outbox (
  entry_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('card', 'trail')),
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'parked')),
  wanted INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  overtaken INTEGER NOT NULL,
  payload TEXT NOT NULL,
  available_at BIGINT NOT NULL,
  lease_owner TEXT,
  lease_until BIGINT,
  error TEXT,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
INSERT INTO outbox (entry_id, kind, request_id, status, wanted, attempts, overtaken, payload, available_at,
  lease_owner, lease_until, error, created_at, updated_at)
SELECT entry_id, kind, request_id, status, wanted, attempts, overtaken, payload, available_at,
  lease_owner, lease_until, error, created_at, updated_at
FROM outbox_before;

CREATE TABLE receipts (
  entry_id TEXT PRIMARY KEY REFERENCES outbox (entry_id),
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  kind TEXT NOT NULL,
  surface TEXT NOT NULL,
  app TEXT NOT NULL,
  workspace TEXT NOT NULL,
  channel TEXT NOT NULL,
  message TEXT NOT NULL,
  landed_at BIGINT NOT NULL
);
INSERT INTO receipts (entry_id, request_id, kind, surface, app, workspace, channel, message, landed_at)
SELECT entry_id, request_id, kind, surface, app, workspace, channel, message, landed_at FROM receipts_before;

CREATE TABLE due (
  kind TEXT NOT NULL,
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  due_at BIGINT NOT NULL,
  PRIMARY KEY (request_id, kind)
);
INSERT INTO due (kind, request_id, due_at) SELECT kind, request_id, due_at FROM due_before;

CREATE TABLE executions (
  request_id TEXT PRIMARY KEY REFERENCES requests (request_id),
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  task_id TEXT NOT NULL,
  key TEXT NOT NULL,
  digest TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('reserved', 'done', 'indeterminate', 'revoked')),
  started_at BIGINT NOT NULL,
  ended_at BIGINT
);
INSERT INTO executions (request_id, run_id, task_id, key, digest, status, started_at, ended_at)
SELECT request_id, run_id, task_id, key, digest, status, started_at, ended_at FROM executions_before;

DROP TABLE executions_before;
DROP TABLE due_before;
DROP TABLE receipts_before;
DROP TABLE outbox_before;
DROP TABLE decisions_before;
DROP TABLE requests_before;

-- As they were; what they are for stands in the files before.
CREATE UNIQUE INDEX requests_once_per_part ON requests (interrupt_id, part);
CREATE INDEX requests_of_run ON requests (run_id);
CREATE INDEX requests_open ON requests (opened_at) WHERE status = 'open';
CREATE UNIQUE INDEX decisions_one_vote_each ON decisions (request_id, reviewer, round, verdict);
CREATE UNIQUE INDEX outbox_one_card_per_request ON outbox (request_id) WHERE kind = 'card';
CREATE INDEX outbox_pending ON outbox (available_at) WHERE status = 'pending';
CREATE INDEX outbox_of_request ON outbox (request_id, entry_id);
CREATE UNIQUE INDEX receipts_by_place ON receipts (surface, workspace, channel, message);
CREATE INDEX receipts_of_request ON receipts (request_id);
CREATE INDEX due_next ON due (due_at);
CREATE INDEX executions_of_run ON executions (run_id);
