import type { IncomingMessage, ServerResponse } from "node:http";
import { type AuthenticatedRequest, requireScope } from "../identity/authenticate.ts";
import { type RawRequest, RequestHeaders, splitTarget } from "../identity/raw-request.ts";
import { EMPTY_SHA256 } from "../identity/signature.ts";
import type { Random } from "../kernel/random.ts";
import { parseAddress } from "./address.ts";
import { admit, type AdmissionParts } from "./admission.ts";
import { arbiterSilent, tellStale } from "./bucket-access.ts";
import type { Capabilities } from "./capabilities.ts";
import { answerPreflight, isPreflight, openToPage } from "./cors.ts";
import { DocumentBudget } from "./document-budget.ts";
import { ClientGone, type Exchange, Wire } from "./exchange.ts";
import type { Operation, OperationParts } from "./operation.ts";
import { findOperation } from "./operations.ts";
import { createPossession } from "./possession.ts";
import { readQuery } from "./query.ts";
import type { RateLimits } from "./rate-limits.ts";
import { type CasExhausted, type S3Code, S3Error, toS3Error } from "./s3-error.ts";
import { refuseBody, refuseSpecialTreatment, refuseUnknown } from "./supported.ts";
import type { TrustlessGateway } from "./trustless/answer-content.ts";
import { isContentRequest } from "./trustless/content-request.ts";
import { UploadRegistry } from "./upload-blocks.ts";

/** What the gateway is built from. */
export interface GatewayParts extends Omit<OperationParts, "uploads" | "possession">, AdmissionParts {
  /** Told to whoever asks. */
  readonly capabilities: Capabilities;
  /** Answers requests about contents; null where none are answered. */
  readonly trustless: TrustlessGateway | null;
  readonly rateLimits: RateLimits;
  readonly casExhausted: CasExhausted;
  /** Origins of web pages that may read the answers; `*` stands for all. */
  readonly corsOrigins: readonly string[];
  readonly random: Random;
}

/** How one request ended, for the request log and the metrics. */
export interface ExchangeSummary {
  readonly requestId: string;
  /** The name that S3 gives the operation; null where it was not found out. */
  readonly operation: string | null;
  readonly bucket: string | null;
  /** Names who sent it, see `Principal`; null where that was not found out. */
  readonly credentialId: string | null;
  readonly status: number;
  readonly code: S3Code | null;
  /** Who ended the connection before the answer was whole; null where it is. */
  readonly cutBy: "client" | "server" | null;
  /** What failed, where it was none of the client's doing. */
  readonly failure: unknown;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** S3 over buckets and blocks. */
export interface Gateway {
  /**
   * Answers one request; never rejects.
   * @param expectsContinue true where the client waits for `100 Continue` before it sends its body
   */
  handle(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Promise<ExchangeSummary>;
  newRequestId(): string;
}

const REQUEST_ID_BYTES = 8;
/** What requests about contents are called: those who send them know no S3, and are told errors in plain text. */
const CONTENT_OPERATION = "GetContent";

function rawRequestOf(request: IncomingMessage): RawRequest {
  const { path, query } = splitTarget(request.url ?? "");
  return { method: request.method ?? "", path, query, headers: new RequestHeaders(request.rawHeaders) };
}

/**
 * What is answered without a key. Such a request is only known by not being signed, so that a signed one for a bucket
 * named `healthz` is still about that bucket.
 */
function findPublic({ method, path, query, headers }: RawRequest): "Healthz" | "Capabilities" | null {
  if (query !== "" || (method !== "GET" && method !== "HEAD") || headers.has("authorization")) return null;
  if (path === "/healthz") return "Healthz";
  return path === "/fula/capabilities" ? "Capabilities" : null;
}

function checkNoBody(raw: RawRequest, { payload }: AuthenticatedRequest): void {
  refuseBody(raw.headers);
  if (payload.kind === "chunked") throw new S3Error("InvalidRequest", "This request takes no body.");
  if (payload.kind === "hashed" && payload.sha256 !== EMPTY_SHA256) {
    throw new S3Error(
      "XAmzContentSHA256Mismatch",
      "The body is empty, but x-amz-content-sha256 is not the hash of nothing.",
    );
  }
}

/** What has been found out about a request so far; a request may be refused at any point of it. */
interface Progress {
  operation: string | null;
  bucket: string | null;
  credentialId: string | null;
}

class S3Gateway implements Gateway {
  readonly #parts: GatewayParts;
  readonly #operationParts: OperationParts;
  readonly #documents = new DocumentBudget();

  constructor(parts: GatewayParts) {
    const { capabilities, random, clock, blocks } = parts;
    this.#parts = parts;
    const possession = capabilities.remoteCidPut ? createPossession(random, clock) : null;
    this.#operationParts = { ...parts, uploads: new UploadRegistry(blocks), possession };
  }

  newRequestId(): string {
    return Buffer.from(this.#parts.random.bytes(REQUEST_ID_BYTES)).toString("hex").toUpperCase();
  }

  async handle(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Promise<ExchangeSummary> {
    const wire = new Wire(request, response, this.newRequestId(), expectsContinue);
    const progress: Progress = { operation: null, bucket: null, credentialId: null };
    let error: S3Error | null = null;
    let cutBy: ExchangeSummary["cutBy"] = null;
    try {
      await this.#answer(rawRequestOf(request), wire, progress);
    } catch (thrown) {
      if (thrown instanceof ClientGone) {
        cutBy = "client";
        wire.cut();
      } else {
        error = toS3Error(thrown, this.#parts.casExhausted);
        if (wire.answered) cutBy = "server";
        if (wire.answered) wire.cut();
        else if (progress.operation === CONTENT_OPERATION) wire.plainError(error);
        else wire.error(error);
      }
    }
    return {
      ...progress,
      requestId: wire.requestId,
      status: wire.status,
      code: error?.code ?? null,
      cutBy,
      failure: error?.isFault === true ? (error.cause ?? null) : null,
      receivedBytes: wire.receivedBytes,
      sentBytes: wire.sentBytes,
    };
  }

  async #answer(received: RawRequest, wire: Wire, progress: Progress): Promise<void> {
    const { corsOrigins, rateLimits, trustless } = this.#parts;
    openToPage(received.headers, wire, corsOrigins);
    if (isPreflight(received)) {
      progress.operation = "Preflight";
      answerPreflight(received, wire);
      return;
    }
    progress.operation = findPublic(received);
    if (progress.operation !== null) {
      rateLimits.ofAddress(wire.address);
      this.#answerPublic(progress.operation, wire);
      return;
    }
    if (trustless !== null && isContentRequest(received)) {
      progress.operation = CONTENT_OPERATION;
      rateLimits.ofAddress(wire.address);
      await trustless.answer(received, wire);
      return;
    }
    if (!received.headers.has("host")) throw new S3Error("InvalidRequest", "The request has no Host header.");
    const { auth, staleMs } = await admit(received, this.#parts, wire.address);
    const raw = auth.request;
    progress.credentialId = auth.principal.credentialId;
    rateLimits.ofOwner(auth.principal.ownerId);
    const address = parseAddress(raw.path);
    progress.bucket = address.bucket;
    const query = readQuery(raw.query);
    const operation = findOperation(raw.method, address, query, raw.headers);
    progress.operation = operation.name;
    const exchange: Exchange = { raw, auth, address, query, wire, documents: this.#documents };
    this.#admit(exchange, operation);
    tellStale(exchange, staleMs);
    // A key that was revoked meanwhile may still read for a while; it is to change nothing.
    if (staleMs !== null && operation.scope === "storage:write") throw arbiterSilent();
    await operation.run(exchange, this.#operationParts);
  }

  #answerPublic(operation: string, wire: Wire): void {
    const fresh = { "cache-control": "no-store" };
    if (operation === "Healthz") {
      wire.text(200, "text/plain; charset=utf-8", "ok\n", fresh);
      return;
    }
    wire.text(200, "application/json", JSON.stringify(this.#parts.capabilities), fresh);
  }

  #admit({ raw, query, auth }: Exchange, operation: Operation): void {
    requireScope(auth.principal, operation.scope);
    refuseUnknown(raw.headers, query, operation);
    refuseSpecialTreatment(raw.headers);
    if (!operation.takesBody) checkNoBody(raw, auth);
  }
}

/** Builds the gateway. */
export function createGateway(parts: GatewayParts): Gateway {
  return new S3Gateway(parts);
}
