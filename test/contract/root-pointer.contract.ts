import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { BucketState, RootPointerStore } from "../../src/lib/buckets/roots/root-pointer.ts";
import { bucketNamed, deletionOf, moveTo, rootCid } from "../support/bucket-moves.ts";
import { seededRandom } from "../support/seeded-random.ts";

/** An arbiter under test, empty. */
export interface RootsUnderTest {
  /** Several views of one arbiter, as several masters have; at least one. */
  readonly stores: readonly [RootPointerStore, ...RootPointerStore[]];
  /** What is on the collector's queue, in order. */
  queue(): Promise<readonly string[]>;
  /** Every version that a bucket had, with its root (null where it was deleted) and the move that made it. */
  commits(bucket: string): Promise<readonly (readonly [version: bigint, root: string | null, commitId: string])[]>;
  close(): Promise<void>;
}

const ROUNDS = 200;
const WRITERS = 16;

/** What every `RootPointerStore` that arbitrates must do. */
export function describeRootPointer(what: string, open: () => Promise<RootsUnderTest>): void {
  describe(`${what} keeps the contract of a root pointer`, () => {
    let under: RootsUnderTest;
    let store: RootPointerStore;
    beforeEach(async () => {
      under = await open();
      [store] = under.stores;
    });
    afterEach(async () => {
      await under.close();
    });

    const bucket = bucketNamed("photos");

    /** Makes the bucket, with that many objects. */
    async function created(objects = 1, of = bucket): Promise<BucketState> {
      await store.cas(of, moveTo(null, rootCid(0), { objects, userId: "alice" }));
      const state = await store.get(of);
      if (state === null) throw new Error("the bucket was not made");
      return state;
    }

    test("a bucket that is made is there for everybody, with all that was said of it", async () => {
      expect(await store.get(bucket)).toBeNull();
      const move = moveTo(null, rootCid(1), { objects: 3, userId: "alice" });
      expect(await store.cas(bucket, move)).toEqual({ kind: "won", version: 1n });
      for (const each of under.stores) {
        expect(await each.get(bucket)).toMatchObject({
          ...bucket,
          version: 1n,
          root: rootCid(1),
          objectCount: 3n,
          totalBytes: 300n,
          metadata: { tags: { objects: "3" } },
          userId: "alice",
        });
      }
      expect(await under.commits("photos")).toEqual([[1n, rootCid(1).toString(), move.commitId]]);
    });

    test("root, counts, bytes and metadata move together, and the version grows by one", async () => {
      const first = await created();
      expect(await store.cas(bucket, moveTo(first, rootCid(2), { objects: 7, userId: "mallory" }))).toEqual({
        kind: "won",
        version: 2n,
      });
      expect(await store.get(bucket)).toMatchObject({
        version: 2n,
        root: rootCid(2),
        objectCount: 7n,
        totalBytes: 700n,
        metadata: { tags: { objects: "7" } },
        userId: "alice",
        createdAtMs: first.createdAtMs,
      });
    });

    test("who expects a bucket where there is none is told so, and nothing is made", async () => {
      const move = moveTo({ version: 1n, root: rootCid(0) }, rootCid(1));
      expect(await store.cas(bucket, move)).toEqual({ kind: "conflict", current: null, version: null });
      expect(await store.get(bucket)).toBeNull();
      expect(await under.commits("photos")).toEqual([]);
    });

    test("who expects none where there is one is told what it is", async () => {
      const state = await created();
      expect(await store.cas(bucket, moveTo(null, rootCid(1)))).toEqual({
        kind: "conflict",
        current: state,
        version: 1n,
      });
    });

    test.each([
      ["another version with the root that stands there", { version: 2n, root: rootCid(0) }],
      ["another root with the version that stands there", { version: 1n, root: rootCid(9) }],
      ["the version before", { version: 0n, root: rootCid(0) }],
    ])("who expects %s is told the present state", async (_, expected) => {
      const state = await created();
      const move = moveTo(expected, rootCid(1), { garbage: ["bafylost"], claims: ["bafyclaimed"] });
      await store.announce(["bafyclaimed"]);
      expect(await store.cas(bucket, move)).toEqual({ kind: "conflict", current: state, version: 1n });
      expect(await store.get(bucket)).toEqual(state);
      expect(await under.queue()).toEqual(["bafyclaimed"]);
    });

    test("a root that went away and came back is not the one that a writer knew", async () => {
      const first = await created();
      await store.cas(bucket, moveTo(first, rootCid(1)));
      await store.cas(bucket, moveTo({ version: 2n, root: rootCid(1) }, first.root));
      expect(await store.get(bucket)).toMatchObject({ root: first.root, version: 3n });
      expect(await store.cas(bucket, moveTo(first, rootCid(2)))).toMatchObject({ kind: "conflict", version: 3n });
    });

    test("a bucket that is deleted is gone, and goes on counting where it left off when it is made anew", async () => {
      const empty = await created(0);
      expect(await store.cas(bucket, deletionOf(empty))).toEqual({ kind: "won", version: 2n });
      expect(await store.get(bucket)).toBeNull();
      expect(await store.list(bucket.ownerId)).toEqual([]);
      const late = await store.cas(bucket, moveTo(empty, rootCid(1)));
      expect(late).toEqual({ kind: "conflict", current: null, version: 2n });
      expect(await store.cas(bucket, moveTo(null, rootCid(0), { userId: "bob" }))).toEqual({
        kind: "won",
        version: 3n,
      });
      expect(await store.get(bucket)).toMatchObject({ version: 3n, userId: "bob", root: rootCid(0) });
      expect(await store.cas(bucket, moveTo(empty, rootCid(1)))).toMatchObject({ kind: "conflict", version: 3n });
      expect((await under.commits("photos")).map(([version, root]) => [version, root])).toEqual([
        [1n, rootCid(0).toString()],
        [2n, null],
        [3n, rootCid(0).toString()],
      ]);
    });

    test("a bucket that holds objects is not deleted", async () => {
      const full = await created(1);
      expect(await store.cas(bucket, deletionOf(full))).toEqual({ kind: "conflict", current: full, version: 1n });
      expect(await store.get(bucket)).toEqual(full);
    });

    test("several are read at once, in the order that they are asked for", async () => {
      const [a, b] = [await created(1, bucketNamed("a")), await created(2, bucketNamed("b"))];
      const names = ["b", "none", "a", "b"].map((name) => bucketNamed(name));
      expect(await store.getMany(names)).toEqual([b, null, a, b]);
      expect(await store.getMany([])).toEqual([]);
    });

    test("an owner's buckets are listed by the bytes of their names, and nobody else's", async () => {
      const names = ["b.b", "b-b", "b", "bb", "a1", "b0"];
      for (const name of names) await created(1, bucketNamed(name));
      await created(1, bucketNamed("c", 2));
      expect((await store.list(bucketNamed("").ownerId)).map((state) => state.bucket)).toEqual(names.toSorted());
    });

    test("what a move refers to leaves the collector's queue with it, and what lost its reference comes there", async () => {
      await store.announce(["bafyone", "bafytwo", "bafythree", "bafyone"]);
      const claims = ["bafyone", "bafytwo", "bafyone"];
      await store.cas(bucket, moveTo(null, rootCid(1), { claims, garbage: ["bafyold", "bafyolder", "bafyold"] }));
      expect(await under.queue()).toEqual(["bafyold", "bafyolder", "bafythree"]);
    });

    test("what a move both refers to and gives up is no garbage", async () => {
      await store.announce(["bafysame"]);
      await store.cas(bucket, moveTo(null, rootCid(1), { claims: ["bafysame"], garbage: ["bafysame", "bafyold"] }));
      expect(await under.queue()).toEqual(["bafyold"]);
    });

    test("a move that comes after the deadline of what it claims is told so, and nothing is changed", async () => {
      const announcedMs = await store.announce(["bafyone", "bafytwo"]);
      if (announcedMs === null) throw new Error("nothing was announced");
      const late = { claims: ["bafyone"], garbage: ["bafyold"], deadlineMs: announcedMs - 1 };
      for (const move of [moveTo(null, rootCid(1), late), moveTo(null, rootCid(2), { ...late, claims: [] })]) {
        expect(await store.cas(bucket, move)).toMatchObject({ kind: "late" });
      }
      expect(await store.get(bucket)).toBeNull();
      const state = await created(0);
      expect(await store.cas(bucket, moveTo(state, rootCid(1), late))).toMatchObject({ kind: "late" });
      expect(await store.cas(bucket, { ...deletionOf(state), deadlineMs: 0 })).toMatchObject({ kind: "late" });
      expect(await store.get(bucket)).toEqual(state);
      expect(await under.queue()).toEqual(["bafyone", "bafytwo"]);
      const inTime = { ...late, deadlineMs: announcedMs + 60_000 };
      expect(await store.cas(bucket, moveTo(state, rootCid(1), inTime))).toMatchObject({ kind: "won" });
      expect(await under.queue()).toEqual(["bafyold", "bafytwo"]);
    });

    test("a claim that another move has taken off the queue since is no reason to refuse", async () => {
      const announcedMs = await store.announce(["bafyshared"]);
      const claims = { claims: ["bafyshared"], deadlineMs: (announcedMs ?? 0) + 60_000 };
      expect(await store.cas(bucket, moveTo(null, rootCid(1), claims))).toMatchObject({ kind: "won" });
      expect(await store.cas(bucketNamed("other"), moveTo(null, rootCid(1), claims))).toMatchObject({ kind: "won" });
    });

    test(`of ${WRITERS} writers of one version exactly one wins, ${ROUNDS} times over`, async () => {
      let state = await created();
      const random = seededRandom(50);
      for (let round = 1; round <= ROUNDS; round += 1) {
        const racers = Array.from({ length: WRITERS }, (_, writer) => ({
          root: rootCid(round * WRITERS + writer),
          through: under.stores[random.int(under.stores.length)] ?? store,
        }));
        const outcomes = await Promise.all(
          racers.map(async ({ root, through }) => await through.cas(bucket, moveTo(state, root))),
        );
        const winners = outcomes.flatMap((outcome, writer) => (outcome.kind === "won" ? [writer] : []));
        expect(winners).toHaveLength(1);
        const now = await store.get(bucket);
        expect(now?.root).toEqual(racers[winners[0] ?? -1]?.root);
        expect(now?.version).toBe(BigInt(round + 1));
        // Nobody is told of a state that is older than the race that he lost.
        for (const outcome of outcomes) if (outcome.kind === "conflict") expect(outcome.current).toEqual(now);
        if (now === null) throw new Error("the bucket is gone");
        state = now;
      }
    });

    test("of many who make one bucket one does, and so it is after each deletion", async () => {
      for (let round = 0; round < 10; round += 1) {
        const outcomes = await Promise.all(
          Array.from({ length: WRITERS }, async (_, writer) => {
            const through = under.stores[writer % under.stores.length] ?? store;
            return await through.cas(bucket, moveTo(null, rootCid(writer), { objects: 0 }));
          }),
        );
        expect(outcomes.filter(({ kind }) => kind === "won")).toEqual([
          { kind: "won", version: BigInt(2 * round + 1) },
        ]);
        const state = await store.get(bucket);
        if (state === null) throw new Error("the bucket is gone");
        await store.cas(bucket, deletionOf(state));
      }
    });

    test("moves that take the same contents in another order do not stop one another", async () => {
      const cids = Array.from({ length: 40 }, (_, index) => `bafy${index}`);
      await store.announce(cids);
      const outcomes = await Promise.all(
        Array.from({ length: WRITERS }, async (_, writer) => {
          const through = under.stores[writer % under.stores.length] ?? store;
          const turned = [...cids.slice(writer), ...cids.slice(0, writer)];
          const move = moveTo(null, rootCid(writer), writer % 2 === 0 ? { garbage: turned } : { claims: turned });
          return await through.cas(bucketNamed(`bucket-${writer}`), move);
        }),
      );
      expect(outcomes.map(({ kind }) => kind)).toEqual(Array.from({ length: WRITERS }, () => "won"));
    });
  });
}
