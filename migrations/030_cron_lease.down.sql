drop table cron_lease;
