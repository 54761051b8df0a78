import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { ServerLook } from "../failover/failover-ports.ts";
import { lookAtSession, silentServer } from "../failover/server-look.ts";
import type { LedgerBox } from "../membership/ledger-records.ts";
import { KeptSession } from "../postgres/kept-session.ts";
import { openSession, type Session } from "../postgres/session.ts";
import type { LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { withinLimit } from "./look.ts";
import { boxConnection } from "./standby-link.ts";

/** What looking at servers of the ledger takes. */
export interface ProbeDeps {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Connections to the servers that are looked at again and again, by node. */
  readonly kept: Map<string, KeptSession>;
  /** This box's own server; it is asked for only where that is looked at. */
  readonly own: () => Promise<LedgerServer>;
}

/** A server in the same federation answers within milliseconds; who waits for it is an operator with an outage. */
const LOOK_MS = 2_000;

/** How this box reaches a server: its own as its superuser, another's as this box's role. */
async function connectTo(loaded: LoadedConfig, box: LedgerBox, deps: ProbeDeps): Promise<Session> {
  const { config } = loaded;
  if (box.node === config.node.name) return await (await deps.own()).connect();
  const bounds = { connectTimeoutMs: LOOK_MS, queryTimeoutMs: LOOK_MS };
  return await openSession({ ...boxConnection(loaded, box, "failover"), ...bounds }, deps.clock);
}

function keptFor(loaded: LoadedConfig, box: LedgerBox, deps: ProbeDeps): KeptSession {
  const key = `${box.node} ${box.address}`;
  const known = deps.kept.get(key);
  if (known !== undefined) return known;
  const made = new KeptSession(async () => await connectTo(loaded, box, deps));
  deps.kept.set(key, made);
  return made;
}

/** Asks a server of the ledger how it stands; one that does not answer in time is silent, never an error. */
export async function lookAtServer(loaded: LoadedConfig, box: LedgerBox, deps: ProbeDeps): Promise<ServerLook> {
  const { clock, signal } = deps;
  const kept = keptFor(loaded, box, deps);
  const look = async (): Promise<ServerLook> =>
    await withinLimit({ clock, signal, limitMs: LOOK_MS }, async () => await lookAtSession(await kept.connect()));
  try {
    return await kept.ask(look, signal);
  } catch (error) {
    signal.throwIfAborted();
    return silentServer(error);
  }
}
