drop table ingest_leases;
