-- The journal's seals. A block names its lines in their order with a digest of each; its seal covers them, and
-- the seal of the block before it.
CREATE TABLE blocks (
  block BIGINT PRIMARY KEY,
  key_id TEXT NOT NULL,
  -- [[event_id, digest], ...]
  lines TEXT NOT NULL,
  seal TEXT NOT NULL,
  sealed_at BIGINT NOT NULL
);
-- The block that a line stands in; NULL until it is sealed.
ALTER TABLE events ADD COLUMN block BIGINT;
CREATE INDEX events_of_block ON events (block, event_id);
