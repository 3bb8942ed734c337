-- Who acts for whom and how long, and who lets one approved request through a freeze.

CREATE TABLE delegations (
  delegation_id TEXT PRIMARY KEY,
  -- Whose place it is, and who may fill it.
  person TEXT NOT NULL,
  delegate TEXT NOT NULL,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL,
  -- Only requests of this policy; only this request, whose policy stands beside it. NULL: every one.
  policy TEXT,
  request_id TEXT,
  -- Where the reason lies.
  text_id TEXT,
  made_by TEXT NOT NULL,
  made_at BIGINT NOT NULL,
  revoked_by TEXT,
  revoked_at BIGINT
);
CREATE INDEX delegations_in_force ON delegations (until) WHERE revoked_at IS NULL;
CREATE INDEX delegations_of_request ON delegations (request_id) WHERE request_id IS NOT NULL;
-- Counts the delegations that were made: of two that are made at once, the second one is looked at again.
INSERT INTO deployment (key, value) VALUES ('delegations', '0');

-- In whose place a vote was cast, by which delegation, and who counted as one person with the voter then.
ALTER TABLE decisions ADD COLUMN on_behalf_of TEXT;
ALTER TABLE decisions ADD COLUMN delegation_id TEXT;
ALTER TABLE decisions ADD COLUMN one_with TEXT NOT NULL DEFAULT '[]';

-- One person's consent to carry one approved request out although this freeze, which began then, holds.
CREATE TABLE bypasses (
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  scope TEXT NOT NULL,
  since BIGINT NOT NULL,
  person TEXT NOT NULL,
  on_behalf_of TEXT,
  -- Who counted as one person with them then, as a list.
  one_with TEXT NOT NULL,
  text_id TEXT,
  -- How many must consent, as the request's policy says.
  needed INTEGER NOT NULL,
  given_at BIGINT NOT NULL,
  PRIMARY KEY (request_id, scope, since, person)
);
