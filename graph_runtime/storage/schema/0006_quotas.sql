-- How much a tier of a policy has approved by itself since a moment.

CREATE TABLE quotas (
  -- The policy, the tier, the limit and, where each has their own, the requester.
  name TEXT PRIMARY KEY,
  since BIGINT NOT NULL,
  -- An exact decimal.
  used TEXT NOT NULL
);
