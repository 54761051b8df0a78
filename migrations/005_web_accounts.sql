-- baseline
-- Accounts of the web UI and their API keys. user_id is the lower-case hex SHA-256 of the lower-cased e-mail address.

create table webui_users (
  id serial primary key,
  email text,
  name text,
  picture text,
  created_at timestamptz default current_timestamp,
  last_login_at timestamptz,
  total_upload_size bigint default 0,
  app_downloaded integer default 0,
  app_downloaded_at timestamptz,
  company text,
  user_id varchar(64),
  encrypted_email text
);
create index idx_webui_users_user_id on webui_users (user_id);
create unique index idx_webui_users_user_id_unique on webui_users (user_id);

create table api_keys (
  id serial primary key,
  key_id text unique,
  user_email text,
  created_at timestamptz default current_timestamp,
  last_used_at timestamptz,
  is_deleted integer default 0,
  deleted_at timestamptz,
  encrypted_key text,
  user_id varchar(64),
  key_hash varchar(64)
);
alter table api_keys
  add constraint fk_api_keys_user_id foreign key (user_id) references webui_users (user_id) not valid;
create index idx_api_keys_user_email on api_keys (user_email);
create index idx_api_keys_key_id on api_keys (key_id);
create index idx_api_keys_user_id on api_keys (user_id);
create unique index idx_api_keys_key_hash on api_keys (key_hash);
