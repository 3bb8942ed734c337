-- Times are microseconds since the epoch, passed in. Ids are text made by us, in time order.
-- JSON is text. Everything here means the same to SQLite and PostgreSQL.

CREATE TABLE deployment (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE threads (
  thread_id TEXT PRIMARY KEY,
  -- The run whose head is the head of the thread.
  last_run TEXT,
  created_at BIGINT NOT NULL
);

CREATE TABLE runs (
  run_id TEXT PRIMARY KEY,
  thread_id TEXT NOT NULL REFERENCES threads (thread_id),
  graph TEXT NOT NULL,
  version TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN
    ('queued', 'running', 'interrupted', 'completed', 'failed', 'cancelled', 'needs_attention')),
  driver TEXT NOT NULL CHECK (driver IN ('caller', 'worker')),
  head TEXT NOT NULL,
  -- The checkpoint from which somebody told it to go on, past a breakpoint there.
  passes TEXT,
  step INTEGER NOT NULL,
  steps_taken INTEGER NOT NULL,
  max_steps INTEGER NOT NULL,
  requester TEXT,
  idempotency_key TEXT,
  error TEXT,
  -- What the run may use besides steps, and what it has used: {"seconds": .., "questions": .., "retries": ..}.
  limits TEXT NOT NULL,
  used TEXT NOT NULL,
  -- How it began: with an input, again after a failure, as a branch from an old checkpoint, by an edit.
  origin TEXT NOT NULL CHECK (origin IN ('input', 'retry', 'fork', 'update')),
  -- The run that a retry or fork goes back to.
  parent_run TEXT,
  lease_owner TEXT,
  lease_until BIGINT,
  epoch INTEGER NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
-- One live run per thread: two starts at once cannot both win.
CREATE UNIQUE INDEX runs_one_live_per_thread ON runs (thread_id)
  WHERE status IN ('queued', 'running', 'interrupted', 'needs_attention');
CREATE UNIQUE INDEX runs_once_per_key ON runs (graph, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_claimable ON runs (updated_at) WHERE driver = 'worker' AND status IN ('queued', 'running');
CREATE INDEX runs_newest ON runs (created_at);
CREATE INDEX runs_of_thread ON runs (thread_id, created_at);
CREATE INDEX runs_with_error ON runs (thread_id, head) WHERE error IS NOT NULL;
-- The longest ended first: what retention looks at.
CREATE INDEX runs_ended ON runs (updated_at, run_id) WHERE status IN ('completed', 'failed', 'cancelled');

CREATE TABLE checkpoints (
  checkpoint_id TEXT PRIMARY KEY,
  thread_id TEXT NOT NULL REFERENCES threads (thread_id),
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  parent_id TEXT,
  -- The subgraph it belongs to: node:task_id, joined by | from the outside in; empty for the graph itself.
  ns TEXT NOT NULL,
  step INTEGER NOT NULL,
  source TEXT NOT NULL CHECK (source IN ('input', 'loop', 'update', 'fork')),
  due TEXT NOT NULL,
  joins TEXT NOT NULL,
  held TEXT NOT NULL,
  routes TEXT NOT NULL,
  fingerprints TEXT NOT NULL,
  -- {channel: id of the checkpoint that last wrote it}
  versions TEXT NOT NULL,
  -- What the caller put beside it, to find it again.
  metadata TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
-- A second writer of the same step loses here, whatever else went wrong.
CREATE UNIQUE INDEX checkpoints_once_per_step ON checkpoints (run_id, ns, step);
CREATE INDEX checkpoints_of_thread ON checkpoints (thread_id, ns, checkpoint_id);

-- Where a subgraph of a thread stands.
CREATE TABLE frames (
  thread_id TEXT NOT NULL REFERENCES threads (thread_id),
  ns TEXT NOT NULL,
  run_id TEXT NOT NULL,
  head TEXT NOT NULL,
  done INTEGER NOT NULL,
  -- Steps since its last input.
  steps INTEGER NOT NULL,
  PRIMARY KEY (thread_id, ns)
);

-- What steps inside nodes returned: each is run once per task.
CREATE TABLE effects (
  task_id TEXT NOT NULL,
  key TEXT NOT NULL,
  name TEXT NOT NULL,
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  value TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (task_id, key)
);
CREATE INDEX effects_of_run ON effects (run_id);

CREATE TABLE channel_values (
  checkpoint_id TEXT NOT NULL,
  channel TEXT NOT NULL,
  -- The checkpoint whose value of the channel, a list, this one goes on from; NULL for a whole value.
  base TEXT,
  value TEXT NOT NULL,
  PRIMARY KEY (checkpoint_id, channel)
);

-- What finished tasks of a step returned; kept for replay after the step is merged.
CREATE TABLE writes (
  checkpoint_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  -- The run that ran it; a retry goes on from a checkpoint of the run before it.
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  value TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (checkpoint_id, task_id)
);

CREATE TABLE interrupts (
  interrupt_id TEXT PRIMARY KEY,
  thread_id TEXT NOT NULL,
  run_id TEXT NOT NULL REFERENCES runs (run_id),
  checkpoint_id TEXT NOT NULL,
  task_id TEXT NOT NULL,
  ns TEXT NOT NULL,
  node TEXT NOT NULL,
  step INTEGER NOT NULL,
  key TEXT,
  occurrence INTEGER NOT NULL,
  value TEXT NOT NULL,
  digest TEXT NOT NULL,
  -- A JSON schema that an answer is to fit.
  response_schema TEXT,
  status TEXT NOT NULL CHECK (status IN ('open', 'answered', 'withdrawn', 'superseded', 'expired')),
  answer TEXT,
  answered_by TEXT,
  asked_at BIGINT NOT NULL,
  answered_at BIGINT,
  delivered_at BIGINT,
  -- 1 once its task has finished or is due no more: no walk looks at it again, however many there are.
  past INTEGER NOT NULL
);
CREATE INDEX interrupts_of_run ON interrupts (run_id, past, asked_at);
CREATE INDEX interrupts_open ON interrupts (asked_at, interrupt_id) WHERE status = 'open';
CREATE INDEX interrupts_of_task ON interrupts (thread_id, ns, task_id);

CREATE TABLE requests (
  request_id TEXT PRIMARY KEY,
  interrupt_id TEXT NOT NULL UNIQUE REFERENCES interrupts (interrupt_id),
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
  closed_at BIGINT
);
CREATE INDEX requests_of_run ON requests (run_id);
CREATE INDEX requests_open ON requests (opened_at) WHERE status = 'open';

CREATE TABLE decisions (
  decision_id TEXT PRIMARY KEY,
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  reviewer TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'reject')),
  reason TEXT,
  digest TEXT NOT NULL,
  surface TEXT NOT NULL,
  decided_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX decisions_one_vote_each ON decisions (request_id, reviewer);

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
CREATE UNIQUE INDEX outbox_one_card_per_request ON outbox (request_id) WHERE kind = 'card';
CREATE INDEX outbox_pending ON outbox (available_at) WHERE status = 'pending';
CREATE INDEX outbox_of_request ON outbox (request_id, entry_id);

-- Where an entry landed. The card's row is what a click is compared with.
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
CREATE UNIQUE INDEX receipts_by_place ON receipts (surface, workspace, channel, message);
CREATE INDEX receipts_of_request ON receipts (request_id);

-- When a channel may be told something new; whoever tells it takes the turn first.
CREATE TABLE turns (
  channel TEXT PRIMARY KEY,
  free_at BIGINT NOT NULL
);

-- Deadlines are rows, never sleeping tasks.
CREATE TABLE due (
  kind TEXT NOT NULL,
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  due_at BIGINT NOT NULL,
  PRIMARY KEY (request_id, kind)
);
CREATE INDEX due_next ON due (due_at);

CREATE TABLE events (
  event_id TEXT PRIMARY KEY,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT,
  thread_id TEXT,
  run_id TEXT,
  request_id TEXT,
  data TEXT NOT NULL
);
CREATE INDEX events_of_run ON events (run_id, event_id);
CREATE INDEX events_of_request ON events (request_id, event_id) WHERE request_id IS NOT NULL;
