-- What people say in their own words lies in rows of its own, and the line of the journal that tells of it holds
-- only its digest: the words can be erased, and the line stays what was sealed.
CREATE TABLE texts (
  -- The line that holds the digest.
  text_id TEXT PRIMARY KEY,
  person TEXT NOT NULL,
  -- NULL for what belongs to no thread: why something is frozen.
  thread_id TEXT,
  request_id TEXT,
  -- Over salt and words; NULL for what was said before lines held digests.
  digest TEXT,
  -- Goes with the words: nobody who guesses them can compare.
  salt TEXT,
  said TEXT,
  said_at BIGINT NOT NULL,
  -- The line that says that the words were erased, or that their thread was let go.
  erased_in TEXT
);
CREATE INDEX texts_of_person ON texts (person, text_id);
CREATE INDEX texts_of_thread ON texts (thread_id) WHERE said IS NOT NULL;
CREATE INDEX texts_erased ON texts (erased_in) WHERE erased_in IS NOT NULL;

INSERT INTO texts (text_id, person, thread_id, request_id, said, said_at)
SELECT 'txt-' || d.decision_id, d.reviewer, q.thread_id, q.request_id, d.reason, d.decided_at
FROM decisions d JOIN requests q ON q.request_id = d.request_id WHERE d.reason IS NOT NULL;
ALTER TABLE decisions ADD COLUMN text_id TEXT;
UPDATE decisions SET text_id = 'txt-' || decision_id WHERE reason IS NOT NULL;
ALTER TABLE decisions DROP COLUMN reason;

INSERT INTO texts (text_id, person, said, said_at)
SELECT 'txt-freeze-' || scope, frozen_by, reason, since FROM freezes;
ALTER TABLE freezes ADD COLUMN text_id TEXT;
UPDATE freezes SET text_id = 'txt-freeze-' || scope;
ALTER TABLE freezes DROP COLUMN reason;
