-- Buckets and objects of the S3 gateway. A bucket's name belongs to its owner alone (the 32-hex owner id of the
-- fleet), so two users may both have a bucket "photos". Names and keys are compared byte by byte, as S3 lists them.

create table gateway_buckets (
  bucket_id bigint generated always as identity primary key,
  owner_id text not null,
  name text collate "C" not null,
  created_at timestamptz not null default now(),
  constraint gateway_buckets_owner_name unique (owner_id, name),
  constraint gateway_buckets_owner_form check (owner_id ~ '^[0-9a-f]{32}$')
);

create table gateway_objects (
  bucket_id bigint not null,
  key text collate "C" not null,
  root_cid text not null,
  size_bytes bigint not null,
  headers jsonb not null,
  metadata jsonb not null,
  checksums jsonb not null,
  modified_at timestamptz not null,
  primary key (bucket_id, key),
  constraint gateway_objects_bucket foreign key (bucket_id) references gateway_buckets (bucket_id),
  constraint gateway_objects_key_length check (octet_length(key) between 1 and 1024),
  constraint gateway_objects_size check (size_bytes >= 0)
);

-- "Has any other object this content?" is asked before every unpin.
create index gateway_objects_root_cid on gateway_objects (root_cid);

-- Contents that may have lost their last object. A row is written in the transaction that removes or replaces the
-- object and deleted when the pin is gone (or found to be needed), so a crash in between loses no pin and leaks none.
create table gateway_unpins (
  root_cid text primary key,
  queued_at timestamptz not null default now()
);
