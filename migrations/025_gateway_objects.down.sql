drop table gateway_unpins;
drop table gateway_objects;
drop table gateway_buckets;
