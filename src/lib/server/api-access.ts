import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  type Caller,
  type Credentials,
  type Identities,
  type Judgement,
  parseAuthorization,
} from "../identity/bearer.ts";
import { judgeSystemKey, type SystemKeyVerdict } from "../identity/system-key.ts";
import { subjectText } from "../identity/subject.ts";
import type { Secret } from "../kernel/secret.ts";
import type { Authorization, DenialReason } from "../membership/records.ts";
import { isSilent } from "../stack/authorize.ts";
import { SYSTEM_OPERATOR, userOperatorId } from "../stack/operators.ts";
import { ApiError } from "./api-errors.ts";

/** Who may call a route: anybody; whoever may read or write; an operator of the control plane. */
export type Access = "public" | "read" | "write" | "admin";

declare module "fastify" {
  interface FastifyContextConfig {
    readonly access?: Access;
    /** Whose requests are not counted: true = nobody's, `service` = not those that gateways send for their users. */
    readonly isUnlimited?: boolean | "service";
  }
  interface FastifyRequest {
    /** Null where the route is public, or the system key opened it. */
    caller: Caller | null;
    /** `system`, `admin:<user id>` or `admin:<wallet>`; null but on routes for operators. */
    operator: string | null;
  }
}

/** What access is decided by. */
export interface AccessRules {
  readonly identities: Identities;
  /** The one in use and, while it is changed, those of other epochs. */
  readonly systemKeys: readonly Secret[];
  /** Asks the control plane whether somebody may act as an operator; never throws. @param id an operator's id */
  readonly authorize: (id: string) => Promise<Authorization>;
  /** Told of an operator on record who is refused: he is revoked, or nobody may act. */
  readonly onRefused: (refusal: RefusedOperator) => Promise<void>;
  /** What one user may ask in a minute, wherever from. */
  readonly requestsPerMinute: number;
}

/** Somebody whom the control plane refuses. */
export interface RefusedOperator {
  /** As `FastifyRequest.operator`. */
  readonly operator: string;
  /** Method and path pattern. */
  readonly route: string;
  readonly reason: DenialReason;
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
  return { bearer, serviceAuth: headerOf(request, "x-fula-service-auth"), address: request.ip };
}

function unauthorized(verdict: Exclude<Judgement, { state: "accepted" }>, key: SystemKeyVerdict): ApiError {
  const details =
    verdict.state === "refused"
      ? `The request's credential is refused: ${verdict.because}.`
      : key === "wrong"
        ? "The system key is wrong."
        : "The request has no credential; send Authorization: Bearer <token>.";
  const reason = verdict.state === "refused" ? (verdict.reason ?? "UNAUTHORIZED") : "UNAUTHORIZED";
  return new ApiError(401, reason, details, { "www-authenticate": "Bearer" });
}

/** Whoever pays for a wallet does not lend it what he may himself: a wallet is asked about under its own name. */
export function operatorIdOf({ subject }: Pick<Caller, "subject">): string {
  return subject.kind === "wallet" ? subject.wallet : userOperatorId(subject.userId);
}

/** How long a client waits before it asks again, where nobody could be asked: the servers elect within it. */
const RETRY_AFTER_SECONDS = 5;

function refusedByControlPlane({ reason, why }: Extract<Authorization, { allowed: false }>): ApiError {
  if (!isSilent(reason)) return new ApiError(403, "FORBIDDEN", `This takes an operator of the federation: ${why}`);
  return new ApiError(503, "CONTROL_PLANE_UNREACHABLE", `Nobody could be asked whether this may be done: ${why}`, {
    "retry-after": String(RETRY_AFTER_SECONDS),
  });
}

function assertScope(caller: Caller, access: "read" | "write" | "admin"): void {
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
  const admitOperator = async (
    request: FastifyRequest,
    reply: FastifyReply,
    { id, name }: { readonly id: string; readonly name: string },
  ): Promise<void> => {
    const verdict = await rules.authorize(id);
    if (verdict.allowed) {
      request.operator = name;
      return;
    }
    const { reason } = verdict;
    if (!isSilent(reason)) {
      await spend(failures, request, reply, "Too many refused credentials from this address");
      const route = `${request.method} ${request.routeOptions.url ?? ""}`;
      // Anybody with an account can ask; only whoever is on record is worth an entry.
      if (reason !== "unknown") await rules.onRefused({ operator: name, route, reason });
    }
    throw refusedByControlPlane(verdict);
  };
  return async (request, reply) => {
    // Who has hung up has no address any more to be counted by, and hears no answer: nothing is looked up for him.
    if (request.socket.remoteAddress === undefined) {
      throw new ApiError(400, "CLIENT_GONE", "The connection was closed before the request was looked at.");
    }
    const { access = "public", isUnlimited = false } = request.routeOptions.config;
    const key = judgeSystemKey(headerOf(request, "x-system-key") ?? undefined, rules.systemKeys);
    if (access === "public") {
      if (key !== "valid") await spend(strangers, request, reply, "Too many requests from this address");
      return;
    }
    if (access === "admin" && key === "valid") {
      await admitOperator(request, reply, { id: SYSTEM_OPERATOR, name: SYSTEM_OPERATOR });
      return;
    }
    const credentials = credentialsOf(request);
    const verdict: Judgement =
      credentials === null
        ? { state: "refused", because: "Authorization is not Bearer <token>" }
        : await rules.identities.identify(credentials);
    if (verdict.state !== "accepted") {
      await spend(failures, request, reply, "Too many refused credentials from this address");
      throw unauthorized(verdict, key);
    }
    request.caller = verdict.caller;
    const isFree = isUnlimited === "service" ? verdict.caller.by === "service" : isUnlimited;
    if (key !== "valid" && !isFree) await spend(perUser, request, reply, "Too many requests of this user");
    const { caller } = verdict;
    assertScope(caller, access);
    if (access !== "admin") return;
    await admitOperator(request, reply, { id: operatorIdOf(caller), name: `admin:${subjectText(caller.subject)}` });
  };
}
