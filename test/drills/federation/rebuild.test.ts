import { expectDone } from "../../support/cli.ts";
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCid, parseCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { makePin, type Pin } from "../../../src/lib/cluster/pins.ts";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { formatUtc, systemClock } from "../../../src/lib/kernel/clock.ts";
import { retryUntil } from "../../../src/lib/kernel/retry.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { differingFields } from "../../../src/lib/pinset/compare-pins.ts";
import { stopDaemon } from "../../../src/lib/stack/daemon.ts";
import { type DrillStores, openStores } from "../../../src/lib/stack/drill-stores.ts";
import { infra } from "../../infra/infra.ts";
import { startNetwork } from "../../support/containers.ts";
import { until } from "../../support/until.ts";
import { removeAll } from "./containers.ts";
import { namesOf, type PageRun, runSection } from "./handbook.ts";
import { type HostMember, joinArgs, makeToken, placeMember, removeMember } from "./member.ts";

const LONG_MS = 1_200_000;
const PATIENCE_MS = 300_000;
const POLL_MS = 1_000;
const prefix = `reb${randomBytes(4).toString("hex")}`;
const made = new AsyncDisposableStack();
let master: HostMember;
let node: HostMember;

beforeAll(async () => {
  const { docker } = infra();
  made.defer(async () => await removeAll(docker, prefix));
  const { hostAddress: host } = made.use(await startNetwork("rebuild"));
  const place = async (name: string): Promise<HostMember> =>
    made.adopt(await placeMember(prefix, name), async (member) => await removeMember(member));
  master = await place("master");
  node = await place("storage");
  expectDone(await master.run("join", "--runtime", "docker", ...joinArgs(master, host)), "join of the master");
  const token = await makeToken(master, "storage");
  expectDone(await node.run("join-as-storage-node", "--token", token, ...joinArgs(node, host)), "join of the node");
}, LONG_MS);

afterAll(async () => {
  await made.disposeAsync();
});

async function withStores<T>(use: (stores: DrillStores) => Promise<T>): Promise<T> {
  const loaded = await loadConfig({ globals: { baseDir: master.baseDir }, env: {}, cwd: "/" });
  await using stores = await openStores(loaded, { clock: systemClock });
  return await use(stores);
}

/** Pins blocks that both boxes then hold. */
async function pinOnBoth(count: number): Promise<readonly Pin[]> {
  return await withStores(async ({ blocks, cluster }) => {
    const pins: Pin[] = [];
    for (let number = 0; number < count; number += 1) {
      const bytes = systemRandom.bytes(64);
      const cid = createCid(RAW_CODEC, bytes).toString();
      await blocks.put(parseCid(cid), bytes);
      const factors = { replication_factor_min: 2, replication_factor_max: 2 };
      const wanted = makePin(cid, formatUtc(systemClock.nowMs()), { name: `rebuild/${number}`, ...factors });
      // The cluster allocates to peers that it has heard of lately: of the node, which has just joined, it may not have.
      await retryUntil(async () => await cluster.put(wanted), {
        clock: systemClock,
        deadlineMs: systemClock.monotonicMs() + PATIENCE_MS,
        pauseMs: POLL_MS,
        shouldRetry: () => true,
      });
      const isOnBoth = async (): Promise<boolean> => {
        const status = await cluster.status(cid);
        return (status?.peers ?? []).filter((peer) => peer.status === "pinned").length === 2;
      };
      await until("both hold it", isOnBoth, PATIENCE_MS);
      const pin = await cluster.pin(cid);
      if (pin !== null) pins.push(pin);
    }
    return pins;
  });
}

/** Loses the machine: its processes, containers, volumes and files. Its backups were carried away. */
async function loseTheBox(): Promise<void> {
  const loaded = await loadConfig({ globals: { baseDir: master.baseDir }, env: {}, cwd: "/" });
  await stopDaemon(loaded, { clock: systemClock, env: {} }, { force: true });
  await removeAll(infra().docker, master.project);
  await rm(master.baseDir, { recursive: true });
}

test(
  "a lone master that is lost with everything on it is rebuilt from its backups by the handbook's page",
  async () => {
    expectDone(await master.run("key", "create", "--user", "alice@example.org"), "key create");
    const pins = await pinOnBoth(3);
    expectDone(await master.run("snapshot"), "snapshot");
    const on = (member: HostMember): PageRun => ({
      member,
      replace: { ...namesOf(member), "/root/": `${master.root}/` },
    });
    await runSection("day-2.md", /^## Backups/, on(master));
    await loseTheBox();

    await runSection("restore.md", /^### On the new box$/, on(master));
    await runSection("restore.md", /^### On each storage node/, on(node));
    await runSection("restore.md", /^### On the new box again/, on(master));

    await withStores(async ({ blocks, cluster }) => {
      for (const pin of pins) {
        const again = await cluster.pin(pin.cid);
        expect(again !== null && differingFields(pin, again, cluster.assignedFields)).toEqual([]);
        expect(await blocks.has(parseCid(pin.cid))).toBe(true);
      }
    });
    const { keys } = JSON.parse(expectDone(await master.run("key", "list", "--json"), "key list").stdout);
    expect(keys).toHaveLength(1);
  },
  LONG_MS,
);
