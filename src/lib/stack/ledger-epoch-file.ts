import { join } from "node:path";
import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import type { LedgerEpoch, LedgerEpochRecord } from "../membership/ledger-records.ts";

/** The epoch that this box's clients mean, and where its primary is. */
export interface FollowedEpoch extends LedgerEpoch {
  readonly primary: string;
  /** Where other boxes reach it: `host:port`; null where none does. */
  readonly address: string | null;
}

/** `state/ledger-epoch.json`: what this box knows of the ledger's epochs, whatever the control plane says later. */
export interface KnownEpochs {
  /** The highest that this box has heard of from the quorum; nothing is done under a lower one. */
  readonly seen: LedgerEpoch;
  /** The last that was open; null before the first. */
  readonly followed: FollowedEpoch | null;
}

const epoch = { number: z.int().positive(), uuid: z.uuid() };
const schema = z.strictObject({
  seen: z.strictObject(epoch),
  followed: z.strictObject({ ...epoch, primary: z.string(), address: z.string().nullable() }).nullable(),
});

/** Where it lies. */
export function ledgerEpochFile(stateDir: string): string {
  return join(stateDir, "ledger-epoch.json");
}

/**
 * What this box knows; null where the ledger has never had a second server.
 * @throws FulaError FULA_EPOCH_ROLLED_BACK where the file cannot be read: then nobody knows what must not be gone back behind
 */
export async function readKnownEpochs(stateDir: string): Promise<KnownEpochs | null> {
  const path = ledgerEpochFile(stateDir);
  const text = await readTextIfExists(path);
  if (text === null) return null;
  try {
    return schema.parse(JSON.parse(text));
  } catch (cause) {
    throw new FulaError(
      "FULA_EPOCH_ROLLED_BACK",
      `${path} cannot be read: this box does not know any more which epochs it has seen.`,
      {
        cause,
        hint: "compare fula-master standby status on all masters; where they agree, remove the file, and serve writes it anew.",
        details: { path },
      },
    );
  }
}

/** `7 (3f2a9c1e)`, for messages. */
function formatLedgerEpoch({ number, uuid }: LedgerEpoch): string {
  return `${number} (${uuid.slice(0, 8)})`;
}

/** As sessions say it to the database. */
export function epochOfSessions({ number, uuid }: LedgerEpoch): string {
  return `${number}:${uuid}`;
}

/**
 * Refuses what the control plane says where it is older than what this box has seen, or another epoch of the same number.
 * @param said null where the control plane knows no epoch
 * @throws FulaError FULA_EPOCH_ROLLED_BACK
 */
export function assertNotRolledBack(known: KnownEpochs | null, said: LedgerEpoch | null): void {
  if (known === null) return;
  const { seen } = known;
  if (said !== null && (said.number > seen.number || (said.number === seen.number && said.uuid === seen.uuid))) return;
  throw new FulaError(
    "FULA_EPOCH_ROLLED_BACK",
    `The control plane says that the ledger is at ${said === null ? "no epoch" : `epoch ${formatLedgerEpoch(said)}`}, and this box has seen epoch ${formatLedgerEpoch(seen)}.`,
    {
      hint: "the control plane lost its records, or was set back to older ones; nothing is done until that is mended: docs/ledger-epoch.md, “The control plane was set back”.",
      details: { said: said === null ? null : epochOfSessions(said), seen: epochOfSessions(seen) },
    },
  );
}

/**
 * Remembers what the quorum says, durably, before anything is done because of it.
 * @returns what is known now
 * @throws FulaError FULA_EPOCH_ROLLED_BACK, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE
 */
export async function noteEpoch(stateDir: string, record: LedgerEpochRecord): Promise<KnownEpochs> {
  const before = await readKnownEpochs(stateDir);
  assertNotRolledBack(before, record);
  const { number, uuid, phase, primary, address } = record;
  const followed = phase === "open" ? { number, uuid, primary, address } : (before?.followed ?? null);
  const next: KnownEpochs = { seen: { number, uuid }, followed };
  const text = `${JSON.stringify(next, null, 2)}\n`;
  if (before === null || text !== `${JSON.stringify(before, null, 2)}\n`) {
    await writeFileAtomic(ledgerEpochFile(stateDir), text, { mode: SECRET_FILE_MODE });
  }
  return next;
}
