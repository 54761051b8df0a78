import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLocalBlockStore, type LocalBlockStore } from "../../src/lib/blocks/local.ts";
import { loadConfig, type LoadedConfig } from "../../src/lib/config/load.ts";
import { readContent, storeContent } from "../../src/lib/gateway/unixfs.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { migrateUp } from "../../src/lib/postgres/migrator.ts";
import { findFreePort } from "../../src/lib/runtime/processes.ts";
import { startServer } from "../../src/lib/server/start.ts";
import { makeAccessKey } from "../../src/lib/stack/key-run.ts";
import { withLedger } from "../../src/lib/stack/ledger.ts";
import { withPinCluster } from "../../src/lib/stack/pinset.ts";
import { type Contestant, measureInTurns, printAgainstFirst } from "./measure.ts";

const ROUNDS = 7;
const SIZES = [
  { name: "4 KB", bytes: 4_096, objects: 100 },
  { name: "4 MB", bytes: 4_194_304, objects: 5 },
] as const;

/** A master of its own: an embedded PostgreSQL, blocks and a pinset in a temporary directory. */
async function makeMaster(baseDir: string): Promise<LoadedConfig> {
  await chmod(baseDir, 0o700);
  const settings = {
    runtime: "embedded",
    node: { clusterId: "6f1e9a4e-0000-4000-8000-000000000003" },
    server: { port: await findFreePort() },
    gateway: { port: await findFreePort() },
    api: { port: await findFreePort() },
  };
  await writeFile(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  const names = ["POSTGRES_PASSWORD", "ENCRYPTION_KEY", "JWT_SECRET", "SESSION_SECRET", "SYSTEM_KEY"];
  const env = names.map((name) => `${name}=${randomBytes(32).toString("hex")}\n`).join("");
  await writeFile(join(baseDir, ".env"), env, { mode: 0o600 });
  const loaded = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  await withLedger(loaded, { clock: systemClock }, async (pool) => await migrateUp(pool));
  await withPinCluster(loaded, { clock: systemClock, create: true }, async () => {});
  return loaded;
}

interface Client {
  readonly port: number;
  readonly token: string;
  readonly agent: Agent;
}

async function call({ port, token, agent }: Client, method: string, path: string, body?: Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const headers = {
    authorization: `Bearer ${token}`,
    ...(body === undefined ? {} : { "content-length": body.byteLength }),
  };
  const sent = request({ host: "127.0.0.1", port, method, path, headers, agent }, (response) => {
    response.resume();
    response.on("error", reject);
    response.on("end", () => {
      if (response.statusCode === 200) resolve();
      else reject(new Error(`${method} ${path} was answered with ${response.statusCode}`));
    });
  });
  sent.on("error", reject);
  sent.end(body);
  await promise;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(bytes);
}

/** Different bytes in every round, or a put would find its blocks there and write nothing. */
function putContestants(client: Client, store: LocalBlockStore, size: (typeof SIZES)[number]): readonly Contestant[] {
  const make = (): readonly Uint8Array[] => Array.from({ length: size.objects }, () => randomBytes(size.bytes));
  return [
    {
      name: `put ${size.name}: blocks straight into the store`,
      run: async () => {
        for (const bytes of make()) await storeContent(once(bytes), store);
      },
    },
    {
      name: `put ${size.name}: through serve (HTTP, key, pin, row)`,
      run: async () => {
        for (const [index, bytes] of make().entries()) await call(client, "PUT", `/bench/put-${index}`, bytes);
      },
    },
  ];
}

async function getContestants(
  client: Client,
  store: LocalBlockStore,
  size: (typeof SIZES)[number],
): Promise<readonly Contestant[]> {
  const bytes = randomBytes(size.bytes);
  const { root } = await storeContent(once(bytes), store);
  await call(client, "PUT", `/bench/get-${size.bytes}`, bytes);
  return [
    {
      name: `get ${size.name}: blocks straight from the store`,
      run: async () => {
        for (let index = 0; index < size.objects; index += 1) {
          const content = readContent(root, { start: 0, end: size.bytes - 1 }, store);
          for (let next = await content.next(); next.done !== true; next = await content.next());
        }
      },
    },
    {
      name: `get ${size.name}: through serve`,
      run: async () => {
        for (let index = 0; index < size.objects; index += 1) await call(client, "GET", `/bench/get-${size.bytes}`);
      },
    },
  ];
}

/** Objects through `serve`, one after the other over one connection, against the same blocks without it. */
export async function bench(): Promise<void> {
  const baseDir = await mkdtemp(join(tmpdir(), "fula-bench-objects-"));
  try {
    const loaded = await makeMaster(baseDir);
    const deps = { clock: systemClock, random: systemRandom, signal: new AbortController().signal };
    const context = { ...deps, globals: { baseDir }, env: {}, cwd: "/" };
    const key = await makeAccessKey(context, {
      user: "bench@example.com",
      scope: "read,write",
      label: "",
      dryRun: false,
    });
    await using _server = await startServer(loaded, { ...deps, log: silentLog });
    const store = await openLocalBlockStore(join(baseDir, "store"));
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const client = { port: loaded.config.gateway.port, token: `${key.keyId}.${key.secret}`, agent };
    await call(client, "PUT", "/bench", new Uint8Array(0));
    for (const size of SIZES) {
      console.log(`${size.objects} objects of ${size.name} a round, ${ROUNDS} rounds\n`);
      printAgainstFirst(await measureInTurns(putContestants(client, store, size), ROUNDS));
      console.log("");
      printAgainstFirst(await measureInTurns(await getContestants(client, store, size), ROUNDS));
      console.log("");
    }
    agent.destroy();
  } finally {
    await rm(baseDir, { recursive: true, force: true });
  }
}
