import { createHash, createHmac, randomBytes } from "node:crypto";
import { SignJWT } from "jose";
import type { OutgoingHttpHeaders } from "node:http";
import type { LightMyRequestResponse } from "fastify";
import { loadConfig } from "../../src/lib/config/load.ts";
import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { openApi } from "../../src/lib/server/api.ts";
import { createMetrics } from "../../src/lib/server/metrics.ts";
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
  };
  readonly document: OpenApiDocument;
  readonly answers: AnswerCheck;
  call(call: ApiCall): Promise<ApiAnswer>;
  /** `authorization` of a token that is signed for a user. */
  bearer(user: string, claims?: Readonly<Record<string, unknown>>): Promise<{ readonly authorization: string }>;
}

const SETTINGS = {
  "api.domain": "cloud.example.org",
  "billing.vaultAddress": `0x${"ab".repeat(20)}`,
  chains: '{"base":{"rpcUrls":["http://127.0.0.1:9"]}}',
};

/** Makes one. @param more further settings, as `--set` takes them */
export async function makeTestApi(more: Readonly<Record<string, string>> = {}): Promise<TestApi> {
  const database = await freshDatabase();
  const secrets = {
    jwt: randomBytes(32).toString("hex"),
    system: randomBytes(32).toString("hex"),
    service: randomBytes(32).toString("hex"),
    encryption: randomBytes(32).toString("hex"),
  };
  const given = Object.entries({ ...SETTINGS, ...more }).map(([key, value]) => [key, { flag: "--set", value }]);
  const loaded = await loadConfig(
    {
      globals: { baseDir: "/nonexistent" },
      env: {
        JWT_SECRET: secrets.jwt,
        SYSTEM_KEY: secrets.system,
        FULA_PIN_SERVICE_SECRET: secrets.service,
        ENCRYPTION_KEY: secrets.encryption,
      },
      cwd: "/",
    },
    Object.fromEntries(given),
  );
  const { app } = await openApi(loaded, {
    pool: database.pool,
    metrics: createMetrics({ version: "0", nodeVersion: "0" }),
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
      return { status: response.statusCode, headers: response.headers, json: response.json() };
    },
    bearer: async (user, claims = {}) => ({
      authorization: `Bearer ${await signToken(secrets.jwt, { sub: resolveUserId(user), scope: "storage:*", ...claims })}`,
    }),
    [Symbol.asyncDispose]: async () => {
      await app.close();
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
