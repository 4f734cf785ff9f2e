"""Where the record is kept: one schema for SQLite and Postgres, what writes and what reads it."""
