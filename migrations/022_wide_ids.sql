-- 64-bit ids in every other table, and the x402 amounts as numeric(38,18).
-- Each table is rewritten once, under ACCESS EXCLUSIVE; amounts are taken over as 021 does.

lock table
  users,
  sessions,
  pins,
  logins,
  webui_users,
  api_keys,
  user_wallets,
  referral_codes,
  referrals,
  blocked_cids,
  admin_audit_log,
  x402_payment_logs,
  x402_ephemeral_objects,
  x402_gateway_stats
in access exclusive mode;

do $check$
declare
  bad bigint;
begin
  select count(*) into bad
    from (
    select amount_usdc from x402_payment_logs
    union all select total_usdc_received from x402_gateway_stats
  ) as amounts (amount)
   where amount = 'NaN' or abs(amount) >= 1e20::real;
  if bad > 0 then
    raise exception 'Migration 022 aborted: % amount(s) in x402_payment_logs or x402_gateway_stats are no amounts of money.', bad
      using hint = 'set these amounts right by hand, then run the command again.';
  end if;
end
$check$;

set local extra_float_digits = 1;

alter table users alter column id type bigint;
alter sequence users_id_seq as bigint;

alter table sessions alter column id type bigint;
alter sequence sessions_id_seq as bigint;

alter table pins alter column id type bigint;
alter sequence pins_id_seq as bigint;

alter table logins alter column id type bigint;
alter sequence logins_id_seq as bigint;

alter table webui_users alter column id type bigint;
alter sequence webui_users_id_seq as bigint;

alter table api_keys alter column id type bigint;
alter sequence api_keys_id_seq as bigint;

alter table user_wallets alter column id type bigint;
alter sequence user_wallets_id_seq as bigint;

alter table referral_codes alter column id type bigint;
alter sequence referral_codes_id_seq as bigint;

alter table referrals alter column id type bigint;
alter sequence referrals_id_seq as bigint;

alter table blocked_cids alter column id type bigint;
alter sequence blocked_cids_id_seq as bigint;

alter table admin_audit_log alter column id type bigint;
alter sequence admin_audit_log_id_seq as bigint;

alter table x402_payment_logs
  alter column id type bigint,
  alter column amount_usdc type numeric(38, 18) using amount_usdc::text::numeric;
alter sequence x402_payment_logs_id_seq as bigint;

alter table x402_ephemeral_objects alter column id type bigint;
alter sequence x402_ephemeral_objects_id_seq as bigint;

alter table x402_gateway_stats
  alter column id type bigint,
  alter column total_usdc_received type numeric(38, 18) using total_usdc_received::text::numeric;
alter sequence x402_gateway_stats_id_seq as bigint;
