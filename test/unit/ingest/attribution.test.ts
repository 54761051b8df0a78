import { expect, test } from "vitest";
import { type Attribution, createAttribution } from "../../../src/lib/ingest/attribution.ts";
import type { Client } from "../../../src/lib/ingest/decisions.ts";
import type { LeaseQuestion } from "../../../src/lib/ingest/lease-proof.ts";
import type { MasterAnswer } from "../../../src/lib/ingest/masters.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const CLIENT: Client = { digest: "d", countedAs: "u", leftBytes: null };
const UNTIL_MS = 1_800_000_000_000;

class Scene {
  readonly clock = new ManualClock();
  readonly asked: string[][] = [];
  /** What there is room for in one question; null where no master answers. */
  roomBytes: number | null = 1_000_000;
  /** Holds the first question until the test says. */
  gate: Promise<void> = Promise.resolve();
  readonly attribution: Attribution;

  constructor(mode: "strict" | "open") {
    this.attribution = createAttribution({
      masters: { ask: async (_, question) => await this.#ask(question) },
      decisions: { learned: () => {} },
      node: "n-1",
      mode,
      clock: this.clock,
      log: silentLog,
      untoldBytesMax: 100,
      untoldMs: 60_000,
    });
  }

  async #ask({ blocks }: LeaseQuestion): Promise<MasterAnswer> {
    this.asked.push(blocks.map(({ cid }) => cid));
    await this.gate;
    if (this.roomBytes === null) throw new FulaError("FULA_INGEST_MASTERS_SILENT", "No master.");
    const bytes = blocks.reduce((sum, block) => sum + block.bytes, 0);
    if (bytes > this.roomBytes) return { state: "refused", status: 402, because: "full" };
    return { state: "accepted", userId: "u", leftBytes: null, credentialExpiresMs: null, leasedUntilMs: UNTIL_MS };
  }

  async give(cid: string, bytes = 10): Promise<unknown> {
    return await this.attribution
      .attribute("t", CLIENT, { cid, bytes })
      .catch((error: unknown) => (error instanceof Error && "status" in error ? error.status : error));
  }
}

test("blocks that come while a question is under way go with the next one, each CID once", async () => {
  const scene = new Scene("strict");
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.gate = promise;
  const all = ["a", "b", "c", "b"].map(async (cid) => await scene.give(cid));
  resolve();
  expect(await Promise.all(all)).toEqual([UNTIL_MS, UNTIL_MS, UNTIL_MS, UNTIL_MS]);
  expect(scene.asked).toEqual([["a"], ["b", "c"]]);
});

test("where there is no room for all of a question, each block has its own", async () => {
  const scene = new Scene("strict");
  scene.roomBytes = 10;
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.gate = promise;
  const all = [scene.give("a"), scene.give("b", 10), scene.give("c", 11)];
  resolve();
  expect(await Promise.all(all)).toEqual([UNTIL_MS, UNTIL_MS, 402]);
});

test("while no master answers a strict node gives up, and an open one tells it later, up to a bound", async () => {
  const strict = new Scene("strict");
  strict.roomBytes = null;
  expect(await strict.give("a")).toBe(503);
  const open = new Scene("open");
  open.roomBytes = null;
  expect(await Promise.all([open.give("a", 60), open.give("b", 40)])).toEqual([null, null]);
  expect(await open.give("c", 1)).toBe(503);
  expect(await open.attribution.tellLater()).toEqual({ leased: [], refused: [] });
  open.roomBytes = 50;
  expect(await open.attribution.tellLater()).toEqual({ leased: ["b"], refused: ["a"] });
  expect(await open.attribution.tellLater()).toEqual({ leased: [], refused: [] });
});

test("what could not be told for too long is not told any more", async () => {
  const scene = new Scene("open");
  scene.roomBytes = null;
  await scene.give("a");
  await scene.clock.step(60_001);
  scene.roomBytes = 1_000;
  expect(await scene.attribution.tellLater()).toEqual({ leased: [], refused: [] });
});
