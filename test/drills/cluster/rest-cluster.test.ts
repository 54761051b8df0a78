import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { makePin, type Pin, type PinCluster, type PinStatus } from "../../../src/lib/cluster/pins.ts";
import { openRestCluster } from "../../../src/lib/cluster/rest.ts";
import { type ClusterPeer, startCluster, type TestCluster } from "../../support/cluster-processes.ts";
import { collect, rawBytes, rawCid } from "../../support/pins.ts";
import { eventually, until } from "../../support/until.ts";

const FACTORS = { replication_factor_min: 2, replication_factor_max: 2 };
const AT = "2026-01-01T00:00:00Z";
const ORIGIN = "/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWPJUxz2UwuQXQtmXqPzjqWdnnh9otaNVkecRPb6XFtLD6";

let daemons: TestCluster;
let opened: AsyncDisposableStack;

beforeAll(async () => {
  opened = new AsyncDisposableStack();
  daemons = opened.use(
    await startCluster([
      { name: "writer" },
      { name: "holder", follower: true },
      { name: "spare", follower: true },
      { name: "stranger", follower: true, trusts: [] },
    ]),
  );
});
afterAll(async () => {
  await opened?.disposeAsync();
});

function clusterOf(name: string): PinCluster {
  return opened.use(openRestCluster({ clusterId: "drill", url: daemons.peer(name).api, defaultFactors: FACTORS }));
}

/** Makes a block on the writer's Kubo, and a pin of it. */
async function content(seed: string, options: Partial<Pin> = {}): Promise<Pin> {
  await openKuboBlockStore(daemons.peer("writer").kubo.api).put(rawCid(seed), rawBytes(seed));
  return makePin(rawCid(seed).toString(), AT, options);
}

function pinnedOn(status: PinStatus | null): readonly string[] {
  return (status?.peers ?? []).filter((peer) => peer.status === "pinned").map((peer) => peer.peer);
}

async function pinnedBy(cluster: PinCluster, { cid }: Pin, ...peers: readonly ClusterPeer[]): Promise<void> {
  const wanted = peers.map(({ id }) => id);
  await until(`${wanted.length} peers hold ${cid}`, async () => {
    const held = new Set(pinnedOn(await cluster.status(cid)));
    return wanted.every((peer) => held.has(peer));
  });
}

/** Only "nobody to give it to" is nothing to fail for. */
function expectRefused(error: unknown): void {
  expect(error).toMatchObject({ code: "FULA_PIN_REFUSED" });
}

describe("a record", () => {
  test("keeps its name and metadata whatever characters they are made of", async () => {
    const cluster = clusterOf("writer");
    const texts = [
      "",
      " ",
      "a&b=c;d",
      "1+1=2",
      "100 % %41",
      "line\nfeed\r\n\ttab",
      "übung \u{1f600} ключ",
      "a/b?c#d",
      `"'\\<>`,
    ];
    for (const [index, text] of texts.entries()) {
      const pin = makePin(rawCid(`text ${index}`).toString(), AT, {
        ...FACTORS,
        name: text,
        metadata: { [`key ${text}`]: text, plain: text },
      });
      await cluster.put(pin);
      const stored = await cluster.pin(pin.cid);
      expect([stored?.name, stored?.metadata]).toEqual([pin.name, pin.metadata]);
      await cluster.remove(pin.cid);
    }
  });

  test("of a direct pin stays direct, and its peers are listed as holding it", async () => {
    const cluster = clusterOf("writer");
    // Named, because the cluster would also choose the stranger, which takes no pin of ours.
    const holders = [daemons.peer("writer").id, daemons.peer("holder").id];
    const pin = await content("direct", { mode: "direct", ...FACTORS, user_allocations: holders });
    await cluster.put(pin);
    expect(await cluster.pin(pin.cid)).toMatchObject({ mode: "direct", max_depth: 0 });
    await until("the list calls it pinned twice", async () => {
      const listed = (await collect(cluster.statuses())).find(({ cid }) => cid === pin.cid);
      return pinnedOn(listed ?? null).length === 2;
    });
    expect(daemons.peer("holder").kubo.ipfs("pin", "ls", "--type=direct")).toContain(pin.cid);
    await cluster.remove(pin.cid);
  });

  test("that the cluster does not take is refused and changes nothing", async () => {
    const cluster = clusterOf("writer");
    const pin = await content("refused", {
      ...FACTORS,
      name: "as it was",
      metadata: { keep: "me" },
      origins: [ORIGIN],
    });
    const refused = {
      "too many copies": { replication_factor_min: 9, replication_factor_max: 9 },
      "an expiry in the past": { expire_at: "2020-01-01T00:00:00Z" },
      "an origin that is no address": { name: "changed", origins: ["nonsense"] },
      "an origin without a peer": { name: "changed", origins: ["/ip4/127.0.0.1/tcp/4001"] },
      "more text than fits": { name: "x".repeat(20_000) },
      "direct instead of recursive": { mode: "direct", max_depth: 0 },
    } satisfies Record<string, Partial<Pin>>;
    await cluster.put(pin);
    const before = await cluster.pin(pin.cid);
    for (const [what, change] of Object.entries(refused)) {
      await expect(cluster.put({ ...pin, ...change }), what).rejects.toMatchObject({ code: "FULA_PIN_REFUSED" });
      expect(await cluster.pin(pin.cid), what).toEqual(before);
    }
    const never = makePin(rawCid("never made").toString(), AT, { origins: ["nonsense"] });
    await expect(cluster.put(never)).rejects.toMatchObject({ code: "FULA_PIN_REFUSED" });
    expect(await cluster.pin(never.cid)).toBeNull();
    await cluster.remove(pin.cid);
  });

  test("expires to the second that it named", async () => {
    const cluster = clusterOf("writer");
    const pin = makePin(rawCid("expires").toString(), AT, { ...FACTORS, expire_at: "2999-12-31T23:59:59.987654321Z" });
    await cluster.put(pin);
    expect((await cluster.pin(pin.cid))?.expire_at).toBe("2999-12-31T23:59:59Z");
    expect(cluster.asStored(pin).expire_at).toBe("2999-12-31T23:59:59Z");
    await cluster.remove(pin.cid);
  });
});

describe("a follower", () => {
  test("replicates what the writer pins, and refuses to pin or unpin anything itself", async () => {
    const writer = clusterOf("writer");
    const follower = clusterOf("holder");
    const pin = await content("followed", { ...FACTORS, user_allocations: [daemons.peer("holder").id] });
    await writer.put(pin);
    await until("the follower has the record", async () => follower.pin(pin.cid));
    await expect(follower.put(pin)).rejects.toMatchObject({ code: "FULA_CLUSTER_READ_ONLY" });
    await expect(follower.remove(pin.cid)).rejects.toMatchObject({ code: "FULA_CLUSTER_READ_ONLY" });
    expect(await writer.pin(pin.cid)).not.toBeNull();
    await writer.remove(pin.cid);
  });
});

describe("peers that do not do their part", () => {
  test("and do not trust us are among the peers, but in no status", async () => {
    const cluster = clusterOf("writer");
    const stranger = daemons.peer("stranger");
    const everywhere = await content("everywhere");
    await cluster.put(everywhere);
    await pinnedBy(cluster, everywhere, daemons.peer("writer"), daemons.peer("holder"), daemons.peer("spare"));
    const seen = await until("the stranger answers", async () => {
      const found = (await cluster.peers()).find(({ id }) => id === stranger.id);
      return found?.state === "answers" ? found : null;
    });
    expect(seen).toMatchObject({ name: "stranger", error: "" });
    for (const status of [await cluster.status(everywhere.cid), ...(await collect(cluster.statuses()))]) {
      expect(status?.peers.map(({ peer }) => peer)).not.toContain(stranger.id);
    }
    await cluster.remove(everywhere.cid);
  });

  test("and have died are told as gone, and a put gives their pins to others with every option kept", async () => {
    const cluster = clusterOf("writer");
    const [writer, holder, spare] = [daemons.peer("writer"), daemons.peer("holder"), daemons.peer("spare")];
    const pin = await content("to be moved", {
      ...FACTORS,
      name: "moved & kept",
      metadata: { bucket: "b", empty: "" },
      expire_at: "2999-12-31T23:59:59Z",
      origins: [ORIGIN],
      shard_size: 7,
      user_allocations: [writer.id, holder.id],
    });
    await cluster.put(pin);
    await pinnedBy(cluster, pin, writer, holder);
    await holder.process.kill();
    await until("its pings are missed", async () =>
      (await cluster.peers()).some(({ id, state }) => id === holder.id && state === "gone"),
    );
    // Asking for a repair alone chooses nobody else.
    await cluster.recover(pin.cid);
    const stored = await cluster.pin(pin.cid);
    expect(stored?.allocations.toSorted()).toEqual([writer.id, holder.id].toSorted());
    if (stored === null) throw new Error("no record");
    await until("it is taken by two peers that live", async () => {
      // While it has heard of nobody else's room of late, it refuses.
      await cluster.put(stored).catch(expectRefused);
      const { allocations = [] } = (await cluster.pin(pin.cid)) ?? {};
      return allocations.length === 2 && !allocations.includes(holder.id);
    });
    const moved = await cluster.pin(pin.cid);
    const kept = (record: Pin | null): Partial<Pin> => ({ ...record, allocations: [], timestamp: "" });
    expect(kept(moved)).toEqual(kept(stored));
    expect(moved?.allocations).toContain(writer.id);
    const [other] = moved?.allocations.filter((id) => id !== writer.id) ?? [];
    if (other === spare.id) await pinnedBy(cluster, pin, spare);
    await cluster.remove(pin.cid);
    await holder.process.start();
  });
});

describe("a peer that does not answer", () => {
  test("because its Kubo is down says so among the peers, and its statuses are not all well", async () => {
    const cluster = clusterOf("writer");
    const { kubo, id } = daemons.peer("writer");
    const pin = await content("while Kubo is down", { ...FACTORS, user_allocations: [id] });
    await cluster.put(pin);
    await pinnedBy(cluster, pin, daemons.peer("writer"));
    await kubo.process.kill();
    expect((await cluster.peers()).find((peer) => peer.isSelf)?.error).toContain("its Kubo does not answer");
    expect(pinnedOn(await cluster.status(pin.cid))).not.toContain(id);
    for (const status of await collect(cluster.statuses())) expect(pinnedOn(status)).not.toContain(id);
    await kubo.process.start();
    await pinnedBy(cluster, pin, daemons.peer("writer"));
    await cluster.remove(pin.cid);
  });

  test("because it is dead or frozen is unreadable, and its pinset is never taken for an empty one", async () => {
    const writer = daemons.peer("writer");
    const patience = { answerMs: 1_000, streamStartMs: 1_000 };
    await using cluster = openRestCluster({ clusterId: "drill", url: writer.api, defaultFactors: FACTORS, patience });
    const answers = async (): Promise<boolean> => {
      return cluster.peers().then(
        () => true,
        () => false,
      );
    };
    const everything = async (): Promise<void> => {
      await until("it gives no answer", async () => !(await answers()));
      for (const call of [() => collect(cluster.pins()), () => collect(cluster.statuses()), () => cluster.peers()]) {
        await expect(call()).rejects.toMatchObject({ code: "FULA_CLUSTER_UNREADABLE" });
      }
    };
    writer.process.freeze();
    await everything();
    writer.process.thaw();
    await writer.process.kill();
    await everything();
    await writer.process.start();
    // Not that it is empty: what was unpinned a moment before the kill, the daemon may have forgotten to have unpinned.
    await eventually("it lists again", async () => await collect(cluster.pins()), 240_000);
  });
});
