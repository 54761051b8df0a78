lock table x402_payment_logs, x402_gateway_stats in share row exclusive mode;

select 'x402_payment_logs: rows with amounts that would be rounded' as what, count(*) as rows from x402_payment_logs
 where amount_usdc <> amount_usdc::real::text::numeric
union all
select 'x402_gateway_stats: rows with amounts that would be rounded' as what, count(*) as rows from x402_gateway_stats
 where total_usdc_received <> total_usdc_received::real::text::numeric;
