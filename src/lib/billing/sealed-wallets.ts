import type { SealedTable } from "../postgres/sealed-table.ts";
import { walletContext, walletSealed, walletText } from "./wallets.ts";

/** Addresses of wallets that we sealed; what other software sealed is under a key of its own. */
export const SEALED_WALLETS: SealedTable = {
  read: async (client) => {
    const { rows } = await client.query<{ id: string; user_id: string; encrypted_wallet_address: string }>({
      name: "wallet_sealed",
      text: `
        select id::text, user_id, encrypted_wallet_address from user_wallets
         where encrypted_wallet_address is not null and user_id is not null order by user_wallets.id for update`,
    });
    return rows.flatMap((row) => {
      const sealed = walletSealed(row.encrypted_wallet_address);
      return sealed === null ? [] : [{ id: row.id, context: walletContext(row.user_id), sealed }];
    });
  },
  write: async (client, rows) => {
    await client.query({
      name: "wallet_reseal",
      text: `
        update user_wallets set encrypted_wallet_address = n.sealed
          from unnest($1::bigint[], $2::text[]) as n (id, sealed) where user_wallets.id = n.id`,
      values: [rows.map(({ id }) => id), rows.map(({ sealed }) => walletText(sealed))],
    });
  },
};
