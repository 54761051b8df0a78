drop table if exists bucket_roots;
