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

do $$
declare
  too_wide text;
begin
  select string_agg(format('%s (%s)', place, highest), ', ') into too_wide
    from (
    select 'users', max(id) from users
    union all select 'sessions', max(id) from sessions
    union all select 'pins', max(id) from pins
    union all select 'logins', max(id) from logins
    union all select 'webui_users', max(id) from webui_users
    union all select 'api_keys', max(id) from api_keys
    union all select 'user_wallets', max(id) from user_wallets
    union all select 'referral_codes', max(id) from referral_codes
    union all select 'referrals', max(id) from referrals
    union all select 'blocked_cids', max(id) from blocked_cids
    union all select 'admin_audit_log', max(id) from admin_audit_log
    union all select 'x402_payment_logs', max(id) from x402_payment_logs
    union all select 'x402_ephemeral_objects', max(id) from x402_ephemeral_objects
    union all select 'x402_gateway_stats', max(id) from x402_gateway_stats
  ) as ids (place, highest)
   where highest > 2147483647;
  if too_wide is not null then
    raise exception 'Revert 022 aborted: ids do not fit into 32 bits any more: %.', too_wide;
  end if;
end
$$;

alter table users alter column id type integer;
alter sequence users_id_seq as integer;

alter table sessions alter column id type integer;
alter sequence sessions_id_seq as integer;

alter table pins alter column id type integer;
alter sequence pins_id_seq as integer;

alter table logins alter column id type integer;
alter sequence logins_id_seq as integer;

alter table webui_users alter column id type integer;
alter sequence webui_users_id_seq as integer;

alter table api_keys alter column id type integer;
alter sequence api_keys_id_seq as integer;

alter table user_wallets alter column id type integer;
alter sequence user_wallets_id_seq as integer;

alter table referral_codes alter column id type integer;
alter sequence referral_codes_id_seq as integer;

alter table referrals alter column id type integer;
alter sequence referrals_id_seq as integer;

alter table blocked_cids alter column id type integer;
alter sequence blocked_cids_id_seq as integer;

alter table admin_audit_log alter column id type integer;
alter sequence admin_audit_log_id_seq as integer;

alter table x402_payment_logs
  alter column id type integer,
  alter column amount_usdc type real;
alter sequence x402_payment_logs_id_seq as integer;

alter table x402_ephemeral_objects alter column id type integer;
alter sequence x402_ephemeral_objects_id_seq as integer;

alter table x402_gateway_stats
  alter column id type integer,
  alter column total_usdc_received type real;
alter sequence x402_gateway_stats_id_seq as integer;
