-- A card whose place is lost is replaced by others, each an entry of its own; operators are told by alarms. A CHECK
-- cannot be changed in SQLite, so the outbox is made anew, and so are the receipts, which refer to it.
ALTER TABLE receipts RENAME TO receipts_before;
ALTER TABLE outbox RENAME TO outbox_before;

CREATE TABLE outbox (
  entry_id TEXT PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('card', 'trail', 'alarm')),
  request_id TEXT NOT NULL REFERENCES requests (request_id),
  -- A lost card is drawn no more, and its receipt says where it was.
  status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'parked', 'lost')),
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

DROP TABLE receipts_before;
DROP TABLE outbox_before;

-- One card of a request goes to one place; a payload says which.
CREATE UNIQUE INDEX outbox_one_card_per_place ON outbox (request_id, payload)
  WHERE kind = 'card' AND status <> 'lost';
CREATE INDEX outbox_pending ON outbox (available_at) WHERE status = 'pending';
CREATE INDEX outbox_given_up ON outbox (status) WHERE status IN ('parked', 'lost');
CREATE INDEX outbox_of_request ON outbox (request_id, entry_id);
CREATE UNIQUE INDEX receipts_by_place ON receipts (surface, workspace, channel, message);
CREATE INDEX receipts_of_request ON receipts (request_id);
