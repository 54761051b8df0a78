import type { IncomingMessage, ServerResponse } from "node:http";
import type { BlockStore } from "../blocks/block-store.ts";
import type { PinCluster } from "../cluster/pins.ts";
import type { AccessKey } from "../identity/access-key.ts";
import { authenticate, type AuthenticatedRequest, requireScope } from "../identity/authenticate.ts";
import { type RawRequest, RequestHeaders, splitTarget } from "../identity/raw-request.ts";
import { EMPTY_SHA256 } from "../identity/signature.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import type { Pool } from "../postgres/pool.ts";
import { parseAddress } from "./address.ts";
import { ClientGone, type Exchange, Wire } from "./exchange.ts";
import { findOperation, type Operation, type OperationParts } from "./operations.ts";
import { createPublication, type Publication } from "./publication.ts";
import { readQuery } from "./query.ts";
import { type S3Code, S3Error, toS3Error } from "./s3-error.ts";
import { refuseBody, refuseSpecialTreatment, refuseUnknown } from "./supported.ts";
import { UploadRegistry } from "./upload-blocks.ts";

/** What the gateway is built from. */
export interface GatewayParts {
  readonly pool: Pool;
  readonly blocks: BlockStore;
  readonly pins: PinCluster;
  readonly findKey: (keyId: string) => Promise<AccessKey | null>;
  /** Called for each request whose sender was found out. */
  readonly onKeyUsed: (keyId: string) => void;
  readonly region: string;
  readonly maxObjectBytes: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** How one request ended, for the request log and the metrics. */
export interface ExchangeSummary {
  readonly requestId: string;
  /** The name that S3 gives the operation; null where it was not found out. */
  readonly operation: string | null;
  readonly bucket: string | null;
  readonly keyId: string | null;
  readonly status: number;
  readonly code: S3Code | null;
  /** Who ended the connection before the answer was whole; null where it is. */
  readonly cutBy: "client" | "server" | null;
  /** What failed, where it was none of the client's doing. */
  readonly failure: unknown;
  readonly receivedBytes: number;
  readonly sentBytes: number;
}

/** S3 over blocks, pins and ledger. */
export interface Gateway {
  /**
   * Answers one request; never rejects.
   * @param expectsContinue true where the client waits for `100 Continue` before it sends its body
   */
  handle(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Promise<ExchangeSummary>;
  newRequestId(): string;
  /** Settles unpins that an earlier run or an outage left. @throws FulaError where ledger or pinset do not answer */
  settleUnpins(): Promise<number>;
}

const REQUEST_ID_BYTES = 8;

function rawRequestOf(request: IncomingMessage): RawRequest {
  const { path, query } = splitTarget(request.url ?? "");
  return { method: request.method ?? "", path, query, headers: new RequestHeaders(request.rawHeaders) };
}

/**
 * True for the one request that needs no key. It is only known by not being signed, so that a signed request for a
 * bucket named `healthz` is still about that bucket.
 */
function isHealthProbe({ method, path, query, headers }: RawRequest): boolean {
  return (
    path === "/healthz" && query === "" && (method === "GET" || method === "HEAD") && !headers.has("authorization")
  );
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
  keyId: string | null;
}

class S3Gateway implements Gateway {
  readonly #parts: GatewayParts;
  readonly #publication: Publication;
  readonly #operationParts: OperationParts;

  constructor(parts: GatewayParts) {
    const { pool, blocks, pins, clock, log, region, maxObjectBytes } = parts;
    this.#parts = parts;
    this.#publication = createPublication({ pool, pins, clock, log });
    const uploads = new UploadRegistry(blocks);
    this.#operationParts = { pool, blocks, uploads, publication: this.#publication, region, maxObjectBytes, clock };
  }

  newRequestId(): string {
    return Buffer.from(this.#parts.random.bytes(REQUEST_ID_BYTES)).toString("hex").toUpperCase();
  }

  async settleUnpins(): Promise<number> {
    return await this.#publication.settleQueue();
  }

  async handle(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): Promise<ExchangeSummary> {
    const wire = new Wire(request, response, this.newRequestId(), expectsContinue);
    const progress: Progress = { operation: null, bucket: null, keyId: null };
    let error: S3Error | null = null;
    let cutBy: ExchangeSummary["cutBy"] = null;
    try {
      await this.#answer(rawRequestOf(request), wire, progress);
    } catch (thrown) {
      if (thrown instanceof ClientGone) {
        cutBy = "client";
        wire.cut();
      } else {
        error = toS3Error(thrown);
        if (wire.answered) cutBy = "server";
        if (wire.answered) wire.cut();
        else wire.error(error);
      }
    }
    return {
      ...progress,
      requestId: wire.requestId,
      status: wire.status,
      code: error?.code ?? null,
      cutBy,
      failure: error !== null && error.status >= 500 ? (error.cause ?? null) : null,
      receivedBytes: wire.receivedBytes,
      sentBytes: wire.sentBytes,
    };
  }

  async #answer(raw: RawRequest, wire: Wire, progress: Progress): Promise<void> {
    if (isHealthProbe(raw)) {
      progress.operation = "Healthz";
      wire.text(200, "text/plain; charset=utf-8", "ok\n", { "cache-control": "no-store" });
      return;
    }
    const auth = await this.#authenticate(raw);
    progress.keyId = auth.principal.keyId;
    const address = parseAddress(raw.path);
    progress.bucket = address.bucket;
    const query = readQuery(raw.query);
    const operation = findOperation(raw.method, address, query);
    progress.operation = operation.name;
    const exchange: Exchange = { raw, auth, address, query, wire };
    this.#admit(exchange, operation);
    await operation.run(exchange, this.#operationParts);
  }

  async #authenticate(raw: RawRequest): Promise<AuthenticatedRequest> {
    const { findKey, region, clock, onKeyUsed } = this.#parts;
    const auth = await authenticate(raw, { findKey, region, nowMs: clock.nowMs() });
    onKeyUsed(auth.principal.keyId);
    return auth;
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
