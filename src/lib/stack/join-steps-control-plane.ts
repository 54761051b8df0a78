import type { LoadedConfig } from "../config/load.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import type { CertificateAuthority } from "../membership/join-bundle.ts";
import { outlastSilence } from "../membership/outlast.ts";
import type { Pool } from "../postgres/pool.ts";
import { careForServers, type CareContext, type CareReport, lookAtServers } from "./control-plane-caretaker.ts";
import { controlPlaneKeyFiles, ensureControlPlaneKeys, missingControlPlaneKeys } from "./control-plane-keys.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { peekLedger } from "./ledger-peek.ts";
import { already, type Assessment, todo } from "./plan.ts";

/** What the join token of this run brought; null = the box has it already, or is the first master and makes it. */
function broughtAuthority({ box }: JoinRun): CertificateAuthority | null {
  const controlPlane = box.entry?.bundle.controlPlane;
  return controlPlane?.mode === "docker" ? controlPlane.ca : null;
}

/** Step: what this box's server of the control plane shows to those of other masters, and what its programs log in with. */
export function controlPlaneKeysStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { keysDir } = box.paths;
  const { clock } = box.context;
  const authority = broughtAuthority(run);
  const { node } = box.wanted.config;
  return {
    id: "control-plane-keys",
    title: "Control plane's keys",
    assess: async () => {
      const missing = await missingControlPlaneKeys(keysDir, node, authority, clock);
      if (missing.length === 0) return already(`${controlPlaneKeyFiles(keysDir).certificate} is there, and good`);
      return todo("servers of the control plane take nobody in who shows no certificate of the federation", missing);
    },
    apply: async () => {
      const made = await ensureControlPlaneKeys(keysDir, { clusterId: box.clusterId, node, authority }, clock);
      return made.join(", ");
    },
  };
}

const POLL_MS = 500;
const WHY = "its servers grow with the masters: up to three hold every record, and each is found by the others";

async function assessServers(run: JoinRun): Promise<Assessment> {
  const { box } = run;
  const loaded = run.mayStart ? await box.reloadSaved() : box.wanted;
  try {
    const { clock } = box.context;
    const look = async (pool: Pool): Promise<readonly string[]> => await lookAtServers(loaded, { clock, pool });
    const changes = run.mayStart ? await look(await run.ledger()) : await peekLedger(loaded, look);
    if (changes === null || changes.length > 0) return todo(WHY, changes ?? []);
    return already("this box's server is one of the federation's, and the others know where it is");
  } catch (error) {
    // The steps before this one bring them up.
    const comes = ["FULA_CONTROL_PLANE_UNREACHABLE", "FULA_NOT_JOINED", "FULA_DATABASE_UNREACHABLE"] as const;
    if (comes.some((code) => isFulaError(error, code))) return todo(WHY, ["have this box's server join the others"]);
    throw error;
  }
}

/** Step: this box's server among those of the other masters, and every record on as many as there are, up to three. */
export function controlPlaneServersStep(run: JoinRun): JoinStep {
  const { box } = run;
  return {
    id: "control-plane-servers",
    title: "Control plane's servers",
    assess: async () => await assessServers(run),
    apply: async (report) => {
      const { clock, env, signal } = box.context;
      const load = async (): Promise<LoadedConfig> => await box.reloadSaved();
      const context: CareContext = { env, clock, signal, load, pool: await run.ledger(), isLocked: true };
      const deadlineMs = clock.monotonicMs() + (await load()).config.controlPlane.bootstrapTimeout;
      const care = async (): Promise<CareReport> => await careForServers(context);
      const all: string[] = [];
      for (;;) {
        const { done, waits, isMember } = await outlastSilence(care, { clock, signal, deadlineMs, onWait: report });
        all.push(...done);
        if (isMember && done.length === 0 && (waits === null || clock.monotonicMs() > deadlineMs)) break;
        if (clock.monotonicMs() > deadlineMs) throw stillApart(await load());
        report(waits ?? "waiting for its server to have everything");
        await clock.sleep(POLL_MS, signal);
      }
      return all.length === 0 ? "nothing was left to do" : all.join("; ");
    },
  };
}

function stillApart({ config }: LoadedConfig): FulaError {
  const { routes } = config.controlPlane;
  return new FulaError(
    "FULA_CONTROL_PLANE_UNREACHABLE",
    `This box's server of the control plane did not come together with ${routes.length === 0 ? "its witness" : routes.join(", ")} in time.`,
    {
      hint: "see that the route ports of the other masters are reached from here, and this box's from there; then run the command again.",
      details: { routes },
    },
  );
}
