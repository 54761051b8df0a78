import type { LoadedConfig } from "../config/load.ts";
import { formatUtc } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import type { LedgerEpoch, LedgerEpochRecord, LedgerStore } from "../membership/ledger-records.ts";
import type { Recovered } from "../recovery/backup/recover.ts";
import { formatLsn } from "../recovery/lsn.ts";
import { raiseEpochFloor, readEpochFloor } from "../recovery/postgres/epoch-floor.ts";
import type { PostgresSite, SiteSession } from "../runtime/postgres-site.ts";
import type { BackupDeps } from "./backup-place.ts";
import { canHaveEpochs, openLedgerStore } from "./ledger-store.ts";

/** The epoch that a restored ledger begins: it is another history than the one that its clients knew. */
export interface RestoreEpoch {
  readonly epoch: LedgerEpoch;
  /** What writes its row, one line each. */
  statements(recovered: Recovered): readonly string[];
  /** Says in the control plane that this box is about to become the primary of it. @throws FulaError FULA_RESTORE_RUNNING where somebody was quicker */
  begin(files: SiteSession, site: PostgresSite): Promise<void>;
  /** Says that it is. @throws FulaError FULA_RESTORE_RUNNING likewise */
  finish(recovered: Recovered): Promise<void>;
}

const REASON = "restored from ";

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

function refused(message: string, hint: string): FulaError {
  return new FulaError("FULA_RESTORE_RUNNING", message, { hint });
}

/** Opens the control plane's records of the ledger; each time anew, for a restore takes longer than a connection may last. */
type OpenStore = () => Promise<LedgerStore>;

async function withStore<T>(open: OpenStore, use: (store: LedgerStore) => Promise<T>): Promise<T> {
  await using store = await open();
  return await use(store);
}

/** @throws FulaError FULA_RESTORE_RUNNING while another box follows this ledger, or has its primary */
async function assertAlone(store: LedgerStore, record: LedgerEpochRecord, node: string): Promise<void> {
  // One that a restore of ours was killed in is gone on with, under the next number.
  if (record.phase !== "open" && !record.reason.startsWith(REASON)) {
    throw refused(
      `The ledger is changing its primary (epoch ${record.number}, ${record.phase}).`,
      "wait until that is done, or end it: fula-master failover status",
    );
  }
  if (record.primary !== node) {
    throw refused(
      `The ledger's primary is on ${record.primary}, not on ${node}: its data are not replaced here.`,
      `run the command on ${record.primary}, or bring the ledger to this box first: fula-master switchover`,
    );
  }
  const other = (await store.list("box")).find((box) => box.node !== node && box.value.state !== "leaving");
  if (other === undefined && record.syncSet.length === 0) return;
  const name = other?.node ?? record.syncSet[0] ?? "";
  throw refused(
    `${name} has a standby of this ledger, which could be promoted with everything that the restore takes back.`,
    `take it away first, and add it again afterwards, which copies it anew: fula-master standby remove on ${name}`,
  );
}

/**
 * Finds out which epoch a restored ledger begins. @returns null where the ledger has none: no standby was ever added
 * @throws FulaError FULA_RESTORE_RUNNING, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function openRestoreEpoch(
  loaded: LoadedConfig,
  backup: string,
  deps: BackupDeps,
): Promise<RestoreEpoch | null> {
  if (!canHaveEpochs(loaded)) return null;
  const { signal, ...rest } = deps;
  const open = async (): Promise<LedgerStore> => await openLedgerStore(loaded, { ...rest, signal });
  return await beginRestoreEpoch(open, loaded.config.node.name, backup, deps);
}

/** The same over a control plane that is at hand. */
export async function beginRestoreEpoch(
  open: OpenStore,
  node: string,
  backup: string,
  { clock, random }: Pick<BackupDeps, "clock" | "random">,
): Promise<RestoreEpoch | null> {
  const found = await withStore(open, async (store) => {
    const { revision, value } = await store.confirm("epoch");
    if (value !== null) await assertAlone(store, value, node);
    return value === null ? null : { revision, value };
  });
  if (found === null) return null;
  const { value: before } = found;
  const epoch: LedgerEpoch = { number: before.number + 1, uuid: random.uuid() };
  const reason = `${REASON}${backup}`;
  let revision = found.revision;
  const put = async (changes: Pick<LedgerEpochRecord, "phase" | "timeline" | "switchLsn">): Promise<void> => {
    const { number, uuid, primary, syncSet, syncNeeded } = before;
    const previous = { number, uuid, primary, syncSet, syncNeeded };
    const record = { ...before, ...epoch, ...changes, syncSet: [], syncNeeded: 0, previous, reason };
    const at = formatUtc(clock.nowMs());
    const written = await withStore(
      open,
      async (store) => await store.put("epoch", { ...record, token: random.uuid(), at }, revision),
    );
    if (written === null) {
      throw refused(
        "The ledger's epoch was changed by somebody else during the restore.",
        "look at fula-master standby status, then run the command again.",
      );
    }
    revision = written;
  };
  return {
    epoch,
    statements: ({ timeline, reachedLsn }) => [
      `insert into ledger_epochs (number, uuid, timeline, switch_lsn, primary_node, reason)
       values (${epoch.number}, ${literal(epoch.uuid)}, ${timeline}, ${literal(formatLsn(reachedLsn))}, ${literal(node)}, ${literal(reason)})`,
    ],
    begin: async (files, site) => {
      const floor = await readEpochFloor(files, site);
      if (floor !== null && floor.number > BigInt(before.number)) {
        throw refused(
          `This box has seen epoch ${floor.number} of the ledger, and the control plane knows ${before.number}: it was set back.`,
          "compare fula-master standby status on all masters before anything is restored.",
        );
      }
      await put({ phase: "promoting", timeline: null, switchLsn: null });
      await raiseEpochFloor(files, site, { number: BigInt(epoch.number), uuid: epoch.uuid });
    },
    finish: async ({ timeline, reachedLsn }) => {
      await put({ phase: "open", timeline, switchLsn: formatLsn(reachedLsn) });
    },
  };
}
