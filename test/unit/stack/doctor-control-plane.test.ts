import { describe, expect, test } from "vitest";
import type { ControlPlaneFileLook } from "../../../src/lib/membership/sqlite/look.ts";
import { judgeFile } from "../../../src/lib/stack/doctor-control-plane.ts";
import { judgeCertificates, judgeRace } from "../../../src/lib/stack/doctor-nats.ts";

const WHOLE: ControlPlaneFileLook = { damage: [], journalMode: "wal", mode: 0o600, uid: 0, network: null };

describe("the file of a control plane", () => {
  test("that is as it was made has nothing against it", () => {
    expect(judgeFile("/b/c.sqlite", WHOLE, 0)).toEqual([]);
  });

  test.each<readonly [what: string, change: Partial<ControlPlaneFileLook>, message: RegExp, remedy: RegExp]>([
    ["is damaged", { damage: ["row 3 missing"] }, /damaged: row 3 missing/, /membership export/],
    ["has another journal", { journalMode: "delete" }, /journal "delete"/, /journal_mode = wal/],
    ["is open to others", { mode: 0o644 }, /permissions 0644/, /^chmod 600 \/b\/c\.sqlite$/],
    ["is another user's", { uid: 7 }, /user 7, and this run is user 0/, /chown/],
    ["lies on a network file system", { network: "NFS" }, /lies on NFS/, /migrate-to-kv/],
  ])("that %s fails, with what to do", (_what, change, message, remedy) => {
    expect(judgeFile("/b/c.sqlite", { ...WHOLE, ...change }, 0)).toEqual([
      { severity: "bad", message: expect.stringMatching(message), remedy: expect.stringMatching(remedy) },
    ]);
  });
});

const RACE = { rounds: 10, racers: 8, mostWinners: 1, problems: [] };

test("a race in which several won fails, and names the version that let them", () => {
  expect(judgeRace(RACE, "2.15.2")).toMatchObject({ state: "ok" });
  const lost = { ...RACE, mostWinners: 2, problems: ["in round 3 2 of 8 clients won"] };
  expect(judgeRace(lost, "2.9.10")).toMatchObject({
    state: "failed",
    message: expect.stringMatching(/nats-server 2\.9\.10 .*in round 3 2 of 8 clients won/),
    remedy: expect.stringMatching(/2\.12\.3 or newer/),
  });
});

const NOW_MS = Date.UTC(2026, 10, 20);
const DAY_MS = 86_400_000;

test("a certificate is told of 90 days before it ends, and fails from 14 days on", () => {
  const verdicts = [400, 91, 89, 15, 13, -1].map((days) =>
    judgeCertificates([{ path: "/k/c.pem", endsMs: NOW_MS + days * DAY_MS }], NOW_MS).map(({ severity }) => severity),
  );
  expect(verdicts).toEqual([[], [], ["attention"], ["attention"], ["bad"], ["bad"]]);
  const [ended] = judgeCertificates([{ path: "/k/c.pem", endsMs: NOW_MS - DAY_MS }], NOW_MS);
  expect(ended?.message).toMatch(/^\/k\/c\.pem ended on 2026-11-19: /);
});
