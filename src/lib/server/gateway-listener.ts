import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { rawErrorAnswer } from "../gateway/exchange.ts";
import type { Gateway } from "../gateway/gateway.ts";
import { S3Error } from "../gateway/s3-error.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, systemErrorCode } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import { createDrain, type Drain } from "./http-drain.ts";
import type { Metrics } from "./metrics.ts";

/** What the gateway's listener needs. */
export interface GatewayListenerParts {
  readonly gateway: Gateway;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
  /** Default a minute. */
  readonly idleTimeoutMs?: number;
}

/** A server that is not listening yet, and the way to end it. */
export interface GatewayListener {
  readonly server: Server;
  readonly drain: Drain;
}

/** S3's own limit of the headers of a PUT is 8 KB, of which 2 KB metadata; clients add their own. */
const HEADER_BYTES_MAX = 16 * 1024;
/** Nobody needs longer to send a request's head; who does holds connections open on purpose. */
const HEADERS_TIMEOUT_MS = 20_000;
const CONNECTIONS_CHECK_MS = 5_000;
/**
 * A connection on which nothing moves for so long, in either direction, while it is the client's turn, is dead. Bodies may
 * take as long as they move.
 */
const IDLE_TIMEOUT_MS = 60_000;
const KEEP_ALIVE_TIMEOUT_MS = 15_000;
const CONNECTIONS_MAX = 2_048;

/** Answers bytes that are no request, or not in time, in the form that S3 clients read. */
function answerBrokenRequest(error: Error, socket: Socket, requestId: string): void {
  if (socket.destroyed || !socket.writable || systemErrorCode(error) === "ECONNRESET") {
    socket.destroy();
    return;
  }
  socket.end(rawErrorAnswer(explainBrokenRequest(systemErrorCode(error)), requestId));
}

function explainBrokenRequest(code: string | undefined): S3Error {
  if (code === "HPE_HEADER_OVERFLOW") {
    return new S3Error(
      "RequestHeaderSectionTooLarge",
      `The request's headers are longer than ${HEADER_BYTES_MAX} bytes.`,
    );
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return new S3Error("RequestTimeout", "The request's headers did not arrive in time.");
  }
  return new S3Error("InvalidRequest", "What was sent is no HTTP request.");
}

function serve(
  parts: GatewayListenerParts,
  drain: Drain,
): (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean) => Promise<void> {
  const { gateway, metrics, clock, log } = parts;
  return async (request, response, expectsContinue) => {
    const startMs = clock.monotonicMs();
    metrics.requestStarted("gateway");
    drain.track(response);
    const closed = new Promise<void>((resolve) => {
      response.once("close", () => {
        resolve();
      });
    });
    const summary = await gateway.handle(request, response, expectsContinue);
    await closed;
    const durationMs = clock.monotonicMs() - startMs;
    const { status, receivedBytes, sentBytes, failure, ...known } = summary;
    const method = request.method ?? "";
    metrics.requestFinished({ listener: "gateway", method, status, durationMs, receivedBytes, sentBytes });
    if (summary.code !== null) metrics.refused(summary.code);
    if (isFulaError(failure, "FULA_BLOCK_MISSING") || isFulaError(failure, "FULA_BLOCK_CORRUPT")) metrics.blockMissed();
    const fields = {
      listener: "gateway",
      method,
      status,
      durationMs: Math.round(durationMs),
      receivedBytes,
      sentBytes,
      ...known,
    };
    if (failure === null) log.info("http.request", fields);
    // An outage mends itself and has its own line; anything else is ours to mend.
    else if (isFulaError(failure) && failure.kind === "unavailable")
      log.warn("http.request", { ...fields, error: failure });
    else log.error("http.request", { ...fields, error: failure });
  };
}

/**
 * Ends connections that stand still, but not while the client waits for us: to keep a large object that has arrived may
 * take longer than a minute, and who is cut off then sends all of it again.
 */
function endIdle(server: Server, idleMs: number): void {
  const last = new WeakMap<Socket, { readonly request: IncomingMessage; readonly response: ServerResponse }>();
  const note = (request: IncomingMessage, response: ServerResponse): void => {
    last.set(request.socket, { request, response });
  };
  for (const event of ["request", "checkContinue", "checkExpectation"]) server.prependListener(event, note);
  server.setTimeout(idleMs, (socket) => {
    const exchange = last.get(socket);
    if (exchange?.request.complete === true && !exchange.response.headersSent) socket.setTimeout(idleMs);
    else socket.destroy();
  });
}

/**
 * Makes the gateway's listener: plain `node:http`, because nothing may decode, fold or route a path before its
 * signature is checked, and every answer on this port must be one that an S3 client understands.
 */
export function createGatewayListener(parts: GatewayListenerParts): GatewayListener {
  const { gateway, clock, log } = parts;
  const server = createServer({
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: HEADERS_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
    // Node.js would refuse a request without one in no form that an S3 client reads; the gateway does it.
    requireHostHeader: false,
    // A large object over a slow line takes hours; the idle timeout ends what stands still.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  });
  // Node.js would drop headers above a count without a word, signed ones too; their bytes are bounded anyway.
  server.maxHeadersCount = 0;
  server.maxConnections = CONNECTIONS_MAX;
  endIdle(server, parts.idleTimeoutMs ?? IDLE_TIMEOUT_MS);
  const drain = createDrain(server, clock);
  const handle = serve(parts, drain);
  const start = (request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void => {
    handle(request, response, expectsContinue).catch((error: unknown) => {
      log.error("http.request.failed", { listener: "gateway", error });
      response.destroy();
    });
  };
  server.on("request", (request, response) => {
    start(request, response, false);
  });
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    start(request, response, true);
  });
  // Other expectations mean nothing to S3; without a listener Node.js would refuse them in no form of S3.
  server.on("checkExpectation", (request: IncomingMessage, response: ServerResponse) => {
    start(request, response, false);
  });
  server.on("clientError", (error, socket) => {
    // Node.js hands out the socket of the connection here; its type is the wider Duplex.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a listener of plain TCP has net.Socket alone
    answerBrokenRequest(error, socket as Socket, gateway.newRequestId());
  });
  return { server, drain };
}
