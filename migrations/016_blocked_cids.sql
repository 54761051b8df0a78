-- baseline
-- CIDs that must not be served, or are served from elsewhere.

create table blocked_cids (
  id serial primary key,
  cid text not null unique,
  reason text,
  blocked_by varchar(64),
  created_at timestamptz not null default now(),
  mode text not null default 'block' check (mode in ('block', 'redirect'))
);
create index idx_blocked_cids_created_at on blocked_cids (created_at desc);
