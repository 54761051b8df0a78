import { hourKeySql, type LedgerLook } from "./verify-look.ts";

const RECONCILE = "fula-master billing reconcile compares with pins and buckets; --repair sets it right.";

/** What an account stores now is what its newest history says and what its contents add up to. */
export const USAGE: LedgerLook = {
  rules: [
    {
      name: "usage-history",
      claim: "what every account stores is the newest of its history",
      remedy: RECONCILE,
    },
    {
      name: "usage-contents",
      claim: "what every account stores is the sum of its contents",
      remedy: RECONCILE,
    },
  ],
  findings: `
    select 'usage-history' as rule,
           format('account %s stores %s bytes since %s; its newest history is %s bytes at %s', u.account_id, u.bytes,
                  ${hourKeySql("nullif(u.changed_hour, '-infinity')")}, coalesce(h.bytes::text, 'no'), coalesce(${hourKeySql("h.hour")}, 'no hour')) as finding
      from user_usage u
      left join (select distinct on (account_id) account_id, hour, bytes from usage_history order by account_id, hour desc) h using (account_id)
     where u.bytes <> coalesce(h.bytes, 0) or u.changed_hour <> coalesce(h.hour, '-infinity')
    union all
    select 'usage-contents',
           format('account %s stores %s bytes; its contents add up to %s', u.account_id, u.bytes, coalesce(c.bytes, 0))
      from user_usage u
      left join (select account_id, sum(bytes) as bytes from stored_contents group by account_id) c using (account_id)
     where u.bytes <> coalesce(c.bytes, 0)`,
};
