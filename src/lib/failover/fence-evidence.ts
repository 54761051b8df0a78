import type { LedgerEpoch } from "../membership/ledger-records.ts";
import type { ServerLook } from "./failover-ports.ts";
import { type FailoverScene, readAttestations, requireBox } from "./failover-scene.ts";
import type { FenceEvidence } from "./judge-fence.ts";

function ofHook({ fenceHook }: FailoverScene): readonly FenceEvidence[] {
  if (fenceHook === null || fenceHook.state === "none") return [];
  const state = fenceHook.state === "ended" ? "proven" : "unknown";
  return [{ what: "fence-command", state, seen: fenceHook.seen }];
}

async function ofItself(scene: FailoverScene): Promise<FenceEvidence> {
  const { from } = scene.keeper.run;
  const { number, uuid } = scene.epoch.value;
  const what = "primary-stopped";
  const own = (await readAttestations(scene.ports)).find(
    (said) => said.node === from && said.number === number && said.uuid === uuid,
  );
  if (own?.what === "primary-stopped")
    return { what, state: "proven", seen: `${from} says that it stopped at ${own.receivedLsn}` };
  if (own?.what === "primary-halted")
    return { what, state: "proven", seen: `${from} says that its PostgreSQL ended without order, and stays down` };
  return { what, state: "unknown", seen: `${from} has not said that it stopped` };
}

/** Looks from every side whether the old master takes writes. */
export async function findFenceEvidence(scene: FailoverScene): Promise<readonly FenceEvidence[]> {
  const { run } = scene.keeper;
  const old = await requireBox(scene, run.from);
  const [own, probed] = await Promise.all([
    ofItself(scene),
    scene.ports.probeOldMaster(old, scene.epoch.value, scene.signal),
  ]);
  const attested: readonly FenceEvidence[] = run.forced
    ? [{ what: "operator", state: "proven", seen: `${run.operator} attests that ${run.from} is off and stays off` }]
    : [];
  return [own, ...probed, ...ofHook(scene), ...attested];
}

/** What a look at the old master's server proves. */
export function ledgerEvidence(look: ServerLook, node: string, raised: LedgerEpoch | null): FenceEvidence {
  const what = "ledger-refuses";
  if (look.kind === "silent") {
    return look.refused
      ? { what, state: "proven", seen: `${node} refuses connections to its PostgreSQL` }
      : { what, state: "unknown", seen: `PostgreSQL of ${node}: ${look.why}` };
  }
  if (!look.inRecovery) return { what, state: "refuted", seen: `${node} still is a primary, at ${look.lsn}` };
  const of = look.epoch?.uuid === raised?.uuid ? "the new epoch" : `epoch ${look.epoch?.number ?? "none"}`;
  return { what, state: "proven", seen: `${node} has a standby, of ${of}` };
}
