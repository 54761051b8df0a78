import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { raisedEpoch } from "../../../src/lib/failover/epoch-change.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { LedgerEpochRecord, LedgerStore } from "../../../src/lib/membership/ledger-records.ts";
import { LedgerAgent } from "../../../src/lib/server/ledger-agent.ts";
import { startLedgerAgent } from "../../../src/lib/server/ledger-agent-start.ts";
import { epochOfSessions } from "../../../src/lib/stack/ledger-epoch-file.ts";
import { assertMayServe } from "../../../src/lib/stack/ledger-gate.ts";
import { openLedgerStore } from "../../../src/lib/stack/ledger-store.ts";
import { openLedger } from "../../../src/lib/stack/ledger.ts";
import { openOwnServer } from "../../../src/lib/stack/own-server.ts";
import { addStandby } from "../../../src/lib/stack/standby-add.ts";
import { AckWriters } from "../../support/ack-writers.ts";
import { newLedgerBox } from "../../support/ledger-records.ts";
import { type NatsServers, startNatsServers } from "../../support/nats-servers.ts";
import { makeStandbyPair, type StandbyPair, type StandbyTestBox } from "../../support/standby-boxes.ts";
import { until } from "../../support/until.ts";

const AGENT = join(PROJECT_ROOT, "test/support/children/ledger-agent.ts");
/** So long the agent of the old primary is frozen after another one was promoted. */
const FROZEN_MS = process.env["SOAK"] === "1" ? 45_000 : 2_000;
/** So long a server is written to that must acknowledge nothing. */
const HAMMERED_MS = 1_500;
const PATIENCE_MS = 120_000;
/** Several of those waits, one after the other. */
const TEST_MS = 600_000;

let dir: string;
let servers: NatsServers;
let pair: StandbyPair;
let store: LedgerStore;
const opened = new AsyncDisposableStack();

const deps = { clock: systemClock, random: systemRandom, log: silentLog, signal: new AbortController().signal };
const serverOf = async (box: StandbyTestBox) => await openOwnServer(await box.load(), { ...deps, env: {} });
const stateOf = async (box: StandbyTestBox): Promise<string> => await (await serverOf(box)).site.state();

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-test-frozen-"));
  await chmod(dir, 0o755);
  servers = await startNatsServers(3);
  const nkeyFile = join(dir, "user.nk");
  await writeFile(nkeyFile, servers.user.seed, { mode: 0o600 });
  pair = await makeStandbyPair(dir, {
    "controlPlane.nkeyFile": nkeyFile,
    "controlPlane.servers": servers.urls,
    "controlPlane.maxAge": "500ms",
    // Nothing here is about how long a question takes.
    "controlPlane.timeout": "20s",
  });
  await standbyInSync();
  store = opened.use(await openLedgerStore(await pair.first.load(), deps));
  // What was written to a control plane in memory while the boxes were set up.
  const memory = pair.first.store();
  for (const { node, value } of await memory.list("box")) await store.put("box", value, 0, node);
  const epoch = await memory.get("epoch");
  if (epoch.value === null) throw new Error("there is no epoch");
  await store.put("epoch", epoch.value, 0);
}, TEST_MS);

afterAll(async () => {
  await opened.disposeAsync();
  await pair.ledger.close().catch(() => {});
  for (const box of pair.boxes()) await (await serverOf(box)).site.stop("immediate");
  await servers[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
}, TEST_MS);

/** Adds the standby and waits until commits wait for it. */
async function standbyInSync(): Promise<void> {
  {
    await using _keeper = await pair.first.keep();
    await addStandby(pair.second.context(), async (tasks) => {
      for (const task of tasks) if ((await task.skip()) === null) await task.run(() => {});
    });
  }
  const isWaitedFor = async (): Promise<boolean> => (await pair.first.store().get("epoch")).value?.syncNeeded === 1;
  // Who keeps it gives up a standby that a busy machine holds up: what counts is what is left when nobody keeps it any more.
  await until(
    "commits wait for the standby",
    async () => {
      {
        await using _keeper = await pair.first.keep();
        await until("it is counted in", isWaitedFor, PATIENCE_MS);
      }
      return await isWaitedFor();
    },
    PATIENCE_MS,
  );
}

async function epochNow(): Promise<LedgerEpochRecord> {
  const { value } = await store.confirm("epoch");
  if (value === null) throw new Error("there is no epoch");
  return value;
}

/** Changes it over whatever stands there: an agent may write at the same moment. */
async function change(next: (now: LedgerEpochRecord) => LedgerEpochRecord): Promise<LedgerEpochRecord> {
  return await until("the epoch is changed", async () => {
    const { revision, value } = await store.confirm("epoch");
    if (value === null) throw new Error("there is no epoch");
    const record = { ...next(value), token: systemRandom.uuid() };
    return (await store.put("epoch", record, revision)) === null ? null : record;
  });
}

async function agentOf(box: StandbyTestBox): Promise<LedgerAgent> {
  const agent = startLedgerAgent(await box.load(), deps);
  if (agent === null) throw new Error("the control plane can tell no two servers apart");
  return agent;
}

async function agentProcess(box: StandbyTestBox): Promise<ChildProcess> {
  const child = spawn(process.execPath, [AGENT, box.baseDir], { stdio: ["ignore", "pipe", "inherit"] });
  opened.defer(() => {
    child.kill("SIGKILL");
  });
  await once(child.stdout, "data");
  return child;
}

async function rowsOf(box: StandbyTestBox): Promise<ReadonlySet<string>> {
  await using session = await (await serverOf(box)).connect();
  const { rows } = await session.query<{ id: string }>({
    name: "all",
    text: "select user_id as id from user_credits",
    values: [],
  });
  return new Set(rows.map(({ id }) => id));
}

/** Acknowledgements of the old primary, over both tests: what must be there for ever. */
const acknowledged: string[] = [];

test(
  "a primary that hears neither the control plane nor its standby stops, and runs again when the quorum says that it may",
  async () => {
    const { first, second } = pair;
    const loaded = await first.load();
    let isCut = false;
    const open = async (): Promise<LedgerStore> =>
      new Proxy(await openLedgerStore(loaded, deps), {
        get: (target, property) => {
          const value: unknown = Reflect.get(target, property);
          if (typeof value !== "function") return value;
          if (property === "listen") return value.bind(target);
          return async (...args: readonly unknown[]): Promise<unknown> => {
            if (isCut && property !== "close") throw new Error("the control plane is cut off");
            return await Reflect.apply(value, target, args);
          };
        },
      });
    await using agent = new LedgerAgent(loaded, {
      ...deps,
      load: async () => await first.load(),
      openStore: open,
      openServer: async () => await serverOf(first),
    });
    await until("it is the primary", async () => agent.fence().state === "primary", PATIENCE_MS);
    isCut = true;
    await until("the agent has noticed", async () => agent.fence().because?.includes("cut off"), PATIENCE_MS);
    // While its standby hears it, nobody can have become the primary.
    await systemClock.sleep(HAMMERED_MS * 2);
    expect(await stateOf(first)).toBe("running");
    await (await serverOf(second)).site.stop("fast");
    await until("the primary has stopped", async () => (await stateOf(first)) === "stopped", PATIENCE_MS);
    await until("it says why", async () => agent.fence().state === "fenced", PATIENCE_MS);
    expect(agent.fence().because).toContain("neither the control plane nor a standby was heard");
    isCut = false;
    await until("it runs again", async () => (await stateOf(first)) === "running", PATIENCE_MS);
    await until("it is told so", async () => agent.fence().state === "primary", PATIENCE_MS);
  },
  TEST_MS,
);

test(
  "an agent that was frozen while its primary was succeeded stops it when it wakes; the old one has acknowledged nothing since, and nothing that it did is lost",
  async () => {
    const { first, second } = pair;
    const before = await epochNow();
    const agent = opened.use(await agentOf(second));
    const child = await agentProcess(first);
    await using writers = new AckWriters({ port: first.port, epoch: epochOfSessions(before), tag: "old" });
    await until("writes are acknowledged", async () => writers.acks.length > 20, PATIENCE_MS);

    child.kill("SIGSTOP");
    const meant = newLedgerBox("two", { address: `127.0.0.1:${second.port}`, systemId: before.systemId });
    const uuid = systemRandom.uuid();
    const at = new Date(systemClock.nowMs()).toISOString();
    const stamp = {
      uuid,
      token: systemRandom.uuid(),
      at,
      phase: "fencing",
      reason: "a test",
      floor: before.number,
    } as const;
    await change((now) => raisedEpoch(now, meant, stamp));
    await until(
      "the standby has detached",
      async () => (await store.get("attest", "two")).value?.uuid === uuid,
      PATIENCE_MS,
    );
    // What was acknowledged before that has arrived, and is only to be read.
    await setImmediate();
    await setImmediate();
    const detachedMs = systemClock.monotonicMs();
    await change((now) => ({ ...now, phase: "promoting" }));
    const next = await until(
      "the new primary is open",
      async () => {
        const now = await epochNow();
        return now.phase === "open" ? now : null;
      },
      PATIENCE_MS,
    );
    await systemClock.sleep(FROZEN_MS);
    expect(await stateOf(first)).toBe("running");
    expect(writers.since(detachedMs)).toEqual([]);

    child.kill("SIGCONT");
    await until(
      "the woken agent has stopped the old primary",
      async () => (await stateOf(first)) === "stopped",
      PATIENCE_MS,
    );
    expect(writers.since(detachedMs)).toEqual([]);
    acknowledged.push(...writers.acks.map(({ id }) => id));

    await using others = new AckWriters({ port: second.port, epoch: epochOfSessions(next), tag: "new" });
    await until("the new primary acknowledges", async () => others.acks.length > 5, PATIENCE_MS);
    const there = await rowsOf(second);
    expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
    await until("the new primary's agent knows", async () => agent.fence().state === "primary", PATIENCE_MS);
    expect(agent.fence()).toMatchObject({ epoch: { number: before.number + 1, primary: "two" } });
    child.kill("SIGKILL");
    await once(child, "exit");
  },
  TEST_MS,
);

test(
  "the old primary is not opened as the ledger any more; started by hand it acknowledges nothing, and is stopped as soon as somebody looks",
  async () => {
    const { first, second } = pair;
    await pair.ledger.close();
    const loaded = await first.load();
    await expect(assertMayServe(loaded, deps, false)).rejects.toMatchObject({
      code: "FULA_LEDGER_FENCED",
      message: expect.stringContaining("two has the primary of epoch 2"),
    });
    const silent = async (): Promise<LedgerStore> => await Promise.reject(new Error("nobody answers"));
    await expect(assertMayServe(loaded, { ...deps, openStore: silent }, false)).rejects.toMatchObject({
      code: "FULA_LEDGER_FENCED",
      message: expect.stringContaining("nobody answers"),
    });
    {
      await using ledger = await openLedger(loaded, { ...deps, part: "test" });
      expect(ledger.port).toBe(second.port);
      await ledger.pool.query("update cron_lease set renewed_at = renewed_at");
    }

    const old = await serverOf(first);
    await old.site.start();
    const startedMs = systemClock.monotonicMs();
    const now = await epochNow();
    for (const epoch of ["unchecked", epochOfSessions(now), epochOfSessions(now.previous ?? now)]) {
      await using writers = new AckWriters({ port: first.port, epoch, tag: `zombie-${epoch}` });
      await systemClock.sleep(HAMMERED_MS);
      expect(writers.since(startedMs)).toEqual([]);
      expect(await stateOf(first)).toBe("running");
    }
    await using agent = await agentOf(first);
    await until("the old primary is stopped", async () => (await stateOf(first)) === "stopped", PATIENCE_MS);
    await until(
      "it is told why",
      async () => {
        const { state, because } = agent.fence();
        return state === "follower" && because?.includes("resync");
      },
      PATIENCE_MS,
    );
  },
  TEST_MS,
);
