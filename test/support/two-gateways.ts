import { readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AccessKeyPair } from "../../src/lib/identity/access-key.ts";
import { DaemonProcess } from "./daemon-process.ts";
import { FaultProxy, type Verdict } from "./fault-proxy.ts";
import type { TestDatabase } from "./postgres.ts";
import { makeKey, makeServingBox, type MoreSettings, type ServingBox } from "./serving.ts";

const LAUNCHER = join(import.meta.dirname, "../../bin/fula-master.js");
const READY_PROBE_MS = 2_000;

/** What happens to a later message of a gateway to its ledger. */
interface Ambush {
  readonly verdict: Verdict;
  /** Messages that still pass. */
  left: number;
}

/** A master in a process of its own, which reaches the ledger through a proxy of its own alone. */
export interface DrillGateway {
  readonly name: string;
  readonly box: ServingBox;
  readonly process: DaemonProcess;
  readonly ledger: FaultProxy;
  /** Lets so many of its messages pass, and does this to the next one. */
  ambush(verdict: Verdict, afterMessages: number): void;
}

/** Two masters of one federation. */
export interface TwoGateways extends AsyncDisposable {
  readonly both: readonly [DrillGateway, DrillGateway];
  /** Of one user, good at both. */
  readonly key: AccessKeyPair;
  /** Changes a group of settings of both; they are read at the next start. */
  set(group: keyof MoreSettings, values: object): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function isReady(box: ServingBox): Promise<void> {
  const url = `http://127.0.0.1:${box.ports.server}/readyz`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(READY_PROBE_MS) });
  if (answer.status !== 200) throw new Error(`${url} answered ${answer.status}: ${await answer.text()}`);
}

/** Blocks and pins of the first box become those of the second as well: what a directory that both mount looks like. */
export async function shareState(from: ServingBox, to: ServingBox): Promise<void> {
  const own = (await to.load()).paths;
  const shared = (await from.load()).paths;
  for (const path of ["blocksDir", "pinsFile"] as const) {
    await rm(own[path], { recursive: true, force: true });
    await symlink(shared[path], own[path]);
  }
}

async function makeGateway(
  name: string,
  settings: MoreSettings,
  beside: ServingBox | null,
  database: TestDatabase | null,
  opened: AsyncDisposableStack,
): Promise<DrillGateway> {
  let ambush: Ambush | null = null;
  const judge = (): Verdict => {
    if (ambush === null) return "pass";
    ambush.left -= 1;
    if (ambush.left >= 0) return "pass";
    const { verdict } = ambush;
    ambush = null;
    return verdict;
  };
  const box = opened.use(await makeServingBox(settings, beside, database));
  const { host, port } = box.database.options;
  const ledger = opened.use(new FaultProxy(host, port, judge));
  await setGroup(box, "postgres", { host: "127.0.0.1", port: await ledger.listen() });
  const process_ = new DaemonProcess(name, {
    program: process.execPath,
    args: [LAUNCHER, "serve", "--base-dir", box.baseDir],
    env: { NO_COLOR: "1" },
    probe: async () => {
      await isReady(box);
    },
  });
  opened.use(process_);
  return {
    name,
    box,
    process: process_,
    ledger,
    ambush: (verdict, left) => {
      ambush = { verdict, left };
    },
  };
}

/** Changes a group of settings of a box; they are read at the next start. */
export async function setGroup(box: ServingBox, group: string, values: object): Promise<void> {
  const file = join(box.baseDir, "fula-master.yaml");
  const settings: Record<string, object> = JSON.parse(await readFile(file, "utf8"));
  await writeFile(file, JSON.stringify({ ...settings, [group]: { ...settings[group], ...values } }));
}

/**
 * Makes two masters of one federation on one ledger, and an access key. With blocks in a directory, they share it and the
 * pinset; on Kubo and IPFS Cluster, the settings say which. Nothing of them runs yet.
 * @param database the ledger, where it is not to be one of the tests' own server
 */
export async function makeTwoGateways(
  settings: MoreSettings = {},
  database: TestDatabase | null = null,
): Promise<TwoGateways> {
  const opened = new AsyncDisposableStack();
  try {
    const first = await makeGateway("gateway 1", settings, null, database, opened);
    const second = await makeGateway("gateway 2", settings, first.box, null, opened);
    const { config } = await first.box.load();
    if (config.blocks.mode === "local") await shareState(first.box, second.box);
    const both = [first, second] as const;
    return {
      both,
      key: await makeKey(first.box),
      set: async (group, values) => {
        for (const { box } of both) await setGroup(box, group, values);
      },
      start: async () => {
        await Promise.all(both.map(async (gateway) => await gateway.process.start()));
      },
      stop: async () => {
        await Promise.all(both.map(async (gateway) => await gateway.process.stop()));
      },
      [Symbol.asyncDispose]: async () => {
        await opened.disposeAsync();
      },
    };
  } catch (error) {
    await opened.disposeAsync();
    throw error;
  }
}
