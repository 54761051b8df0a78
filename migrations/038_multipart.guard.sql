-- What clients have uploaded so far, but not yet completed; they would have to begin again.

lock table multipart_uploads, multipart_parts in share row exclusive mode;

select 'multipart_uploads: open uploads' as what, count(*) as rows from multipart_uploads where completed_at is null
union all
select 'multipart_parts: parts', count(*) from multipart_parts;
