import { FulaError } from "../kernel/errors.ts";
import type { LedgerBox, LedgerEpochRecord } from "../membership/ledger-records.ts";
import type { Epoch } from "../recovery/epoch.ts";
import type { StandbyBox } from "./standby-box.ts";

/** Whom this box's server is to be brought back to. */
export interface ResyncScene {
  readonly epoch: Epoch;
  /** `node.name` of the primary's box. */
  readonly primary: string;
  /** Where it is reached, `host:port`. */
  readonly address: string;
  readonly own: LedgerBox;
  /** How many standbys a commit waits for. */
  readonly syncNeeded: number;
}

function refused(message: string, hint: string): FulaError {
  return new FulaError("FULA_RESYNC_REFUSED", message, { hint });
}

/**
 * Asks the control plane, through its quorum, whether this box may be brought back at all: there is a primary whose epoch is
 * open, and it is another box.
 * @throws FulaError FULA_RESYNC_REFUSED, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function readResyncScene({ store, name }: Pick<StandbyBox, "store" | "name">): Promise<ResyncScene> {
  const { value: epoch } = await store.confirm("epoch");
  if (epoch === null) {
    throw refused(
      "The ledger has had one server ever since: there is none that this box could be brought back to.",
      "fula-master standby add makes a second one.",
    );
  }
  const { primary, address } = openPrimary(epoch);
  if (primary === name) {
    throw refused(
      `${name} is the primary of epoch ${epoch.number} itself.`,
      "run it on the box that is to be brought back: fula-master standby status shows which one is not in sync.",
    );
  }
  const { value: own } = await store.get("box", name);
  if (own === null || own.state === "leaving") {
    throw refused(
      `${name} carries no server of the ledger${own === null ? "" : " any more"}.`,
      "fula-master standby add makes one.",
    );
  }
  return {
    epoch: { number: BigInt(epoch.number), uuid: epoch.uuid },
    primary,
    address,
    own,
    syncNeeded: epoch.syncNeeded,
  };
}

function openPrimary({ phase, number, primary, address }: LedgerEpochRecord): {
  readonly primary: string;
  readonly address: string;
} {
  if (phase !== "open") {
    throw refused(
      `The ledger's primary is being changed: epoch ${number} is ${phase}.`,
      "fula-master failover status shows how far that is; run the command again when it is done.",
    );
  }
  if (address === null) {
    throw refused(
      `No address is known at which ${primary} could be reached.`,
      `set postgres.announce on ${primary}, and start its fula-master again.`,
    );
  }
  return { primary, address };
}
