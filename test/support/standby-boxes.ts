import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadConfig, type LoadedConfig } from "../../src/lib/config/load.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import type { LedgerStore } from "../../src/lib/membership/ledger-records.ts";
import { migrateUp } from "../../src/lib/postgres/migrator.ts";
import { keepStandbys, type SyncKeeper } from "../../src/lib/server/sync-keeper.ts";
import { ensureControlPlaneKeys, readAuthority } from "../../src/lib/stack/control-plane-keys.ts";
import { type Ledger, openLedger } from "../../src/lib/stack/ledger.ts";
import { openOwnServer } from "../../src/lib/stack/own-server.ts";
import type { StandbyContext } from "../../src/lib/stack/standby-box.ts";
import { findFreePort } from "./free-port.ts";
import { MemoryLedger } from "./memory-ledger-store.ts";
import { PG_BIN_DIR } from "./postgres-pair.ts";

const CLUSTER_ID = "0b6c6ff1-5ba0-4f10-9a3b-52f1cf6a4d35";
const PASSWORD = "a-ledgers-password";

/** A master of a test: its settings and keys, without anything else that a master has. */
export class StandbyTestBox {
  readonly name: string;
  readonly baseDir: string;
  readonly port: number;
  readonly control: MemoryLedger;

  constructor(name: string, baseDir: string, port: number, control: MemoryLedger) {
    this.name = name;
    this.baseDir = baseDir;
    this.port = port;
    this.control = control;
  }

  /** What the commands about standbys are given. */
  context(signal: AbortSignal = new AbortController().signal): StandbyContext {
    return {
      globals: { baseDir: this.baseDir },
      env: {},
      cwd: "/",
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      signal,
      openStore: async () => await Promise.resolve(this.store()),
    };
  }

  store(): LedgerStore {
    return this.control.open();
  }

  async load(): Promise<LoadedConfig> {
    return await loadConfig(this.context());
  }

  /** Looks after this box's server as `serve` does, but more often. @param now the settings as they are by now */
  async keep(now = (loaded: LoadedConfig): LoadedConfig => loaded): Promise<SyncKeeper> {
    const loaded = await this.load();
    const deps = { clock: systemClock, random: systemRandom, log: silentLog, env: {} };
    const server = await openOwnServer(loaded, { ...deps, part: "serve" });
    return keepStandbys(
      { settings: () => now(loaded), store: this.store(), server, random: systemRandom },
      { clock: systemClock, log: silentLog, intervalMs: 100 },
    );
  }
}

async function writeBox(
  box: StandbyTestBox,
  settings: Readonly<Record<string, string | number | readonly string[]>>,
  authority: Awaited<ReturnType<typeof readAuthority>>,
): Promise<void> {
  await mkdir(box.baseDir, { recursive: true });
  const lines = Object.entries({
    runtime: "embedded",
    "node.name": box.name,
    "node.clusterId": CLUSTER_ID,
    "controlPlane.mode": "nats",
    "postgres.binDir": PG_BIN_DIR,
    "postgres.announce": `127.0.0.1:${box.port}`,
    "standby.degradeAfter": "2s",
    ...settings,
  }).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
  const nested = new Map<string, string[]>();
  for (const line of lines) {
    const [, section = "", rest = line] = /^([a-zA-Z]+)\.(.*)$/.exec(line) ?? [];
    nested.set(section, [...(nested.get(section) ?? []), rest]);
  }
  const yaml = [...nested].flatMap(([section, rest]) =>
    section === "" ? rest : [`${section}:`, ...rest.map((line) => `  ${line}`)],
  );
  await writeFile(join(box.baseDir, "fula-master.yaml"), `${yaml.join("\n")}\n`);
  await writeFile(join(box.baseDir, ".env"), `POSTGRES_PASSWORD=${PASSWORD}\n`, { mode: 0o600 });
  const node = { name: box.name, announce: "127.0.0.1" };
  await ensureControlPlaneKeys(join(box.baseDir, "keys"), { clusterId: CLUSTER_ID, node, authority }, systemClock);
}

/** Two masters on one ledger: the first one's server is running, the second has none yet. */
export interface StandbyPair {
  readonly first: StandbyTestBox;
  readonly second: StandbyTestBox;
  readonly ledger: Ledger;
  /** A further master of the same ledger. */
  add(name: string): Promise<StandbyTestBox>;
  /** All of them, in the order in which they were made. */
  boxes(): readonly StandbyTestBox[];
}

/** @param dir a directory that the servers' user may pass through */
export async function makeStandbyPair(
  dir: string,
  settings: Readonly<Record<string, string | number | readonly string[]>> = {},
): Promise<StandbyPair> {
  const control = new MemoryLedger();
  const first = new StandbyTestBox("one", join(dir, "one"), await findFreePort(), control);
  await writeBox(first, { "postgres.mode": "embedded", ...settings }, null);
  const authority = await readAuthority(join(first.baseDir, "keys"));
  const openStore = async (): Promise<LedgerStore> => await Promise.resolve(control.open());
  const deps = { clock: systemClock, random: systemRandom, part: "test", openStore };
  const ledger = await openLedger(await first.load(), deps);
  await migrateUp(ledger.pool);
  const boxes = [first];
  const add = async (name: string): Promise<StandbyTestBox> => {
    const box = new StandbyTestBox(name, join(dir, name), await findFreePort(), control);
    const external = { "postgres.mode": "external", "postgres.host": "127.0.0.1", "postgres.port": first.port };
    await writeBox(box, { ...external, ...settings }, authority);
    boxes.push(box);
    return box;
  };
  return { first, second: await add("two"), ledger, add, boxes: () => boxes };
}
