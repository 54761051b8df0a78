import type { SealedTable } from "../postgres/sealed-table.ts";
import { accessKeyContext } from "./key-table.ts";
import { signingKeyContext } from "./signing-keys.ts";

/** Secrets of access keys, of revoked ones too: what is left under an old key would open with it for ever. */
export const SEALED_ACCESS_KEYS: SealedTable = {
  read: async (client) => {
    const { rows } = await client.query<{
      key_id: string;
      user_id: string;
      wallet: string | null;
      sealed_secret: Buffer;
    }>({
      name: "access_key_sealed",
      text: `
        select key_id, user_id, wallet, sealed_secret from access_keys
         where sealed_secret is not null order by key_id for update`,
    });
    return rows.map((row) => ({ id: row.key_id, context: accessKeyContext(row), sealed: row.sealed_secret }));
  },
  write: async (client, rows) => {
    await client.query({
      name: "access_key_reseal",
      text: `
        update access_keys set sealed_secret = n.sealed
          from unnest($1::text[], $2::bytea[]) as n (key_id, sealed) where access_keys.key_id = n.key_id`,
      values: [rows.map(({ id }) => id), rows.map(({ sealed }) => Buffer.from(sealed))],
    });
  },
};

/** Keys that sign session tokens. */
export const SEALED_SIGNING_KEYS: SealedTable = {
  read: async (client) => {
    const { rows } = await client.query<{ kid: string; sealed_secret: Buffer }>({
      name: "signing_key_sealed",
      text: "select kid, sealed_secret from signing_keys where sealed_secret is not null order by kid for update",
    });
    return rows.map((row) => ({ id: row.kid, context: signingKeyContext(row.kid), sealed: row.sealed_secret }));
  },
  write: async (client, rows) => {
    await client.query({
      name: "signing_key_reseal",
      text: `
        update signing_keys set sealed_secret = n.sealed
          from unnest($1::text[], $2::bytea[]) as n (kid, sealed) where signing_keys.kid = n.kid`,
      values: [rows.map(({ id }) => id), rows.map(({ sealed }) => Buffer.from(sealed))],
    });
  },
};
