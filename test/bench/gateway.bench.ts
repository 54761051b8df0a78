import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadedConfig, loadConfig } from "../../src/lib/config/load.ts";
import type { AccessKeyPair } from "../../src/lib/identity/access-key.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { Secret } from "../../src/lib/kernel/secret.ts";
import { migrateUp } from "../../src/lib/postgres/migrator.ts";
import { makeAccessKey } from "../../src/lib/stack/key-run.ts";
import { withLedger } from "../../src/lib/stack/ledger.ts";
import { withPinCluster } from "../../src/lib/stack/pinset.ts";
import { installRclone } from "../infra/rclone.ts";
import { sayOnStderr } from "../infra/run.ts";
import buildOnce from "../support/build.ts";
import { askHttp, DaemonProcess, findFreePorts } from "../support/daemon-process.ts";
import { signNow } from "../support/http.ts";
import { type KuboProcess, startKubo } from "../support/kubo-process.ts";
import { type Contestant, measureInTurns, peakMemoryMB, printAgainstFirst } from "./measure.ts";

const ROUNDS = 7;
const SIZES = [
  { name: "4 KB", bytes: 4_096, objects: 100 },
  { name: "4 MB", bytes: 4_194_304, objects: 5 },
] as const;
/** Clients at the same time, in the rounds that have several. */
const CLIENTS = 16;
const LAUNCHER = join(import.meta.dirname, "../../bin/fula-master.js");
const BUCKET = "bench";

type Size = (typeof SIZES)[number];

/** Something that keeps objects by HTTP. */
interface Server {
  readonly name: string;
  readonly process: DaemonProcess;
  /** @returns where it is read */
  put(index: number, bytes: Uint8Array): Promise<string>;
  get(place: string): Promise<void>;
}

const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });

async function call(
  url: URL,
  method: string,
  headers: readonly (readonly [string, string])[],
  body?: Uint8Array,
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const sent = request(url, { method, agent, headers: headers.flat() }, (response) => {
    const pieces: Uint8Array[] = [];
    response.on("data", (piece: Uint8Array) => pieces.push(piece));
    response.on("error", reject);
    response.on("end", () => {
      const answer = Buffer.concat(pieces);
      if (response.statusCode === 200) resolve(answer);
      else reject(new Error(`${method} ${url.href} was answered with ${response.statusCode}: ${answer.toString()}`));
    });
  });
  sent.on("error", reject);
  sent.end(body);
  return await promise;
}

/** A server that speaks S3; every request is signed, and its body is not hashed for that. */
async function s3Server(name: string, process: DaemonProcess, port: number, pair: AccessKeyPair): Promise<Server> {
  const send = async (method: string, path: string, body?: Uint8Array): Promise<void> => {
    const length = [["content-length", String(body?.byteLength ?? 0)]] as const;
    const headers = signNow(port, pair, { method, path, payload: "UNSIGNED-PAYLOAD" });
    await call(new URL(path, `http://127.0.0.1:${port}`), method, [...headers, ...length], body);
  };
  await send("PUT", `/${BUCKET}`);
  return {
    name,
    process,
    put: async (index, bytes) => {
      const path = `/${BUCKET}/object-${index}`;
      await send("PUT", path, bytes);
      return path;
    },
    get: async (path) => {
      await send("GET", path);
    },
  };
}

/** A master with a PostgreSQL of its own, and its blocks in a directory or on a Kubo. */
async function startMaster(
  name: string,
  baseDir: string,
  blocks: object,
  opened: AsyncDisposableStack,
): Promise<Server> {
  await mkdir(baseDir, { mode: 0o700 });
  const [server = 0, gateway = 0, api = 0] = await findFreePorts(3);
  const settings = {
    node: { clusterId: "6f1e9a4e-0000-4000-8000-000000000003" },
    postgres: { mode: "embedded" },
    blocks,
    cluster: { mode: "local" },
    server: { port: server },
    gateway: { port: gateway },
    api: { port: api },
  };
  await writeFile(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  const names = ["POSTGRES_PASSWORD", "ENCRYPTION_KEY", "JWT_SECRET", "SESSION_SECRET", "SYSTEM_KEY"];
  const env = names.map((secret) => `${secret}=${randomBytes(32).toString("hex")}\n`).join("");
  await writeFile(join(baseDir, ".env"), env, { mode: 0o600 });
  const loaded: LoadedConfig = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  await withLedger(loaded, { clock: systemClock }, async (pool) => await migrateUp(pool));
  await withPinCluster(loaded, { clock: systemClock, create: true }, async () => {});
  const deps = { clock: systemClock, random: systemRandom, signal: new AbortController().signal };
  const context = { ...deps, globals: { baseDir }, env: {}, cwd: "/" };
  const user = { user: "bench@example.com", scope: "read,write", label: "", bearerOnly: false, dryRun: false };
  const { keyId, secret } = await makeAccessKey(context, user);
  const daemon = opened.adopt(
    new DaemonProcess(name, {
      program: process.execPath,
      args: [LAUNCHER, "serve", "--base-dir", baseDir],
      env: {},
      probe: async () => {
        const { status } = await askHttp(`http://127.0.0.1:${server}/readyz`);
        if (status !== 200) throw new Error(String(status));
      },
    }),
    // In order: its PostgreSQL is to end with it.
    async (started) => await started.stop(),
  );
  await daemon.start();
  if (keyId === null || secret === null) throw new Error("No key was made");
  return await s3Server(name, daemon, gateway, { keyId, secret: new Secret(secret) });
}

async function startRclone(dir: string, opened: AsyncDisposableStack): Promise<Server> {
  const program = await installRclone(sayOnStderr);
  const [port = 0] = await findFreePorts(1);
  await mkdir(dir);
  const pair = { keyId: "benchkey", secret: new Secret(randomBytes(20).toString("hex")) };
  const daemon = opened.use(
    new DaemonProcess("rclone serve s3", {
      program,
      args: ["serve", "s3", "--addr", `127.0.0.1:${port}`, "--auth-key", `${pair.keyId},${pair.secret.reveal()}`, dir],
      env: {},
      probe: async () => {
        await askHttp(`http://127.0.0.1:${port}/`);
      },
    }),
  );
  await daemon.start();
  return await s3Server("rclone serve s3", daemon, port, pair);
}

/** Kubo by itself, with its gateway: what is asked of it is what one block or file costs, and nothing of S3. */
async function openKubo(kubo: KuboProcess): Promise<Server> {
  const [port = 0] = await findFreePorts(1);
  await kubo.process.stop();
  const path = join(kubo.repo, "config");
  const config: { Addresses: object } = JSON.parse(readFileSync(path, "utf8"));
  const Addresses = { ...config.Addresses, Gateway: [`/ip4/127.0.0.1/tcp/${port}`] };
  writeFileSync(path, JSON.stringify({ ...config, Addresses }));
  await kubo.process.start();
  const block = `${kubo.api}/api/v0/block/put?cid-codec=raw`;
  const file = `${kubo.api}/api/v0/add?cid-version=1&raw-leaves=true&quieter=true`;
  return {
    name: "Kubo: block/put or add, and its gateway",
    process: kubo.process,
    put: async (_index, bytes) => {
      const isBlock = bytes.byteLength < 1_048_576;
      const form = new FormData();
      form.set("file", new Blob([Uint8Array.from(bytes)]));
      const answer = await fetch(isBlock ? block : file, { method: "POST", body: form });
      const { Key, Hash }: { Key?: string; Hash?: string } = JSON.parse(await answer.text());
      return Key ?? Hash ?? "";
    },
    get: async (cid) => {
      await call(new URL(`http://127.0.0.1:${port}/ipfs/${cid}`), "GET", [["host", `127.0.0.1:${port}`]]);
    },
  };
}

async function inTurns(count: number, atOnce: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const clients = Array.from({ length: atOnce }, async () => {
    for (let index = next++; index < count; index = next++) await run(index);
  });
  await Promise.all(clients);
}

/** Different bytes in every round, or a put would find its blocks there and write nothing. */
function putContestants(servers: readonly Server[], size: Size, atOnce: number): readonly Contestant[] {
  return servers.map((server) => ({
    name: server.name,
    run: async () => {
      await inTurns(size.objects, atOnce, async (index) => {
        await server.put(index, randomBytes(size.bytes));
      });
    },
  }));
}

async function getContestants(servers: readonly Server[], size: Size, atOnce: number): Promise<readonly Contestant[]> {
  return await Promise.all(
    servers.map(async (server) => {
      const place = await server.put(0, randomBytes(size.bytes));
      const run = async (): Promise<void> => {
        await inTurns(size.objects, atOnce, async () => await server.get(place));
      };
      return { name: server.name, run };
    }),
  );
}

/**
 * Objects through `serve`, on a directory and on Kubo, against what that Kubo does with the same bytes by itself and
 * against rclone's S3 server on a directory. Ours alone signs off a pin, an entry of the index and a root in PostgreSQL
 * with every PUT.
 */
export async function bench(): Promise<void> {
  buildOnce();
  await using opened = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "fula-bench-gateway-"));
  opened.defer(async () => await rm(dir, { recursive: true, force: true }));
  // PostgreSQL, which refuses root, has to pass through it.
  await chmod(dir, 0o755);
  opened.defer(() => {
    agent.destroy();
  });
  const kubo = opened.use(await startKubo());
  const onKubo = { mode: "kubo", kuboApi: kubo.apiAddress };
  const servers = [
    await openKubo(kubo),
    await startMaster("serve, blocks on that Kubo", join(dir, "on-kubo"), onKubo, opened),
    await startMaster("serve, blocks in a directory", join(dir, "local"), { mode: "local" }, opened),
    await startRclone(join(dir, "rclone"), opened),
  ];
  for (const size of SIZES) {
    for (const atOnce of [1, CLIENTS]) {
      console.log(`PUT, ${size.objects} objects of ${size.name} a round, ${atOnce} at a time, ${ROUNDS} rounds\n`);
      printAgainstFirst(await measureInTurns(putContestants(servers, size, atOnce), ROUNDS));
      console.log(`\nGET, the same\n`);
      printAgainstFirst(await measureInTurns(await getContestants(servers, size, atOnce), ROUNDS));
      console.log("");
    }
  }
  console.log("Most memory that each server held:");
  for (const { name, process: daemon } of servers) console.log(`  ${name}: ${peakMemoryMB(daemon.pid).toFixed(0)} MB`);
}
