import type { TransactionClient } from "../../postgres/transaction.ts";

/** The old content is let go so much later that the new one can be made from it. */
const REPLACED_DELAY_MS = 5_000;

/**
 * Asks for the pinset to be made agree with the rows of these contents. Belongs into the transaction that changes the
 * rows. Several changes before the work is done are one job, opposite ones too.
 * @param contents as `contentKey` gives them
 */
export async function enqueuePins(client: TransactionClient, contents: readonly string[]): Promise<void> {
  if (contents.length === 0) return;
  await enqueue(client, contents, { replaces: null, delayMs: 0 });
}

/**
 * The same for a content that takes the place of another one: the pinset's peers are told, so that they do not fetch or
 * look through again what both share.
 */
export async function enqueueReplacement(
  client: TransactionClient,
  { from, to }: { readonly from: string; readonly to: string },
): Promise<void> {
  if (from === to) {
    await enqueuePins(client, [to]);
    return;
  }
  // In the order in which everybody takes several.
  for (const content of [from, to].toSorted()) {
    const isNew = content === to;
    await enqueue(client, [content], { replaces: isNew ? from : null, delayMs: isNew ? 0 : REPLACED_DELAY_MS });
  }
}

async function enqueue(
  client: TransactionClient,
  contents: readonly string[],
  { replaces, delayMs }: { readonly replaces: string | null; readonly delayMs: number },
): Promise<void> {
  await client.query({
    name: "pin_jobs_enqueue",
    text: `
      insert into pin_jobs (cid, replaces, due_at)
      select distinct wanted.cid collate "C", $2, clock_timestamp() + $3 * interval '1 millisecond'
        from unnest($1::text[]) as wanted (cid) order by 1
          on conflict (cid) do update
             set revision = pin_jobs.revision + 1, replaces = excluded.replaces,
                 queued_at = excluded.queued_at, due_at = excluded.due_at,
                 attempts = 0, looks = 0, dead_at = null, last_error = null`,
    values: [contents, replaces, delayMs],
  });
}
