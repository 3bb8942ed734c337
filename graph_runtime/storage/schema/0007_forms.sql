-- What an edit of a request must satisfy: where its form is found, and the form's JSON schema; NULL without one.
ALTER TABLE requests ADD COLUMN form TEXT;
