import type { LoadedConfig } from "../config/load.ts";
import type { ServerLook } from "../failover/failover-ports.ts";
import { ledgerEvidence } from "../failover/fence-evidence.ts";
import type { FenceEvidence } from "../failover/judge-fence.ts";
import { lookAtSession, silentServer } from "../failover/server-look.ts";
import type { LedgerBox, LedgerEpoch } from "../membership/ledger-records.ts";
import { openSession, type Session } from "../postgres/session.ts";
import { servicesEvidence } from "./failover-services.ts";
import { withinLimit } from "./look.ts";
import { announcedAddress } from "./own-postgres.ts";
import { openOwnServer, type OwnServerDeps } from "./own-server.ts";
import { boxConnection } from "./standby-link.ts";

/** What looking at servers of the ledger takes. */
export interface ProbeDeps extends Omit<OwnServerDeps, "part"> {
  readonly signal: AbortSignal;
}

/** A server in the same federation answers within milliseconds; who waits for it is an operator with an outage. */
const LOOK_MS = 2_000;

/** How this box reaches a server: its own as its superuser, another's as this box's role. */
async function connectTo(loaded: LoadedConfig, box: LedgerBox, deps: ProbeDeps): Promise<Session> {
  const { config } = loaded;
  if (box.node === config.node.name)
    return await (await openOwnServer(loaded, { ...deps, part: "failover" })).connect();
  const bounds = { connectTimeoutMs: LOOK_MS, queryTimeoutMs: LOOK_MS };
  return await openSession({ ...boxConnection(loaded, box, "failover"), ...bounds }, deps.clock);
}

/** Asks a server of the ledger how it stands; one that does not answer in time is silent, never an error. */
export async function lookAtServer(loaded: LoadedConfig, box: LedgerBox, deps: ProbeDeps): Promise<ServerLook> {
  const { clock, signal } = deps;
  try {
    return await withinLimit({ clock, signal, limitMs: LOOK_MS }, async () => {
      await using session = await connectTo(loaded, box, deps);
      return await lookAtSession(session);
    });
  } catch (error) {
    signal.throwIfAborted();
    return silentServer(error);
  }
}

/** Looks from here whether the old master takes anything: its ledger, and its services. */
export async function probeOldMaster(
  loaded: LoadedConfig,
  old: LedgerBox,
  raised: LedgerEpoch | null,
  deps: ProbeDeps,
): Promise<readonly FenceEvidence[]> {
  const { host } = announcedAddress(old.address);
  const [look, services] = await Promise.all([
    lookAtServer(loaded, old, deps),
    servicesEvidence(loaded, { node: old.node, host }, deps.signal),
  ]);
  return [ledgerEvidence(look, old.node, raised), services];
}
