-- The content stays pinned, but which bucket and key it was stored under is known nowhere else.

lock table gateway_buckets, gateway_objects, gateway_unpins in share row exclusive mode;

select 'gateway_buckets: buckets' as what, count(*) as rows from gateway_buckets
union all
select 'gateway_objects: objects', count(*) from gateway_objects;
