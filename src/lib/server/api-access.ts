import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  type Caller,
  type Credentials,
  identify,
  parseAuthorization,
  type Verdict,
  type Verifier,
} from "../identity/bearer.ts";
import { judgeSystemKey, type SystemKeyVerdict } from "../identity/system-key.ts";
import type { Secret } from "../kernel/secret.ts";
import { ApiError } from "./api-errors.ts";

/** Who may call a route: anybody; whoever may read or write; the system key or an administrator. */
export type Access = "public" | "read" | "write" | "admin";

declare module "fastify" {
  interface FastifyContextConfig {
    readonly access?: Access;
    /** True where a user's requests are not counted. */
    readonly isUnlimited?: boolean;
  }
  interface FastifyRequest {
    /** Null where the route is public, or the system key opened it. */
    caller: Caller | null;
    /** `system` or `admin:<user id>`; null but on routes for administrators. */
    operator: string | null;
  }
}

/** What access is decided by. */
export interface AccessRules {
  /** Asked in this order. */
  readonly verifiers: readonly Verifier[];
  readonly systemKey: Secret | null;
  /** User ids. */
  readonly admins: ReadonlySet<string>;
  /** What one user may ask in a minute, wherever from. */
  readonly requestsPerMinute: number;
}

const WINDOW_MS = 60_000;
/** Credentials that are not taken, from one address in a minute: a good one beside them is still taken. */
const FAILURES_PER_MINUTE = 30;
/** Public routes, from one address in a minute. */
const PUBLIC_PER_MINUTE = 300;

type Limit = ReturnType<FastifyInstance["createRateLimit"]>;

async function spend(limit: Limit, request: FastifyRequest, reply: FastifyReply, what: string): Promise<void> {
  const state = await limit(request);
  if (state.isAllowed || !state.isExceeded) return;
  reply.header("retry-after", String(state.ttlInSeconds));
  throw new ApiError(429, "TOO_MANY_REQUESTS", `${what}: at most ${state.max} in a minute.`);
}

function headerOf(request: FastifyRequest, name: string): string | null {
  const value = request.headers[name];
  return typeof value === "string" ? value : null;
}

/** Null where the request has an Authorization header of another kind: that is refused, not overlooked. */
function credentialsOf(request: FastifyRequest): Credentials | null {
  const { authorization } = request.headers;
  const bearer = authorization === undefined ? null : parseAuthorization(authorization);
  if (authorization !== undefined && bearer === null) return null;
  return { bearer, serviceAuth: headerOf(request, "x-fula-service-auth") };
}

function unauthorized(verdict: Exclude<Verdict, { state: "accepted" }>, key: SystemKeyVerdict): ApiError {
  const details =
    verdict.state === "refused"
      ? `The request's credential is refused: ${verdict.because}.`
      : key === "wrong"
        ? "The system key is wrong."
        : "The request has no credential; send Authorization: Bearer <token>.";
  return new ApiError(401, "UNAUTHORIZED", details, { "www-authenticate": "Bearer" });
}

function assertMay(caller: Caller, access: "read" | "write" | "admin", admins: ReadonlySet<string>): void {
  if (access === "admin" && !admins.has(caller.userId)) {
    throw new ApiError(403, "FORBIDDEN", "This user is no administrator (setting api.admins).");
  }
  if (caller.scopes.has(access)) return;
  throw new ApiError(403, "FORBIDDEN", `The token's scope does not include ${access}.`);
}

/**
 * Makes the hook that lets requests in. Credentials are judged before anything is counted, and what is counted belongs to
 * the user, so neither a busy user nor a stranger's wrong tokens use up what others behind the same gateway have; a valid
 * system key is never counted. `@fastify/rate-limit` must be registered.
 */
export function createAccessHook(
  app: FastifyInstance,
  rules: AccessRules,
): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const timeWindow = WINDOW_MS;
  const perUser = app.createRateLimit({
    max: rules.requestsPerMinute,
    timeWindow,
    keyGenerator: (request) => request.caller?.userId ?? "",
  });
  const failures = app.createRateLimit({ max: FAILURES_PER_MINUTE, timeWindow });
  const strangers = app.createRateLimit({ max: PUBLIC_PER_MINUTE, timeWindow });
  return async (request, reply) => {
    const { access = "public", isUnlimited = false } = request.routeOptions.config;
    const key = judgeSystemKey(headerOf(request, "x-system-key") ?? undefined, rules.systemKey);
    if (access === "public") {
      if (key !== "valid") await spend(strangers, request, reply, "Too many requests from this address");
      return;
    }
    if (access === "admin" && key === "valid") {
      request.operator = "system";
      return;
    }
    const credentials = credentialsOf(request);
    const verdict: Verdict =
      credentials === null
        ? { state: "refused", because: "Authorization is not Bearer <token>" }
        : await identify(rules.verifiers, credentials);
    if (verdict.state !== "accepted") {
      await spend(failures, request, reply, "Too many refused credentials from this address");
      throw unauthorized(verdict, key);
    }
    request.caller = verdict.caller;
    if (key !== "valid" && !isUnlimited) await spend(perUser, request, reply, "Too many requests of this user");
    assertMay(verdict.caller, access, rules.admins);
    if (access === "admin") request.operator = `admin:${verdict.caller.userId}`;
  };
}
