-- Without its root a bucket's objects can no longer be found.

lock table bucket_roots in share row exclusive mode;

select 'bucket_roots: roots of buckets' as what, count(*) as rows from bucket_roots;
