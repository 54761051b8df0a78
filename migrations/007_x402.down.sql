drop table x402_gateway_stats;
drop table x402_ephemeral_objects;
drop table x402_payment_logs;
