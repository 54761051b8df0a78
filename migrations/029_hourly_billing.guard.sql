-- Without the record of billed hours nobody can prove that none was left out.

lock table billing_hours, billing_alerts in share row exclusive mode;

select 'billing_hours: hours that were billed' as what, count(*) as rows from billing_hours
union all
select 'billing_alerts: what needs a person', count(*) from billing_alerts where resolved_at is null;
