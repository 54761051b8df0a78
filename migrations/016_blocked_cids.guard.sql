lock table blocked_cids in share row exclusive mode;

select 'blocked_cids: rows' as what, count(*) as rows from blocked_cids;
