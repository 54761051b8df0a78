import { randomBytes } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import { z } from "zod";
import { type LoadedConfig, loadConfig } from "../../src/lib/config/load.ts";
import type { AccessKeyPair, Scope } from "../../src/lib/identity/access-key.ts";
import { createAccessKey } from "../../src/lib/identity/key-table.ts";
import { createSecretSealer } from "../../src/lib/identity/sealed-secret.ts";
import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { findFreePort } from "./free-port.ts";
import { createJsonLog } from "../../src/lib/server/json-log.ts";
import type { RunningServer } from "../../src/lib/server/running-server.ts";
import { startServer } from "../../src/lib/server/start.ts";
import { withPinCluster } from "../../src/lib/stack/pinset.ts";
import { markJoined } from "./joined.ts";
import { freshDatabase, type TestDatabase } from "./postgres.ts";

const logLine = z.record(z.string(), z.unknown());

/** A base directory that `serve` can start in, with a ledger of its own on the server that all tests share. */
export interface ServingBox extends AsyncDisposable {
  readonly baseDir: string;
  readonly database: TestDatabase;
  readonly ports: { readonly server: number; readonly gateway: number; readonly api: number };
  /** Every secret of its `.env`. */
  readonly secrets: Readonly<Record<string, string>>;
  load(): Promise<LoadedConfig>;
}

/** A server that runs in this process. */
export interface TestServer extends AsyncDisposable {
  readonly server: RunningServer;
  readonly loaded: LoadedConfig;
  /** Every line that it logged, parsed. */
  readonly logged: readonly Readonly<Record<string, unknown>>[];
  /** The log as it was written. */
  logText(): string;
}

/** Further settings of a box, by their groups. */
export interface MoreSettings {
  readonly blocks?: object;
  readonly cluster?: object;
  readonly server?: object;
  readonly gateway?: object;
  readonly api?: object;
  readonly snapshot?: object;
  readonly billing?: object;
  readonly buckets?: object;
  readonly identity?: object;
  readonly chains?: object;
  readonly postgres?: object;
  readonly controlPlane?: object;
}

/**
 * Makes a box. @param beside an earlier one, whose ledger and cluster it shares as a further master
 * @param ledger a migrated database of another server, which is dropped with the box
 */
export async function makeServingBox(
  more: MoreSettings = {},
  beside: ServingBox | null = null,
  ledger: TestDatabase | null = null,
): Promise<ServingBox> {
  const database = beside?.database ?? ledger ?? (await freshDatabase());
  const baseDir = await mkdtemp(join(tmpdir(), "fula-serve-"));
  await chmod(baseDir, 0o700);
  const ports = { server: await findFreePort(), gateway: await findFreePort(), api: await findFreePort() };
  const { host, port, database: name, user, password } = database.options;
  // The masters of one federation share them.
  const secrets = beside?.secrets ?? {
    POSTGRES_PASSWORD: String(password),
    ENCRYPTION_KEY: randomBytes(32).toString("hex"),
    JWT_SECRET: randomBytes(32).toString("hex"),
    SESSION_SECRET: randomBytes(32).toString("hex"),
    SYSTEM_KEY: randomBytes(32).toString("hex"),
    CLUSTER_SECRET: randomBytes(32).toString("hex"),
  };
  const settings = {
    node: { name: beside === null ? "box-1" : "box-2", clusterId: "6f1e9a4e-0000-4000-8000-000000000001" },
    postgres: { mode: "external", host, port, database: name, user, ...more.postgres },
    blocks: { mode: "local", ...more.blocks },
    cluster: { mode: "local", ...more.cluster },
    server: { port: ports.server, logLevel: "debug", ...more.server },
    gateway: { port: ports.gateway, ...more.gateway },
    api: { port: ports.api, ...more.api },
    snapshot: { ...more.snapshot },
    billing: { ...more.billing },
    ...(more.buckets && { buckets: more.buckets }),
    ...(more.identity && { identity: more.identity }),
    ...(more.chains && { chains: more.chains }),
    ...(more.controlPlane && { controlPlane: more.controlPlane }),
  };
  await writeFile(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  const env = Object.entries(secrets).map(([key, value]) => `${key}=${value}\n`);
  await writeFile(join(baseDir, ".env"), env.join(""), { mode: 0o600 });
  markJoined(baseDir, settings.node.clusterId);
  const load = async (): Promise<LoadedConfig> => await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  await withPinCluster(await load(), { clock: systemClock, create: true }, async () => {});
  return {
    baseDir,
    database,
    ports,
    secrets,
    load,
    [Symbol.asyncDispose]: async () => {
      await rm(baseDir, { recursive: true, force: true });
      if (beside === null) await database.drop();
    },
  };
}

/** Starts `serve` in this process. */
export async function startTestServer(box: Pick<ServingBox, "load">): Promise<TestServer> {
  const lines: string[] = [];
  const loaded = await box.load();
  const log = createJsonLog({
    level: loaded.config.server.logLevel,
    base: { node: loaded.config.node.name },
    destination: { write: (line) => lines.push(line) },
  });
  const server = await startServer(loaded, { clock: systemClock, random: systemRandom, log });
  return {
    server,
    loaded,
    get logged() {
      return lines.map((line) => logLine.parse(JSON.parse(line)));
    },
    logText: () => lines.join(""),
    [Symbol.asyncDispose]: async () => {
      await server.close();
    },
  };
}

/** Makes an access key in the box's ledger. */
export async function makeKey(
  box: ServingBox,
  user = "alice@example.com",
  scopes: readonly Scope[] = ["storage:read", "storage:write"],
): Promise<AccessKeyPair> {
  const sealer = createSecretSealer((await box.load()).secrets.encryptionKey);
  const { pair } = await createAccessKey(
    box.database.pool,
    {
      subject: { kind: "user", userId: resolveUserId(user) },
      scopes,
      label: "test",
      expiresMs: null,
      bearerOnly: false,
      actor: "operator@test",
    },
    { sealer, random: systemRandom },
  );
  return pair;
}

/** A real S3 SDK, pointed at the box. It does not retry, so that a test sees what it got. */
export function s3Client(box: Pick<ServingBox, "ports">, pair: AccessKeyPair): S3Client {
  return new S3Client({
    endpoint: `http://127.0.0.1:${box.ports.gateway}`,
    region: "us-east-1",
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: pair.keyId, secretAccessKey: pair.secret.reveal() },
  });
}
