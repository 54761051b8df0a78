-- What clients have sent to storage nodes and not mapped yet; they would have to send it again.

lock table ingest_leases in share row exclusive mode;

select 'ingest_leases: not mapped yet' as what, count(*) as rows from ingest_leases
 where mapped_at is null and expires_at > now();
