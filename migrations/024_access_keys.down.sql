drop table access_keys;
