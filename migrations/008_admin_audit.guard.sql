lock table admin_audit_log in share row exclusive mode;

select 'admin_audit_log: rows' as what, count(*) as rows from admin_audit_log;
