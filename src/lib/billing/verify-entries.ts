import { ENTRIES_IN_SCOPE, type LedgerLook } from "./verify-look.ts";

/** One entry a reference, whether or not an index holds it. */
export const DUPLICATES: LedgerLook = {
  rules: [
    {
      name: "duplicates",
      claim: "no fee, deposit, bonus, adjustment or reversal is in the ledger twice",
      remedy:
        "fula-master billing adjust gives the second one back; fula-master migrate up builds an index that is missing.",
    },
  ],
  findings: `
    select 'duplicates' as rule,
           format('%s %s of user %s is there %s times: entries %s', tx_type, reference_id, user_id, count(*), string_agg(id::text, ', ' order by id)) as finding
      from (${ENTRIES_IN_SCOPE}) e
     where tx_type = 'hourly_deduction' and user_id is not null and reference_id is not null
     group by user_id, tx_type, reference_id having count(*) > 1
    union all
    select 'duplicates',
           format('%s %s is there %s times: entries %s', tx_type, lower(reference_id), count(*), string_agg(id::text, ', ' order by id))
      from (${ENTRIES_IN_SCOPE}) e
     where tx_type = 'deposit' or reference_id ~ '^(adjustment|bonus|reversal):'
     group by tx_type, lower(reference_id) having count(*) > 1`,
};

/** Indexes without which a second entry would be taken. */
export const INDEXES: LedgerLook = {
  rules: [
    {
      name: "indexes",
      claim: "the unique indexes that refuse a second fee, deposit or correction are there and valid",
      remedy: "fula-master migrate up builds them.",
    },
  ],
  findings: `
    select 'indexes' as rule,
           case when i.indexrelid is null then format('%s is missing', wanted.name)
                when not (i.indisvalid and i.indisready and i.indislive) then format('%s is INVALID: nothing is refused by it', wanted.name)
                else format('%s is not unique', wanted.name) end as finding
      from (values ('credit_history', 'idx_credit_history_hourly_dedup'),
                   ('credit_history', 'idx_credit_history_deposit_reference'),
                   ('credit_history', 'idx_credit_history_own_reference'),
                   ('token_transactions', 'idx_token_transactions_log')) as wanted (relation, name)
      left join pg_class c on c.relname = wanted.name and c.relnamespace = 'public'::regnamespace
      left join pg_index i on i.indexrelid = c.oid and i.indrelid = to_regclass('public.' || wanted.relation)
     where i.indexrelid is null or not (i.indisvalid and i.indisready and i.indislive and i.indisunique)`,
};

/** Every entry belongs to an account. */
export const ORPHANS: LedgerLook = {
  rules: [
    {
      name: "orphans",
      claim: "every entry belongs to an account",
      remedy: "find out whose it is; an account that was deleted is made again with its entries' sum.",
    },
  ],
  findings: `
    select 'orphans' as rule,
           format('entry %s (%s, %s) belongs to %s', e.id, e.tx_type, e.amount_fula,
                  case when e.user_id is null then 'nobody: it has no user' else format('user %s, who has no account', e.user_id) end) as finding
      from (${ENTRIES_IN_SCOPE}) e
     cross join scope
      left join user_credits c on c.user_id = e.user_id
     where c.id is null and e.created_at >= scope.opened_at`,
};

/** What refuses the fees of software that bills in another way. */
export const GUARDS: LedgerLook = {
  rules: [
    {
      name: "guards",
      claim:
        "the database's own guards are there: usage is kept as pins and buckets change, and fees of the other mode are refused",
      remedy: "alter table … enable trigger … puts it back; fula-master billing reconcile then says what usage missed.",
    },
  ],
  findings: `
    select 'guards' as rule,
           case when t.oid is null then format('the trigger %s on %s is missing', wanted.name, wanted.relation)
                when wanted.is_on then format('the trigger %s on %s is disabled', wanted.name, wanted.relation)
                else format('the trigger %s on %s is enabled, and refuses the fees of this federation', wanted.name, wanted.relation) end as finding
      from (
      select 'pins' as relation, name, true as is_on
        from unnest(array['pins_usage_insert', 'pins_usage_update', 'pins_usage_delete', 'pins_usage_truncate']) as name
      union all
      select 'bucket_roots', name, true
        from unnest(array['bucket_roots_usage_insert', 'bucket_roots_usage_update', 'bucket_roots_usage_delete', 'bucket_roots_usage_truncate']) as name
      union all select 'credit_history', 'credit_history_unkeyed_refused', scope.mode = 'keyed' from scope where scope.mode is not null
      union all select 'credit_history', 'credit_history_keyed_refused', scope.mode = 'unkeyed' from scope where scope.mode is not null
    ) as wanted
      left join pg_trigger t on t.tgname = wanted.name and t.tgrelid = to_regclass('public.' || wanted.relation)
     where t.oid is null or (t.tgenabled in ('O', 'A')) <> wanted.is_on
    union all
    select 'guards', 'billing_mode has no row, though hours were billed: nobody knows how, nor since when'
      from scope where scope.mode is null and exists (select from billing_hours)`,
};
