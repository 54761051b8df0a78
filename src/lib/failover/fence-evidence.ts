import type { LedgerEpoch } from "../membership/ledger-records.ts";
import { isQuorumDetached } from "./choose-primary.ts";
import type { ServerLook } from "./failover-ports.ts";
import { choiceFacts, type FailoverScene, readAttestations, requireBox } from "./failover-scene.ts";
import { type FenceEvidence, type FenceVerdict, judgeFence } from "./judge-fence.ts";

/** Why a refusal alone says nothing. */
export const NOT_DETACHED = "it may acknowledge writes, because not enough of its standbys have detached";

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

/**
 * Looks whether the old master takes writes. Its services are only asked where the rest does not tell: writes of the ledger
 * wait for the answer, and nothing that services say refutes what is proven.
 */
export async function judgeOldMaster(scene: FailoverScene): Promise<FenceVerdict> {
  const { ports, keeper, signal, epoch } = scene;
  const { run } = keeper;
  const old = await requireBox(scene, run.from);
  const [own, look, facts] = await Promise.all([ofItself(scene), ports.lookAtServer(old, signal), choiceFacts(scene)]);
  const attested: readonly FenceEvidence[] = run.forced
    ? [{ what: "operator", state: "proven", seen: `${run.operator} attests that ${run.from} is off and stays off` }]
    : [];
  const isDetached = isQuorumDetached(facts);
  const evidence = [own, ledgerEvidence(look, old.node, epoch.value, isDetached), ...ofHook(scene), ...attested];
  const verdict = judgeFence(evidence);
  return verdict.kind === "unproven" ? judgeFence([...evidence, await ports.probeServices(old, signal)]) : verdict;
}

/**
 * What a look at the old master's server proves. A firewall may refuse in its name, so a refusal counts only where it can
 * acknowledge nothing in any case.
 * @param isDetached whether enough of its standbys have detached
 */
function ledgerEvidence(look: ServerLook, node: string, raised: LedgerEpoch, isDetached: boolean): FenceEvidence {
  const what = "ledger-refuses";
  if (look.kind === "silent") {
    const seen = `${node} refuses connections to its PostgreSQL`;
    if (look.refused && isDetached) return { what, state: "proven", seen };
    if (look.refused) return { what, state: "unknown", seen: `${seen}, as a firewall does, too; ${NOT_DETACHED}` };
    return { what, state: "unknown", seen: `PostgreSQL of ${node}: ${look.why}` };
  }
  if (!look.inRecovery) return { what, state: "refuted", seen: `${node} still is a primary, at ${look.lsn}` };
  const of = look.epoch?.uuid === raised.uuid ? "the new epoch" : `epoch ${look.epoch?.number ?? "none"}`;
  return { what, state: "proven", seen: `${node} has a standby, of ${of}` };
}
