-- baseline
-- Accounts, sessions and pins of the pinning service.

create function update_updated_at_column() returns trigger
language plpgsql
as $$
begin
  new.updated_at = current_timestamp;
  return new;
end
$$;

create table users (
  id serial primary key,
  username text,
  password_hash text not null,
  pool_id integer default 1,
  created_at timestamptz default current_timestamp,
  updated_at timestamptz default current_timestamp,
  user_id varchar(64)
);
create index idx_users_username on users (username);
create index idx_users_user_id on users (user_id);
create trigger users_updated_at before update on users for each row execute function update_updated_at_column();

create table sessions (
  id serial primary key,
  username text,
  session_token text not null unique,
  created_at timestamptz default current_timestamp,
  expires_at timestamptz,
  token_hash varchar(64),
  user_id varchar(64)
);
create index idx_sessions_token on sessions (session_token);
create index idx_sessions_username on sessions (username);
create index idx_sessions_expires on sessions (expires_at);
create unique index idx_sessions_token_hash on sessions (token_hash);
create index idx_sessions_user_id on sessions (user_id);

create table pins (
  id serial primary key,
  requestid text not null unique,
  username text,
  cid text not null,
  name text default '',
  name_lowercase text default '',
  origins text default '[]',
  meta text default '{}',
  status text default 'queued' check (status in ('queued', 'pinning', 'pinned', 'failed', 'deleted')),
  upload_status text default 'pending',
  remove_status text,
  delegates text default '[]',
  info text default '{}',
  size bigint default 0,
  session_token text default '',
  created_at timestamptz default current_timestamp,
  updated_at timestamptz default current_timestamp,
  token_hash varchar(64),
  user_id varchar(64)
);
create index idx_pins_requestid on pins (requestid);
create index idx_pins_username on pins (username);
create index idx_pins_cid on pins (cid);
create index idx_pins_status on pins (status);
create index idx_pins_name on pins (name);
create index idx_pins_name_lower on pins (name_lowercase);
create index idx_pins_created on pins (created_at desc);
create index idx_pins_username_status on pins (username, status);
create index idx_pins_username_created on pins (username, created_at desc);
create index idx_pins_session_token on pins (session_token);
create index idx_pins_token_hash on pins (token_hash);
create index idx_pins_user_id on pins (user_id);
create trigger pins_updated_at before update on pins for each row execute function update_updated_at_column();

create table logins (
  id serial primary key,
  username text,
  status text default 'success' check (status in ('success', 'failed', 'locked')),
  ip_address text,
  user_agent text,
  created_at timestamptz default current_timestamp,
  user_id varchar(64)
);
create index idx_logins_username on logins (username);
create index idx_logins_created on logins (created_at desc);
create index idx_logins_status on logins (status);
create index idx_logins_user_id on logins (user_id);
