-- baseline
-- What administrators did, to whom.

create table admin_audit_log (
  id serial primary key,
  actor text,
  action text not null,
  target_email text,
  details jsonb,
  created_at timestamptz default now(),
  actor_id varchar(64),
  target_id varchar(64)
);
create index idx_admin_audit_log_actor on admin_audit_log (actor);
create index idx_admin_audit_log_created_at on admin_audit_log (created_at);
create index idx_admin_audit_log_actor_id on admin_audit_log (actor_id);
