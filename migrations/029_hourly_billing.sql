-- Hourly billing: which hours were billed, by whom and with which sum; how it is done (the mode that all masters share);
-- what a person has to look at. Two gates stand between an account and a second fee for one hour: the unique index of
-- 018 on the ledger, and the account's own watermark (billed_hour).

-- opening_fula: what the balance was before the first entry of the ledger that counts, so that for every account
-- balance_fula = opening_fula + sum(amount_fula). Balances that were kept in float4 drifted away from their entries.
alter table user_credits
  add column billed_hour timestamptz,
  add column opening_fula numeric(38, 18) not null default 0;

-- What the fee was reckoned from; null in entries of other writers.
alter table credit_history add column usage_bytes bigint;

lock table user_credits, credit_history in share row exclusive mode;

-- Nothing of an account changes that its owner would know of: updated_at stays.
alter table user_credits disable trigger user_credits_updated_at;
update user_credits c
   set opening_fula = coalesce(c.balance_fula, 0) - coalesce(l.amount, 0)
  from user_credits as own
  left join (select user_id, sum(amount_fula) as amount from credit_history where user_id is not null group by user_id) as l
    using (user_id)
 where own.id = c.id
   and coalesce(c.balance_fula, 0) <> coalesce(l.amount, 0);
alter table user_credits enable trigger user_credits_updated_at;

-- How every master of the federation bills; written by the first that does, changed by `fula-master billing mode`.
create table billing_mode (
  only_row boolean primary key default true,
  -- 'keyed': one fee an hour and account, whoever charges (BILLING_IDEMPOTENCY on). 'unkeyed': one fee a run.
  mode text not null,
  -- The first hour that is billed under 'keyed'; hours before it are nobody's business any more.
  first_hour timestamptz not null,
  changed_at timestamptz not null default now(),
  changed_by text not null,
  constraint billing_mode_one_row check (only_row),
  constraint billing_mode_known check (mode in ('keyed', 'unkeyed')),
  constraint billing_mode_hour check (first_hour = date_trunc('hour', first_hour, 'UTC'))
);

-- What an account that stores `bytes` pays for one hour, in FULA: max(0, bytes - free tier) / 2^30 * price / 720, rounded
-- half to even to 18 digits. src/lib/billing/fee.ts is the same in TypeScript, with examples. 773094113280 = 2^30 * 720;
-- n / d is rounded half up as floor((2n + d) / 2d), and one unit is taken off again where that was a half to an odd unit.
-- One expression, so that the planner puts it in the place of the call.
create function hourly_fee(bytes bigint, free_tier_bytes bigint, fula_per_gib_month numeric) returns numeric
language sql immutable parallel safe
as $$
  select case when bytes <= free_tier_bytes then 0 else (
    div((bytes - free_tier_bytes) * (fula_per_gib_month * 2000000000000000000) + 773094113280, 1546188226560)
    - case when mod((bytes - free_tier_bytes) * (fula_per_gib_month * 2000000000000000000) + 773094113280, 1546188226560) = 0
           then mod(div((bytes - free_tier_bytes) * (fula_per_gib_month * 2000000000000000000) + 773094113280, 1546188226560), 2)
           else 0 end
  ) * 0.000000000000000001 end
$$;

create table billing_hours (
  hour timestamptz primary key,
  -- 'open': being billed. 'done'. 'skipped': left out because it was too long ago; `billing backfill` bills it.
  -- 'waived': an operator decided that nobody pays for it.
  state text not null,
  -- 'completed': by the bytes at the hour's end, once it is over. 'current': by the bytes at billing time, while it runs.
  basis text not null default 'completed',
  -- What the fee is reckoned with; the same for all accounts, whichever masters take part.
  free_tier_bytes bigint not null,
  fula_per_gib_month numeric(38, 18) not null,
  -- True for an hour that is charged after later ones: the accounts' watermarks are beyond it already, so the ledger's
  -- unique index stands alone against a second fee.
  late boolean not null default false,
  -- 'accrue': suspended accounts were charged too. 'pause': they were not, so who had to pay cannot be told afterwards.
  while_suspended text not null default 'accrue',
  began_at timestamptz not null default clock_timestamp(),
  began_by text not null,
  -- The epoch of the cron lease; null where there is none.
  began_epoch bigint,
  ended_at timestamptz,
  ended_by text,
  ended_epoch bigint,
  -- Accounts that were charged, and how much altogether; null until the hour is done.
  users bigint,
  sum_fula numeric(38, 18),
  -- Accounts whose hour the ledger had already.
  conflicts bigint,
  reason text,
  constraint billing_hours_state check (state in ('open', 'done', 'skipped', 'waived')),
  constraint billing_hours_basis check (basis in ('completed', 'current')),
  constraint billing_hours_while_suspended check (while_suspended in ('accrue', 'pause')),
  constraint billing_hours_hour check (hour = date_trunc('hour', hour, 'UTC')),
  constraint billing_hours_done check ((state = 'done') = (users is not null and sum_fula is not null and ended_at is not null))
);
create index billing_hours_open on billing_hours (hour) where state in ('open', 'skipped');

-- An hour's accounts in ranges of their ids: masters that bill one hour at the same time share these among them.
create table billing_shards (
  hour timestamptz not null references billing_hours (hour) on delete cascade,
  shard integer not null,
  -- From this id on, and below that one; null = all that follow, accounts made meanwhile too.
  id_from bigint not null,
  id_to bigint,
  done_at timestamptz,
  done_by text,
  done_epoch bigint,
  users bigint,
  sum_fula numeric(38, 18),
  conflicts bigint,
  primary key (hour, shard)
);

-- What needs a person. One row a cause, as long as it stands.
create table billing_alerts (
  alert_id bigint generated always as identity primary key,
  -- 'amount-differs', 'hours-skipped', 'reorg-too-deep', …: src/lib/billing/alerts.ts has them all.
  kind text not null,
  -- What of that kind; raised again, the same subject counts up.
  subject text not null,
  details jsonb not null default '{}',
  raised_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  times bigint not null default 1,
  resolved_at timestamptz,
  resolved_by text
);
create unique index billing_alerts_standing on billing_alerts (kind, subject) where resolved_at is null;

-- A database of which one master bills by key and another one does not would charge an hour twice. Whoever writes an
-- unkeyed fee while the federation bills by key is refused, whatever software it is; and the other way round. Runs as its
-- owner: other software may have a role that knows nothing of billing_mode.
create function refuse_other_billing_mode() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
  wanted text;
  is_keyed constant boolean := new.reference_id like 'hour:%';
begin
  select mode into wanted from billing_mode;
  if wanted = 'keyed' and is_keyed is not true then
    raise exception 'This federation bills by the hour''s key; a fee with the reference % is refused.', coalesce(new.reference_id, 'NULL')
      using errcode = 'FM001', constraint = 'billing_mode_mixed',
            hint = 'set BILLING_IDEMPOTENCY=true on every master.';
  elsif wanted = 'unkeyed' and is_keyed then
    raise exception 'This federation bills without keys; a fee with the reference % is refused.', new.reference_id
      using errcode = 'FM001', constraint = 'billing_mode_mixed',
            hint = 'turn BILLING_IDEMPOTENCY on everywhere, with every master stopped: fula-master billing mode keyed.';
  end if;
  return new;
end
$$;

-- Only one of the two is enabled, by whoever changes the mode: a million keyed fees an hour do not call a function each.
create trigger credit_history_unkeyed_refused before insert on credit_history
  for each row when (new.tx_type = 'hourly_deduction' and (new.reference_id like 'hour:%') is not true)
  execute function refuse_other_billing_mode();
create trigger credit_history_keyed_refused before insert on credit_history
  for each row when (new.tx_type = 'hourly_deduction' and new.reference_id like 'hour:%')
  execute function refuse_other_billing_mode();
alter table credit_history disable trigger credit_history_keyed_refused;
