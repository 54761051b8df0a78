-- The root of each bucket, moved by compare-and-swap: the arbiter between gateways.

create table if not exists bucket_roots (
  owner_id text not null,
  bucket text not null,
  root_cid text not null,
  version bigint not null default 1,
  updated_at timestamptz not null default current_timestamp,
  primary key (owner_id, bucket)
);
