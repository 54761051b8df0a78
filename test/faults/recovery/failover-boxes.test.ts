import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { LedgerEpochRecord } from "../../../src/lib/membership/ledger-records.ts";
import { LedgerAgent } from "../../../src/lib/server/ledger-agent.ts";
import { keepStandbys } from "../../../src/lib/server/sync-keeper.ts";
import {
  abortFailover,
  doFailover,
  type FailoverChoice,
  type FailoverEnd,
  failoverStatus,
  planFailover,
} from "../../../src/lib/stack/failover-run.ts";
import {
  renderFailoverPlan,
  renderFailoverSteps,
  renderFailoverReport,
  renderFailoverStatus,
} from "../../../src/lib/stack/failover-text.ts";
import { openOwnServer } from "../../../src/lib/stack/own-server.ts";
import { openPinCluster } from "../../../src/lib/stack/pinset.ts";
import { addStandby } from "../../../src/lib/stack/standby-add.ts";
import { findFreePort } from "../../support/free-port.ts";
import { makeStandbyPair, type StandbyPair, type StandbyTestBox } from "../../support/standby-boxes.ts";
import { until } from "../../support/until.ts";

/** For two servers and a copy of one, made and started one after the other. */
const HOOK_MS = 300_000;

let dir: string;
let pair: StandbyPair;
const agents = new Map<string, LedgerAgent>();
const DEPS = { clock: systemClock, random: systemRandom, log: silentLog };
const FAILOVER: FailoverChoice = { kind: "failover", to: null, forced: false, allowedLoss: null, allowedMissing: null };

/** Does for a box what its `serve` does, as far as the ledger's servers go. */
async function startAgent(box: StandbyTestBox): Promise<void> {
  const load = async () => await box.load();
  const agent = new LedgerAgent(await load(), {
    ...DEPS,
    load,
    openStore: async () => await Promise.resolve(box.store()),
    openServer: async (loaded) => await openOwnServer(loaded, { ...DEPS, env: {}, part: "serve" }),
    keep: (parts) => keepStandbys(parts, { clock: systemClock, log: silentLog, intervalMs: 100 }),
  });
  agents.set(box.name, agent);
}

async function stopServer(box: StandbyTestBox): Promise<void> {
  const server = await openOwnServer(await box.load(), { ...DEPS, env: {} }).catch(() => null);
  await server?.site.stop("immediate");
}

async function cutPower(box: StandbyTestBox): Promise<void> {
  await agents.get(box.name)?.[Symbol.asyncDispose]();
  agents.delete(box.name);
  await stopServer(box);
}

/** Waits until commits wait for a standby: one that a busy machine holds up is given up, and counted in again by itself. */
async function waitedFor(name: string): Promise<LedgerEpochRecord> {
  return await until(`commits wait for ${name}`, async () => {
    const { value } = await pair.first.store().get("epoch");
    return value?.syncSet.includes(name) === true && value.syncNeeded > 0 ? value : null;
  });
}

async function move(box: StandbyTestBox, choice: FailoverChoice): Promise<FailoverEnd> {
  return await doFailover({ ...box.context(), operator: "ed25519:ops" }, choice, {
    confirm: async () => {},
    confirmRescue: async () => {},
    onStep: () => {},
    report: () => {},
  });
}

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "fula-test-failover-"));
  await chmod(dir, 0o755);
  // Where nobody listens: services that are gone refuse, as the machine of a master does that has stopped.
  pair = await makeStandbyPair(dir, {
    "gateway.port": await findFreePort(),
    "api.port": await findFreePort(),
  });
  const { pool } = pair.ledger;
  for (const box of pair.boxes()) {
    await pool.query(
      "insert into federation_nodes (name, role, cluster_id, version) values ($1, 'master', $2, '1') on conflict do nothing",
      [box.name, (await box.load()).config.node.clusterId],
    );
    await (await openPinCluster(await box.load(), { clock: systemClock, create: true }))[Symbol.asyncDispose]();
    await startAgent(box);
  }
  await addStandby(pair.second.context(), async (tasks) => {
    for (const task of tasks) if ((await task.skip()) === null) await task.run(() => {});
  });
}, HOOK_MS);

afterAll(async () => {
  for (const agent of agents.values()) await agent[Symbol.asyncDispose]();
  await pair.ledger.close().catch(() => {});
  for (const box of pair.boxes()) await stopServer(box);
  await rm(dir, { recursive: true, force: true });
}, HOOK_MS);

test("a switchover over TLS is verified through the new master, and the old one is counted in again by itself", async () => {
  const choice: FailoverChoice = { ...FAILOVER, kind: "switchover", to: "two" };
  await waitedFor("two");
  const plan = await planFailover(pair.second.context(), choice);
  expect(plan).toMatchObject({ isPossible: true, from: "one", to: "two", confirmation: "one@1" });
  expect(renderFailoverPlan(plan)).toContain("Nothing was changed. To do it: fula-master switchover --to two");
  // What is agreed to is about to be done.
  expect(renderFailoverSteps(plan)).not.toContain("Nothing was changed");
  const end = await move(pair.second, choice);
  expect(end.report).toMatchObject({ outcome: "done", primary: "two", epoch: { number: 2 }, loss: { lossless: true } });
  expect(end.report.checks.map(({ id, state }) => [id, state])).toEqual([
    ["serve", "attention"],
    ["object", "attention"],
    ["lease", "attention"],
    ["billing", "ok"],
    ["roots", "ok"],
    ["snapshots", "attention"],
    ["sweep", "ok"],
  ]);
  expect(renderFailoverReport(end)).toContain("No acknowledged write is lost.");
  const seen = await waitedFor("one");
  expect(seen).toMatchObject({ number: 2, primary: "two", syncNeeded: 1 });
});

test("a failover is done where the old master's machine answers, and neither its ledger nor its gateway does", async () => {
  await waitedFor("one");
  await cutPower(pair.second);
  const plan = await planFailover(pair.first.context(), FAILOVER);
  expect(plan).toMatchObject({ isPossible: true, from: "two", confirmation: "two@2" });
  const { report } = await move(pair.first, FAILOVER);
  expect(report).toMatchObject({
    outcome: "done",
    primary: "one",
    epoch: { number: 3 },
    run: { operator: "ed25519:ops", forced: false },
  });
  const status = await failoverStatus(pair.first.context());
  expect(status).toMatchObject({ ok: true, epoch: { number: 3, primary: "one" }, run: { state: "done" } });
  expect(status.steps.map(({ action }) => action)).toContain("proveFence");
  expect(renderFailoverStatus(status)).toContain("Nothing is under way.");
  await expect(
    abortFailover(pair.first.context(), {
      confirm: async () => {},
      confirmRescue: async () => {},
      onStep: () => {},
      report: () => {},
    }),
  ).rejects.toMatchObject({ code: "FULA_FAILOVER_ABSENT" });
});
