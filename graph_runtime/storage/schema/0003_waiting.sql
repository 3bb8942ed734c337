-- What a run waits for that no person is asked, and what was done once.

-- An open question that time answers, or the end of a freeze.
CREATE TABLE waits (
  interrupt_id TEXT PRIMARY KEY REFERENCES interrupts (interrupt_id),
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  kind TEXT NOT NULL CHECK (kind IN ('time', 'freeze')),
  due_at BIGINT
);
CREATE INDEX waits_next ON waits (kind, due_at);
CREATE INDEX waits_of_run ON waits (run_id);

-- The one use of an approved request.
CREATE TABLE executions (
  request_id TEXT PRIMARY KEY REFERENCES requests (request_id),
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  task_id TEXT NOT NULL,
  -- The idempotency key that the function was given.
  key TEXT NOT NULL,
  digest TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('reserved', 'done', 'indeterminate', 'revoked')),
  started_at BIGINT NOT NULL,
  ended_at BIGINT
);
CREATE INDEX executions_of_run ON executions (run_id);

-- Nothing of this scope is carried out: all, graph:NAME or action:NAME.
CREATE TABLE freezes (
  scope TEXT PRIMARY KEY,
  frozen_by TEXT NOT NULL,
  reason TEXT NOT NULL,
  since BIGINT NOT NULL,
  -- Who agreed to its release, as a list; two do it.
  released_by TEXT NOT NULL
);
