import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Pin, PinCluster } from "../../src/lib/cluster/pins.ts";
import { collect, fullPin, manyPins, rawCid } from "../support/pins.ts";

/** A cluster under test, empty, and how to make the content of a pin available to its peers. */
export interface ClusterUnderTest {
  readonly cluster: PinCluster;
  /** Makes the content of these pins available, so that they can truly be pinned. */
  provide(pins: readonly Pin[]): Promise<void>;
  /** Takes the content of one pin away from every peer. */
  lose(pin: Pin): Promise<void>;
  /** What the cluster is known to make of a record, beside its assigned fields; default nothing. */
  readonly kept?: (pin: Pin) => Pin;
  /** Waits until the peers have done what they were asked; default they have when the call returns. */
  readonly settled?: () => Promise<void>;
  close(): Promise<void>;
}

/** What every `PinCluster` must do; run on each adapter and on the in-memory twin. */
export function describePinCluster(name: string, open: () => Promise<ClusterUnderTest>): void {
  describe(`${name} keeps the contract of a pin cluster`, () => {
    let under: ClusterUnderTest;
    beforeEach(async () => {
      under = await open();
    });
    afterEach(async () => {
      await under.close();
    });

    /** The record without what this cluster sets by itself. */
    const comparable = (pin: Pin | null): Partial<Pin> | null => {
      if (pin === null) return null;
      const own: Partial<Record<keyof Pin, unknown>> = { ...pin };
      for (const field of under.cluster.assignedFields) delete own[field];
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a pin with fields taken away is a partial pin
      return own as Partial<Pin>;
    };

    const kept = (pin: Pin): Partial<Pin> | null => comparable(under.kept?.(pin) ?? pin);

    test("a pin comes back with every field as it was put", async () => {
      for (const pin of manyPins(12)) {
        await under.cluster.put(pin);
        expect(comparable(await under.cluster.pin(pin.cid))).toEqual(kept(pin));
      }
    });

    test("what it says that a record will be stored as is what it stores", async () => {
      for (const pin of manyPins(12)) {
        await under.cluster.put(pin);
        expect(comparable(await under.cluster.pin(pin.cid))).toEqual(comparable(under.cluster.asStored(pin)));
      }
    });

    test("the peer that is asked is one of the peers, and answers", async () => {
      const peers = await under.cluster.peers();
      expect(peers.filter((peer) => peer.isSelf)).toEqual([expect.objectContaining({ state: "answers", error: "" })]);
      expect(new Set(peers.map((peer) => peer.id)).size).toBe(peers.length);
    });

    test("an empty cluster lists nothing and counts none", async () => {
      expect(await collect(under.cluster.pins())).toEqual([]);
      expect(await collect(under.cluster.statuses())).toEqual([]);
      expect(await under.cluster.count()).toBeOneOf([0, null]);
    });

    test("a listing gives every pin once, in the order it promises", async () => {
      const pins = manyPins(30);
      for (const pin of pins.toReversed()) await under.cluster.put(pin);
      const listed = await collect(under.cluster.pins());
      const sorted = listed.toSorted((a, b) => Buffer.compare(Buffer.from(a.cid), Buffer.from(b.cid)));
      expect(sorted.map(comparable)).toEqual(pins.map(kept));
      if (under.cluster.sorted) expect(listed).toEqual(sorted);
      expect(await under.cluster.count()).toBeOneOf([30, null]);
    });

    test("a second put of the same CID replaces the whole record", async () => {
      const pin = fullPin(7);
      await under.cluster.put(pin);
      const replacement: Pin = { ...pin, name: "other", metadata: {}, expire_at: null, replication_factor_max: 9 };
      await under.cluster.put(replacement);
      expect(comparable(await under.cluster.pin(pin.cid))).toEqual(kept(replacement));
      expect(await collect(under.cluster.pins())).toHaveLength(1);
    });

    test("a removed pin is gone, and removing it again says that it was not there", async () => {
      const pin = fullPin(1);
      await under.cluster.put(pin);
      expect(await under.cluster.remove(pin.cid)).toBe(true);
      expect(await under.cluster.pin(pin.cid)).toBeNull();
      expect(await under.cluster.status(pin.cid)).toBeNull();
      expect(await under.cluster.remove(pin.cid)).toBe(false);
    });

    test("a CID that was never pinned has neither record nor status", async () => {
      const cid = rawCid("never pinned").toString();
      expect(await under.cluster.pin(cid)).toBeNull();
      expect(await under.cluster.status(cid)).toBeNull();
    });

    test("a pin whose content is there is pinned on every peer that reports", async () => {
      const pins = manyPins(3);
      await under.provide(pins);
      for (const pin of pins) await under.cluster.put(pin);
      await under.settled?.();
      for (const status of await collect(under.cluster.statuses())) {
        expect(status.peers.length).toBeGreaterThan(0);
        expect(status.peers.map((peer) => peer.status)).toEqual(status.peers.map(() => "pinned"));
      }
    });

    test("a pin whose content is lost is not called pinned by any peer, in the listing and alone", async () => {
      const pins = manyPins(3);
      await under.provide(pins);
      for (const pin of pins) await under.cluster.put(pin);
      await under.settled?.();
      const [first] = pins;
      if (first === undefined) throw new Error("no pins");
      await under.lose(first);
      const listed = (await collect(under.cluster.statuses())).find((status) => status.cid === first.cid);
      for (const status of [listed, await under.cluster.status(first.cid)]) {
        expect(status?.peers.length).toBeGreaterThan(0);
        for (const peer of status?.peers ?? []) {
          expect(peer.status).not.toBe("pinned");
          expect(peer.error).not.toBe("");
        }
      }
    });

    test("every pin has exactly one status, with its name", async () => {
      const pins = manyPins(20);
      await under.provide(pins);
      for (const pin of pins) await under.cluster.put(pin);
      await under.settled?.();
      const statuses = await collect(under.cluster.statuses());
      expect(statuses.map((status) => `${status.cid} ${status.name}`).toSorted()).toEqual(
        pins.map((pin) => `${pin.cid} ${pin.name}`).toSorted(),
      );
    });

    test("puts made at the same time all arrive", async () => {
      const pins = manyPins(200);
      await Promise.all(pins.map(async (pin) => under.cluster.put(pin)));
      expect(await collect(under.cluster.pins())).toHaveLength(200);
    });

    test("an aborted listing ends with an error, never as if it were complete", async () => {
      for (const pin of manyPins(5)) await under.cluster.put(pin);
      const stop = AbortSignal.abort(new Error("stopped by the test"));
      await expect(collect(under.cluster.pins(stop))).rejects.toThrow("stopped by the test");
      await expect(collect(under.cluster.statuses({ signal: stop }))).rejects.toThrow("stopped by the test");
    });

    test("recover can be asked for any pin", async () => {
      const pin = fullPin(2);
      await under.cluster.put(pin);
      await expect(under.cluster.recover(pin.cid)).resolves.toBeUndefined();
    });
  });
}
