import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Answer, type Asked, checkHistory, checkKey, type Operation } from "../../support/history-check.ts";
import { property } from "../../support/property.ts";

type Span = readonly [number, number];

function operation(client: string, asked: Asked, answer: Answer, [calledAt, answeredAt]: Span): Operation {
  return { client, key: "k", asked, answer, calledAt, answeredAt };
}

const put = (value: string, span: Span, answer: Answer = { kind: "done" }): Operation =>
  operation("w", { kind: "put", value, when: { kind: "always" } }, answer, span);
const putIfAbsent = (value: string, span: Span, answer: Answer = { kind: "done" }): Operation =>
  operation("w", { kind: "put", value, when: { kind: "absent" } }, answer, span);
const putIf = (old: string, value: string, span: Span, answer: Answer = { kind: "done" }): Operation =>
  operation("w", { kind: "put", value, when: { kind: "is", value: old } }, answer, span);
const remove = (span: Span, answer: Answer = { kind: "done" }): Operation =>
  operation("w", { kind: "delete", when: { kind: "always" } }, answer, span);
const get = (value: string | null, span: Span): Operation =>
  operation("r", { kind: "get" }, { kind: "saw", value }, span);
const LOST: Answer = { kind: "unknown" };
const REFUSED: Answer = { kind: "refused" };

describe("a history of one key is explained when", () => {
  test.each([
    ["reads see what was written before them", [put("a", [1, 2]), get("a", [3, 4]), remove([5, 6]), get(null, [7, 8])]],
    [
      "a read during a write sees the old or the new value",
      [put("a", [1, 2]), put("b", [3, 9]), get("a", [4, 5]), get("b", [6, 7])],
    ],
    ["two writes at once leave either value", [put("a", [1, 5]), put("b", [2, 4]), get("a", [6, 7])]],
    [
      "a write that nobody answered takes effect later",
      [put("a", [1, 2]), put("b", [3, Infinity], LOST), get("a", [5, 6]), get("b", [7, 8])],
    ],
    ["or never does", [put("a", [1, 2]), remove([3, Infinity], LOST), get("a", [5, 6])]],
    [
      "one of two conditional writes is made",
      [putIfAbsent("a", [1, 4]), putIfAbsent("b", [2, 5], REFUSED), get("a", [6, 7])],
    ],
    [
      "a condition fails by a write that nobody answered",
      [putIfAbsent("a", [1, Infinity], LOST), putIfAbsent("b", [3, 4], REFUSED)],
    ],
    [
      "a chain of conditional writes is read backwards from its end",
      [put("a", [1, 10]), putIf("a", "b", [2, 9]), putIf("b", "c", [3, 8]), get("c", [11, 12])],
    ],
    [
      "a conditional write of a key that is not there is told so",
      [putIf("a", "b", [1, 2], { kind: "saw", value: null })],
    ],
  ])("%s", (_name, history) => {
    expect(checkKey(history)).toEqual({ kind: "explained" });
  });
});

describe("a history is found out in which", () => {
  test.each([
    ["a read is stale", [put("a", [1, 2]), put("b", [3, 4]), get("a", [5, 6])]],
    [
      "two reads see a write in the wrong order",
      [put("a", [1, 2]), put("b", [3, 12]), get("b", [4, 5]), get("a", [6, 7])],
    ],
    ["an acknowledged write is lost", [put("a", [1, 2]), get(null, [3, 4])]],
    [
      "a write is lost under another one that nobody answered",
      [put("a", [1, 2]), put("b", [3, Infinity], LOST), get(null, [5, 6])],
    ],
    ["a deleted key is back", [put("a", [1, 2]), remove([3, 4]), get(null, [5, 6]), get("a", [7, 8])]],
    ["a key is read before it was written", [get("a", [1, 2]), put("a", [3, 4])]],
    ["somebody read what nobody wrote", [put("a", [1, 2]), get("x", [3, 4])]],
    ["both of two conditional writes are made", [putIfAbsent("a", [1, 4]), putIfAbsent("b", [2, 5])]],
    ["both replace the same value", [put("a", [1, 2]), putIf("a", "b", [3, 6]), putIf("a", "c", [4, 5])]],
    ["a condition failed that held", [put("a", [1, 2]), putIf("a", "b", [3, 4], REFUSED)]],
    ["a refused write is read", [put("a", [1, 2]), putIfAbsent("b", [3, 4], REFUSED), get("b", [5, 6])]],
    [
      "a write that nobody answered took effect before it was called",
      [get("a", [1, 2]), put("a", [3, Infinity], LOST)],
    ],
    [
      "it took effect twice",
      [put("a", [1, Infinity], LOST), get("a", [3, 4]), remove([5, 6]), get(null, [7, 8]), get("a", [9, 10])],
    ],
  ])("%s", (_name, history) => {
    expect(checkKey(history)).toMatchObject({ kind: "impossible" });
  });
});

test("keys are judged apart, and the answer that nothing explains is named", () => {
  const stale = { ...get(null, [5, 6]), key: "other" };
  const history = [put("a", [1, 2]), { ...put("b", [3, 4]), key: "other" }, get("a", [7, 8]), stale];
  expect(checkHistory(history)).toMatchObject([{ kind: "impossible", operation: stale }]);
});

/** A register that answers at a random moment of each call, some of its answers lost, and whose reads may be falsified. */
function runRegister(
  steps: readonly { readonly kind: number; readonly client: number; readonly isLost: boolean }[],
): Operation[] {
  const done: Operation[] = [];
  const open = new Map<number, { asked: Asked; calledAt: number; answer: Answer }>();
  let state: string | null = null;
  let now = 0;
  const finish = (client: number, isLost: boolean): void => {
    const call = open.get(client);
    if (call === undefined) return;
    open.delete(client);
    now += 1;
    const { asked, calledAt } = call;
    const isUnknown = isLost && asked.kind !== "get";
    const answer = isUnknown ? LOST : call.answer;
    done.push(operation(`c${client}`, asked, answer, [calledAt, isUnknown ? Infinity : now]));
  };
  for (const { kind, client, isLost } of steps) {
    finish(client, isLost);
    now += 1;
    const when = kind === 3 ? ({ kind: "absent" } as const) : ({ kind: "always" } as const);
    const asked: Asked =
      kind === 0 ? { kind: "get" } : kind === 1 ? { kind: "delete", when } : { kind: "put", value: `v${now}`, when };
    const holds = asked.kind === "get" || when.kind === "always" || state === null;
    const answer: Answer = asked.kind === "get" ? { kind: "saw", value: state } : { kind: holds ? "done" : "refused" };
    open.set(client, { asked, calledAt: now, answer });
    if (holds && asked.kind === "put") state = asked.value;
    if (asked.kind === "delete") state = null;
  }
  for (const client of open.keys()) finish(client, false);
  return done;
}

const anySteps = fc.array(fc.record({ kind: fc.nat(4), client: fc.nat(7), isLost: fc.nat(9).map((n) => n === 0) }), {
  maxLength: 60,
  size: "max",
});

test("whatever a register really did is explained, however calls overlap and answers are lost", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      expect(checkKey(runRegister(steps))).toEqual({ kind: "explained" });
    }),
    property(300),
  );
});

test("the same histories with one read turned to a value that was overwritten before it began are found out", () => {
  let falsified = 0;
  fc.assert(
    fc.property(anySteps, (steps) => {
      const history = runRegister(steps);
      const puts = history.filter(({ asked, answer }) => asked.kind === "put" && answer.kind === "done");
      const first = puts.toSorted((a, b) => a.answeredAt - b.answeredAt)[0];
      const next = puts.find((other) => first !== undefined && other.calledAt > first.answeredAt);
      if (first?.asked.kind !== "put" || next === undefined) return;
      falsified += 1;
      const stale = get(first.asked.value, [next.answeredAt + 1_000, next.answeredAt + 1_001]);
      expect(checkKey([...history, stale])).toMatchObject({ kind: "impossible" });
    }),
    property(300),
  );
  expect(falsified).toBeGreaterThan(50);
});

test("a long history of many clients is judged in a moment", () => {
  const steps = Array.from({ length: 6_000 }, (_, index) => ({
    kind: (index * 7919) % 5,
    client: (index * 104_729) % 32,
    isLost: index % 97 === 0,
  }));
  expect(checkKey(runRegister(steps))).toEqual({ kind: "explained" });
});
