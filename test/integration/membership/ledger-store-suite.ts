import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LedgerStore } from "../../../src/lib/membership/ledger-records.ts";
import { newAttestation, newEpoch, newLedgerBox } from "../../support/ledger-records.ts";
import { until } from "../../support/until.ts";

/** Ways to open what is under test. */
export interface LedgerStoreUnderTest {
  /** Opens records that nobody else has; each call gives others. @returns opens the same ones again and again */
  fresh(): Promise<() => Promise<LedgerStore>>;
  close(): Promise<void>;
}

/** What every `LedgerStore` must do. */
export function describeLedgerStore(name: string, start: () => Promise<LedgerStoreUnderTest>): void {
  describe(`${name} keeps the contract of the ledger's records`, () => {
    let under: LedgerStoreUnderTest;
    beforeAll(async () => {
      under = await start();
    });
    afterAll(async () => {
      await under.close();
    });

    test("what was never written is nothing at revision 0, confirmed too", async () => {
      await using store = await (await under.fresh())();
      const nothing = { revision: 0, value: null };
      await expect(store.get("epoch")).resolves.toEqual(nothing);
      await expect(store.confirm("epoch")).resolves.toEqual(nothing);
      await expect(store.get("attest", "fula-1")).resolves.toEqual(nothing);
      await expect(store.list("attest")).resolves.toEqual([]);
    });

    test("a record comes back as it was written, under its revision, to others too", async () => {
      const open = await under.fresh();
      await using store = await open();
      await using other = await open();
      const epoch = newEpoch({ syncSet: ["fula-2"], syncNeeded: 1 });
      const revision = await store.put("epoch", epoch, 0);
      expect(revision).toBeGreaterThan(0);
      await expect(other.get("epoch")).resolves.toEqual({ revision, value: epoch });
      await expect(other.confirm("epoch")).resolves.toEqual({ revision, value: epoch });
    });

    test("of all who write on the same revision one is taken, the others change nothing", async () => {
      const open = await under.fresh();
      const stores = await Promise.all([open(), open(), open()]);
      const first = newEpoch();
      const revision = (await stores[0]?.put("epoch", first, 0)) ?? 0;
      const wishes = stores.map((_, at) => newEpoch({ number: 2, primary: `fula-${at}` }));
      const outcomes = await Promise.all(
        stores.map(async (store, at) => await store.put("epoch", wishes[at] ?? first, revision)),
      );
      const winners = outcomes.flatMap((outcome, at) => (outcome === null ? [] : [{ outcome, at }]));
      expect(winners).toHaveLength(1);
      const [winner] = winners;
      await expect(stores[1]?.confirm("epoch")).resolves.toEqual({
        revision: winner?.outcome,
        value: wishes[winner?.at ?? 0],
      });
      for (const store of stores) await store.close();
    });

    test("each node has a key of its own, also where its name has dots, and all are listed by node", async () => {
      await using store = await (await under.fresh())();
      const nodes = ["fula-2", "fula.master.2", "fula"];
      for (const node of nodes) {
        await store.put("attest", newAttestation(node), 0, node);
        await store.put("box", newLedgerBox(node), 0, node);
      }
      const listed = await store.list("attest");
      expect(listed.map(({ node }) => node)).toEqual(nodes.toSorted());
      expect(listed.map(({ value }) => value.node)).toEqual(nodes.toSorted());
      await expect(store.get("attest", "fula.master")).resolves.toMatchObject({ value: null });
      await expect(store.list("session")).resolves.toEqual([]);
    });

    test("a record that was removed is nothing, is written again over the revision that its removal left, and by nobody else", async () => {
      await using store = await (await under.fresh())();
      const box = newLedgerBox("fula-2");
      const revision = (await store.put("box", box, 0, "fula-2")) ?? 0;
      await expect(store.remove("box", revision + 1, "fula-2")).resolves.toBe(false);
      await expect(store.remove("box", revision, "fula-2")).resolves.toBe(true);
      await expect(store.list("box")).resolves.toEqual([]);
      const { revision: left, value } = await store.get("box", "fula-2");
      expect(value).toBeNull();
      expect(left).toBeGreaterThan(revision);
      await expect(store.put("box", box, revision, "fula-2")).resolves.toBeNull();
      await expect(store.put("box", box, left, "fula-2")).resolves.toBeGreaterThan(left);
    });

    test("revisions grow over all records, so that one names its session as no other does", async () => {
      await using store = await (await under.fresh())();
      const first = (await store.put("box", newLedgerBox("fula-1"), 0, "fula-1")) ?? 0;
      const second = (await store.put("epoch", newEpoch(), 0)) ?? 0;
      const third = (await store.put("box", newLedgerBox("fula-2"), 0, "fula-2")) ?? 0;
      expect(second).toBeGreaterThan(first);
      expect(third).toBeGreaterThan(second);
    });

    test("who listens is told of what others write, and no more once he has ended", async () => {
      const open = await under.fresh();
      await using writer = await open();
      await using reader = await open();
      let seen = 0;
      let revision = 0;
      const listening = reader.listen(() => {
        const look = async (): Promise<void> => {
          const now = await reader.get("epoch");
          seen = Math.max(seen, now.revision);
        };
        look().catch(() => {});
      });
      // Servers tell one another who listens in their own time; until then a write is not passed on.
      await until("a write is seen", async () => {
        revision = (await writer.put("epoch", newEpoch(), revision)) ?? revision;
        return seen > 0;
      });
      revision = (await writer.put("epoch", newEpoch({ number: 2 }), revision)) ?? 0;
      await until("the second write is seen", async () => seen === revision);
      await listening[Symbol.asyncDispose]();
    });
  });
}
