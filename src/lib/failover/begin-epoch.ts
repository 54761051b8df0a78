import { FulaError } from "../kernel/errors.ts";
import type { LedgerBox } from "../membership/ledger-records.ts";
import { raisedEpoch } from "./epoch-change.ts";
import { changeEpoch, type FailoverScene, readAttestations, readBoxes, requireBox } from "./failover-scene.ts";
import { endedEpoch } from "./failover-states.ts";

/** What tells one write of a record from all others. */
export function stamp({ ports: { clock, random } }: FailoverScene): { readonly token: string; readonly at: string } {
  return { token: random.uuid(), at: new Date(clock.nowMs()).toISOString() };
}

/** Boxes that carry a standby which may be promoted. */
export async function standbysOf({ ports, keeper }: FailoverScene): Promise<readonly LedgerBox[]> {
  const boxes = [...(await readBoxes(ports)).values()];
  return boxes.filter(({ node, state }) => state === "standby" && node !== keeper.run.from);
}

/**
 * Ends the epoch that the run is to end, unless that was done already.
 * @param phase of the epoch that is begun
 * @throws FulaError FULA_FAILOVER_REFUSED where there is no standby any more; what `changeEpoch` throws
 */
export async function beginEpoch(scene: FailoverScene, phase: "draining" | "fencing"): Promise<void> {
  const { keeper, ports, epoch } = scene;
  const { to, from, kind, operator, id } = keeper.run;
  const ended = endedEpoch(epoch.value);
  if (ended?.uuid !== keeper.run.replaces.uuid) return;
  // Only meant for it: who gets it is decided by the logs. The record names somebody who is not the old primary.
  const meant = to ?? ended.syncSet[0] ?? (await standbysOf(scene))[0]?.node;
  if (meant === undefined) {
    throw new FulaError("FULA_FAILOVER_REFUSED", "No other box carries a standby any more.", {
      hint: "fula-master standby status shows which boxes have a server.",
    });
  }
  const attestations = await readAttestations(ports);
  const value = raisedEpoch(epoch.value, await requireBox(scene, meant), {
    ...stamp(scene),
    uuid: ports.random.uuid(),
    phase,
    reason: `${kind} from ${from} by ${operator}, run ${id}`,
    floor: Math.max(0, ...attestations.map(({ number }) => number)),
  });
  scene.raisedMs = ports.clock.monotonicMs();
  await changeEpoch(scene, value);
}
