import { createHash, createHmac, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SignJWT } from "jose";
import type { OutgoingHttpHeaders } from "node:http";
import type { LightMyRequestResponse } from "fastify";
import { loadConfig } from "../../src/lib/config/load.ts";
import { createSecretSealer } from "../../src/lib/identity/sealed-secret.ts";
import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { openAccessKeys } from "../../src/lib/server/access-keys.ts";
import { openApi } from "../../src/lib/server/api.ts";
import { type ControlPlaneHandle, startControlPlane } from "../../src/lib/server/control-plane.ts";
import { openIdentities } from "../../src/lib/server/identities.ts";
import { createMetrics } from "../../src/lib/server/metrics.ts";
import { markJoined } from "./joined.ts";
import { type AnswerCheck, checkAnswers, type OpenApiDocument, parseOpenApi } from "./openapi.ts";
import { freshDatabase, type TestDatabase } from "./postgres.ts";

/** One request to the API. */
export interface ApiCall {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly url: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** The address that it comes from. */
  readonly from?: string;
}

/** What was answered; its body was held against the served document already. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: OutgoingHttpHeaders;
  /** Null where there is no body. */
  // oxlint-disable-next-line typescript/no-explicit-any -- tests compare it with what they expect
  readonly json: any;
}

/** An API of its own on a ledger of its own, called without a network. */
export interface TestApi extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly secrets: {
    readonly jwt: string;
    readonly system: string;
    readonly service: string;
    readonly encryption: string;
    readonly cluster: string;
  };
  /** Its own, in a file. */
  readonly controlPlane: ControlPlaneHandle;
  readonly document: OpenApiDocument;
  readonly answers: AnswerCheck;
  call(call: ApiCall): Promise<ApiAnswer>;
  /** What a browser asks before it lets a page send anything. */
  preflight(url: string): Promise<Pick<ApiAnswer, "status" | "headers">>;
  /** `authorization` of a token that is signed for a user. */
  bearer(user: string, claims?: Readonly<Record<string, unknown>>): Promise<{ readonly authorization: string }>;
}

const SETTINGS = {
  "api.domain": "cloud.example.org",
  "billing.vaultAddress": `0x${"ab".repeat(20)}`,
  chains: '{"base":{"rpcUrls":["http://127.0.0.1:9"]}}',
};

/** Where this API has clients of its pinning service connect to. */
export const DELEGATE = "/dns4/kubo.example.org/tcp/4001/p2p/12D3KooWGRUVh1ZjEHtVHhXKkDQpBjgSkP4rGbPcPCUTsBfmgSvi";

/** Makes one. @param more further settings, as `--set` takes them */
export async function makeTestApi(more: Readonly<Record<string, string>> = {}): Promise<TestApi> {
  const database = await freshDatabase();
  const secrets = {
    jwt: randomBytes(32).toString("hex"),
    system: randomBytes(32).toString("hex"),
    service: randomBytes(32).toString("hex"),
    encryption: randomBytes(32).toString("hex"),
    cluster: randomBytes(32).toString("hex"),
  };
  const baseDir = await mkdtemp(join(tmpdir(), "fula-api-"));
  markJoined(baseDir, "6f1e9a4e-0000-4000-8000-00000000000a");
  const given = Object.entries({ ...SETTINGS, ...more }).map(([key, value]) => [key, { flag: "--set", value }]);
  const loaded = await loadConfig(
    {
      globals: { baseDir },
      env: {
        JWT_SECRET: secrets.jwt,
        SYSTEM_KEY: secrets.system,
        FULA_PIN_SERVICE_SECRET: secrets.service,
        ENCRYPTION_KEY: secrets.encryption,
        CLUSTER_SECRET: secrets.cluster,
      },
      cwd: "/",
    },
    Object.fromEntries(given),
  );
  const sealer = createSecretSealer(loaded.secrets.encryptionKey);
  const keyDeps = { pool: database.pool, sealer, clock: systemClock, log: silentLog };
  const keys = await openAccessKeys(loaded.config, keyDeps);
  const metrics = createMetrics({ version: "0", nodeVersion: "0" });
  const identityDeps = { ...keyDeps, connection: database.options, keys, metrics: metrics.identity };
  const opened = await openIdentities(loaded, identityDeps);
  const controlPlane = await startControlPlane(loaded, { clock: systemClock, random: systemRandom, log: silentLog });
  const { app } = await openApi(loaded, {
    controlPlane,
    pool: database.pool,
    identities: opened.identities,
    denials: opened.denials,
    keyring: opened.keyring,
    metrics,
    delegates: { read: async () => [DELEGATE] },
    clock: systemClock,
    random: systemRandom,
    log: silentLog,
    fetch,
  });
  const document = parseOpenApi((await app.inject({ url: "/openapi.json" })).json());
  const answers = checkAnswers(document);
  return {
    database,
    secrets,
    controlPlane,
    document,
    answers,
    call: async ({ method = "GET", url, body, headers = {}, from = "203.0.113.1" }) => {
      const response: LightMyRequestResponse = await app.inject({
        method,
        url,
        headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
        remoteAddress: from,
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      });
      answers.check(method, url, response.statusCode, response.body);
      const json: unknown = response.body === "" ? null : response.json();
      return { status: response.statusCode, headers: response.headers, json };
    },
    preflight: async (url) => {
      const { statusCode, headers } = await app.inject({ method: "OPTIONS", url });
      return { status: statusCode, headers };
    },
    bearer: async (user, claims = {}) => ({
      authorization: `Bearer ${await signToken(secrets.jwt, { sub: resolveUserId(user), scope: "storage:*", ...claims })}`,
    }),
    [Symbol.asyncDispose]: async () => {
      await app.close();
      await opened[Symbol.asyncDispose]();
      await keys[Symbol.asyncDispose]();
      await controlPlane[Symbol.asyncDispose]();
      await rm(baseDir, { recursive: true, force: true });
      await database.drop();
    },
  };
}

/** Signs a token as the fleet's web UI does. */
export async function signToken(secret: string, claims: Readonly<Record<string, unknown>>): Promise<string> {
  return await new SignJWT({ ...claims }).setProtectedHeader({ alg: "HS256" }).sign(Buffer.from(secret));
}

/** What a gateway of the fleet sends for its user. */
export function signServiceAuth(secret: string, user: string, expiresSeconds: number): string {
  const text = `v1.${Buffer.from(user).toString("base64url")}.${expiresSeconds}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** Puts a session of the fleet into the ledger, as the web UI writes it today. @returns its token */
export async function insertSession(database: TestDatabase, user: string, expiresIn = "7 days"): Promise<string> {
  const token = randomBytes(32).toString("base64url");
  const hash = createHash("sha256").update(token).digest("hex");
  await database.pool.query(
    `insert into sessions (session_token, token_hash, user_id, expires_at) values ($1::text, $1::text, $2, now() + $3::interval)`,
    [hash, resolveUserId(user), expiresIn],
  );
  return token;
}
