import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawServerDefault } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "../identity/bearer.ts";
import type { Access } from "./api-access.ts";
import { errorResponses } from "./api-schemas.ts";

/** The API's application: the types of its routes come from their zod schemas. */
export type ApiApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** The ways in which a route's caller may show who it is, as the document names them. */
const SECURITY: Readonly<Record<Access, readonly Record<string, readonly string[]>[]>> = {
  public: [],
  read: [{ bearer: [] }, { service: [] }],
  write: [{ bearer: [] }, { service: [] }],
  admin: [{ systemKey: [] }, { bearer: [] }],
};

/**
 * What stands in the schema of every route: its group, what it is for, who may call it, and every error it can give. The
 * type tells the successful answers alone: those are what a handler returns.
 */
export function describeRoute<Responses extends object>(
  access: Access,
  tag: string,
  summary: string,
  responses: Responses,
  errors: readonly number[] = [],
): {
  readonly tags: readonly string[];
  readonly summary: string;
  readonly security: (typeof SECURITY)[Access];
  readonly response: Responses;
} {
  const all = access === "public" ? errors : [401, 403, ...errors];
  return { tags: [tag], summary, security: SECURITY[access], response: { ...errorResponses(...all), ...responses } };
}

/** Who calls a route that is not public. */
export function callerOf(request: Pick<FastifyRequest, "caller">): Caller {
  if (request.caller === null) throw new Error("A route that needs a caller was let in without one");
  return request.caller;
}

/** Who acts on a route for administrators. */
export function operatorOf(request: Pick<FastifyRequest, "operator">): string {
  if (request.operator === null) throw new Error("A route for administrators was let in without an operator");
  return request.operator;
}
