/**
 * An SQL expression: the bytes that an account stored at the end of an hour (`bigint`, never null). The hour should be
 * closed; of an open one it gives what is stored so far. Its query joins `user_usage` by account id, whose rows alone
 * decide in almost all cases: only accounts that changed after the hour are looked up in `usage_history`, by its key.
 * An account without a row in `user_usage` has never stored anything.
 * @param usage alias of the row of `user_usage`
 * @param hour SQL expression of type `timestamptz`: the hour's start, such as `$1::timestamptz`
 */
export function usageAtSql(usage: string, hour: string): string {
  return `case when ${usage}.changed_hour <= ${hour} then ${usage}.bytes
       else coalesce((select past.bytes from usage_history past
                       where past.account_id = ${usage}.account_id and past.hour <= ${hour}
                       order by past.hour desc limit 1), 0) end`;
}
