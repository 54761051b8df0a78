import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideSync,
  parseSyncNames,
  renderSyncNames,
  type StreamingStandby,
  type SyncFacts,
  type SyncStep,
} from "../../../src/lib/stack/sync-decision.ts";
import { property } from "../../support/property.ts";

const NOBODY = { members: [], needed: 0 };

function facts(given: Partial<SyncFacts>): SyncFacts {
  return {
    mode: "preferred",
    record: NOBODY,
    server: NOBODY,
    boxes: [],
    streaming: new Map(),
    lost: [],
    mayShrink: true,
    barrierLsn: null,
    ...given,
  };
}

function streams(...standbys: readonly (readonly [string, bigint, boolean?])[]): SyncFacts["streaming"] {
  return new Map(standbys.map(([name, flushedLsn, isSync = true]) => [name, { flushedLsn, isSync }]));
}

describe("the first standby", () => {
  const boxes = ["a"];

  test("is waited for first, and may be promoted once it has everything", () => {
    const streaming = streams(["a", 10n, false]);
    expect(decideSync(facts({ boxes, streaming }))).toMatchObject({ do: "server", to: { members: ["a"], needed: 1 } });
    const told = { boxes, server: { members: ["a"], needed: 1 } };
    expect(decideSync(facts({ ...told, streaming }))).toEqual({ do: "settle" });
    expect(decideSync(facts({ ...told, streaming, barrierLsn: 12n }))).toMatchObject({ do: "nothing" });
    expect(decideSync(facts({ ...told, streaming: streams(["a", 12n, false]), barrierLsn: 12n })).do).toBe("nothing");
    expect(decideSync(facts({ ...told, streaming: streams(["a", 12n]), barrierLsn: 12n }))).toMatchObject({
      do: "record",
      to: { members: ["a"], needed: 1 },
    });
  });

  test("that is lost may not be promoted any more before nobody waits for it", () => {
    const record = { members: ["a"], needed: 1 };
    const lost = { boxes, record, server: record, lost: ["a"] };
    expect(decideSync(facts(lost))).toMatchObject({ do: "record", to: NOBODY });
    expect(decideSync(facts({ ...lost, record: NOBODY }))).toMatchObject({ do: "server", to: NOBODY });
    expect(decideSync(facts({ ...lost, mayShrink: false })).do).toBe("nothing");
    expect(decideSync(facts({ ...lost, mode: "strict" })).do).toBe("nothing");
  });

  test("that its operator took out goes also where commits always wait", () => {
    const record = { members: ["a"], needed: 1 };
    expect(decideSync(facts({ record, server: record, boxes: [], mode: "strict", mayShrink: false }))).toMatchObject({
      do: "record",
      to: NOBODY,
    });
  });

  test("is not waited for where the setting is off", () => {
    const record = { members: ["a"], needed: 1 };
    const streaming = streams(["a", 10n]);
    expect(decideSync(facts({ mode: "off", boxes, streaming })).do).toBe("nothing");
    expect(decideSync(facts({ mode: "off", boxes, record, server: record, streaming }))).toMatchObject({
      do: "record",
      to: NOBODY,
    });
  });
});

describe("a second standby", () => {
  const record = { members: ["a"], needed: 1 };

  test("grows in with both of them waited for, so that none has acknowledged anything alone", () => {
    const given = { boxes: ["a", "b"], record, streaming: streams(["a", 20n], ["b", 20n]) };
    const both = { members: ["a", "b"], needed: 2 };
    expect(decideSync(facts({ ...given, server: record }))).toMatchObject({ do: "server", to: both });
    expect(decideSync(facts({ ...given, server: both, barrierLsn: 20n }))).toMatchObject({
      do: "record",
      to: { members: ["a", "b"], needed: 1 },
    });
    const grown = { members: ["a", "b"], needed: 1 };
    expect(decideSync(facts({ ...given, record: grown, server: both }))).toMatchObject({ do: "server", to: grown });
    expect(decideSync(facts({ ...given, record: grown, server: grown })).do).toBe("nothing");
  });

  test("that is lost is relied on until the other has what it may have acknowledged alone", () => {
    const grown = { members: ["a", "b"], needed: 1 };
    const given = { boxes: ["a", "b"], record: grown, lost: ["b"] };
    const seen = streams(["a", 20n]);
    expect(decideSync(facts({ ...given, server: grown, streaming: seen }))).toMatchObject({ do: "server", to: record });
    expect(decideSync(facts({ ...given, server: record, streaming: seen, barrierLsn: 21n })).do).toBe("nothing");
    expect(
      decideSync(facts({ ...given, server: record, streaming: streams(["a", 21n]), barrierLsn: 21n })),
    ).toMatchObject({ do: "record", to: record });
  });
});

test("what PostgreSQL is told is read back as it was, and what others wrote is not taken for ours", () => {
  const set = { members: ["master-1", "master-2"], needed: 2 };
  expect(renderSyncNames(set)).toBe('ANY 2 ("master-1", "master-2")');
  expect(parseSyncNames(renderSyncNames(set))).toEqual(set);
  expect(parseSyncNames(renderSyncNames(NOBODY))).toEqual(NOBODY);
  expect(parseSyncNames("*")).toBeNull();
});

/** A primary with three standbys, and a keeper that is asked now and then. Positions count commits. */
class Model {
  readonly flushed = new Map([
    ["a", 0n],
    ["b", 0n],
    ["c", 0n],
  ]);
  readonly up = new Set<string>();
  readonly lost = new Set<string>();
  record: SyncFacts["record"] = NOBODY;
  server: SyncFacts["server"] = NOBODY;
  barrierLsn: bigint | null = null;
  head = 0n;
  acked = 0n;

  /** Everything acknowledged is with somebody of each group of standbys that a failover could go on with. */
  assertNothingIsLost(): void {
    const { members, needed } = this.record;
    if (members.length === 0) return;
    for (const group of groups(members, members.length - needed + 1)) {
      const best = group.reduce((most, name) => (this.#has(name) > most ? this.#has(name) : most), -1n);
      expect(best >= this.acked, `${group.join("+")} have ${best} of ${this.acked}`).toBe(true);
    }
  }

  commit(): void {
    this.head += 1n;
    this.#acknowledge();
  }

  receive(name: string): void {
    if (this.up.has(name)) this.flushed.set(name, this.head);
    this.#acknowledge();
  }

  step(decide: (given: SyncFacts) => SyncStep): void {
    const streaming = new Map<string, StreamingStandby>();
    for (const name of this.up) {
      streaming.set(name, { flushedLsn: this.#has(name), isSync: this.server.members.includes(name) });
    }
    const step = decide(
      facts({
        record: this.record,
        server: this.server,
        boxes: ["a", "b", "c"],
        streaming,
        lost: [...this.lost].filter((name) => !this.up.has(name)),
        barrierLsn: this.barrierLsn,
      }),
    );
    if (step.do === "record") this.record = step.to;
    if (step.do === "server") [this.server, this.barrierLsn] = [step.to, this.head];
    if (step.do === "settle") this.barrierLsn = this.head;
    this.#acknowledge();
  }

  #has(name: string): bigint {
    return this.flushed.get(name) ?? 0n;
  }

  #acknowledge(): void {
    const { members, needed } = this.server;
    if (needed === 0) {
      this.acked = this.head;
      return;
    }
    const positions = members.map((name) => this.#has(name)).toSorted((a, b) => (a > b ? -1 : 1));
    const reached = positions[needed - 1] ?? 0n;
    if (reached > this.acked) this.acked = reached;
  }
}

function groups(names: readonly string[], size: number): readonly (readonly string[])[] {
  if (size === 0) return [[]];
  return names.flatMap((name, index) => groups(names.slice(index + 1), size - 1).map((rest) => [name, ...rest]));
}

const standby = fc.constantFrom("a", "b", "c");
const event = fc.oneof(
  fc.record({ what: fc.constantFrom("commit", "keep"), name: standby }),
  fc.record({ what: fc.constantFrom("receive", "up", "down", "lose"), name: standby }),
);

function play(events: readonly { readonly what: string; readonly name: string }[], decide: typeof decideSync): Model {
  const model = new Model();
  for (const { what, name } of events) {
    if (what === "commit") model.commit();
    if (what === "keep") model.step(decide);
    if (what === "receive") model.receive(name);
    if (what === "up") {
      model.up.add(name);
      model.lost.delete(name);
    }
    if (what === "down") model.up.delete(name);
    if (what === "lose" && !model.up.has(name)) model.lost.add(name);
    model.assertNothingIsLost();
  }
  return model;
}

test("whatever comes and goes, a failover at any moment finds everything that was acknowledged", () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 120 }), (events) => {
      play(events, decideSync);
    }),
    property(2_000),
  );
});

test("a record that gives a standby up before PostgreSQL does is found out to lose commits", () => {
  const recordFirst = (given: SyncFacts): SyncStep => {
    const staying = given.record.members.filter((name) => !given.lost.includes(name));
    if (staying.length === given.record.members.length) return decideSync(given);
    return { do: "record", to: { members: staying, needed: Math.min(staying.length, 1) }, because: "at once" };
  };
  const up = ["a", "b"].map((name) => ({ what: "up", name }));
  const grow = Array.from({ length: 12 }, () => [
    { what: "keep", name: "a" },
    { what: "receive", name: "a" },
    { what: "receive", name: "b" },
  ]).flat();
  const alone = [
    { what: "commit", name: "a" },
    { what: "receive", name: "b" },
    { what: "down", name: "b" },
    { what: "lose", name: "b" },
    { what: "keep", name: "a" },
  ];
  expect(() => play([...up, ...grow, ...alone], recordFirst)).toThrow(/have/);
  play([...up, ...grow, ...alone], decideSync);
});
