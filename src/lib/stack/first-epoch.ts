import { FulaError } from "../kernel/errors.ts";
import { swapRecord } from "../membership/ledger-swap.ts";
import type { Epoch } from "../recovery/epoch.ts";
import { raiseEpochFloor } from "../recovery/postgres/epoch-floor.ts";
import { readEpochRows, writeEpochRow } from "../recovery/postgres/epoch-row.ts";
import { assertNotRolledBack, readKnownEpochs } from "./ledger-epoch-file.ts";
import type { StandbyCareContext } from "./standby-care.ts";
import { lookAtPrimary } from "./standby-look.ts";

/** How long the control plane is asked for the answer to the first record. */
const PATIENCE_MS = 20_000;

/**
 * Makes this box the primary of the ledger's first epoch: its row first, then the control plane's record. Cut off between the
 * two, it goes on with the epoch of the row.
 * @returns what was done
 * @throws FulaError FULA_LEDGER_ROLE where this box's server is a standby; FULA_EPOCH_ROLLED_BACK where this box has seen a newer epoch;
 *   FULA_CONTROL_PLANE_UNREACHABLE; FULA_RECOVERY_EPOCH_FLOOR
 */
export async function openFirstEpoch({ loaded, store, server, random, signal }: StandbyCareContext): Promise<string> {
  const { clock, site, node } = server;
  await using session = await server.connect();
  const seen = await lookAtPrimary(session);
  if (seen === null) {
    throw new FulaError("FULA_LEDGER_ROLE", `The server of ${site.where} is a standby, of which nobody knows.`, {
      hint: "fula-master standby status says what each box has.",
    });
  }
  const rows = await readEpochRows(session);
  const epoch: Epoch = rows[0] ?? { number: 1n, uuid: random.uuid() };
  // A control plane that was set back must not have an older epoch opened by a server that is of it.
  assertNotRolledBack(await readKnownEpochs(loaded.paths.stateDir), { number: Number(epoch.number), uuid: epoch.uuid });
  const reason = "the first standby is being added";
  {
    await using files = await site.open(signal);
    await raiseEpochFloor(files, site, epoch);
  }
  await writeEpochRow(session, { ...epoch, timeline: seen.timeline, switchLsn: null, primary: node, reason });
  const outcome = await swapRecord(
    store,
    {
      kind: "epoch",
      expectedRevision: (await store.get("epoch")).revision,
      value: {
        number: Number(epoch.number),
        uuid: epoch.uuid,
        phase: "open",
        primary: node,
        address: loaded.config.postgres.announce,
        systemId: seen.systemId,
        timeline: seen.timeline,
        switchLsn: null,
        syncSet: [],
        syncNeeded: 0,
        previous: null,
        reason,
        token: random.uuid(),
        at: new Date(clock.nowMs()).toISOString(),
      },
    },
    { clock, signal, patienceMs: PATIENCE_MS },
  );
  return outcome.won ? `opened epoch ${epoch.number}` : "somebody else opened an epoch";
}
