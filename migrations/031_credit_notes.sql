-- Why an operator changed a balance, and who it was: one row for each adjustment and for each deposit that was taken back.

create table credit_notes (
  entry_id bigint primary key references credit_history (id) on delete cascade,
  operator text not null,
  reason text not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint credit_notes_operator check (operator <> ''),
  constraint credit_notes_reason check (reason <> '')
);
