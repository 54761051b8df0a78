import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { LedgerRecordKind, LedgerRecords, LedgerStore, Versioned } from "./ledger-records.ts";

/** Records that name their writer's attempt, so that a write without an answer can be told from another's. */
type TokenKind = {
  [K in LedgerRecordKind]: LedgerRecords[K] extends { readonly token: string } ? K : never;
}[LedgerRecordKind];

/** What became of a compare-and-swap. */
export type Swapped<K extends LedgerRecordKind> =
  | { readonly won: true; readonly revision: number }
  /** Somebody else's record stands there. */
  | { readonly won: false; readonly now: Versioned<LedgerRecords[K]> };

const PAUSE_MS = 50;

/** For a write of which nobody can say yet whether it was taken. */
export function undecided(kind: LedgerRecordKind): FulaError {
  return new FulaError(
    "FULA_CONTROL_PLANE_UNREACHABLE",
    `Whether the control plane has taken a change of the ledger's ${kind} is not decided yet.`,
    {
      hint: "fula-master status shows its servers: more than half of them must run and reach one another.",
      details: { silence: "no-quorum" },
    },
  );
}

/**
 * Writes a record over the one of `expectedRevision`, and finds out what became of a write whose answer was lost: the same
 * is written again, and a record with its own token is its own.
 * @param value with a fresh token
 * @param patienceMs how long it is tried
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE where that is not known even then
 */
export async function swapRecord<K extends TokenKind>(
  store: LedgerStore,
  { kind, value, expectedRevision, node }: SwapWish<K>,
  { clock, signal, patienceMs }: { readonly clock: Clock; readonly signal?: AbortSignal; readonly patienceMs: number },
): Promise<Swapped<K>> {
  const deadlineMs = clock.monotonicMs() + patienceMs;
  for (;;) {
    try {
      const revision = await store.put(kind, value, expectedRevision, node);
      if (revision !== null) return { won: true, revision };
      // Refused, maybe because the same write came through a moment ago, or because one before it is not decided yet.
      const now = await store.confirm(kind, node);
      if (now.value?.token === value.token) return { won: true, revision: now.revision };
      if (now.revision !== expectedRevision) return { won: false, now };
      if (clock.monotonicMs() > deadlineMs) throw undecided(kind);
    } catch (error) {
      if (!isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE") || clock.monotonicMs() > deadlineMs) throw error;
    }
    await clock.sleep(PAUSE_MS, signal);
  }
}

/** A compare-and-swap. */
export interface SwapWish<K extends LedgerRecordKind> {
  readonly kind: K;
  readonly value: LedgerRecords[K];
  readonly expectedRevision: number;
  /** For the kinds with one key a node. */
  readonly node?: string;
}
