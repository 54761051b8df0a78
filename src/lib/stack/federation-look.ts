import { type FederationNode, listFederationNodes } from "../membership/federation-nodes.ts";
import type { Pool } from "../postgres/pool.ts";

/** Every box that is written down in a ledger; none where its tables are still to be made. */
export async function readFederation(pool: Pool): Promise<readonly FederationNode[]> {
  const { rows } = await pool.query<{ there: boolean }>(
    "select to_regclass('public.federation_nodes') is not null as there",
  );
  return rows[0]?.there === true ? await listFederationNodes(pool) : [];
}
