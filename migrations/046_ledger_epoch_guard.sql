-- Refuses writes of sessions that mean another history of the ledger than the one that this database has. A session says
-- which epoch it means, as `<number>:<uuid>` in the setting fula.ledger_epoch; every statement that writes money or roots
-- compares it with the newest row of ledger_epochs, whatever code sent it.
--
-- This finds out who is on the wrong server. It does not keep a former primary from writing: its own newest row is its own.
-- What does is that its synchronous standbys have gone, and that it stays down until the control plane knows it.
--
-- A session that says nothing (software of the existing fleet, psql) is let in while the ledger has had one primary. After a
-- change of primary it must be told of it: `unchecked` says that somebody has looked, as in
--   alter role fleet set fula.ledger_epoch = 'unchecked';

create function refuse_stale_epoch() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
  meant constant text := coalesce(current_setting('fula.ledger_epoch', true), '');
  newest text;
  newest_number bigint;
begin
  if meant = 'unchecked' then return null; end if;
  select number || ':' || uuid, number into newest, newest_number from ledger_epochs order by number desc limit 1;
  if newest = meant or (newest is null and meant = '') then return null; end if;
  if meant = '' then
    if not exists (select from ledger_epochs where number < newest_number) then return null; end if;
    raise exception 'The ledger had another primary before epoch %, and this session does not say which one it means.', newest_number
      using errcode = 'FM002',
            hint = 'software that knows no epochs: see docs/ledger-epoch.md, "Software that knows no epochs".';
  end if;
  raise exception 'This database is of epoch % of the ledger, and the session means epoch %.', coalesce(newest, 'none'), meant
    using errcode = 'FM002',
          hint = 'connect to the primary of that epoch: fula-master status names it.';
end
$$;

-- Once for a statement, however many rows it touches.
do $$
declare
  guarded text;
begin
  foreach guarded in array array[
    'user_credits', 'credit_history', 'credit_notes', 'token_transactions', 'referral_bonuses', 'x402_payment_logs',
    'chain_sync_state', 'chain_blocks', 'user_wallets', 'user_usage', 'usage_clock', 'cron_lease',
    'billing_mode', 'billing_hours', 'billing_shards', 'billing_alerts',
    'bucket_roots', 'bucket_commits', 'bucket_garbage', 'bucket_holds', 'bucket_mode',
    'gateway_buckets', 'gateway_objects', 'gateway_unpins', 'multipart_uploads', 'multipart_parts',
    'pins', 'pin_jobs', 'ingest_leases',
    'access_keys', 'signing_keys', 'credential_denials', 'join_tokens', 'admin_audit_log'
  ] loop
    execute format(
      'create trigger ledger_epoch before insert or update or delete or truncate on %I
         for each statement execute function refuse_stale_epoch()', guarded);
  end loop;
end
$$;
