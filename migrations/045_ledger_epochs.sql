-- Which histories of the ledger this database has been through: one row an epoch, and the row is the first thing that a new
-- primary writes. A number alone is not enough, nor is PostgreSQL's timeline: two standbys that are promoted apart from one
-- another get the same timeline, and only the UUID tells their databases apart.

create table ledger_epochs (
  number bigint primary key,
  uuid uuid not null unique,
  -- Attributes of the epoch, for people and for the ladder of repairs: the primary's timeline, and where it left the one before.
  timeline integer,
  switch_lsn pg_lsn,
  primary_node text,
  reason text,
  at timestamptz not null default now(),
  constraint ledger_epochs_number check (number > 0),
  constraint ledger_epochs_timeline check (timeline > 0)
);
