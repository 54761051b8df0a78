import { z } from "zod";
import type { Pool } from "../../postgres/pool.ts";
import { runQuery } from "../../postgres/run-query.ts";
import type { ContentWish } from "./job.ts";

const originsSchema = z.array(z.string());

/** Rows of the fleet hold whatever their service was sent. */
function originsOf(json: string | null): readonly string[] {
  try {
    return originsSchema.parse(JSON.parse(json ?? "[]"));
  } catch {
    return [];
  }
}

/** Reads what users want of these contents now; each is in the answer, also one that nobody wants. */
export async function readWishes(pool: Pool, cids: readonly string[]): Promise<ReadonlyMap<string, ContentWish>> {
  const { rows } = await runQuery<{
    cid: string;
    wanted: string;
    waiting: string;
    unmeasured: string;
    measured: string | null;
    name: string | null;
    origins: string | null;
  }>(pool, {
    name: "pin_wishes",
    text: `
      select asked.cid, w.*
        from unnest($1::text[]) as asked (cid)
       cross join lateral (
        select count(*) as wanted,
               count(*) filter (where status <> 'pinned') as waiting,
               count(*) filter (where measured_at is null and coalesce(size, 0) = 0) as unmeasured,
               max(size) filter (where measured_at is not null) as measured,
               (array_agg(name order by id))[1] as name,
               (array_agg(origins order by id desc))[1] as origins
          from pins p
         where p.cid_key = asked.cid and p.status in ('queued', 'pinning', 'pinned')
       ) w`,
    values: [cids],
  });
  return new Map(
    rows.map(({ cid, wanted, waiting, unmeasured, measured, name, origins }) => [
      cid,
      {
        cid,
        wanted: Number(wanted),
        waiting: Number(waiting),
        unmeasured: Number(unmeasured),
        measuredBytes: measured === null ? null : BigInt(measured),
        name: name ?? "",
        origins: originsOf(origins),
      },
    ]),
  );
}
