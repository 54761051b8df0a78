import type { LoadedConfig } from "../config/load.ts";
import { type AuditEntry, noteAudit } from "../identity/audit.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf } from "../kernel/errors.ts";
import { withTransaction } from "../postgres/transaction.ts";
import { peekLedger } from "./ledger-peek.ts";

/**
 * Writes an entry into the audit log where the ledger is there. It is about an act that is decided already, so a ledger
 * that does not answer changes nothing of it.
 * @returns why it was not written, in words; null where it was
 */
export async function tryNoteAudit(
  loaded: LoadedConfig,
  entry: AuditEntry,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<string | null> {
  try {
    const written = await peekLedger(
      loaded,
      async (pool) => {
        await withTransaction(
          pool,
          async (client) => {
            await noteAudit(client, entry);
          },
          { clock },
        );
        return true;
      },
      signal,
    );
    return written === null ? "the ledger does not run" : null;
  } catch (error) {
    return messageOf(error);
  }
}
