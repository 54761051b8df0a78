import type { LoadedConfig } from "../config/load.ts";
import { FulaError, isFulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import type { Operator } from "../membership/records.ts";
import { type BoxKey, ensureBoxKey, readBoxKey } from "../membership/sealed/box-key.ts";
import type { MembershipStore } from "../membership/store.ts";
import { controlPlaneAddress, withControlPlane, withControlPlanePatiently } from "./control-plane.ts";
import { ensureAuthority, lacksAuthority } from "./federation-authority.ts";
import { lookAtPools, type PoolLooks } from "./federation-pools.ts";
import { FEDERATION_POOLS, type FederationPool } from "./federation-secrets.ts";
import { readInstallation } from "./installation.ts";
import type { JoinBox } from "./join-box.ts";
import type { Entry } from "./join-entry.ts";
import type { JoinStep, Report } from "./join-step.ts";
import { boxOperatorId, missingOperators, seedOperators } from "./operators.ts";
import { already, type Assessment, todo } from "./plan.ts";
import { enterPool, epochOf, ownSecrets, type Standing, standingOf } from "./pool-entry.ts";

/** What the step about the control plane takes of its run. */
interface ControlPlaneRun {
  readonly box: Pick<JoinBox, "context" | "paths" | "wanted" | "reload"> & {
    readonly entry: Pick<Entry, "bundle"> | null;
  };
  /** As in `JoinRun`. */
  readonly mayStart: boolean;
}

const WHY =
  "who belongs to the federation, its secrets, and who may act, are kept where the loss of a master does not take them";

const CHANGES: Readonly<Record<"out" | "missing" | "without-authority", (pool: FederationPool) => string>> = {
  missing: (pool) => `make the pool ${pool} from what this box has`,
  out: (pool) => `write this master into the pool ${pool}, its secret sealed to this box`,
  "without-authority": (pool) => `put the certificate authority into the pool ${pool}`,
};

/** True where there can be no control plane to look at before this step was taken. */
async function isUnmade({ paths, config }: LoadedConfig): Promise<boolean> {
  if (config.controlPlane.mode !== "sqlite") return false;
  const made = (await readInstallation(paths.stateDir))?.made.includes("control-plane") === true;
  // One that was made and is gone was lost; opening it says so.
  return !made && !(await exists(paths.controlPlaneFile));
}

interface Look {
  readonly looks: PoolLooks;
  /** This box's operator id; null where it has no key yet. */
  readonly own: string | null;
  /** Null where this box has no operator yet. */
  readonly operator: Operator | null;
  /** Those who may act from now on. */
  readonly missing: readonly Operator[];
}

async function lookAt(
  run: ControlPlaneRun,
  store: MembershipStore,
  loaded: LoadedConfig,
  key: BoxKey | null,
): Promise<Look> {
  const own = await boxOperatorId(loaded);
  const operators = await store.listOperators();
  const missing = await missingOperators(store, loaded, run.box.context);
  const operator = operators.find(({ id }) => id === own) ?? null;
  return { looks: await lookAtPools(store, key), own, operator, missing };
}

/** What is seen of it now; null where it is yet to be made, or is brought up by the steps before this one. */
async function tryLook(run: ControlPlaneRun, loaded: LoadedConfig, key: BoxKey | null): Promise<Look | null> {
  if (await isUnmade(loaded)) return null;
  try {
    const deps = { ...run.box.context, readOnly: true };
    return await withControlPlane(loaded, deps, async (store) => await lookAt(run, store, loaded, key));
  } catch (error) {
    // On servers without buckets there is none yet.
    const comes = ["FULA_CONTROL_PLANE_UNREACHABLE", "FULA_NOT_JOINED", "FULA_MEMBERSHIP_NOT_FOUND"] as const;
    if (comes.some((code) => isFulaError(error, code))) return null;
    throw error;
  }
}

interface PoolStanding {
  readonly pool: FederationPool;
  readonly standing: Standing;
  /** The epoch of the secret that the files of this box have; null where they have none of the pool. */
  readonly inUse: number | null;
}

async function standings(loaded: LoadedConfig, looks: PoolLooks): Promise<readonly PoolStanding[]> {
  const own = await ownSecrets(loaded);
  return FEDERATION_POOLS.map((pool) => {
    const standing = standingOf(loaded, pool, looks, own);
    const belongs = standing === "in" || standing === "behind";
    return { pool, standing, inUse: belongs ? epochOf(loaded, pool, looks, own) : null };
  });
}

/**
 * Pools that this box works with the secret of, and of which nothing says so: it was stopped after it had been let in.
 * Others would seal with the next secret at once, and would not wait for this box to read it.
 */
function unnoted(
  found: readonly PoolStanding[],
  looks: PoolLooks,
  key: BoxKey | null,
): readonly { readonly pool: FederationPool; readonly epoch: number }[] {
  return found.flatMap(({ pool, inUse: epoch }) => {
    const own = looks[pool]?.members.find(({ endpoint }) => endpoint === key?.endpoint);
    return own?.appliedEpoch === 0 && epoch !== null ? [{ pool, epoch }] : [];
  });
}

async function assess(run: ControlPlaneRun): Promise<Assessment> {
  const { box } = run;
  const loaded = run.mayStart ? await box.reload() : box.wanted;
  const key = await readBoxKey(box.paths.boxKeyFile);
  const look = await tryLook(run, loaded, key);
  const first = [
    ...(key === null ? [`write ${box.paths.boxKeyFile}`] : []),
    ...((await lacksAuthority(loaded)) ? ["bring or make the authority that vouches for boxes to one another"] : []),
    ...(look === null ? [`open ${controlPlaneAddress(loaded)}`, "make what it lacks, and write this master in"] : []),
  ];
  if (look === null) return todo(WHY, first);
  const found = await standings(loaded, look.looks);
  const changes = found.flatMap(({ pool, standing }) =>
    standing === "out" || standing === "missing" || standing === "without-authority" ? [CHANGES[standing](pool)] : [],
  );
  changes.push(
    ...unnoted(found, look.looks, key).map(({ pool }) => `note that this master works with the secret of ${pool}`),
    ...(look.operator === null ? ["write this master down as an operator, role admin"] : []),
    ...look.missing
      .filter(({ id }) => id !== look.own)
      .map(({ name, role }) => `write ${name} down as an operator, role ${role}`),
  );
  if (first.length + changes.length > 0) return todo(WHY, [...first, ...changes]);
  const behind = found.filter(({ standing }) => standing === "behind").map(({ pool }) => pool);
  const member = found.filter(({ standing }) => standing !== "none").map(({ pool }) => pool);
  const lag =
    behind.length === 0 ? "" : `; its secrets of ${behind.join(", ")} are behind: fula-master membership sync`;
  const revoked =
    look.operator?.status === "revoked"
      ? `; but it may not act: on another master, fula-master membership operator restore ${look.operator.id}`
      : "";
  return already(`this master is in the pools ${member.join(", ")}${lag}${revoked}`);
}

/**
 * A server that has not come together with the others' looks like an empty control plane: what is made there would be a
 * second one.
 */
function assertNotApart(run: ControlPlaneRun, { config }: LoadedConfig, looks: PoolLooks): void {
  const bundle = run.box.entry?.bundle ?? null;
  // A file is this box's own, whatever the others have: who joins so has said it.
  if (bundle === null || bundle.controlPlane.mode === "sqlite" || config.controlPlane.mode === "sqlite") return;
  const lost = FEDERATION_POOLS.filter((pool) => bundle.epochs[pool] !== null && looks[pool] === null);
  if (lost.length === 0) return;
  throw new FulaError(
    "FULA_CONTROL_PLANE_UNREACHABLE",
    `The control plane that this box reaches has no pool ${lost.join(", ")}, and that of ${bundle.issuer} has. Nothing was changed.`,
    {
      hint: `this box's server has not come together with those of the others: see that ${bundle.controlPlane.mode === "docker" ? bundle.controlPlane.routes.join(", ") : bundle.controlPlane.servers.join(", ")} is reached from here, then run the command again.`,
      // Servers that have a leader of their own by now do not come together by waiting.
      details: { pools: lost, refused: true },
    },
  );
}

async function enter(run: ControlPlaneRun, store: MembershipStore, loaded: LoadedConfig, key: BoxKey): Promise<string> {
  const { clock, random, signal } = run.box.context;
  const done: string[] = [];
  const looks = await lookAtPools(store, key);
  assertNotApart(run, loaded, looks);
  const bundle = run.box.entry?.bundle ?? null;
  const authority = await ensureAuthority(loaded, { looks, bundle }, clock);
  if (authority !== null) done.push(authority);
  const secrets = await ownSecrets(loaded);
  const entry = { store, clock, random, signal, loaded, key, bundle };
  for (const { pool, standing } of await standings(loaded, looks)) {
    const what = await enterPool(pool, standing, secrets[pool], entry);
    if (what !== null) done.push(what);
  }
  const seeded = await seedOperators(store, loaded, { clock });
  if (seeded.length > 0) done.push(`${seeded.length === 1 ? "operator" : "operators"} ${seeded.join(", ")}`);
  // What this box has just put in, or was let in with, is what it works with.
  const after = await lookAtPools(store, key);
  const entered = await standings(loaded, after);
  for (const { pool, standing } of entered) {
    const epoch = after[pool]?.pool.epoch ?? 0;
    if (standing === "in" && epoch > 0) await store.noteApplied(pool, key.endpoint, epoch);
  }
  for (const { pool, epoch } of unnoted(
    entered.filter(({ standing }) => standing === "behind"),
    after,
    key,
  )) {
    await store.noteApplied(pool, key.endpoint, epoch);
  }
  return done.length === 0 ? "this master was in already" : done.join("; ");
}

async function apply(run: ControlPlaneRun, report: Report): Promise<string> {
  const { box } = run;
  const loaded = await box.reload();
  const key = await ensureBoxKey(box.paths.boxKeyFile);
  report(`opening ${controlPlaneAddress(loaded)}`);
  const deps = { ...box.context, onWait: report };
  return await withControlPlanePatiently(loaded, deps, async (store) => await enter(run, store, loaded, key));
}

/** Step: this master in the control plane, with the federation's secrets sealed to it; the first one makes them. */
export function controlPlaneStep(run: ControlPlaneRun): JoinStep {
  return {
    id: "control-plane",
    title: "Control plane",
    assess: async () => await assess(run),
    apply: async (report) => await apply(run, report),
  };
}
