lock table x402_payment_logs, x402_ephemeral_objects, x402_gateway_stats in share row exclusive mode;

select 'x402_payment_logs: rows' as what, count(*) as rows from x402_payment_logs
union all
select 'x402_ephemeral_objects: rows', count(*) from x402_ephemeral_objects
union all
select 'x402_gateway_stats: rows', count(*) from x402_gateway_stats;
