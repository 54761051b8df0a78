import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type AllowedLoss,
  attestationsNeeded,
  choosePrimary,
  type ChoiceFacts,
} from "../../../src/lib/failover/choose-primary.ts";
import type { Attestation } from "../../../src/lib/membership/ledger-records.ts";
import { formatLsn } from "../../../src/lib/recovery/lsn.ts";
import { property } from "../../support/property.ts";

const REPLACED = { number: 4, uuid: "00000000-0000-4000-8000-000000000004" };
const RAISED = { number: 5, uuid: "00000000-0000-4000-8000-000000000005" };

function attest(node: string, received: bigint, change: Partial<Attestation> = {}): Attestation {
  return {
    ...RAISED,
    node,
    what: "standby-detached",
    lineage: REPLACED,
    timeline: 1,
    receivedLsn: formatLsn(received),
    at: "2026-11-22T00:00:00Z",
    ...change,
  };
}

function facts(syncSet: readonly string[], syncNeeded: number, attestations: readonly Attestation[]): ChoiceFacts {
  return {
    epoch: RAISED,
    replaces: { ...REPLACED, primary: "old", syncSet, syncNeeded },
    attestations,
    wanted: null,
    allowedLoss: null,
    unfit: new Map(),
  };
}

const BOTH = facts(["b", "c"], 1, [attest("b", 100n), attest("c", 120n)]);

describe("whom to promote", () => {
  test("is the standby with the most log, and the other one follows it", () => {
    expect(choosePrimary(BOTH)).toMatchObject({ kind: "chosen", node: "c", followers: ["b"], lossless: true });
  });

  test("is nobody while one of two has not detached, of which the primary waited for either: it may have the last commits", () => {
    const choice = choosePrimary(facts(["b", "c"], 1, [attest("b", 100n)]));
    expect(choice).toMatchObject({ kind: "refused", missing: "attestations" });
  });

  test("is the only one of a set of one", () => {
    expect(choosePrimary(facts(["b"], 1, [attest("b", 100n)]))).toMatchObject({
      kind: "chosen",
      node: "b",
      followers: [],
    });
  });

  test.each<[string, Partial<Attestation>]>([
    ["of another epoch", { number: 6 }],
    ["of the same number under another UUID", { uuid: REPLACED.uuid }],
    ["with data of another lineage, however long its log is", { lineage: { ...REPLACED, uuid: RAISED.uuid } }],
    ["without any epoch in its data", { lineage: null }],
    ["that is of a primary", { what: "primary-stopped" }],
  ])("is never decided by a word %s", (_title, change) => {
    const choice = choosePrimary(facts(["b"], 1, [attest("b", 900n, change)]));
    expect(choice).toMatchObject({ kind: "refused", missing: "attestations" });
  });

  test("is the named one where as many as are needed have no more log than it", () => {
    const three = facts(["b", "c", "d"], 2, [attest("b", 100n), attest("c", 120n), attest("d", 130n)]);
    expect(choosePrimary({ ...three, wanted: "c" })).toMatchObject({ kind: "chosen", node: "c", followers: ["b"] });
    expect(choosePrimary({ ...three, wanted: "b" })).toMatchObject({ kind: "refused", missing: "consent" });
  });

  test("is not the one with a marker or a full disk, although its log is longer", () => {
    const unfit = new Map([["c", "its disk is fuller than the old primary's"]]);
    const choice = choosePrimary({ ...BOTH, unfit });
    expect(choice).toMatchObject({ kind: "refused", missing: "consent" });
    expect(choosePrimary({ ...BOTH, unfit, allowedLoss: { kind: "bytes", bytes: 20n } })).toMatchObject({
      kind: "chosen",
      node: "b",
      lossless: false,
      knownLossBytes: 20n,
    });
  });

  test.each<[string, AllowedLoss, boolean]>([
    ["a position that it has is kept", { kind: "above", lsn: 100n }, true],
    ["a position that it lacks is not", { kind: "above", lsn: 101n }, false],
    ["bytes say nothing where nobody knows how long the log was", { kind: "bytes", bytes: 1_000_000n }, false],
  ])("without a synchronous set takes consent: %s", (_title, allowedLoss, isChosen) => {
    const async = facts([], 0, [attest("b", 100n)]);
    expect(choosePrimary(async)).toMatchObject({ kind: "refused", missing: "attestations" });
    expect(choosePrimary({ ...async, allowedLoss }).kind).toBe(isChosen ? "chosen" : "refused");
  });

  test("is without loss although the primary waited for nobody, where it stopped in order and the standby has all of its log", () => {
    const stopped = attest("old", 100n, { what: "primary-stopped" });
    const async = facts([], 0, [attest("b", 140n), stopped]);
    const consent = { kind: "bytes", bytes: 0n } as const;
    expect(choosePrimary({ ...async, allowedLoss: consent })).toMatchObject({ kind: "chosen", lossless: true });
    const behind = facts([], 0, [attest("b", 90n), stopped]);
    expect(choosePrimary({ ...behind, allowedLoss: consent })).toMatchObject({ kind: "refused", missing: "consent" });
    expect(choosePrimary({ ...behind, allowedLoss: { kind: "bytes", bytes: 10n } })).toMatchObject({
      knownLossBytes: 10n,
    });
  });

  test("always has every commit that was acknowledged, whoever detached and however far the others have come", () => {
    const scene = fc.integer({ min: 1, max: 5 }).chain((size) =>
      fc.record({
        positions: fc.array(fc.bigInt({ min: 1n, max: 20n }), { minLength: size, maxLength: size }),
        needed: fc.integer({ min: 1, max: size }),
        detached: fc.array(fc.boolean(), { minLength: size, maxLength: size }),
        wanted: fc.option(fc.integer({ min: 0, max: size - 1 })),
      }),
    );
    let chosen = 0;
    fc.assert(
      fc.property(scene, ({ positions, needed, detached, wanted }) => {
        const nodes = positions.map((_, index) => `n${index}`);
        const attestations = nodes.flatMap((node, index) =>
          detached[index] === true ? [attest(node, positions[index] ?? 0n)] : [],
        );
        const choice = choosePrimary({
          ...facts(nodes, needed, attestations),
          wanted: wanted === null ? null : `n${wanted}`,
        });
        // A commit is acknowledged when `needed` of the set have it, so none lies above the needed-th longest log.
        const acknowledged = positions.toSorted((a, b) => (a < b ? 1 : -1))[needed - 1] ?? 0n;
        if (choice.kind === "refused") return;
        chosen += 1;
        expect(choice.lossless).toBe(true);
        expect(choice.receivedLsn >= acknowledged).toBe(true);
        expect(attestations.length).toBeGreaterThanOrEqual(attestationsNeeded({ syncSet: nodes, syncNeeded: needed }));
      }),
      property(1_000),
    );
    expect(chosen).toBeGreaterThan(100);
  });
});
