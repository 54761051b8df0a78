drop table admin_audit_log;
