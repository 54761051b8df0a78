import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import { parseAuthorization } from "../identity/bearer.ts";
import { IngestRefusal } from "../ingest/refusal.ts";
import type { IngestRequest, TakenBlock } from "../ingest/take-block.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError } from "../kernel/errors.ts";
import { closeLingering } from "../kernel/lingering-close.ts";
import type { Log } from "../kernel/log.ts";
import { createDrain, type Drain } from "./http-drain.ts";
import type { Metrics } from "./metrics.ts";

/** A certificate with its chain and its key, PEM. */
export interface TlsPair {
  readonly cert: string;
  readonly key: string;
}

/** How a storage node's entrance is. */
export interface IngestHealth {
  /** `degraded` = takes nothing new, or only from whom it knows, because no master answers. */
  readonly status: "ok" | "degraded" | "failing";
  readonly kubo: boolean;
  readonly masters: boolean;
}

/** What the listener needs. */
export interface IngestListenerParts {
  /** @throws IngestRefusal */
  readonly take: (request: IngestRequest) => Promise<TakenBlock>;
  readonly health: () => Promise<IngestHealth>;
  /** Null for plain HTTP. */
  readonly tls: TlsPair | null;
  readonly metrics: Pick<Metrics, "requestStarted" | "requestFinished" | "ingest">;
  readonly clock: Clock;
  readonly log: Log;
}

/** A server that is not listening yet, and the way to end it. */
export interface IngestListener {
  readonly server: Server | TlsServer;
  readonly drain: Drain;
}

/** A token has some hundred bytes, or 8 KiB where it is an odd one. */
const HEADER_BYTES_MAX = 16 * 1_024;
const HEADERS_TIMEOUT_MS = 10_000;
const CONNECTIONS_CHECK_MS = 2_000;
const KEEP_ALIVE_TIMEOUT_MS = 15_000;
/** A connection on which nothing moves for so long is dead; what is slow in a body is ended much sooner. */
const IDLE_TIMEOUT_MS = 90_000;
const CONNECTIONS_MAX = 1_024;

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers?: Readonly<Record<string, string>>;
}

function refusalAnswer({ status, message, details, retryAfterSeconds }: IngestRefusal): Answer {
  return {
    status,
    body: { error: message, ...details },
    headers: {
      ...(retryAfterSeconds === null ? {} : { "retry-after": String(retryAfterSeconds) }),
      ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
    },
  };
}

function single(request: IncomingMessage, name: string): string | null {
  const value = request.headers[name];
  return typeof value === "string" ? value : null;
}

function requestOf(request: IncomingMessage, query: URLSearchParams, askForBody: () => void): IngestRequest {
  const { authorization } = request.headers;
  const length = single(request, "content-length");
  const isChunked = request.headers["transfer-encoding"] !== undefined;
  return {
    cid: query.get("cid"),
    bearer: authorization === undefined ? null : parseAuthorization(authorization),
    address: request.socket.remoteAddress ?? "",
    // Without either there is no body at all.
    contentLength: isChunked ? null : Number(length ?? 0),
    contentMd5: single(request, "content-md5"),
    openBody: () => {
      askForBody();
      // Its end must not end the connection, on which the answer is to go.
      return request.iterator({ destroyOnReturn: false });
    },
  };
}

async function healthAnswer({ health }: IngestListenerParts): Promise<Answer> {
  const found = await health();
  return { status: found.status === "failing" ? 503 : 200, body: { ...found } };
}

/** What a request comes to; a failure of ours is answered as one, and stands in the log. */
async function answerOf(
  request: IncomingMessage,
  parts: IngestListenerParts,
  askForBody: () => void,
): Promise<Answer & { readonly takenBytes?: number; readonly failure?: unknown }> {
  const [pathname = "", query = ""] = (request.url ?? "/").split("?", 2);
  const { method = "" } = request;
  if (pathname === "/health" && (method === "GET" || method === "HEAD")) return await healthAnswer(parts);
  if (pathname !== "/v0/block" && pathname !== "/health") return { status: 404, body: { error: "Nothing is here." } };
  const allow = pathname === "/health" ? "GET, HEAD" : "PUT, POST";
  if (pathname === "/health" || (method !== "PUT" && method !== "POST")) {
    return { status: 405, body: { error: `${pathname} takes ${allow} alone.` }, headers: { allow } };
  }
  try {
    const { cid, sizeBytes } = await parts.take(requestOf(request, new URLSearchParams(query), askForBody));
    return { status: 200, body: { cid, size: sizeBytes }, takenBytes: sizeBytes };
  } catch (error) {
    if (error instanceof IngestRefusal) return { ...refusalAnswer(error), failure: error.cause };
    return { status: 500, body: { error: "Something went wrong here; it stands in the log." }, failure: error };
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, body, headers = {} }: Answer): number {
  const text = JSON.stringify(body);
  closeLingering(request, response);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(text)),
    "cache-control": "no-store",
    ...headers,
  });
  response.end(request.method === "HEAD" ? undefined : text);
  return Buffer.byteLength(text);
}

function handler(
  parts: IngestListenerParts,
  track: Drain["track"],
): (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => Promise<void> {
  const { metrics, clock, log } = parts;
  return async (request, response, expectsContinue) => {
    const startMs = clock.monotonicMs();
    metrics.requestStarted("ingest");
    track(response);
    const answer = await answerOf(request, parts, () => {
      if (expectsContinue) response.writeContinue();
    });
    const sentBytes = send(request, response, answer);
    const durationMs = clock.monotonicMs() - startMs;
    const { method = "" } = request;
    const { status, takenBytes = 0, failure } = answer;
    metrics.requestFinished({ listener: "ingest", method, status, durationMs, receivedBytes: takenBytes, sentBytes });
    const isBlock = (request.url ?? "").startsWith("/v0/block");
    if (isBlock) metrics.ingest.answered(status, takenBytes);
    const fields = {
      listener: "ingest",
      method,
      status,
      durationMs: Math.round(durationMs),
      receivedBytes: takenBytes,
    };
    if (status < 500) log.info("http.request", fields);
    else if (isFulaError(failure)) log.warn("http.request", { ...fields, error: failure });
    else log.error("http.request", { ...fields, error: failure });
  };
}

function createPlainOrTls(tls: TlsPair | null, listener: RequestListener): Server | TlsServer {
  const options = {
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
    // How long a body may take is decided by how much of it has come.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  };
  return tls === null ? createServer(options, listener) : createTlsServer({ ...options, ...tls }, listener);
}

/** Makes the entrance of a storage node: `PUT|POST /v0/block?cid=`, and `GET /health`. */
export function createIngestListener(parts: IngestListenerParts): IngestListener {
  const { log } = parts;
  const start = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void => {
    handle(request, response, expectsContinue).catch((error: unknown) => {
      log.error("http.request.failed", { listener: "ingest", error });
      response.destroy();
    });
  };
  const server = createPlainOrTls(parts.tls, (request, response) => {
    start(request, response, false);
  });
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    start(request, response, true);
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.setTimeout(IDLE_TIMEOUT_MS);
  const drain = createDrain(server, parts.clock);
  const handle = handler(parts, (response) => {
    drain.track(response);
  });
  return { server, drain };
}
