import { SEALED_WALLETS } from "../billing/sealed-wallets.ts";
import type { LoadedConfig } from "../config/load.ts";
import { createSecretSealer, type SealedUse, type SecretSealer } from "../identity/sealed-secret.ts";
import { SEALED_ACCESS_KEYS, SEALED_SIGNING_KEYS } from "../identity/sealed-tables.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { Secret } from "../kernel/secret.ts";
import type { Pool } from "../postgres/pool.ts";
import type { SealedRow, SealedTable } from "../postgres/sealed-table.ts";
import { type TransactionClient, withTransaction } from "../postgres/transaction.ts";
import { sealerOf } from "./other-epochs.ts";

/** What became of the rows of the ledger that are sealed under ENCRYPTION_KEY. */
export interface ResealReport {
  /** Sealed anew under the key in use. */
  readonly resealed: number;
  /** Under it already. */
  readonly current: number;
  /** Under a key that this box does not know; they stay as they are. */
  readonly unopened: number;
}

/** Everything in the ledger that is sealed under ENCRYPTION_KEY, by what it is sealed for. */
const TABLES: Readonly<Record<SealedUse, SealedTable>> = {
  "access key secrets": SEALED_ACCESS_KEYS,
  "signing keys": SEALED_SIGNING_KEYS,
  "wallet addresses": SEALED_WALLETS,
};

/** Rows that one statement writes. */
const BATCH_ROWS = 1_000;

interface Sealers {
  /** Seals under the key in use, and opens that alone. */
  readonly newest: SecretSealer;
  /** Opens what was sealed under any key that this box knows. */
  readonly any: SecretSealer;
}

function tryOpen(sealer: SecretSealer, sealed: Uint8Array, context: string): Secret | null {
  try {
    return sealer.open(sealed, context);
  } catch (error) {
    if (isFulaError(error, "FULA_ENCRYPTION_KEY_WRONG")) return null;
    throw error;
  }
}

async function resealTable(
  client: TransactionClient,
  table: SealedTable,
  { newest, any }: Sealers,
  random: Random,
): Promise<ResealReport> {
  const count = { current: 0, unopened: 0 };
  const anew: Pick<SealedRow, "id" | "sealed">[] = [];
  for (const { id, context, sealed } of await table.read(client)) {
    const isCurrent = tryOpen(newest, sealed, context) !== null;
    const secret = isCurrent ? null : tryOpen(any, sealed, context);
    if (isCurrent) count.current += 1;
    else if (secret === null) count.unopened += 1;
    else anew.push({ id, sealed: newest.seal(secret, context, random) });
  }
  for (let at = 0; at < anew.length; at += BATCH_ROWS) await table.write(client, anew.slice(at, at + BATCH_ROWS));
  return { ...count, resealed: anew.length };
}

/**
 * Seals everything of the ledger that is under an old ENCRYPTION_KEY anew under the one in use, in one transaction: killed
 * anywhere, all of it opens as it did before. Run again it changes nothing, but for what another master has sealed under an
 * old key meanwhile.
 * @throws FulaError FULA_ENCRYPTION_KEY_INVALID
 */
export async function resealLedger(
  pool: Pool,
  { secrets }: Pick<LoadedConfig, "secrets">,
  deps: { readonly clock: Clock; readonly random: Random },
): Promise<ResealReport> {
  return await withTransaction(
    pool,
    async (client) => {
      const total = { resealed: 0, current: 0, unopened: 0 };
      for (const [name, table] of Object.entries(TABLES)) {
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.entries forgets the type of the keys
        const use = name as SealedUse;
        const sealers = { newest: createSecretSealer(secrets.encryptionKey, use), any: sealerOf(secrets, use) };
        const { resealed, current, unopened } = await resealTable(client, table, sealers, deps.random);
        total.resealed += resealed;
        total.current += current;
        total.unopened += unopened;
      }
      return total;
    },
    deps,
  );
}
