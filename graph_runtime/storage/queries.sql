-- Every statement of the store, by name. One text serves both databases: words that only PostgreSQL needs
-- stand in comments of the form /* postgres: ... */, which only PostgreSQL un-comments.
-- Batches lock rows in one order: runs, requests, interrupts, outbox.

-- name: get_deployment
SELECT value FROM deployment WHERE key = 'deployment_id';

-- name: set_deployment
UPDATE deployment SET value = :value WHERE key = 'deployment_id';

-- name: put_deployment
INSERT INTO deployment (key, value) VALUES ('deployment_id', :value) ON CONFLICT (key) DO NOTHING;

-- Why no store opens this database any more, if so.
-- name: get_closed
SELECT value FROM deployment WHERE key = 'closed';


-- Threads and runs ---------------------------------------------------------------------------------

-- name: put_thread
INSERT INTO threads (thread_id, created_at) VALUES (:thread_id, :now) ON CONFLICT (thread_id) DO NOTHING;

-- name: get_thread
SELECT thread_id, created_at FROM threads WHERE thread_id = :thread_id;

-- name: put_run
INSERT INTO runs (run_id, thread_id, graph, version, status, driver, head, step, steps_taken, max_steps,
  requester, idempotency_key, limits, used, origin, parent_run, lease_owner, lease_until, epoch, created_at, updated_at)
VALUES (:run_id, :thread_id, :graph, :version, :status, :driver, :head, :step, 0, :max_steps,
  :requester, :idempotency_key, :limits, '{}', :origin, :parent_run, :lease_owner, :lease_until, :epoch, :now, :now);

-- Two starts at once on one finished thread: the second one reads again.
-- name: set_last_run
UPDATE threads SET last_run = :run_id
WHERE thread_id = :thread_id AND coalesce(last_run, '') = :before;

-- name: get_run
SELECT * FROM runs WHERE run_id = :run_id;

-- name: get_run_by_key
SELECT * FROM runs WHERE graph = :graph AND idempotency_key = :idempotency_key;

-- name: get_last_run
SELECT r.* FROM threads t JOIN runs r ON r.run_id = t.last_run WHERE t.thread_id = :thread_id;

-- name: find_runs
SELECT * FROM runs
WHERE (:status = '' OR status = :status) AND (:graph = '' OR graph = :graph)
ORDER BY created_at DESC, run_id DESC LIMIT :limit;

-- name: count_runs
SELECT status, count(*) AS count FROM runs GROUP BY status ORDER BY status;

-- A look before claim_run, which would wait for whoever writes.
-- name: find_claimable
SELECT run_id FROM runs
WHERE driver = 'worker' AND status IN ('queued', 'running')
  AND (status = 'queued' OR lease_until < :now)
ORDER BY updated_at LIMIT 1;

-- name: claim_run
UPDATE runs SET status = 'running', lease_owner = :owner, lease_until = :until, epoch = epoch + 1,
  updated_at = :now
WHERE run_id = (
  SELECT run_id FROM runs
  WHERE driver = 'worker' AND status IN ('queued', 'running')
    AND (status = 'queued' OR lease_until < :now)
  ORDER BY updated_at LIMIT 1 /* postgres: FOR UPDATE SKIP LOCKED */
)
RETURNING *;

-- name: claim_this_run
UPDATE runs SET status = 'running', lease_owner = :owner, lease_until = :until, epoch = epoch + 1,
  updated_at = :now
WHERE run_id = :run_id AND (status = 'queued' OR (status = 'running' AND lease_until < :now))
RETURNING *;

-- Wakes and claims in one; a run that somebody drives at this moment is only woken (wake_run).
-- name: claim_woken_run
UPDATE runs SET status = 'running', lease_owner = :owner, lease_until = :until, epoch = epoch + 1,
  updated_at = :now
WHERE run_id = :run_id AND thread_id = :thread_id
  AND (status IN ('interrupted', 'queued') OR (status = 'running' AND lease_until < :now))
RETURNING *;

-- name: take_up_run
UPDATE runs SET status = 'running', lease_owner = :owner, lease_until = :until, epoch = epoch + 1,
  updated_at = :now
WHERE run_id = :run_id AND status = 'interrupted'
RETURNING *;

-- Whoever writes to the run waits; go_on_run, a statement of its own, sees what was asked before.
-- name: lock_run
UPDATE runs SET updated_at = updated_at WHERE run_id = :run_id;

-- name: go_on_run
UPDATE runs SET passes = head, updated_at = :now,
  status = CASE WHEN driver = 'worker' THEN 'queued' ELSE status END
WHERE run_id = :run_id AND thread_id = :thread_id AND status = 'interrupted'
  AND NOT EXISTS (
    SELECT 1 FROM interrupts i WHERE i.run_id = :run_id AND i.past = 0 AND i.status = 'open'
  );

-- name: hold_run
UPDATE runs SET lease_until = :until
WHERE run_id = :run_id AND epoch = :epoch AND lease_owner = :owner AND status = 'running';

-- name: step_run
UPDATE runs SET head = :head, step = :step, steps_taken = steps_taken + :counted, used = :used,
  lease_until = :until, updated_at = :now
WHERE run_id = :run_id AND epoch = :epoch AND lease_owner = :owner AND status = 'running';

-- The run rests when every task that is left waits for an answer; it is queued again at once when an answer
-- has come in that this advance had not seen. A statement of its own, after the fence has locked the row.
-- name: rest_run
UPDATE runs SET lease_owner = NULL, lease_until = NULL, used = :used, error = :error, updated_at = :now,
  status = CASE WHEN EXISTS (
    SELECT 1 FROM interrupts i
    WHERE i.run_id = :run_id AND i.past = 0 AND i.status = 'answered' AND i.delivered_at IS NULL
  ) THEN 'queued' ELSE 'interrupted' END
WHERE run_id = :run_id
RETURNING *;

-- name: end_run
UPDATE runs SET status = :status, error = :error, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE run_id = :run_id AND epoch = :epoch AND lease_owner = :owner AND status = 'running'
RETURNING *;

-- name: finish_run
UPDATE runs SET head = :head, step = :step, steps_taken = steps_taken + :counted, used = :used,
  status = 'completed', error = NULL, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE run_id = :run_id AND epoch = :epoch AND lease_owner = :owner AND status = 'running'
RETURNING *;

-- name: give_back_run
UPDATE runs SET status = 'queued', lease_owner = NULL, lease_until = NULL
WHERE run_id = :run_id AND epoch = :epoch AND lease_owner = :owner AND status = 'running';

-- name: wake_run
UPDATE runs SET status = CASE WHEN status = 'interrupted' THEN 'queued' ELSE status END, updated_at = :now
WHERE run_id = :run_id AND thread_id = :thread_id AND status IN ('queued', 'running', 'interrupted')
RETURNING *;

-- name: migrate_run
UPDATE runs SET version = :version, head = :head, step = :step, status = :status, used = :used,
  error = NULL, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE run_id = :run_id AND thread_id = :thread_id AND head = :before AND epoch = :epoch AND status = :was
  AND (status IN ('queued', 'interrupted', 'needs_attention') OR (status = 'running' AND lease_until < :now));

-- What became of the run after a backup was made is not known: only an operator can say how it goes on.
-- name: attend_run
UPDATE runs SET status = 'needs_attention', error = :error, epoch = epoch + 1, lease_owner = NULL,
  lease_until = NULL, updated_at = :now
WHERE run_id = :run_id;

-- A run that rests is to ask anew what it asks: a worker's goes on by itself, a caller's when it is told to.
-- name: ask_anew
UPDATE runs SET status = CASE WHEN driver = 'worker' THEN 'queued' ELSE status END, used = :used,
  updated_at = :now
WHERE run_id = :run_id AND status = 'interrupted';

-- name: find_live_runs
SELECT * FROM runs
WHERE status IN ('queued', 'running', 'interrupted', 'needs_attention') AND run_id > :after
ORDER BY run_id LIMIT :limit;

-- name: cancel_run
UPDATE runs SET status = 'cancelled', epoch = epoch + 1, lease_owner = NULL, lease_until = NULL,
  updated_at = :now
WHERE run_id = :run_id AND thread_id = :thread_id
  AND status IN ('queued', 'running', 'interrupted', 'needs_attention');


-- Checkpoints --------------------------------------------------------------------------------------

-- name: put_checkpoint
INSERT INTO checkpoints (checkpoint_id, thread_id, run_id, parent_id, ns, step, source, due, joins, held, routes,
  fingerprints, versions, metadata, created_at)
VALUES (:checkpoint_id, :thread_id, :run_id, :parent_id, :ns, :step, :source, :due, :joins, :held, :routes,
  :fingerprints, :versions, :metadata, :now);

-- name: get_checkpoint
SELECT * FROM checkpoints WHERE checkpoint_id = :checkpoint_id;

-- The values at a checkpoint: for each channel what its version holds, with what that goes on from, and what an
-- input brought.
-- name: get_values
WITH RECURSIVE held (checkpoint_id, channel, base) AS (
  SELECT v.checkpoint_id, v.channel, v.base
  FROM checkpoints c, json_each/* postgres: _text */(c.versions/* postgres: ::json */) j, channel_values v
  WHERE c.checkpoint_id = :checkpoint_id AND v.checkpoint_id = j.value AND v.channel = j.key
  UNION
  SELECT v.checkpoint_id, v.channel, v.base
  FROM checkpoints c, channel_values v
  WHERE c.checkpoint_id = :checkpoint_id AND c.source <> 'loop' AND v.checkpoint_id = c.checkpoint_id
  UNION
  SELECT v.checkpoint_id, v.channel, v.base
  FROM held h JOIN channel_values v ON v.checkpoint_id = h.base AND v.channel = h.channel
)
SELECT v.checkpoint_id, v.channel, v.base, v.value
FROM held h JOIN channel_values v ON v.checkpoint_id = h.checkpoint_id AND v.channel = h.channel;

-- name: find_thread_checkpoints
SELECT * FROM checkpoints
WHERE thread_id = :thread_id AND ns = :ns AND checkpoint_id < :before
ORDER BY checkpoint_id DESC LIMIT :limit;

-- name: find_all_checkpoints
SELECT * FROM checkpoints WHERE checkpoint_id < :before ORDER BY checkpoint_id DESC LIMIT :limit;

-- name: find_questions_of_task
SELECT * FROM interrupts WHERE thread_id = :thread_id AND ns = :ns AND task_id = :task_id
ORDER BY asked_at, interrupt_id;

-- What was asked in a namespace or below it; } is the letter after |.
-- name: find_questions_within
SELECT * FROM interrupts WHERE thread_id = :thread_id AND ns = :ns
UNION ALL
SELECT * FROM interrupts WHERE thread_id = :thread_id AND ns > :ns || '|' AND ns < :ns || '}';

-- The head alone does not say that nothing moved: a drive may rest where it began, with another question open.
-- name: edit_run
UPDATE runs SET head = :head, step = :step, status = :status, updated_at = :now
WHERE run_id = :run_id AND head = :before AND epoch = :epoch
  AND status IN ('interrupted', 'queued');

-- name: put_value
INSERT INTO channel_values (checkpoint_id, channel, base, value) VALUES (:checkpoint_id, :channel, :base, :value);

-- name: put_write
INSERT INTO writes (checkpoint_id, task_id, run_id, value, created_at)
VALUES (:checkpoint_id, :task_id, :run_id, :value, :now);

-- A checkpoint that a call with durability "exit" has overtaken, before its last one; that one may still share
-- values with it.
-- name: drop_values
DELETE FROM channel_values WHERE checkpoint_id = :checkpoint_id AND channel NOT IN (
  SELECT j.key FROM checkpoints c, json_each/* postgres: _text */(c.versions/* postgres: ::json */) j
  WHERE c.checkpoint_id = :kept AND j.value = :checkpoint_id
);

-- name: drop_writes
DELETE FROM writes WHERE checkpoint_id = :checkpoint_id;

-- name: drop_checkpoint
DELETE FROM checkpoints WHERE checkpoint_id = :checkpoint_id;

-- name: follow_checkpoint
UPDATE checkpoints SET parent_id = :parent_id WHERE checkpoint_id = :checkpoint_id;

-- name: get_head
SELECT c.* FROM checkpoints c JOIN runs r ON r.head = c.checkpoint_id WHERE r.run_id = :run_id;

-- name: get_head_values
WITH RECURSIVE held (checkpoint_id, channel, base) AS (
  SELECT v.checkpoint_id, v.channel, v.base
  FROM runs r, checkpoints c, json_each/* postgres: _text */(c.versions/* postgres: ::json */) j, channel_values v
  WHERE r.run_id = :run_id AND c.checkpoint_id = r.head AND v.checkpoint_id = j.value AND v.channel = j.key
  UNION
  SELECT v.checkpoint_id, v.channel, v.base
  FROM runs r, checkpoints c, channel_values v
  WHERE r.run_id = :run_id AND c.checkpoint_id = r.head AND c.source <> 'loop' AND v.checkpoint_id = c.checkpoint_id
  UNION
  SELECT v.checkpoint_id, v.channel, v.base
  FROM held h JOIN channel_values v ON v.checkpoint_id = h.base AND v.channel = h.channel
)
SELECT v.checkpoint_id, v.channel, v.base, v.value
FROM held h JOIN channel_values v ON v.checkpoint_id = h.checkpoint_id AND v.channel = h.channel;

-- name: get_head_writes
SELECT w.task_id, w.value FROM runs r JOIN writes w ON w.checkpoint_id = r.head WHERE r.run_id = :run_id;

-- name: get_writes
SELECT task_id, run_id, value FROM writes WHERE checkpoint_id = :checkpoint_id;

-- name: find_errors_at
SELECT error FROM runs WHERE thread_id = :thread_id AND head = :checkpoint_id AND error IS NOT NULL;

-- name: find_checkpoints
SELECT * FROM checkpoints WHERE run_id = :run_id AND ns = '' AND step < :before
ORDER BY step DESC LIMIT :limit;

-- Of all its graphs, in the order in which they were made.
-- name: find_checkpoints_of_run
SELECT checkpoint_id, parent_id, ns, step, source FROM checkpoints
WHERE run_id = :run_id AND checkpoint_id > :after
ORDER BY checkpoint_id LIMIT :limit;

-- Whoever starts a run on it waits, and hold_thread, a statement of its own, sees what was started before.
-- name: lock_thread
UPDATE threads SET last_run = last_run WHERE thread_id = :thread_id;

-- Whether a thread may be deleted: it has no run that is alive. A statement that changes nothing.
-- name: hold_thread
UPDATE threads SET last_run = last_run
WHERE thread_id = :thread_id AND NOT EXISTS (
  SELECT 1 FROM runs r WHERE r.thread_id = :thread_id
    AND r.status IN ('queued', 'running', 'interrupted', 'needs_attention')
);

-- A thread may be let go once its last run has ended, nothing of it is alive, and nothing is left to be told.
-- A statement that changes nothing.
-- name: hold_finished_thread
UPDATE threads SET last_run = last_run
WHERE thread_id = :thread_id AND last_run = :run_id
  AND NOT EXISTS (
    SELECT 1 FROM runs r WHERE r.thread_id = :thread_id
      AND r.status IN ('queued', 'running', 'interrupted', 'needs_attention')
  )
  AND NOT EXISTS (
    SELECT 1 FROM runs r JOIN requests q ON q.run_id = r.run_id JOIN outbox o ON o.request_id = q.request_id
    WHERE r.thread_id = :thread_id AND o.status = 'pending'
  );

-- name: find_finished_threads
SELECT r.thread_id, r.run_id, r.updated_at
FROM runs r JOIN threads t ON t.thread_id = r.thread_id AND t.last_run = r.run_id
WHERE r.status IN ('completed', 'failed', 'cancelled')
  AND r.thread_id NOT IN (
    SELECT q.thread_id FROM outbox o JOIN requests q ON q.request_id = o.request_id WHERE o.status = 'pending'
  )
ORDER BY r.updated_at, r.run_id LIMIT :limit;

-- name: count_finished_threads
SELECT count(*) AS count
FROM runs r JOIN threads t ON t.thread_id = r.thread_id AND t.last_run = r.run_id
WHERE r.status IN ('completed', 'failed', 'cancelled') AND r.updated_at < :before
  AND r.thread_id NOT IN (
    SELECT q.thread_id FROM outbox o JOIN requests q ON q.request_id = o.request_id WHERE o.status = 'pending'
  );

-- name: drop_receipts_of_thread
DELETE FROM receipts WHERE request_id IN (
  SELECT q.request_id FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE r.thread_id = :thread_id
);

-- name: drop_outbox_of_thread
DELETE FROM outbox WHERE request_id IN (
  SELECT q.request_id FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE r.thread_id = :thread_id
);

-- name: drop_due_of_thread
DELETE FROM due WHERE request_id IN (
  SELECT q.request_id FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE r.thread_id = :thread_id
);

-- name: forget_texts_of_thread
UPDATE texts SET said = NULL, salt = NULL, erased_in = :erased_in
WHERE thread_id = :thread_id AND said IS NOT NULL;

-- name: drop_decisions_of_thread
DELETE FROM decisions WHERE request_id IN (
  SELECT q.request_id FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE r.thread_id = :thread_id
);

-- name: drop_reassignments_of_thread
DELETE FROM delegations WHERE request_id IN (
  SELECT q.request_id FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE r.thread_id = :thread_id
);

-- name: drop_bypasses_of_thread
DELETE FROM bypasses WHERE request_id IN (
  SELECT q.request_id FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE r.thread_id = :thread_id
);

-- name: drop_requests_of_thread
DELETE FROM requests WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = :thread_id);

-- name: drop_waits_of_thread
DELETE FROM waits WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = :thread_id);

-- name: drop_executions_of_thread
DELETE FROM executions WHERE request_id IN (
  SELECT e.request_id FROM executions e JOIN runs r ON r.run_id = e.run_id WHERE r.thread_id = :thread_id
  UNION SELECT q.request_id FROM requests q JOIN runs r ON r.run_id = q.run_id WHERE r.thread_id = :thread_id
);

-- name: drop_interrupts_of_thread
DELETE FROM interrupts WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = :thread_id);

-- name: drop_effects_of_thread
DELETE FROM effects WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = :thread_id);

-- Also those of checkpoints that a call with durability "exit" has overtaken.
-- name: drop_values_of_thread
DELETE FROM channel_values WHERE checkpoint_id IN (
  SELECT checkpoint_id FROM checkpoints WHERE thread_id = :thread_id
  UNION SELECT j.value FROM checkpoints c, json_each/* postgres: _text */(c.versions/* postgres: ::json */) j WHERE c.thread_id = :thread_id
);

-- name: drop_writes_of_thread
DELETE FROM writes WHERE checkpoint_id IN (SELECT checkpoint_id FROM checkpoints WHERE thread_id = :thread_id);

-- name: drop_frames_of_thread
DELETE FROM frames WHERE thread_id = :thread_id;

-- name: drop_checkpoints_of_thread
DELETE FROM checkpoints WHERE thread_id = :thread_id;

-- name: drop_runs_of_thread
DELETE FROM runs WHERE thread_id = :thread_id;

-- name: drop_thread
DELETE FROM threads WHERE thread_id = :thread_id;


-- Subgraphs and effects -----------------------------------------------------------------------------

-- name: put_frame
INSERT INTO frames (thread_id, ns, run_id, head, done, steps)
VALUES (:thread_id, :ns, :run_id, :head, :done, :steps)
ON CONFLICT (thread_id, ns) DO UPDATE SET run_id = :run_id, head = :head, done = :done, steps = :steps;

-- name: get_frame
SELECT * FROM frames WHERE thread_id = :thread_id AND ns = :ns;

-- name: find_live_frames
SELECT ns FROM frames WHERE thread_id = :thread_id AND done = 0 ORDER BY ns;

-- name: get_frame_head
SELECT c.* FROM frames f JOIN checkpoints c ON c.checkpoint_id = f.head
WHERE f.thread_id = :thread_id AND f.ns = :ns;

-- name: get_frame_values
WITH RECURSIVE held (checkpoint_id, channel, base) AS (
  SELECT v.checkpoint_id, v.channel, v.base
  FROM frames f, checkpoints c, json_each/* postgres: _text */(c.versions/* postgres: ::json */) j, channel_values v
  WHERE f.thread_id = :thread_id AND f.ns = :ns AND c.checkpoint_id = f.head AND v.checkpoint_id = j.value AND v.channel = j.key
  UNION
  SELECT v.checkpoint_id, v.channel, v.base
  FROM frames f, checkpoints c, channel_values v
  WHERE f.thread_id = :thread_id AND f.ns = :ns AND c.checkpoint_id = f.head AND c.source <> 'loop' AND v.checkpoint_id = c.checkpoint_id
  UNION
  SELECT v.checkpoint_id, v.channel, v.base
  FROM held h JOIN channel_values v ON v.checkpoint_id = h.base AND v.channel = h.channel
)
SELECT v.checkpoint_id, v.channel, v.base, v.value
FROM held h JOIN channel_values v ON v.checkpoint_id = h.checkpoint_id AND v.channel = h.channel;

-- name: get_frame_writes
SELECT w.task_id, w.value FROM frames f JOIN writes w ON w.checkpoint_id = f.head
WHERE f.thread_id = :thread_id AND f.ns = :ns;

-- name: put_effect
INSERT INTO effects (task_id, key, name, run_id, value, created_at)
VALUES (:task_id, :key, :name, :run_id, :value, :now);

-- name: find_effects
SELECT key, value FROM effects WHERE task_id = :task_id;


-- Interrupts ---------------------------------------------------------------------------------------

-- name: put_interrupt
INSERT INTO interrupts (interrupt_id, thread_id, run_id, checkpoint_id, task_id, ns, node, step, key, occurrence,
  value, digest, response_schema, status, asked_at, past)
VALUES (:interrupt_id, :thread_id, :run_id, :checkpoint_id, :task_id, :ns, :node, :step, :key, :occurrence,
  :value, :digest, :response_schema, 'open', :now, 0)
ON CONFLICT (interrupt_id) DO NOTHING;

-- What the tasks ask that a run has still to finish, and what they asked before.
-- name: find_questions
SELECT * FROM interrupts WHERE run_id = :run_id AND past = 0 ORDER BY asked_at, interrupt_id;

-- name: find_open_questions_of_run
SELECT i.*, r.graph, r.version FROM interrupts i JOIN runs r ON r.run_id = i.run_id
WHERE i.run_id = :run_id AND i.past = 0 AND i.status = 'open' ORDER BY i.asked_at, i.interrupt_id;

-- name: find_past_questions
SELECT * FROM interrupts WHERE run_id = :run_id AND past = 1
ORDER BY asked_at DESC, interrupt_id DESC LIMIT :limit;

-- name: find_answerable
SELECT i.interrupt_id, i.status, q.status AS request
FROM interrupts i LEFT JOIN requests q ON q.interrupt_id = i.interrupt_id
WHERE i.run_id = :run_id AND i.past = 0;

-- name: get_question
SELECT i.interrupt_id, i.status, q.status AS request
FROM interrupts i LEFT JOIN requests q ON q.interrupt_id = i.interrupt_id
WHERE i.interrupt_id = :interrupt_id AND i.run_id = :run_id;

-- name: find_open_questions
SELECT i.*, r.graph FROM interrupts i JOIN runs r ON r.run_id = i.run_id
WHERE i.status = 'open' AND (i.asked_at, i.interrupt_id) > (:asked_at, :interrupt_id)
  AND (:thread_id = '' OR i.thread_id = :thread_id)
ORDER BY i.asked_at, i.interrupt_id LIMIT :limit;

-- Where a run stands, and where what it asks was asked.
-- name: find_asking
SELECT ns, fingerprints FROM checkpoints WHERE checkpoint_id IN (
  SELECT head FROM runs WHERE run_id = :run_id
  UNION SELECT checkpoint_id FROM interrupts WHERE run_id = :run_id AND past = 0 AND status = 'open'
) ORDER BY checkpoint_id;

-- A question that has an approval request is answered through it: the request is closed first.
-- name: answer_interrupt
UPDATE interrupts SET status = 'answered', answer = :answer, answered_by = :answered_by, answered_at = :now
WHERE interrupt_id = :interrupt_id AND run_id = :run_id AND thread_id = :thread_id AND status = 'open'
  AND NOT EXISTS (
    SELECT 1 FROM requests q WHERE q.interrupt_id = :interrupt_id AND q.status = 'open'
  );

-- name: deliver_interrupt
UPDATE interrupts SET delivered_at = :now WHERE interrupt_id = :interrupt_id;

-- name: finish_interrupt
UPDATE interrupts SET past = 1,
  delivered_at = CASE WHEN status = 'answered' THEN coalesce(delivered_at, :now) ELSE delivered_at END
WHERE interrupt_id = :interrupt_id;

-- name: reopen_interrupt
UPDATE interrupts SET status = 'open', answer = NULL, answered_by = NULL, answered_at = NULL
WHERE interrupt_id = :interrupt_id AND status = 'answered';

-- name: supersede_interrupt
UPDATE interrupts SET status = 'superseded'
WHERE interrupt_id = :interrupt_id AND status IN ('open', 'answered');

-- name: supersede_as
UPDATE interrupts SET status = 'superseded' WHERE interrupt_id = :interrupt_id AND status = :status;

-- name: withdraw_interrupts
UPDATE interrupts SET status = 'withdrawn' WHERE run_id = :run_id AND status = 'open';


-- Approval requests --------------------------------------------------------------------------------

-- name: put_request
INSERT INTO requests (request_id, interrupt_id, thread_id, run_id, graph, node, title, action, facts, digest,
  policy_name, policy, terms, form, requester, also, shape, part, parts, status, revision, deadline_at, opened_at)
VALUES (:request_id, :interrupt_id, :thread_id, :run_id, :graph, :node, :title, :action, :facts, :digest,
  :policy_name, :policy, :terms, :form, :requester, :also, :shape, :part, :parts, 'open', 1, :deadline_at, :now);

-- name: get_request
SELECT * FROM requests WHERE request_id = :request_id;

-- name: get_run_of_request
SELECT r.*, (SELECT min(w.due_at) FROM waits w WHERE w.run_id = r.run_id AND w.kind = 'time') AS waits_until
FROM runs r JOIN requests q ON q.run_id = r.run_id WHERE q.request_id = :request_id;

-- name: find_requests
SELECT * FROM requests WHERE :status = '' OR status = :status ORDER BY opened_at, request_id LIMIT :limit;

-- name: find_open_requests
SELECT * FROM requests WHERE status = 'open' ORDER BY opened_at, request_id LIMIT :limit;

-- name: find_requests_of_run
SELECT * FROM requests WHERE run_id = :run_id AND (:status = '' OR status = :status)
ORDER BY opened_at, request_id LIMIT :limit;

-- name: find_requests_of_question
SELECT * FROM requests WHERE interrupt_id = :interrupt_id ORDER BY part;

-- name: close_request
UPDATE requests SET status = :status, revision = revision + 1, closed_at = :now
WHERE request_id = :request_id AND status = 'open' AND revision = :revision;

-- One of several parts of a question, with what was decided on it in its neighbour's words.
-- name: close_part
UPDATE requests SET status = :status, revision = revision + 1, closed_at = :now, answer = :answer
WHERE request_id = :request_id AND status = 'open' AND revision = :revision;

-- What was decided on the parts of a question; NULL for those that are open.
-- name: find_parts
SELECT part, status, answer FROM requests WHERE interrupt_id = :interrupt_id ORDER BY part;

-- Changes nothing, and no row unless the question waits for another part and its run is alive. The run is locked
-- before, so that of two last parts the second sees that the first is closed.
-- name: hold_parts
UPDATE interrupts SET status = 'open'
WHERE interrupt_id = :interrupt_id AND run_id = :run_id AND status = 'open'
  AND EXISTS (SELECT 1 FROM requests q WHERE q.interrupt_id = :interrupt_id AND q.status = 'open')
  AND EXISTS (
    SELECT 1 FROM runs r WHERE r.run_id = :run_id AND r.status IN ('queued', 'running', 'interrupted')
  );

-- A vote that does not close it.
-- name: vote_request
UPDATE requests SET revision = revision + 1
WHERE request_id = :request_id AND status = 'open' AND revision = :revision;

-- What its tier may not approve by itself any more goes on by the next one.
-- name: retier_request
UPDATE requests SET terms = :terms, deadline_at = :deadline_at, revision = revision + 1
WHERE request_id = :request_id AND status = 'open' AND revision = :revision;

-- name: get_quota
SELECT since, used FROM quotas WHERE name = :name;

-- No row where somebody has counted since it was read.
-- name: take_quota
INSERT INTO quotas (name, since, used) VALUES (:name, :since, :used)
ON CONFLICT (name) DO UPDATE SET since = :since, used = :used
WHERE quotas.since = :was_since AND quotas.used = :was_used;

-- name: withdraw_requests
UPDATE requests SET status = 'withdrawn', revision = revision + 1, closed_at = :now
WHERE run_id = :run_id AND status = 'open';

-- name: supersede_request
UPDATE requests SET status = 'superseded', revision = revision + 1, closed_at = :now
WHERE interrupt_id = :interrupt_id AND status = 'open';

-- Whether the journal knows the request, which its thread's end may have outlived.
-- name: get_opening
SELECT event_id FROM events
WHERE run_id = :run_id AND request_id = :request_id AND kind = 'request.opened' LIMIT 1;

-- name: put_decision
INSERT INTO decisions (decision_id, request_id, reviewer, verdict, text_id, digest, surface, groups, stage, round,
  arguments, on_behalf_of, delegation_id, one_with, decided_at)
VALUES (:decision_id, :request_id, :reviewer, :verdict, :text_id, :digest, :surface, :groups, :stage, :round,
  :arguments, :on_behalf_of, :delegation_id, :one_with, :now);

-- Clocks differ: what was edited last is said by the rounds.
-- name: find_decisions
SELECT d.*, t.said, t.digest AS words_digest, t.erased_in
FROM decisions d LEFT JOIN texts t ON t.text_id = d.text_id
WHERE d.request_id = :request_id ORDER BY d.round, d.decided_at, d.decision_id;


-- The outbox ---------------------------------------------------------------------------------------

-- name: put_entry
INSERT INTO outbox (entry_id, kind, request_id, status, wanted, attempts, overtaken, payload, available_at,
  created_at, updated_at)
VALUES (:entry_id, :kind, :request_id, 'pending', 1, 0, 0, :payload, :now, :now, :now);

-- What has no card is told in no thread.
-- name: put_trails_of_withdrawn
INSERT INTO outbox (entry_id, kind, request_id, status, wanted, attempts, overtaken, payload, available_at,
  created_at, updated_at)
SELECT :entry_id || '-' || request_id, 'trail', request_id, 'pending', 1, 0, 0, :payload, :now, :now, :now
FROM requests q WHERE run_id = :run_id AND status = 'open'
  AND EXISTS (SELECT 1 FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'card');

-- name: redraw_card
UPDATE outbox SET wanted = wanted + 1, status = 'pending', available_at = :now, updated_at = :now
WHERE request_id = :request_id AND kind = 'card' AND status IN ('pending', 'delivered');

-- name: redraw_card_of_interrupt
UPDATE outbox SET wanted = wanted + 1, status = 'pending', available_at = :now, updated_at = :now
WHERE kind = 'card' AND status IN ('pending', 'delivered') AND request_id IN (
  SELECT request_id FROM requests WHERE interrupt_id = :interrupt_id
);

-- What was told of a request, and whether it stands somewhere.
-- name: find_told
SELECT o.entry_id, o.kind, o.payload, o.status, r.message
FROM outbox o LEFT JOIN receipts r ON r.entry_id = o.entry_id
WHERE o.request_id = :request_id ORDER BY o.entry_id;

-- What stands somewhere is drawn anew there, even where that was given up; what never landed is only told in the
-- words of now. A line that reached nobody stays untold.
-- name: redraw_entry
UPDATE outbox SET wanted = wanted + 1, available_at = :now, updated_at = :now,
  attempts = CASE WHEN status = 'pending' THEN attempts ELSE 0 END, status = 'pending'
WHERE entry_id = :entry_id AND status <> 'lost' AND (
  status = 'pending' OR EXISTS (SELECT 1 FROM receipts r WHERE r.entry_id = outbox.entry_id)
);

-- Open cards of the run, and the newest one whatever became of it: the ones a reader looks at.
-- name: redraw_cards_of_run
UPDATE outbox SET wanted = wanted + 1, status = 'pending', available_at = :now, updated_at = :now
WHERE kind = 'card' AND status IN ('pending', 'delivered') AND request_id IN (
  SELECT request_id FROM requests WHERE run_id = :run_id AND (
    status = 'open' OR request_id = (
      SELECT max(request_id) FROM requests WHERE run_id = :run_id AND status <> 'superseded'
    )
  )
);

-- The newest card of the run, once its request is closed: it says until when the run waits.
-- name: redraw_last_card_of_run
UPDATE outbox SET wanted = wanted + 1, status = 'pending', available_at = :now, updated_at = :now
WHERE kind = 'card' AND status IN ('pending', 'delivered') AND request_id IN (
  SELECT request_id FROM requests WHERE status <> 'open' AND request_id = (
    SELECT max(request_id) FROM requests WHERE run_id = :run_id AND status <> 'superseded'
  )
);

-- name: put_trail_of_run
INSERT INTO outbox (entry_id, kind, request_id, status, wanted, attempts, overtaken, payload, available_at,
  created_at, updated_at)
SELECT :entry_id, 'trail', request_id, 'pending', 1, 0, 0, :payload, :now, :now, :now
FROM requests q WHERE run_id = :run_id AND status <> 'open' AND status <> 'superseded'
  AND EXISTS (SELECT 1 FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'card')
ORDER BY request_id DESC LIMIT 1;

-- Lines of one request are told in order, the first one once its cards are there; what stands there and only waits
-- to be drawn anew holds nobody up, and neither cards nor alarms wait for anything.
-- name: claim_entry
UPDATE outbox SET attempts = attempts + 1,
  overtaken = CASE WHEN lease_owner IS NULL THEN overtaken ELSE 1 END,
  lease_owner = :owner, lease_until = :until, updated_at = :now
WHERE entry_id = (
  SELECT o.entry_id FROM outbox o
  WHERE o.status = 'pending' AND o.available_at <= :now
    AND (o.lease_until IS NULL OR o.lease_until < :now)
    AND NOT (o.kind = 'trail' AND EXISTS (
      SELECT 1 FROM outbox e
      WHERE e.request_id = o.request_id AND e.status = 'pending'
        AND (e.kind = 'card' OR (e.kind = 'trail' AND e.entry_id < o.entry_id))
        AND NOT EXISTS (SELECT 1 FROM receipts r WHERE r.entry_id = e.entry_id)
    ))
  ORDER BY o.available_at, o.entry_id LIMIT 1 /* postgres: FOR UPDATE SKIP LOCKED */
)
RETURNING *;

-- name: complete_entry
UPDATE outbox SET status = CASE WHEN wanted = :drawn THEN 'delivered' ELSE 'pending' END,
  attempts = 0, overtaken = 0, error = NULL, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE entry_id = :entry_id AND lease_owner = :owner AND lease_until = :lease AND attempts = :attempts;

-- A courier that was overtaken may still have a call under way, which would land after ours.
-- name: complete_entry_again
UPDATE outbox SET status = 'pending', wanted = wanted + 1,
  available_at = CASE WHEN wanted = :drawn THEN :again_at ELSE available_at END,
  attempts = 0, overtaken = 0, error = NULL, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE entry_id = :entry_id AND lease_owner = :owner AND lease_until = :lease AND attempts = :attempts;

-- name: retry_entry
UPDATE outbox SET available_at = :available_at, error = :error, lease_owner = NULL, lease_until = NULL,
  updated_at = :now
WHERE entry_id = :entry_id AND lease_owner = :owner AND lease_until = :lease AND attempts = :attempts;

-- name: defer_entry
UPDATE outbox SET available_at = :available_at, attempts = attempts - 1, lease_owner = NULL,
  lease_until = NULL, updated_at = :now
WHERE entry_id = :entry_id AND lease_owner = :owner AND lease_until = :lease AND attempts = :attempts;

-- name: park_entry
UPDATE outbox SET status = 'parked', error = :error, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE entry_id = :entry_id AND lease_owner = :owner AND lease_until = :lease AND attempts = :attempts;

-- name: lose_entry
UPDATE outbox SET status = 'lost', error = :error, lease_owner = NULL, lease_until = NULL, updated_at = :now
WHERE entry_id = :entry_id AND lease_owner = :owner AND lease_until = :lease AND attempts = :attempts;

-- Changes nothing, and no row unless the request has a card left. Its run is locked before, so that two last cards
-- that are lost at once do not wait for each other: the second sees that the first is lost.
-- name: hold_cards
UPDATE outbox SET updated_at = updated_at
WHERE request_id = :request_id AND kind = 'card' AND entry_id <> :entry_id AND status IN ('pending', 'delivered');

-- An alarm for one operator, if the turn of its cause was taken at this moment. Two processes that meet in one
-- microsecond tell it twice.
-- name: put_alarm
INSERT INTO outbox (entry_id, kind, request_id, status, wanted, attempts, overtaken, payload, available_at,
  created_at, updated_at)
SELECT :entry_id, 'alarm', :request_id, 'pending', 1, 0, 0, :payload, :now, :now, :now
FROM turns WHERE channel = :cause AND free_at = :free_at;

-- Cards of open requests in a channel of which something was heard; whether they stand is seen by drawing them.
-- name: redraw_cards_in_channel
UPDATE outbox SET wanted = wanted + 1, status = 'pending', available_at = :now, updated_at = :now
WHERE kind = 'card' AND status IN ('pending', 'delivered') AND entry_id IN (
  SELECT r.entry_id FROM receipts r JOIN requests q ON q.request_id = r.request_id
  WHERE r.kind = 'card' AND r.surface = :surface AND r.workspace = :workspace AND r.channel = :channel
    AND q.status = 'open'
);

-- With one attempt behind it, what is told again is looked for first.
-- name: take_up_parked
UPDATE outbox SET status = 'pending', attempts = 1, available_at = :now, updated_at = :now
WHERE status = 'parked' AND (:entry_id = '' OR entry_id = :entry_id)
RETURNING *;

-- name: find_troubled
SELECT * FROM outbox
WHERE status = 'parked' OR (status = 'pending' AND error IS NOT NULL)
ORDER BY status, entry_id LIMIT :limit;

-- A turn that is further away than a pace is that of a clock which has been set back since.
-- name: take_turn
INSERT INTO turns (channel, free_at) VALUES (:channel, :free_at)
ON CONFLICT (channel) DO UPDATE SET free_at = :free_at WHERE turns.free_at <= :now OR turns.free_at > :free_at
RETURNING free_at;

-- name: get_turn
SELECT free_at FROM turns WHERE channel = :channel;

-- name: put_receipt
INSERT INTO receipts (entry_id, request_id, kind, surface, app, workspace, channel, message, landed_at)
VALUES (:entry_id, :request_id, :kind, :surface, :app, :workspace, :channel, :message, :now)
ON CONFLICT (entry_id) DO NOTHING;

-- name: find_cards
SELECT r.* FROM receipts r JOIN outbox o ON o.entry_id = r.entry_id
WHERE r.request_id = :request_id AND r.kind = 'card' AND o.status <> 'lost'
ORDER BY r.landed_at, r.entry_id;

-- name: get_receipt
SELECT * FROM receipts WHERE entry_id = :entry_id;

-- name: get_receipt_at
SELECT * FROM receipts
WHERE surface = :surface AND workspace = :workspace AND channel = :channel AND message = :message;

-- What a restored database has still to tell may have been told since the backup was made.
-- name: doubt_outbox
UPDATE outbox SET overtaken = 1, lease_owner = NULL, lease_until = NULL WHERE status = 'pending';

-- name: count_outbox
SELECT status, count(*) AS count, min(available_at) AS oldest FROM outbox WHERE status <> 'delivered'
GROUP BY status ORDER BY status;


-- Deadlines ----------------------------------------------------------------------------------------

-- name: put_due
INSERT INTO due (kind, request_id, due_at) VALUES (:kind, :request_id, :due_at);

-- A run that waits for an operator cannot take an answer; its deadlines wait with it.
-- name: find_due
SELECT d.kind, d.request_id, d.due_at
FROM due d JOIN requests q ON q.request_id = d.request_id JOIN runs r ON r.run_id = q.run_id
WHERE d.due_at <= :now AND r.status IN ('queued', 'running', 'interrupted')
  AND NOT EXISTS (SELECT 1 FROM freezes f WHERE f.scope IN ('all', 'graph:' || q.graph))
ORDER BY d.due_at LIMIT :limit;

-- What was due during a freeze of all, or of its graph, is due as much later as that lasted.
-- name: shift_due
UPDATE due SET due_at = due_at + (
  SELECT :now - CASE WHEN q.opened_at > :since THEN q.opened_at ELSE :since END
  FROM requests q WHERE q.request_id = due.request_id
)
WHERE request_id IN (
  SELECT request_id FROM requests
  WHERE status = 'open' AND (:scope = 'all' OR 'graph:' || graph = :scope)
    AND NOT EXISTS (SELECT 1 FROM freezes f WHERE f.scope IN ('all', 'graph:' || requests.graph))
);

-- name: shift_deadlines
UPDATE requests SET revision = revision + 1,
  deadline_at = deadline_at + :now - CASE WHEN opened_at > :since THEN opened_at ELSE :since END
WHERE status = 'open' AND deadline_at IS NOT NULL AND (:scope = 'all' OR 'graph:' || graph = :scope)
  AND NOT EXISTS (SELECT 1 FROM freezes f WHERE f.scope IN ('all', 'graph:' || requests.graph));

-- name: redraw_cards_of_scope
UPDATE outbox SET wanted = wanted + 1, status = 'pending', available_at = :now, updated_at = :now
WHERE kind = 'card' AND status IN ('pending', 'delivered') AND request_id IN (
  SELECT request_id FROM requests
  WHERE status = 'open' AND (:scope = 'all' OR 'graph:' || graph = :scope)
  UNION
  SELECT q.request_id FROM waits w JOIN requests q ON q.run_id = w.run_id
  WHERE q.status IN ('approved', 'edited') AND (:scope = 'all' OR 'graph:' || q.graph = :scope)
);

-- name: drop_due
DELETE FROM due WHERE request_id = :request_id;

-- A line that two processes see due at once is told by the one that takes it away.
-- name: take_due
DELETE FROM due WHERE request_id = :request_id AND kind = :kind;

-- name: drop_due_of_closed
DELETE FROM due WHERE request_id IN (
  SELECT request_id FROM requests WHERE run_id = :run_id AND status <> 'open'
);


-- Waiting, and what was done once -------------------------------------------------------------------

-- name: put_wait
INSERT INTO waits (interrupt_id, run_id, kind, due_at) VALUES (:interrupt_id, :run_id, :kind, :due_at);

-- name: drop_wait
DELETE FROM waits WHERE interrupt_id = :interrupt_id;

-- name: drop_waits_of_run
DELETE FROM waits WHERE run_id = :run_id;

-- A run that waits for an operator cannot take an answer; what it waits for waits with it.
-- name: find_due_waits
SELECT w.interrupt_id, w.run_id, i.status
FROM waits w JOIN runs r ON r.run_id = w.run_id JOIN interrupts i ON i.interrupt_id = w.interrupt_id
WHERE w.kind = 'time' AND w.due_at <= :now AND r.driver = 'worker'
  AND r.status IN ('queued', 'running', 'interrupted')
ORDER BY w.due_at LIMIT :limit;

-- name: find_frozen_waits
SELECT w.interrupt_id, w.run_id, i.status, i.value, i.key
FROM waits w JOIN runs r ON r.run_id = w.run_id JOIN interrupts i ON i.interrupt_id = w.interrupt_id
WHERE w.kind = 'freeze' AND w.interrupt_id > :after AND r.status IN ('queued', 'running', 'interrupted')
ORDER BY w.interrupt_id LIMIT :limit;

-- name: get_execution
SELECT * FROM executions WHERE request_id = :request_id;

-- A freeze that began since the gate looked shuts it, but for one that enough people let this request through.
-- name: reserve_execution
INSERT INTO executions (request_id, run_id, task_id, key, digest, status, started_at, ended_at)
SELECT q.request_id, :run_id, :task_id, :key, :digest, :status, :now, NULL FROM requests q
WHERE q.request_id = :request_id AND NOT EXISTS (
  SELECT 1 FROM freezes f WHERE f.scope IN (:scope_a, :scope_b, :scope_c, :scope_d) AND NOT EXISTS (
    SELECT 1 FROM bypasses b
    WHERE b.request_id = :request_id AND b.scope = f.scope AND b.since = f.since AND f.scope <> 'all'
    GROUP BY b.scope HAVING count(*) >= max(b.needed)
  )
);

-- What a restored database does not know to be used may have been.
-- name: revoke_unused_grants
INSERT INTO executions (request_id, run_id, task_id, key, digest, status, started_at, ended_at)
SELECT q.request_id, q.run_id, '', '', q.digest, 'revoked', :now, :now FROM requests q
WHERE q.status IN ('approved', 'edited')
  AND NOT EXISTS (SELECT 1 FROM executions e WHERE e.request_id = q.request_id);

-- name: reserve_again
UPDATE executions SET status = 'reserved', started_at = :now, ended_at = NULL
WHERE request_id = :request_id AND status = 'indeterminate' AND NOT EXISTS (
  SELECT 1 FROM freezes f WHERE f.scope IN (:scope_a, :scope_b, :scope_c, :scope_d) AND NOT EXISTS (
    SELECT 1 FROM bypasses b
    WHERE b.request_id = :request_id AND b.scope = f.scope AND b.since = f.since AND f.scope <> 'all'
    GROUP BY b.scope HAVING count(*) >= max(b.needed)
  )
);

-- name: end_execution
UPDATE executions SET status = :status, ended_at = :now
WHERE request_id = :request_id AND status IN ('reserved', 'indeterminate');

-- name: drop_execution
DELETE FROM executions WHERE request_id = :request_id AND status IN ('reserved', 'indeterminate');

-- name: find_freezes
SELECT f.*, t.said, t.digest AS words_digest, t.erased_in
FROM freezes f LEFT JOIN texts t ON t.text_id = f.text_id ORDER BY f.scope;

-- name: put_freeze
INSERT INTO freezes (scope, frozen_by, text_id, since, released_by)
VALUES (:scope, :frozen_by, :text_id, :now, '[]');

-- name: agree_to_release
UPDATE freezes SET released_by = :released_by WHERE scope = :scope AND released_by = :before;

-- name: drop_freeze
DELETE FROM freezes WHERE scope = :scope AND released_by = :before;

-- Of two consents at once, the second sees the first.
-- name: lock_request
UPDATE requests SET revision = revision WHERE request_id = :request_id;

-- One consent for one freeze that holds; :before is how many there are for the request, so that who consents is
-- judged by all of them.
-- name: put_bypass
INSERT INTO bypasses (request_id, scope, since, person, on_behalf_of, one_with, text_id, needed, given_at)
SELECT q.request_id, f.scope, f.since, :person, :on_behalf_of, :one_with, :text_id, :needed, :now
FROM requests q, freezes f
WHERE q.request_id = :request_id AND q.status IN ('approved', 'edited') AND f.scope = :scope AND f.since = :since
  AND (SELECT count(*) FROM bypasses b WHERE b.request_id = :request_id) = :before
  AND NOT EXISTS (
    SELECT 1 FROM executions e WHERE e.request_id = :request_id AND e.status IN ('reserved', 'done', 'revoked')
  );

-- name: find_bypasses
SELECT b.*, t.said, t.digest AS words_digest, t.erased_in
FROM bypasses b LEFT JOIN texts t ON t.text_id = b.text_id
WHERE b.request_id = :request_id ORDER BY b.given_at, b.person, b.scope;

-- Which requests enough people let through which freezes that hold.
-- name: find_bypassed
SELECT b.request_id, b.scope, b.since
FROM bypasses b JOIN freezes f ON f.scope = b.scope AND f.since = b.since
WHERE b.scope <> 'all'
GROUP BY b.request_id, b.scope, b.since HAVING count(*) >= max(b.needed)
ORDER BY b.request_id, b.scope;


-- Who acts for whom --------------------------------------------------------------------------------

-- name: get_delegation_count
SELECT value FROM deployment WHERE key = 'delegations';

-- name: count_delegation
UPDATE deployment SET value = :after WHERE key = 'delegations' AND value = :before;

-- name: put_delegation
INSERT INTO delegations (delegation_id, person, delegate, since, until, policy, request_id, text_id, made_by, made_at)
VALUES (:delegation_id, :person, :delegate, :since, :until, :policy, :request_id, :text_id, :made_by, :now);

-- name: get_delegation
SELECT d.*, t.said, t.digest AS words_digest, t.erased_in
FROM delegations d LEFT JOIN texts t ON t.text_id = d.text_id
WHERE d.delegation_id = :delegation_id;

-- Those that hold, or will.
-- name: find_delegations
SELECT d.*, t.said, t.digest AS words_digest, t.erased_in
FROM delegations d LEFT JOIN texts t ON t.text_id = d.text_id
WHERE d.revoked_at IS NULL AND d.until > :now ORDER BY d.delegation_id;

-- Those that hold for a request.
-- name: find_delegations_for
SELECT d.*, t.said, t.digest AS words_digest, t.erased_in
FROM delegations d LEFT JOIN texts t ON t.text_id = d.text_id
WHERE d.revoked_at IS NULL AND d.until > :now AND d.since <= :now
  AND (d.request_id IS NULL OR d.request_id = :request_id)
  AND (d.policy IS NULL OR d.policy = (SELECT q.policy_name FROM requests q WHERE q.request_id = :request_id))
ORDER BY d.delegation_id;

-- Those by which votes on a request were cast, whatever became of them.
-- name: find_delegations_used
SELECT d.*, t.said, t.digest AS words_digest, t.erased_in
FROM delegations d LEFT JOIN texts t ON t.text_id = d.text_id
WHERE d.delegation_id IN (
  SELECT v.delegation_id FROM decisions v WHERE v.request_id = :request_id AND v.delegation_id IS NOT NULL
) ORDER BY d.delegation_id;

-- Whether somebody may still act for another at this moment. A statement that changes nothing.
-- name: hold_delegation
UPDATE delegations SET until = until
WHERE delegation_id = :delegation_id AND revoked_at IS NULL AND until > :now AND since <= :now;

-- name: revoke_delegation
UPDATE delegations SET revoked_at = :now, revoked_by = :revoked_by
WHERE delegation_id = :delegation_id AND revoked_at IS NULL AND until > :now;

-- What a restored database does not know to be revoked may have been.
-- name: revoke_delegations
UPDATE delegations SET revoked_at = :now, revoked_by = :revoked_by WHERE revoked_at IS NULL AND until > :now;


-- The journal --------------------------------------------------------------------------------------

-- name: put_event
INSERT INTO events (event_id, at, kind, actor, thread_id, run_id, request_id, data)
VALUES (:event_id, :now, :kind, :actor, :thread_id, :run_id, :request_id, :data);

-- name: get_event
SELECT event_id FROM events WHERE event_id = :event_id;

-- name: put_events_of_withdrawn
INSERT INTO events (event_id, at, kind, actor, thread_id, run_id, request_id, data)
SELECT :event_id || '-' || request_id, :now, 'request.withdrawn', :actor, thread_id, run_id, request_id, :data
FROM requests WHERE run_id = :run_id AND status = 'open';

-- name: find_events
SELECT newest.*, t.said, t.digest AS words_digest, t.erased_in
FROM (SELECT * FROM events ORDER BY event_id DESC LIMIT :limit) newest
LEFT JOIN texts t ON t.text_id = newest.event_id ORDER BY newest.event_id;

-- name: find_events_of_run
SELECT newest.*, t.said, t.digest AS words_digest, t.erased_in FROM (
  SELECT * FROM events WHERE run_id = :run_id ORDER BY event_id DESC LIMIT :limit
) newest LEFT JOIN texts t ON t.text_id = newest.event_id ORDER BY newest.event_id;

-- name: find_events_of_request
SELECT newest.*, t.said, t.digest AS words_digest, t.erased_in FROM (
  SELECT * FROM events WHERE request_id = :request_id ORDER BY event_id DESC LIMIT :limit
) newest LEFT JOIN texts t ON t.text_id = newest.event_id ORDER BY newest.event_id;

-- name: find_events_after
SELECT * FROM events WHERE event_id > :event_id ORDER BY event_id LIMIT :limit;

-- name: find_unsealed
SELECT * FROM events WHERE block IS NULL ORDER BY event_id LIMIT :limit;

-- name: count_unsealed
SELECT count(*) AS count FROM events WHERE block IS NULL;

-- name: get_last_block
SELECT * FROM blocks ORDER BY block DESC LIMIT 1;

-- name: find_blocks
SELECT * FROM blocks WHERE block > :after ORDER BY block LIMIT :limit;

-- name: find_sealed_events
SELECT * FROM events WHERE block > :after AND block <= :until ORDER BY block, event_id;

-- name: find_strays
SELECT event_id, block FROM events WHERE block > :after OR block < 1 ORDER BY block, event_id LIMIT 1;

-- name: put_block
INSERT INTO blocks (block, key_id, lines, seal, sealed_at) VALUES (:block, :key_id, :lines, :seal, :now);

-- name: seal_event
UPDATE events SET block = :block WHERE event_id = :event_id AND block IS NULL;


-- What people said ---------------------------------------------------------------------------------

-- name: put_text
INSERT INTO texts (text_id, person, thread_id, request_id, digest, salt, said, said_at)
VALUES (:text_id, :person, :thread_id, :request_id, :digest, :salt, :said, :now);

-- name: find_texts_of_person
SELECT text_id, request_id FROM texts
WHERE person = :person AND said IS NOT NULL ORDER BY text_id LIMIT :limit;

-- name: erase_text
UPDATE texts SET said = NULL, salt = NULL, erased_in = :erased_in
WHERE text_id = :text_id AND person = :person AND said IS NOT NULL;

-- What an erasure reaches, and what it leaves: changed arguments, lines of before that hold words, words that went
-- with their threads, and threads whose state may hold some.
-- name: count_words_of_person
SELECT
  (SELECT count(*) FROM texts WHERE person = :person AND said IS NOT NULL) AS texts,
  (SELECT count(*) FROM decisions WHERE reviewer = :person AND arguments IS NOT NULL) AS edits,
  (SELECT count(*) FROM events WHERE actor = :person AND kind = 'run.cancelled' AND data LIKE '%"reason":"%')
    AS lines,
  (SELECT count(*) FROM texts t JOIN events e ON e.event_id = t.erased_in
    WHERE t.person = :person AND e.kind <> 'words.erased') AS gone,
  (SELECT count(*) FROM threads h WHERE EXISTS (
      SELECT 1 FROM texts t WHERE t.person = :person AND t.thread_id = h.thread_id
    ) OR EXISTS (
      SELECT 1 FROM runs r WHERE r.thread_id = h.thread_id AND r.requester = :person
    )) AS threads;

-- name: find_texts_of_blocks
SELECT t.* FROM events e JOIN texts t ON t.text_id = e.event_id
WHERE e.block > :after AND e.block <= :until;

-- Words that went without a line that says so.
-- name: find_untold_erasures
SELECT t.text_id FROM texts t LEFT JOIN events e ON e.event_id = t.erased_in
WHERE t.erased_in IS NOT NULL AND (
  e.event_id IS NULL OR e.kind NOT IN ('words.erased', 'thread.pruned', 'thread.deleted')
  OR (e.kind <> 'words.erased' AND e.thread_id <> t.thread_id)
)
ORDER BY t.text_id LIMIT 1;

-- The lines that say that words went, with how many did.
-- name: find_erasures
SELECT e.event_id, e.data, (SELECT count(*) FROM texts t WHERE t.erased_in = e.event_id) AS count
FROM events e WHERE e.kind = 'words.erased' ORDER BY e.event_id;


-- Looking for damage -------------------------------------------------------------------------------

-- Rows that break a promise that every commit keeps, each with the promise.
-- name: find_broken
SELECT 'a question is open, and its run is over' AS promise, i.interrupt_id AS id
FROM interrupts i JOIN runs r ON r.run_id = i.run_id
WHERE i.status = 'open' AND r.status IN ('completed', 'failed', 'cancelled')
UNION ALL
SELECT 'an answer waits, and its run was not woken', i.interrupt_id
FROM interrupts i JOIN runs r ON r.run_id = i.run_id
WHERE i.status = 'answered' AND i.delivered_at IS NULL AND i.past = 0 AND r.status = 'interrupted'
UNION ALL
SELECT 'a request is open, and its question is not', q.request_id
FROM requests q JOIN interrupts i ON i.interrupt_id = q.interrupt_id
WHERE q.status = 'open' AND i.status <> 'open'
UNION ALL
SELECT 'a request is open, and nobody was to be shown it', q.request_id FROM requests q
WHERE q.status = 'open'
  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.request_id = q.request_id AND o.kind = 'card')
  AND NOT EXISTS (SELECT 1 FROM due d WHERE d.request_id = q.request_id AND d.kind = 'policy')
UNION ALL
SELECT 'a request was decided, and nobody did', q.request_id FROM requests q
WHERE q.status IN ('approved', 'edited', 'rejected', 'responded') AND NOT EXISTS (
  SELECT 1 FROM decisions d WHERE d.request_id = q.request_id AND (d.digest = q.digest OR d.round > 0)
)
UNION ALL
SELECT 'a run is alive, and its thread has gone on', r.run_id
FROM runs r JOIN threads t ON t.thread_id = r.thread_id
WHERE r.status IN ('queued', 'running', 'interrupted', 'needs_attention') AND t.last_run <> r.run_id
UNION ALL
SELECT 'a run stands where there is no checkpoint', r.run_id
FROM runs r LEFT JOIN checkpoints c ON c.checkpoint_id = r.head WHERE c.checkpoint_id IS NULL
UNION ALL
SELECT 'a checkpoint follows none that is there', c.checkpoint_id
FROM checkpoints c LEFT JOIN checkpoints p ON p.checkpoint_id = c.parent_id
WHERE c.parent_id IS NOT NULL AND p.checkpoint_id IS NULL
UNION ALL
SELECT 'a run is driven by nobody', r.run_id FROM runs r
WHERE r.status = 'running' AND r.lease_owner IS NULL
LIMIT :limit;
