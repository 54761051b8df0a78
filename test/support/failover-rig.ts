import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { type LoadedConfig, loadConfig } from "../../src/lib/config/load.ts";
import { executeRun, type FailoverReport } from "../../src/lib/failover/execute-failover.ts";
import type { FailoverPorts } from "../../src/lib/failover/failover-ports.ts";
import { beginRun, isUnfinished, knownRun, type RunWish, takeOverRun } from "../../src/lib/failover/failover-run.ts";
import { endedEpoch } from "../../src/lib/failover/failover-states.ts";
import { lookAtSession, silentServer } from "../../src/lib/failover/server-look.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import type { LedgerEpochRecord, LedgerStore } from "../../src/lib/membership/ledger-records.ts";
import { openKvLedgerStore } from "../../src/lib/membership/kv/ledger-store.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { openSession } from "../../src/lib/postgres/session.ts";
import { actOnEpoch } from "../../src/lib/stack/ledger-agent.ts";
import { revokeOldAccess, sealEpoch } from "../../src/lib/stack/failover-seal.ts";
import { boxWith } from "./config.ts";
import { KV_DEPS, kvTarget } from "./kv-stores.ts";
import { newEpoch, newLedgerBox } from "./ledger-records.ts";
import { asLedgerServer, enterEpoch, linkTo } from "./ledger-servers.ts";
import type { NatsServers } from "./nats-servers.ts";
import { openPostgresRig, PG_HOST, type PostgresRig, type RigServer } from "./postgres-pair.ts";
import { until } from "./until.ts";

/** What a process of its own needs to run a failover on the rig's servers. */
export interface RigAddress {
  readonly kv: { readonly urls: readonly string[]; readonly seed: string; readonly prefix: string };
  /** Ports of PostgreSQL by node. */
  readonly ports: Readonly<Record<string, number>>;
}

const WRITE_MS = 10_000;

/** Opens the rig's control plane, as one more process would. */
export async function openRigStore({ kv }: Pick<RigAddress, "kv">): Promise<LedgerStore> {
  const reachable = { urls: [...kv.urls], user: { seed: kv.seed, publicKey: "" } };
  return await openKvLedgerStore(kvTarget(reachable, { prefix: kv.prefix, replicas: 1 }), KV_DEPS);
}

function poolOf(port: number, epoch: LedgerEpochRecord): Pool {
  return createPool({
    host: PG_HOST,
    port,
    database: "ledger",
    user: "ledger",
    password: "ledger",
    part: "failover",
    node: "beta",
    ledgerEpoch: `${epoch.number}:${epoch.uuid}`,
    queryTimeoutMs: WRITE_MS,
    max: 2,
  });
}

/** What a rig's failover may be given. */
export interface RigPortsOptions {
  readonly journal?: FailoverPorts["journal"];
  /** Nodes that this process does not reach. */
  readonly unreachable?: ReadonlySet<string>;
  readonly onHook?: (hook: "fence" | "flip") => void;
}

/** Ports on real servers; service and hooks are not of the rig. */
export function rigPorts(
  store: LedgerStore,
  { ports: portOf }: Pick<RigAddress, "ports">,
  { journal = { append: async () => {} }, unreachable = new Set(), onHook }: RigPortsOptions = {},
): FailoverPorts {
  const lookAtServer: FailoverPorts["lookAtServer"] = async ({ node }) => {
    if (unreachable.has(node)) return { kind: "silent", why: "no answer", refused: false };
    try {
      const place = { host: PG_HOST, port: portOf[node] ?? 0, database: "ledger", user: "postgres" };
      await using session = await openSession({ ...place, part: "failover", node: "beta" }, systemClock);
      return await lookAtSession(session);
    } catch (error) {
      return silentServer(error);
    }
  };
  return {
    store,
    clock: systemClock,
    random: systemRandom,
    journal,
    hasFenceCommand: false,
    lookAtServer,
    probeServices: async ({ node }) => {
      const state = unreachable.has(node) ? "unknown" : "proven";
      return { what: "services-refuse", state, seen: `services of ${node}: ${state}` };
    },
    actHere: async () => {},
    runHook: async (hook) => {
      onHook?.(hook);
      return hook === "flip" ? { state: "ended", seen: "it ended with 0" } : { state: "none", seen: "none is set" };
    },
    checkBox: async () => [],
    findUnfit: async () => new Map(),
    followEpoch: async () => {},
    revokeAccess: async (epoch) => {
      const pool = poolOf(portOf[epoch.primary] ?? 0, epoch);
      try {
        return await revokeOldAccess(pool, epoch);
      } finally {
        await pool.end();
      }
    },
    seal: async (epoch, replaces) => {
      const pool = poolOf(portOf[epoch.primary] ?? 0, epoch);
      try {
        return await sealEpoch(pool, "beta", epoch, replaces);
      } finally {
        await pool.end();
      }
    },
    verifyService: async () => [{ id: "billing", state: "ok", seen: "the books are right", durationMs: 0 }],
  };
}

/** Begins a run on the rig or goes on with the one that is unfinished, as the command does. */
export async function runOnRig(
  ports: FailoverPorts,
  change: Partial<RunWish> = {},
  wish: "go-on" | "abort" = "go-on",
): Promise<FailoverReport> {
  const { store, clock, random } = ports;
  const { signal } = new AbortController();
  const deps = { store, clock, random, signal };
  const { value: epoch } = await store.confirm("epoch");
  const seen = await store.confirm("failover");
  const known = knownRun(seen.value);
  const who = {
    kind: "failover",
    node: "beta",
    owner: `beta, process ${process.pid}`,
    operator: "ed25519:ops",
  } as const;
  const choice = { to: null, forced: false, allowedLoss: null, ...change };
  const ended = epoch === null ? null : endedEpoch(epoch);
  if (!isUnfinished(known) && ended === null) throw new Error("there is nothing to begin with");
  await using keeper = isUnfinished(known)
    ? await takeOverRun(deps, { ...who, kind: known.kind, ...choice }, { revision: seen.revision, value: known })
    : await beginRun(
        deps,
        {
          ...who,
          ...choice,
          from: ended?.primary ?? "",
          replaces: { number: ended?.number ?? 0, uuid: ended?.uuid ?? "" },
        },
        seen,
      );
  return await executeRun(ports, keeper, { wish, signal, onStep: () => {}, report: () => {} });
}

interface RigBox {
  readonly node: string;
  readonly server: RigServer;
  readonly loaded: LoadedConfig;
  acts: boolean;
}

/** A primary, its standbys, a control plane on NATS, and an agent for each box, in this process. */
export class FailoverRig implements AsyncDisposable {
  readonly rig: PostgresRig;
  readonly store: LedgerStore;
  readonly address: RigAddress;
  readonly #boxes: ReadonlyMap<string, RigBox>;
  readonly #end = new AbortController();
  readonly #agents: readonly Promise<void>[];

  private constructor(rig: PostgresRig, store: LedgerStore, boxes: readonly RigBox[], kv: RigAddress["kv"]) {
    this.rig = rig;
    this.store = store;
    this.#boxes = new Map(boxes.map((box) => [box.node, box]));
    this.address = { kv, ports: Object.fromEntries(boxes.map(({ node, server }) => [node, server.port])) };
    this.#agents = boxes.map(async (box) => await this.#act(box));
  }

  /** Alpha has the primary; the others copy it, and a commit waits for one of them. */
  static async open(servers: NatsServers, standbys: readonly string[] = ["beta"]): Promise<FailoverRig> {
    const rig = await openPostgresRig();
    const prefix = `FULA${randomUUID().slice(0, 8)}`;
    const kv = { urls: servers.urls, seed: servers.user.seed, prefix };
    const store = await openRigStore({ kv });
    const primary = await rig.primary("alpha", { ledger: true });
    const epoch = { number: 1n, uuid: randomUUID() };
    await enterEpoch(primary, epoch);
    await primary.sql("create table written (n int primary key); alter table written owner to ledger", [], "ledger");
    const members: RigServer[] = [primary];
    for (const name of standbys) members.push(await rig.standby(primary, name));
    primary.set({ synchronous_standby_names: `ANY 1 (${standbys.map((name) => `"${name}"`).join(", ")})` });
    await primary.site.reload();
    const boxes = await Promise.all(members.map(async (server) => await boxOf(server)));
    for (const { node, server } of boxes) {
      await primary.sql(
        `insert into federation_nodes (name, role, cluster_id, version) values ($1, 'master', '7f0c1f6e-0000-4000-8000-000000000001', '1')`,
        [node],
        "ledger",
      );
      const state = node === "alpha" ? "primary" : "standby";
      await store.put("box", newLedgerBox(node, { state, address: `${PG_HOST}:${server.port}` }), 0, node);
    }
    await store.put(
      "epoch",
      newEpoch({
        uuid: epoch.uuid,
        primary: "alpha",
        address: `${PG_HOST}:${primary.port}`,
        syncSet: [...standbys],
        syncNeeded: 1,
        switchLsn: null,
      }),
      0,
    );
    return new FailoverRig(rig, store, boxes, kv);
  }

  box(node: string): RigBox {
    const box = this.#boxes.get(node);
    if (box === undefined) throw new Error(`no box ${node}`);
    return box;
  }

  /** Writes down what each box carries now, as its `serve` does after a change of the primary. */
  async noteBoxes(): Promise<void> {
    const { primary } = await this.epoch();
    for (const { node, server } of this.#boxes.values()) {
      const { revision } = await this.store.get("box", node);
      const state = node === primary ? "primary" : "standby";
      await this.store.put("box", newLedgerBox(node, { state, address: `${PG_HOST}:${server.port}` }), revision, node);
    }
  }

  /** As if its power were cut: nothing of it does anything any more, until `revive`. */
  async kill(node: string): Promise<void> {
    const box = this.box(node);
    box.acts = false;
    await box.server.stop("immediate");
  }

  async epoch(): Promise<LedgerEpochRecord> {
    const { value } = await this.store.confirm("epoch");
    if (value === null) throw new Error("there is no epoch");
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await Promise.all(this.#agents);
    await this.store.close();
    await this.rig[Symbol.asyncDispose]();
  }

  async #act(box: RigBox): Promise<void> {
    const { signal } = this.#end;
    const context = {
      loaded: box.loaded,
      store: this.store,
      server: asLedgerServer(box.server),
      random: systemRandom,
      signal,
      linkTo: (_server: unknown, { node }: { readonly node: string }) => linkTo(this.box(node).server),
    };
    while (!signal.aborted) {
      // What a round cannot do, the next one does.
      if (box.acts) await this.#round(box, context).catch(() => {});
      await systemClock.sleep(20, signal).catch(() => {});
    }
  }

  async #round(box: RigBox, context: Parameters<typeof actOnEpoch>[0]): Promise<void> {
    const { epoch, act } = await actOnEpoch(context);
    if (act !== "nothing" || epoch.value?.phase !== "open" || epoch.value.primary !== box.node) return;
    for (const node of this.#boxes.keys()) {
      if (node === box.node) continue;
      await box.server.sql(
        "select pg_create_physical_replication_slot($1, true) where not exists (select from pg_replication_slots where slot_name = $1)",
        [`fula_${node}`],
      );
    }
  }
}

async function boxOf(server: RigServer): Promise<RigBox> {
  const yaml = JSON.stringify({ node: { name: server.name }, postgres: { announce: `${PG_HOST}:${server.port}` } });
  const loaded = await loadConfig(boxWith({ yaml }));
  mkdirSync(loaded.paths.stateDir, { recursive: true });
  return { node: server.name, server, loaded, acts: true };
}

/** Somebody who writes numbers, one after the other, wherever the ledger is, each until it is acknowledged. */
export class RigWriter implements AsyncDisposable {
  readonly acknowledged: number[] = [];
  readonly #rig: FailoverRig;
  readonly #end = new AbortController();
  readonly #writing: Promise<void>;

  constructor(rig: FailoverRig) {
    this.#rig = rig;
    this.#writing = this.#write();
  }

  /** Waits until so many more were acknowledged. */
  async progress(count: number): Promise<void> {
    const goal = this.acknowledged.length + count;
    await until(`${goal} writes are acknowledged`, async () => this.acknowledged.length >= goal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#writing;
  }

  async #write(): Promise<void> {
    let next = 0;
    while (!this.#end.signal.aborted) {
      // Nobody may be there to tell it at the moment.
      const epoch = await this.#rig.epoch().catch(() => null);
      const port = epoch?.phase === "open" ? this.#rig.address.ports[epoch.primary] : undefined;
      if (epoch !== null && port !== undefined) next = await this.#writeAt(poolOf(port, epoch), epoch, next);
      else await systemClock.sleep(5);
    }
  }

  /** @returns the first number that was not acknowledged */
  async #writeAt(pool: Pool, epoch: LedgerEpochRecord, first: number): Promise<number> {
    let next = first;
    try {
      while (!this.#end.signal.aborted) {
        await pool.query("insert into written values ($1) on conflict do nothing", [next]);
        this.acknowledged.push(next);
        next += 1;
        if ((await this.#rig.epoch()).uuid !== epoch.uuid) return next;
      }
    } catch {
      // Not acknowledged: written again wherever the ledger is then.
    } finally {
      await pool.end();
    }
    return next;
  }
}
