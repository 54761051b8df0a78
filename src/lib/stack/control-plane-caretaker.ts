import { stat } from "node:fs/promises";
import { relative } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { updateSettingsFile } from "../config/settings-file.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, isFulaError, systemErrorCode } from "../kernel/errors.ts";
import { tryLock } from "../kernel/lock.ts";
import { listControlPlaneRoutes, listFederationNodes, noteControlPlaneRoute } from "../membership/federation-nodes.ts";
import { BUCKET_KINDS, bucketName } from "../membership/kv/buckets.ts";
import { connectNats } from "../membership/kv/connect.ts";
import { type Growth, isLeftAlone, planGrowth, raiseReplicas, wellServers } from "../membership/kv/grow.ts";
import { handBucketOn, leadsToHandOn } from "../membership/kv/lead.ts";
import { handLeadOn, removePeer } from "../membership/kv/peers.ts";
import { readLoadedServers, reloadServer } from "../membership/kv/reload.ts";
import type { ClusterView, StreamView } from "../membership/kv/state.ts";
import type { Pool } from "../postgres/pool.ts";
import { natsAccess } from "./control-plane.ts";
import { ensureNodeCertificate, missingControlPlaneKeys } from "./control-plane-keys.ts";
import { readServers } from "./control-plane-servers.ts";
import { readStack, type StackFile, staleFiles, writeStackFiles } from "./docker-stack.ts";
import { readFederation } from "./federation-look.ts";
import { readKnownEpochs } from "./ledger-epoch-file.ts";
import { isReloaded, ownRoute } from "./nats-files.ts";
import { ownName } from "./registration.ts";
import { natsServerName, stackServices } from "./stack-values.ts";
import { CARETAKER, joinLockFile } from "./step-run.ts";
import { addWitness, removeWitness } from "./witness.ts";

/** What caring for the servers of the control plane needs. */
export interface CareContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The ledger. */
  readonly pool: Pool;
  /** Reads the settings as the files have them by now. */
  readonly load: () => Promise<LoadedConfig>;
  /** True where whoever asks holds the lock of `join` already. */
  readonly isLocked?: boolean;
}

/** What one look at the servers came to. */
export interface CareReport {
  /** In a few words each, for a log. */
  readonly done: readonly string[];
  /** What is waited for; null where nothing is. */
  readonly waits: string | null;
  /** True where this box's server is one of the federation's and has everything. */
  readonly isMember: boolean;
}

/** True where this box runs servers of the control plane. */
export function hasOwnServers({ config }: LoadedConfig): boolean {
  return stackServices(config).includes("nats");
}

/**
 * The routes that the settings should have: those of the ledger. One that stands in the settings alone stays until every
 * other master has written its own down, for it may be that of one which has yet to.
 */
export function wantedRoutes(
  own: { readonly name: string; readonly routes: readonly string[]; readonly route: string | null },
  ledger: readonly { readonly name: string; readonly route: string }[],
  otherMasters: number,
): readonly string[] {
  const others = ledger.filter(({ name }) => name !== own.name).map(({ route }) => route);
  const kept = others.length < otherMasters || others.length === 0 ? own.routes : [];
  const all = [...new Set([...others, ...kept])].filter((route) => route !== own.route);
  return all.toSorted((a, b) => (a < b ? -1 : 1));
}

function isSameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((one) => b.includes(one));
}

/** The routes that the settings lack or have too many of; null where they are right. */
async function changedRoutes({ config }: LoadedConfig, pool: Pool): Promise<readonly string[] | null> {
  const { name } = config.node;
  const nodes = await listFederationNodes(pool);
  const others = nodes.filter((node) => node.role === "master" && node.name !== name).length;
  const own = { name, routes: config.controlPlane.routes, route: ownRoute(config) };
  const routes = wantedRoutes(own, await listControlPlaneRoutes(pool), others);
  return isSameSet(routes, own.routes) ? null : routes;
}

interface Target {
  readonly timeoutMs: number;
  readonly address: string;
}

/** Lends a connection to this box's own server. */
async function withServer<T>(
  loaded: LoadedConfig,
  who: "user" | "system",
  use: (connection: Awaited<ReturnType<typeof connectNats>>, target: Target) => Promise<T>,
): Promise<T> {
  const { timeout: timeoutMs } = loaded.config.controlPlane;
  const access = await natsAccess(loaded, who);
  const connection = await connectNats(access, timeoutMs);
  try {
    return await use(connection, { timeoutMs, address: access.servers.join(", ") });
  } finally {
    await connection.close();
  }
}

async function changedAtMs(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return 0;
    throw error;
  }
}

/** Files that servers read anew, as the settings want them; and those of them that are other than that. */
async function reloadedFiles(
  loaded: LoadedConfig,
): Promise<{ readonly all: readonly StackFile[]; readonly stale: readonly StackFile[] }> {
  const stack = await readStack(loaded);
  const isOne = ({ path }: StackFile): boolean => isReloaded(relative(loaded.paths.baseDir, path));
  return { all: stack.files.filter(isOne), stale: (await staleFiles(stack)).filter(isOne) };
}

function ownServerNames({ config }: LoadedConfig): ReadonlySet<string> {
  return new Set((["nats", "nats-witness"] as const).map((service) => natsServerName(config, service)));
}

/** Has those servers of this box read their files that go by something older. */
async function reloadOld(loaded: LoadedConfig, files: readonly StackFile[]): Promise<readonly string[]> {
  const newestMs = Math.max(...(await Promise.all(files.map(async ({ path }) => await changedAtMs(path)))));
  const own = ownServerNames(loaded);
  return await withServer(loaded, "system", async (system, target) => {
    const servers = await readLoadedServers(system, target);
    const old = servers.filter(({ name, loadedAtMs }) => own.has(name) && loadedAtMs < newestMs);
    for (const server of old) await reloadServer(system, server, target);
    return old.map(({ name }) => `${name} has read its files anew`);
  });
}

/** Brings certificate, routes and files of this box to what they should be. @returns what was done; null where somebody else is at it */
async function refreshBox(context: CareContext): Promise<readonly string[] | null> {
  const { pool, clock, signal, load } = context;
  const before = await load();
  const { paths, config } = before;
  const missing = await missingControlPlaneKeys(paths.keysDir, config.node, null, clock);
  const routes = await changedRoutes(before, pool);
  if (missing.length === 0 && routes === null && (await reloadedFiles(before)).stale.length === 0) return [];
  using lock = await lockBox(before, context);
  if (lock === null) return null;
  const done: string[] = [];
  const why = await ensureNodeCertificate(paths.keysDir, config.node, clock);
  if (why !== null) done.push(`a new certificate: ${why}`);
  if (routes !== null) {
    await updateSettingsFile(paths.configFile, { "controlPlane.routes": routes }, { clock, signal });
    done.push(`routes: ${routes.join(", ")}`);
  }
  const { stale } = await reloadedFiles(await load());
  await writeStackFiles(stale);
  return [...done, ...stale.map(({ path }) => `wrote ${relative(paths.baseDir, path)}`)];
}

function isCurrentMember({ metaLeader, members }: ClusterView, name: string): boolean {
  return metaLeader === name || (metaLeader !== null && members.some((peer) => peer.name === name && peer.current));
}

/** True where a server that holds a bucket has all of it. */
function hasAll({ leader, peers }: StreamView, name: string): boolean {
  return leader !== null && peers.every((peer) => peer.name !== name || peer.current);
}

function wishOf({ config }: LoadedConfig): Parameters<typeof planGrowth>[1] {
  const { prefix, replicas, witness } = config.controlPlane;
  return {
    buckets: BUCKET_KINDS.map((kind) => bucketName(prefix, kind)),
    replicas,
    witness: witness ? natsServerName(config, "nats-witness") : null,
  };
}

async function grow(loaded: LoadedConfig, growth: Growth, context: CareContext): Promise<readonly string[]> {
  const done: string[] = [];
  if (growth.raise.length > 0) {
    await withServer(loaded, "user", async (user, target) => {
      for (const each of growth.raise) {
        await raiseReplicas(user, each, target);
        done.push(`${each.replicas} servers hold ${each.bucket}`);
      }
    });
  }
  const witness = natsServerName(loaded.config, "nats-witness");
  if (growth.dismiss === "lead") {
    await withServer(loaded, "system", handLeadOn);
    done.push(`${witness} leads no more`);
  }
  if (growth.dismiss === "member") {
    await withServer(loaded, "system", async (system, target) => {
      await removePeer(system, witness, target);
    });
    done.push(`${witness} is no member any more`);
  }
  if (growth.dismiss === "server") {
    using lock = await lockBox(loaded, context);
    if (lock === null) return done;
    await removeWitness(loaded, context);
    done.push(`${witness} is stopped for good`);
  }
  return done;
}

/** The box that has the ledger's primary leads no records: they say who is to be the next one when it is lost. */
async function handLeadsOn(loaded: LoadedConfig, view: ClusterView): Promise<readonly string[]> {
  const followed = (await readKnownEpochs(loaded.paths.stateDir))?.followed ?? null;
  if (followed?.primary !== loaded.config.node.name) return [];
  const buckets = leadsToHandOn(view, ownServerNames(loaded));
  if (buckets.length === 0) return [];
  await withServer(loaded, "user", async (user, target) => {
    for (const bucket of buckets) await handBucketOn(user, bucket, target);
  });
  return [`another box leads ${buckets.join(", ")}: the ledger's primary is here`];
}

/** It has been taken in: from now on it counts servers like the others. */
async function endJoining(loaded: LoadedConfig, context: CareContext): Promise<readonly string[]> {
  const { clock, signal, load } = context;
  using lock = await lockBox(loaded, context);
  if (lock === null) return [];
  await updateSettingsFile(loaded.paths.configFile, { "controlPlane.joining": false }, { clock, signal });
  await writeStackFiles((await reloadedFiles(await load())).stale);
  return [`${natsServerName(loaded.config, "nats")} has been taken in`];
}

/** The last of several masters is again where the first one began. */
async function enlistWitness(loaded: LoadedConfig, context: CareContext): Promise<readonly string[]> {
  using lock = await lockBox(loaded, context);
  if (lock === null) return [];
  await addWitness(loaded, context);
  return [`${natsServerName(loaded.config, "nats-witness")} is started: a server alone elects nobody`];
}

/** Nobody else may change files and containers of this box meanwhile; null where somebody does. */
async function lockBox({ paths }: LoadedConfig, { clock, isLocked }: CareContext): Promise<Disposable | null> {
  if (isLocked === true) return { [Symbol.dispose]: () => {} };
  return await tryLock(joinLockFile(paths.locksDir), CARETAKER, clock);
}

/**
 * Looks after this box's servers of the control plane once: certificates, routes of the other masters, the files that
 * they go by, where the ledger says they are, how many hold each record, and the first master's second server, which goes
 * when three masters have one; and that none of them leads records while the ledger's primary is here. Whatever is done already is
 * left alone.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_KEYS, FULA_CONTROL_PLANE_FILES, FULA_DOCKER_…, of the ledger
 */
export async function careForServers(context: CareContext): Promise<CareReport> {
  const { pool, clock, load } = context;
  const refreshed = await refreshBox(context);
  const loaded = await load();
  const told = await reloadOld(loaded, (await reloadedFiles(loaded)).all);
  const done = [...(refreshed ?? []), ...told];
  const view = await readServers(loaded, { clock });
  const isMember = isCurrentMember(view, natsServerName(loaded.config, "nats"));
  const route = ownRoute(loaded.config);
  if (isMember && (await noteControlPlaneRoute(pool, await ownName(loaded), route))) {
    done.push(`the ledger says that others reach it at ${route ?? "no address"}`);
  }
  if (isMember && loaded.config.controlPlane.joining) done.push(...(await endJoining(loaded, context)));
  if (isLeftAlone(view)) done.push(...(await enlistWitness(loaded, context)));
  const growth = planGrowth(view, wishOf(loaded));
  done.push(...(await grow(loaded, growth, context)), ...(await handLeadsOn(loaded, view)));
  return { done, waits: refreshed === null ? "somebody else changes this box" : growth.waits, isMember };
}

/** After its container was replaced; it catches up with what was written meanwhile. */
const CATCH_UP_MS = 60_000;
const CATCH_UP_POLL_MS = 500;

/**
 * Waits until a server of this box that was started anew has everything: the next one may only then be stopped.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE where that takes longer than a minute
 */
export async function awaitOwnServer(
  loaded: LoadedConfig,
  service: "nats" | "nats-witness",
  { clock, signal }: Pick<CareContext, "clock" | "signal">,
): Promise<void> {
  const name = natsServerName(loaded.config, service);
  const deadlineMs = clock.monotonicMs() + CATCH_UP_MS;
  for (;;) {
    const view = await readServers(loaded, { clock }).catch((error: unknown) => {
      if (isFulaError(error, "FULA_CONTROL_PLANE_UNREACHABLE") && clock.monotonicMs() < deadlineMs) return null;
      throw error;
    });
    if (view !== null && wellServers(view).includes(name) && view.streams.every((stream) => hasAll(stream, name)))
      return;
    if (clock.monotonicMs() > deadlineMs) {
      throw new FulaError(
        "FULA_CONTROL_PLANE_UNREACHABLE",
        `${name} did not catch up with the other servers in time.`,
        {
          hint: "fula-master status shows them; once it has, run the command again.",
          details: { server: name },
        },
      );
    }
    await clock.sleep(CATCH_UP_POLL_MS, signal);
  }
}

/** What `careForServers` would find to do. Changes nothing. @throws as that does */
export async function lookAtServers(
  loaded: LoadedConfig,
  { clock, pool }: Pick<CareContext, "clock" | "pool">,
): Promise<readonly string[]> {
  const view = await readServers(loaded, { clock });
  const name = natsServerName(loaded.config, "nats");
  const route = ownRoute(loaded.config);
  const isThere = (await readFederation(pool)).length > 0;
  const written = isThere ? await listControlPlaneRoutes(pool) : [];
  const { raise } = planGrowth(view, wishOf(loaded));
  return [
    ...(isCurrentMember(view, name) ? [] : [`have ${name} join the other servers`]),
    ...(route === null || written.some((one) => one.name === loaded.config.node.name && one.route === route)
      ? []
      : [`write ${route} into the ledger`]),
    ...raise.map(({ bucket, replicas }) => `have ${replicas} servers hold ${bucket}`),
  ];
}
