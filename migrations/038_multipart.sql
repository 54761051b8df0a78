-- Multipart uploads, so that they outlive a restart and go on at another master. A part's content is pinned when its
-- row is written; the row is what the collector of garbage takes as the reference to it. Whoever deletes or replaces a
-- row puts the content on the collector's queue in the same transaction.

create table multipart_uploads (
  -- Random; S3 clients take it as it is.
  upload_id text collate "C" primary key,
  owner_id text not null,
  bucket text not null,
  -- An upload belongs to the bucket that it was begun in: one that was deleted and made again is another. Milliseconds.
  bucket_created_ms bigint not null,
  key text collate "C" not null,
  -- What the object is to have beside its content, as its creation said.
  headers jsonb not null,
  metadata jsonb not null,
  tags jsonb not null,
  checksum text,
  checksum_type text,
  created_at timestamptz not null default clock_timestamp(),
  -- Last time that somebody did something with it; idle ones expire.
  active_at timestamptz not null default clock_timestamp(),
  -- What completing it makes of it, written down before the object is: whoever completes it again, or finds it done by
  -- another master, knows the object by it. Null while it is open.
  plan jsonb,
  -- Set once the object is there; the parts are gone by then.
  completed_at timestamptz,
  constraint multipart_uploads_owner_form check (owner_id ~ '^[0-9a-f]{32}$'),
  constraint multipart_uploads_key_length check (octet_length(key) between 1 and 1024),
  constraint multipart_uploads_checksum check (
    (checksum is null) = (checksum_type is null)
    and checksum in ('crc32', 'crc32c', 'crc64nvme', 'sha1', 'sha256')
    and checksum_type in ('COMPOSITE', 'FULL_OBJECT')
  ),
  constraint multipart_uploads_completed check (completed_at is null or plan is not null)
);
-- Uploads of a bucket are listed by key.
create index multipart_uploads_listed on multipart_uploads (owner_id, bucket, key, upload_id);
create index multipart_uploads_active_at on multipart_uploads (active_at);

create table multipart_parts (
  upload_id text collate "C" not null,
  part_number integer not null,
  content_cid text not null,
  size_bytes bigint not null,
  -- Bytes of all blocks of the content, which the node that joins the parts has to name.
  dag_bytes bigint not null,
  -- Without quotes.
  etag text not null,
  -- Of the upload's algorithm, or of the one that the part was sent with: `crc32` → base64.
  checksums jsonb not null,
  modified_at timestamptz not null default clock_timestamp(),
  primary key (upload_id, part_number),
  constraint multipart_parts_upload foreign key (upload_id) references multipart_uploads (upload_id),
  constraint multipart_parts_number check (part_number between 1 and 10000),
  constraint multipart_parts_sizes check (size_bytes >= 0 and dag_bytes >= size_bytes)
);
-- "Does any part have this content?" is asked before every unpin.
create index multipart_parts_content on multipart_parts (content_cid);
