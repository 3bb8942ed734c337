-- Policies of several people: what a policy came to for a request, and votes that may not close one.

-- Which tier and which rules the facts chose, NULL for what was asked before there were any.
ALTER TABLE requests ADD COLUMN terms TEXT;

ALTER TABLE decisions RENAME TO decisions_before;
CREATE TABLE decisions (
  decision_id TEXT PRIMARY KEY,
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  reviewer TEXT NOT NULL,
  verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'edit', 'reject', 'respond', 'withdraw')),
  reason TEXT,
  digest TEXT NOT NULL,
  surface TEXT NOT NULL,
  -- Groups, channels and schedules of the policy that the reviewer was in then, as a list.
  groups TEXT NOT NULL,
  stage INTEGER NOT NULL,
  -- How often the action had been edited, this edit included.
  round INTEGER NOT NULL,
  -- The action's arguments as an edit left them.
  arguments TEXT,
  decided_at BIGINT NOT NULL
);
INSERT INTO decisions (decision_id, request_id, reviewer, verdict, reason, digest, surface, groups, stage, round,
  decided_at)
SELECT decision_id, request_id, reviewer, verdict, reason, digest, surface, '[]', 0, 0, decided_at
FROM decisions_before;
DROP TABLE decisions_before;
-- Who has approved may still take back what they asked for themselves.
CREATE UNIQUE INDEX decisions_one_vote_each ON decisions (request_id, reviewer, round, verdict);
