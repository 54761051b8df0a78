-- A root of our own index means nothing to the fleet's gateway, and what lies under it is found by no other way.

lock table bucket_roots, bucket_commits in share row exclusive mode;

select 'bucket_roots: buckets of fula-master' as what, count(*) as rows from bucket_roots where format = 1
union all
select 'bucket_commits: earlier roots', count(*) from bucket_commits;
