import { expect, test } from "vitest";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { type DoctorCheck, doubtful, failed, fine, runDoctor } from "../../../src/lib/stack/doctor.ts";
import { renderDoctor } from "../../../src/lib/stack/doctor-text.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const all = { only: [], skip: [] };
const plain = (text: string): string => text;
const style = { good: plain, attention: plain, bad: plain };

function boxWith(clock = new ManualClock()) {
  return { baseDir: "/b", clock, signal: new AbortController().signal };
}

const checks: readonly DoctorCheck[] = [
  { name: "clock", run: async () => doubtful("nobody keeps the clock.", "turn NTP on.") },
  { name: "node", run: async () => fine("Node.js 24") },
  { name: "ledger", run: async () => [fine("it answers"), failed("it is a standby.", "go to the primary.")] },
  {
    name: "kubo",
    run: async () => {
      throw new FulaError("FULA_KUBO_UNREACHABLE", "Kubo is silent.", { hint: "start it." });
    },
  },
  {
    name: "snapshot",
    run: async () => {
      throw new TypeError("surprise");
    },
  },
];

test("all failures come at once, each with its remedy and code, in the order of the report", async () => {
  const report = await runDoctor(checks, all, boxWith());
  expect(report.healthy).toBe(false);
  expect(report.counts).toEqual({ ok: 2, warning: 1, failed: 3, skipped: 0 });
  expect(report.checks.map(({ name, verdict }) => `${name} ${verdict}`)).toEqual([
    "node ok",
    "clock warning",
    "ledger ok",
    "ledger failed",
    "kubo failed",
    "snapshot failed",
  ]);
  expect(report.checks.at(-2)).toEqual({
    name: "kubo",
    verdict: "failed",
    message: "Kubo is silent.",
    remedy: "start it.",
    code: "FULA_KUBO_UNREACHABLE",
  });
  expect(report.checks.at(-1)).toMatchObject({
    message: "It could not be looked at: surprise.",
    code: "FULA_CHECK_FAILED",
  });
});

test("what is only doubtful fails nothing", async () => {
  expect((await runDoctor(checks.slice(0, 2), all, boxWith())).healthy).toBe(true);
});

test("a check that gives no answer in its time is a failed one, and the others do not wait for it", async () => {
  const clock = new ManualClock();
  const hanging: DoctorCheck = { name: "cluster", limitMs: 3_000, run: async () => await new Promise(() => {}) };
  const running = runDoctor([hanging, ...checks.slice(1, 2)], all, boxWith(clock));
  await clock.step(3_000);
  const report = await running;
  expect(report.checks).toMatchObject([
    { name: "node", verdict: "ok" },
    { name: "cluster", verdict: "failed", code: "FULA_LOOK_TIMEOUT" },
  ]);
});

test("a check that found nothing at all is a bug, not an all-clear", async () => {
  const empty: DoctorCheck = { name: "disk", run: async () => [] };
  expect((await runDoctor([empty], all, boxWith())).healthy).toBe(false);
});

test("names are taken one by one or in a list, and what is left out is told", async () => {
  const report = await runDoctor(checks, { only: ["node,kubo", "clock"], skip: ["kubo"] }, boxWith());
  expect(report.checks.map(({ name, verdict }) => `${name} ${verdict}`)).toEqual([
    "node ok",
    "clock warning",
    "kubo skipped",
  ]);
  expect(report.healthy).toBe(true);
});

test.each([
  [{ only: ["leger"], skip: [] }, /no check named "leger"/],
  [{ only: ["containers"], skip: [] }, /nothing to look at/],
  [{ only: [], skip: ["clock,node,ledger,kubo,snapshot"] }, /nothing to look at/],
])("%j is refused: nothing is ever well that nobody looked at", async (choice, message) => {
  await expect(runDoctor(checks, choice, boxWith())).rejects.toThrow(message);
});

test("the report says what is wrong in one line, and below it what to do", async () => {
  expect(renderDoctor(await runDoctor(checks, { only: [], skip: ["snapshot"] }, boxWith()), style)).toBe(`Checks of /b

  ok   node           Node.js 24
  look clock          nobody keeps the clock.
                      Try: turn NTP on.
  ok   ledger         it answers
  BAD  ledger         it is a standby.
                      Try: go to the primary.
  BAD  kubo           Kubo is silent.
                      Try: start it.
  -    snapshot       left out by --skip

2 checks failed, 1 to look at, 1 left out, 2 ok.`);
});
