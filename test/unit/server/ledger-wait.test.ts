import { mkdirSync } from "node:fs";
import { expect, test } from "vitest";
import { loadConfig, type LoadedConfig } from "../../../src/lib/config/load.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import type { HealthCheck } from "../../../src/lib/server/health.ts";
import { waitForLedger } from "../../../src/lib/server/ledger-wait.ts";
import { noteEpoch } from "../../../src/lib/stack/ledger-epoch-file.ts";
import { boxWith } from "../../support/config.ts";
import { EventClock } from "../../support/event-clock.ts";
import { newEpoch } from "../../support/ledger-records.ts";

async function box(hasEpochs: boolean): Promise<LoadedConfig> {
  const loaded = await loadConfig(boxWith({ yaml: "runtime: embedded\n" }));
  mkdirSync(loaded.paths.stateDir, { recursive: true });
  if (hasEpochs) await noteEpoch(loaded.paths.stateDir, newEpoch());
  return loaded;
}

const unreachable = new FulaError("FULA_DATABASE_UNREACHABLE", "PostgreSQL does not answer.");
const fenced = new FulaError("FULA_LEDGER_FENCED", "The server stays down.");

/** Opens after some failures; tells what was told meanwhile. */
function opening(failures: readonly Error[]) {
  const told: HealthCheck[] = [];
  const events: string[] = [];
  const left = [...failures];
  const open = async (): Promise<void> => {
    const failure = left.shift();
    if (failure !== undefined) await Promise.reject(failure);
    events.push("open");
  };
  const tell = async (check: HealthCheck): Promise<AsyncDisposable> => {
    told.push(check);
    events.push("tell");
    const end = async (): Promise<void> => {
      events.push("untell");
      await Promise.resolve();
    };
    return await Promise.resolve({ [Symbol.asyncDispose]: end });
  };
  return { told, events, deps: { clock: new EventClock(), log: silentLog, open, tell } };
}

test("a ledger with one server that does not answer ends the start, as it always did", async () => {
  const { events, deps } = opening([unreachable]);
  await expect(waitForLedger(await box(false), deps)).rejects.toBe(unreachable);
  expect(events).toEqual([]);
});

test("a server that is there and lets nobody in yet is waited for, however few servers the ledger has", async () => {
  const cause = new Error("timeout exceeded when trying to connect");
  const late = new FulaError("FULA_DATABASE_UNREACHABLE", "PostgreSQL does not answer.", { cause });
  const { events, deps } = opening([late, late]);
  await waitForLedger(await box(false), deps);
  expect(events).toEqual(["tell", "open", "untell"]);
});

test("one with several is waited for, and whoever asks meanwhile is told why, with the newest reason", async () => {
  const { told, events, deps } = opening([unreachable, unreachable, fenced]);
  await waitForLedger(await box(true), deps);
  expect(events).toEqual(["tell", "open", "untell"]);
  const [check] = told;
  expect(check).toMatchObject({ name: "ledger", critical: true });
  await expect(check?.run(new AbortController().signal)).resolves.toEqual({
    state: "failed",
    error: "The server stays down.",
  });
});

test("what no waiting mends ends it, and what was told is taken back", async () => {
  const wrong = new FulaError("FULA_DATABASE_LOGIN", "PostgreSQL refused the password.");
  const { events, deps } = opening([fenced, wrong]);
  await expect(waitForLedger(await box(true), deps)).rejects.toBe(wrong);
  expect(events).toEqual(["tell", "untell"]);
});

test("waiting ends when the start is given up", async () => {
  const end = new AbortController();
  const { deps } = opening(Array.from({ length: 100 }, () => fenced));
  let tries = 0;
  const open = async (): Promise<void> => {
    tries += 1;
    if (tries === 3) end.abort(new Error("given up"));
    await deps.open();
  };
  await expect(waitForLedger(await box(true), { ...deps, open, signal: end.signal })).rejects.toThrow("given up");
  expect(tries).toBe(3);
});
