import { mkdirSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { LoadedConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { LedgerEpochRecord, LedgerStore } from "../../../src/lib/membership/ledger-records.ts";
import { epochOfSessions, noteEpoch, readKnownEpochs } from "../../../src/lib/stack/ledger-epoch-file.ts";
import { assertMayServe } from "../../../src/lib/stack/ledger-gate.ts";
import { placeOnTheWayIn } from "../../../src/lib/stack/ledger-place.ts";
import { openLedger } from "../../../src/lib/stack/ledger.ts";
import { postgresTlsFiles } from "../../../src/lib/stack/postgres-tls.ts";
import { newEpoch } from "../../support/ledger-records.ts";
import { MemoryLedger } from "../../support/memory-ledger-store.ts";
import { loadedBox } from "../../support/schedules.ts";

const DEPS = { clock: systemClock, random: systemRandom, log: silentLog, signal: new AbortController().signal };
const NAME = "node: { name: one }\ncontrolPlane: { mode: nats }\n";
const CONTAINER = `${NAME}runtime: docker\n`;
const EMBEDDED = `${NAME}runtime: embedded\n`;
const PROMOTED = `${NAME}postgres: { mode: external, announce: "10.0.0.1:5432" }\nstandby: { server: embedded }\n`;
const fenced = { code: "FULA_LEDGER_FENCED" };

async function nobody(): Promise<LedgerStore> {
  return await Promise.reject(new Error("nobody answers"));
}

/** A control plane that says this. */
async function saying(record: LedgerEpochRecord): Promise<() => Promise<LedgerStore>> {
  const ledger = new MemoryLedger();
  await ledger.open().put("epoch", record, 0);
  return async () => await Promise.resolve(ledger.open());
}

async function box(yaml: string): Promise<LoadedConfig> {
  const loaded = await loadedBox({ yaml });
  mkdirSync(loaded.paths.stateDir, { recursive: true });
  return loaded;
}

describe("a server of this box that was the primary when it was last heard of", () => {
  test.each([
    ["a container", CONTAINER],
    ["processes", EMBEDDED],
    ["a standby that was promoted", PROMOTED],
  ])("is not used without an answer: %s", async (_name, yaml) => {
    const loaded = await box(yaml);
    const record = newEpoch({ primary: "one" });
    await noteEpoch(loaded.paths.stateDir, record);
    await expect(assertMayServe(loaded, { ...DEPS, openStore: await saying(record) }, true)).resolves.toBeUndefined();
    await expect(assertMayServe(loaded, { ...DEPS, openStore: nobody }, false)).rejects.toMatchObject(fenced);
  });

  test.each([
    ["a container", CONTAINER],
    ["a standby that was promoted", PROMOTED],
  ])("that runs is not even connected to: %s", async (_name, yaml) => {
    const loaded = await box(yaml);
    await noteEpoch(loaded.paths.stateDir, newEpoch({ primary: "one" }));
    await expect(openLedger(loaded, { ...DEPS, openStore: nobody })).rejects.toMatchObject(fenced);
  });
});

describe("a box that has never heard of an epoch", () => {
  test("does not rest on the control plane, and where that says that another has the primary, goes by it", async () => {
    const loaded = await box(EMBEDDED);
    await expect(assertMayServe(loaded, { ...DEPS, openStore: nobody }, true)).resolves.toBeUndefined();
    // As after its disk was set back to before the ledger had a second server.
    const record = newEpoch({ number: 2, primary: "two" });
    const openStore = await saying(record);
    await expect(assertMayServe(loaded, { ...DEPS, openStore }, true)).rejects.toMatchObject(fenced);
    await expect(readKnownEpochs(loaded.paths.stateDir)).resolves.toMatchObject({ followed: { primary: "two" } });
  });
});

describe("a box on its way in", () => {
  const yaml = `${NAME}postgres: { mode: external, host: db.example, port: 6000, tls: require }\n`;
  const record = newEpoch({ primary: "two", address: "10.0.0.2:5432" });
  const { number, uuid, primary, address } = record;
  const followed = { number, uuid, primary, address };

  test("goes to the server that the operator named, and means that database, while no epoch is known", async () => {
    await expect(placeOnTheWayIn(await box(yaml), null)).resolves.toEqual({
      host: "db.example",
      port: 6000,
      tls: "require",
      tlsCaFile: null,
      ledgerEpoch: "unchecked",
    });
  });

  test("means the epoch there that is known, and goes to its primary once it has the authority", async () => {
    const loaded = await box(yaml);
    const ledgerEpoch = epochOfSessions(record);
    await expect(placeOnTheWayIn(loaded, followed)).resolves.toMatchObject({ host: "db.example", ledgerEpoch });
    const { ca } = postgresTlsFiles(loaded.paths.keysDir);
    mkdirSync(loaded.paths.keysDir, { recursive: true });
    writeFileSync(ca, "");
    await expect(placeOnTheWayIn(loaded, followed)).resolves.toEqual({
      host: "10.0.0.2",
      port: 5432,
      tls: "verify-full",
      tlsCaFile: ca,
      ledgerEpoch,
    });
  });
});
