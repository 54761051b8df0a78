drop table blocked_cids;
