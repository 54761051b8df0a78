import { expectDone, isWell } from "../../support/cli.ts";
import { copyFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createCid, parseCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { makePin, type Pin, type PinOptions } from "../../../src/lib/cluster/pins.ts";
import { loadConfig } from "../../../src/lib/config/load.ts";
import { formatUtc, systemClock } from "../../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { differingFields } from "../../../src/lib/pinset/compare-pins.ts";
import type { DrillRunReport } from "../../../src/lib/stack/drill-run.ts";
import { type DrillStores, openStores } from "../../../src/lib/stack/drill-stores.ts";
import { eventually, settled, until } from "../../support/until.ts";
import { expectAll, makeUser, raceForKeys, syncTree, uploadLarge, writeWhileOneIsKilled } from "./buckets.ts";
import { type Federation, startFederation } from "./federation.ts";
import { namesOf, runIncidentRows, runSection } from "./handbook.ts";
import { type HostMember, type Member } from "./member.ts";

const SETUP_MS = 900_000;
/** Several waits of `PATIENCE_MS`, of which none is used up as a rule. */
const LONG_MS = 1_200_000;
/** As long as a cluster may take to notice something, on a machine with much else to do. */
const PATIENCE_MS = 300_000;

let federation: Federation;

beforeAll(async () => {
  federation = await startFederation();
}, SETUP_MS);

afterAll(async () => {
  await federation[Symbol.asyncDispose]();
});

async function withStores<T>(member: HostMember, use: (stores: DrillStores) => Promise<T>): Promise<T> {
  const loaded = await loadConfig({ globals: { baseDir: member.baseDir }, env: {}, cwd: "/" });
  await using stores = await openStores(loaded, { clock: systemClock });
  return await use(stores);
}

/** Pins random blocks on a member. @returns their CIDs */
async function pinSome(member: HostMember, count: number, options: PinOptions = {}): Promise<readonly string[]> {
  const cids: string[] = [];
  await withStores(member, async ({ blocks, cluster }) => {
    for (let number = 0; number < count; number += 1) {
      const bytes = systemRandom.bytes(64);
      const cid = createCid(RAW_CODEC, bytes).toString();
      await blocks.put(parseCid(cid), bytes);
      const pin = makePin(cid, formatUtc(systemClock.nowMs()), { name: `test/${number} ü`, ...options });
      // The cluster allocates to peers that it has heard of lately: of one that has just joined, or is busy, it may not have.
      await eventually(
        "the cluster takes the pin",
        async () => {
          await cluster.put(pin);
          return true;
        },
        PATIENCE_MS,
      );
      cids.push(cid);
    }
  });
  return cids;
}

async function unpin(member: HostMember, cids: readonly string[]): Promise<void> {
  await withStores(member, async ({ cluster }) => {
    for (const cid of cids) await cluster.remove(cid);
  });
}

/** Names of the peers that say that they hold a pin. */
async function holders(member: HostMember, cid: string): Promise<readonly string[]> {
  return await withStores(member, async ({ cluster }) => {
    const status = await cluster.status(cid);
    return (status?.peers ?? []).filter(({ status: how }) => how === "pinned").map(({ peer }) => peer);
  });
}

interface PinLine {
  readonly cid: string;
  readonly pin: Pin | null;
}

/** A pin as a member's own command line shows it. */
async function pinOn(member: Member, cid: string): Promise<Pin | null> {
  const told = async (): Promise<PinLine | null> => {
    const { stdout } = await member.run("pin", "status", cid, "--json");
    return stdout === "" ? null : JSON.parse(stdout);
  };
  return (await until(`${member.name} tells of ${cid}`, told, PATIENCE_MS)).pin;
}

/** Waits until a command says that all is well: a peer that has just joined, or is busy, may miss one look. */
async function succeeds(member: Member, ...args: readonly string[]): Promise<void> {
  const run = await settled(async () => await member.run(...args), isWell, PATIENCE_MS);
  expectDone(run, `${args.join(" ")} on ${member.name}`);
}

/** Takes a snapshot of the pinset as the tests before have left it: the pages are those of an ordinary day. */
async function acceptPinset(member: Member): Promise<void> {
  expectDone(await member.run("snapshot", "--accept-shrink"), "snapshot");
}

function failuresOf(report: DrillRunReport): readonly string[] {
  return report.drills.flatMap(({ id, assertions }) =>
    assertions
      .filter(({ outcome }) => outcome === "failed")
      .map(({ claim, evidence }) => `${id} ${claim}: ${evidence}`),
  );
}

test(
  "two masters and three storage nodes are one federation, and each is healthy",
  async () => {
    for (const member of [federation.master1, federation.master2, ...federation.storage]) {
      await succeeds(member, "status");
    }
    const peers = JSON.parse(expectDone(await federation.master2.run("peers", "show", "--json"), "peers show").stdout);
    const masters = peers.nodes.filter(({ role }: { role: string }) => role === "master");
    expect(masters.map(({ name }: { name: string }) => name)).toEqual(["master-1", "master-2"]);
    expect(masters.every(({ sameSecrets }: { sameSecrets: boolean }) => sameSecrets)).toBe(true);
    await eventually(
      "five peers answer",
      async () => {
        const seen = await withStores(federation.master1, async ({ cluster }) => await cluster.peers());
        return seen.filter(({ state }) => state === "answers").length === 5;
      },
      PATIENCE_MS,
    );
  },
  LONG_MS,
);

test(
  "what one master pins, the other sees with every option, and storage nodes hold it",
  async () => {
    const [cid = ""] = await pinSome(federation.master1, 1, {
      name: 'photos/2026 & "ü" + 100%',
      replication_factor_min: 4,
      replication_factor_max: 5,
      metadata: { owner: "alice@example.org", empty: "" },
      expire_at: formatUtc(systemClock.nowMs() + 3_600_000),
    });
    await eventually(
      "four of five boxes hold the pin",
      async () => {
        return (await holders(federation.master1, cid)).length >= 4;
      },
      PATIENCE_MS,
    );
    const first = await pinOn(federation.master1, cid);
    // It need not be one of the four, and hears of the pin when the cluster tells it.
    const ask = async (): Promise<Pin | null> => await pinOn(federation.master2, cid);
    const second = await until("master-2 sees the pin", ask, PATIENCE_MS);
    expect(first).not.toBeNull();
    if (first !== null) expect(differingFields(first, second)).toEqual([]);
    expectDone(await federation.master2.run("pin", "rm", cid, "--yes"), "pin rm on master-2");
    await eventually(
      "master-1 sees that it is gone",
      async () => (await pinOn(federation.master1, cid)) === null,
      PATIENCE_MS,
    );
  },
  LONG_MS,
);

test(
  "every drill passes on both masters, a killed container among them",
  async () => {
    for (const [member, args] of [
      [federation.master1, ["D1", "D2", "D3", "D4", "D5", "D6", "D7", "D9", "--dangerous"]],
      [federation.master2, ["D1", "D2", "D3", "D4", "D5", "D6", "D7"]],
    ] as const) {
      const run = await member.run("drill", "run", ...args, "--json");
      const report: DrillRunReport = JSON.parse(run.stdout);
      expect({ member: member.name, failures: failuresOf(report) }).toEqual({ member: member.name, failures: [] });
      expect(report).toMatchObject({ ok: true, notRun: 0, leftBehind: [] });
    }
    for (const node of federation.storage) expectDone(await node.run("drill", "run"), `drill of ${node.name}`);
  },
  LONG_MS,
);

test(
  "a snapshot that one master took brings pins back through the other",
  async () => {
    const { master1, master2 } = federation;
    const cids = await pinSome(master1, 3, { replication_factor_min: 2, replication_factor_max: 3 });
    const before = await Promise.all(cids.map(async (cid) => await pinOn(master1, cid)));
    const { file } = JSON.parse(expectDone(await master1.run("snapshot", "--json"), "snapshot").stdout);
    const { key } = JSON.parse((await master1.run("status", "--json")).stdout);
    const inside = "/var/lib/fula-master/from-master-1";
    await master2.serve.exec("mkdir", inside);
    const dir = join(master1.baseDir, "snapshots");
    const name = basename(file, ".jsonl.zst");
    for (const part of (await readdir(dir)).filter((each) => each.startsWith(name))) {
      await copyIn(join(dir, part), inside);
    }
    await unpin(master1, cids);
    // All of them: one that it still sees would not be restored, and go when the cluster tells it.
    await eventually(
      "master-2 sees that they are gone",
      async () => {
        const there = await Promise.all(cids.map(async (cid) => await pinOn(master2, cid)));
        return there.every((pin) => pin === null);
      },
      PATIENCE_MS,
    );
    const path = `${inside}/${basename(file)}`;
    expectDone(await master2.run("key", "trust", key.keyId), "key trust");
    expectDone(await master2.run("restore", path, "--only", ...cids), "restore on master-2");
    await eventually(
      "master-1 sees all of them",
      async () => {
        const there = await Promise.all(cids.map(async (cid) => await pinOn(master1, cid)));
        return there.every((pin) => pin !== null);
      },
      PATIENCE_MS,
    );
    for (const [index, cid] of cids.entries()) {
      const [was, is] = [before[index] ?? null, await pinOn(master1, cid)];
      expect(was !== null && is !== null && differingFields(was, is, ["timestamp", "allocations"])).toEqual([]);
    }
    await unpin(master1, cids);
  },
  LONG_MS,
);

test(
  "objects written through both masters at once are all there when one of them is killed, and its sweep is clean",
  async () => {
    const { master1, master2 } = federation;
    using user = await makeUser(federation);
    const keys = await writeWhileOneIsKilled(user, async () => await master2.serve.container.kill());
    await expectAll(user.clients[0], keys);
    expectDone(await master1.run("buckets", "verify", "--all"), "buckets verify");
    await eventually(
      "a sweep finds every pin held",
      async () => {
        return (await master1.run("sweep", "--strict")).exitCode === 0;
      },
      PATIENCE_MS,
    );
    await master2.serve.container.start();
    await succeeds(master2, "status");
    await expectAll(user.clients[1], keys);
    await raceForKeys(user);
    await uploadLarge(user);
    await syncTree(user, master1.root);
  },
  LONG_MS,
);

/** Copies a file of this machine into the second master's container, as its own user. */
async function copyIn(path: string, dir: string): Promise<void> {
  const { serve } = federation.master2;
  const bytes = await readFile(path);
  const run = await serve.exec(
    "sh",
    "-c",
    `umask 077; echo ${bytes.toString("base64")} | base64 -d > ${dir}/${basename(path)}`,
  );
  expectDone(run, `copy of ${basename(path)}`);
}

test(
  "the handbook's page for day 2 does what it says",
  async () => {
    const { master1 } = federation;
    const run = { member: master1, replace: namesOf(master1) };
    await acceptPinset(master1);
    expect(await runSection("day-2.md", /^# Day 2/, run)).toBeGreaterThan(20);
  },
  LONG_MS,
);

test(
  "the handbook's page about restoring does what it says",
  async () => {
    const { master1 } = federation;
    const cids = await pinSome(master1, 3, { replication_factor_min: 2, replication_factor_max: 3 });
    const { file } = JSON.parse(expectDone(await master1.run("snapshot", "--json"), "snapshot").stdout);
    const { key } = JSON.parse((await master1.run("status", "--json")).stdout);
    const name = basename(file, ".jsonl.zst");
    const dir = join(master1.baseDir, "snapshots");
    const copies = join(master1.root, "from-master-1");
    await rm(copies, { recursive: true, force: true });
    await mkdir(copies);
    for (const part of (await readdir(dir)).filter((each) => each.startsWith(name))) {
      await copyFile(join(dir, part), join(copies, part));
    }
    await unpin(master1, cids);
    const replace = { ...namesOf(master1), "pinset-20261121T030000Z": name, "ed25519:0123": key.keyId };
    const run = { member: master1, replace };
    // What a lost master needs is typed where one is lost: rebuild.test.ts.
    for (const section of [/Many pins are gone/, /^### The ledger/, /A storage node is lost/]) {
      expect(await runSection("restore.md", section, run)).toBeGreaterThan(0);
    }
    await unpin(master1, cids);
  },
  LONG_MS,
);

test(
  "every command of the incident page succeeds on a healthy master, and prints what the page calls good",
  async () => {
    const { master1 } = federation;
    await acceptPinset(master1);
    expect(await runIncidentRows("incident.md", { member: master1, replace: namesOf(master1) })).toBeGreaterThan(20);
  },
  LONG_MS,
);

/** As soon as its cluster peer answers in the time that `status` has. */
async function peerIdOf(node: HostMember): Promise<string> {
  let id = "";
  await eventually(
    `${node.name} names its peer`,
    async () => {
      const { cluster } = JSON.parse((await node.run("status", "--json")).stdout);
      id = cluster.peers?.find(({ isSelf }: { isSelf: boolean }) => isSelf)?.id ?? "";
      return id !== "";
    },
    PATIENCE_MS,
  );
  return id;
}

test(
  "when a storage node dies, a sweep has its pins held by others, with every option as it was",
  async () => {
    const { master1, storage, docker } = federation;
    // On three of five boxes: whichever the cluster chooses, at least one of them is a storage node.
    const cids = await pinSome(master1, 8, {
      replication_factor_min: 3,
      replication_factor_max: 3,
      metadata: { kind: "drill" },
    });
    for (const cid of cids) {
      await eventually("it is held three times", async () => (await holders(master1, cid)).length === 3, PATIENCE_MS);
    }
    const before = new Map(await Promise.all(cids.map(async (cid) => [cid, await pinOn(master1, cid)] as const)));
    const ids = await Promise.all(storage.map(async (node) => [node, await peerIdOf(node)] as const));
    const [node, dead] =
      ids.find(([, id]) => before.values().some((pin) => pin?.allocations.includes(id) === true)) ?? [];
    if (node === undefined || dead === undefined) throw new Error("No storage node holds any of the pins");
    // The whole box: its serve would start them again.
    expectDone(await node.run("stop"), `stop of ${node.name}`);
    for (const service of ["cluster", "kubo"] as const) await docker.getContainer(node.container(service)).kill();
    await eventually(
      "every pin is held three times without it",
      async () => {
        await master1.run("sweep");
        const held = await Promise.all(
          cids.map(async (cid) => (await holders(master1, cid)).filter((id) => id !== dead)),
        );
        return held.every((peers) => peers.length >= 3);
      },
      PATIENCE_MS,
    );
    for (const cid of cids) {
      const [was, is] = [before.get(cid) ?? null, await pinOn(master1, cid)];
      expect(was !== null && is !== null && differingFields(was, is, ["timestamp", "allocations"])).toEqual([]);
    }
  },
  LONG_MS,
);

// Last: nobody waits until the federation is whole again.
test(
  "a master whose cluster peer is dead exits 4 and says ok to nothing",
  async () => {
    const { master2 } = federation;
    await master2.cluster.container.stop();
    const sweep = await master2.run("sweep", "--strict", "--json");
    expect(sweep.exitCode).toBe(4);
    expect(sweep.stdout).not.toContain('"outcome": "ok"');
    expect((await master2.run("snapshot")).exitCode).toBe(4);
    expect((await master2.run("status")).exitCode).toBe(1);
    expect((await master2.run("drill", "run", "D7")).exitCode).toBe(1);
  },
  LONG_MS,
);
