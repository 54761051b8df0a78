import type { ClientRequest, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { FulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { Agent as HttpAgent, request as requestHttp } from "../kernel/node-http.ts";
import { formatBytes, formatDuration } from "../kernel/units.ts";

/** How long a peer may be silent, in milliseconds. The time counts from one byte to the next, never for the whole. */
export interface RestPatience {
  /** Before an answer begins, and within one. A peer asks its peers for 15 s at most before it answers. */
  readonly answerMs: number;
  /** Before a stream begins: the statuses of a large pinset are gathered from every peer first. */
  readonly streamStartMs: number;
}

/** A whole answer. */
export interface RestAnswer {
  readonly status: number;
  readonly body: string;
}

const DEFAULT_PATIENCE: RestPatience = { answerMs: 60_000, streamStartMs: 600_000 };

/** Calls at a time; more wait for a free connection. Streams have connections of their own. */
const CALLS_AT_ONCE = 32;

/** No answer about one pin comes near it, and no line of a stream: more is not what we asked for. */
const TEXT_BYTES_MAX = 4 * 1024 * 1024;

/** Sent as a trailer after every stream, empty where all went well: its absence means that the stream was cut. */
const STREAM_ERROR = "x-stream-error";

const NEWLINE = 0x0a;

interface Exchange {
  readonly call: ClientRequest;
  readonly response: Promise<IncomingMessage>;
}

/** HTTP to the REST API of an IPFS Cluster peer: whole answers, and streams of JSON lines that end well or throw. */
export class RestConnection implements Disposable {
  /** `http://host:port` of the REST API, or https. */
  readonly url: string;
  readonly #patience: RestPatience;
  readonly #calls: HttpAgent | HttpsAgent;
  readonly #streams: HttpAgent | HttpsAgent;

  constructor(url: string, patience: RestPatience = DEFAULT_PATIENCE) {
    this.url = url;
    this.#patience = patience;
    const Agent = url.startsWith("https:") ? HttpsAgent : HttpAgent;
    this.#calls = new Agent({ keepAlive: true, maxSockets: CALLS_AT_ONCE });
    this.#streams = new Agent({ keepAlive: false });
  }

  /**
   * Asks once and reads the whole answer, whatever its status.
   * @throws FulaError FULA_CLUSTER_UNREADABLE where no whole answer came, FULA_CLUSTER_DENIED
   */
  async ask(method: "GET" | "POST" | "DELETE", path: string, signal?: AbortSignal): Promise<RestAnswer> {
    const answer = await this.#askOnce(method, path, signal);
    // Every call of ours can be made twice: the connection was kept from an earlier one, and the peer had closed it.
    return answer ?? (await this.#askOnce(method, path, signal)) ?? this.#fail("it closes every connection");
  }

  /**
   * Reads a stream of JSON lines. It ends only where the peer said that it was whole.
   * @throws FulaError FULA_CLUSTER_UNREADABLE, FULA_CLUSTER_DENIED
   */
  async *lines(path: string, signal?: AbortSignal): AsyncGenerator<string> {
    signal?.throwIfAborted();
    const exchange = this.#start("GET", path, this.#streams, signal);
    try {
      const response = await exchange.response;
      if (response.statusCode === 204) return;
      if (response.statusCode !== 200) throw this.unexpected(path, await this.#whole(response));
      yield* this.#split(response, signal);
      this.#assertWhole(response);
    } catch (error) {
      throw this.#explain(error, signal);
    } finally {
      exchange.call.destroy();
    }
  }

  /** The error for an answer that has no place in the protocol. */
  unexpected(path: string, { status, body }: RestAnswer): FulaError {
    const what = `${path.split("?", 1)[0] ?? path} answered ${status}: ${errorMessageOf(body)}`;
    if (status === 401 || status === 403) return denied(this.url, what);
    return unreadable(this.url, what);
  }

  [Symbol.dispose](): void {
    this.#calls.destroy();
    this.#streams.destroy();
  }

  /** @returns null where a kept connection had been closed by the peer before it saw the request */
  async #askOnce(method: string, path: string, signal: AbortSignal | undefined): Promise<RestAnswer | null> {
    signal?.throwIfAborted();
    const { call, response } = this.#start(method, path, this.#calls, signal);
    try {
      const answer = await this.#whole(await response);
      if (answer.status === 401 || answer.status === 403) throw this.unexpected(path, answer);
      return answer;
    } catch (error) {
      call.destroy();
      if (call.reusedSocket && systemErrorCode(error) === "ECONNRESET" && signal?.aborted !== true) return null;
      throw this.#explain(error, signal);
    }
  }

  #start(method: string, path: string, agent: HttpAgent | HttpsAgent, signal: AbortSignal | undefined): Exchange {
    const { promise: response, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = agent instanceof HttpsAgent ? requestHttps : requestHttp;
    const call = request(this.url + path, { method, agent, ...(signal !== undefined && { signal }) });
    const { answerMs, streamStartMs } = this.#patience;
    let begun: IncomingMessage | null = null;
    let silenceMs = agent === this.#streams ? streamStartMs : answerMs;
    call.setTimeout(silenceMs);
    call.on("timeout", () => {
      // Bytes that wait for us say that we are slow, not the peer.
      if (begun !== null && begun.readableLength > 0) call.setTimeout(silenceMs);
      else (begun ?? call).destroy(new Error(`it was silent for ${formatDuration(silenceMs)}`));
    });
    call.on("error", reject);
    call.on("response", (message) => {
      begun = message;
      silenceMs = answerMs;
      call.setTimeout(silenceMs);
      resolve(message);
    });
    call.end();
    return { call, response };
  }

  async #whole(response: IncomingMessage): Promise<RestAnswer> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of chunksOf(response)) {
      length += piece.byteLength;
      if (length > TEXT_BYTES_MAX) this.#fail(`an answer is longer than ${formatBytes(TEXT_BYTES_MAX)}`);
      pieces.push(piece);
    }
    if (!response.complete) this.#fail("an answer was cut off");
    return { status: response.statusCode ?? 0, body: Buffer.concat(pieces).toString("utf8") };
  }

  async *#split(response: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<string> {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    let rest: Uint8Array = new Uint8Array();
    for await (const piece of chunksOf(response)) {
      signal?.throwIfAborted();
      const bytes: Uint8Array = rest.byteLength === 0 ? piece : Buffer.concat([rest, piece]);
      let from = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
        if (end > from) yield decoder.decode(bytes.subarray(from, end));
        from = end + 1;
      }
      rest = bytes.subarray(from);
      if (rest.byteLength > TEXT_BYTES_MAX) this.#fail(`a line is longer than ${formatBytes(TEXT_BYTES_MAX)}`);
    }
    if (rest.byteLength > 0) this.#fail("its last line has no end");
  }

  #assertWhole(response: IncomingMessage): void {
    if (!response.complete) this.#fail("the stream was cut off");
    const trailer = response.trailers[STREAM_ERROR];
    if (trailer === undefined) this.#fail("the stream ended without the trailer that says whether it is whole");
    // Sent once for the stream and once for what it was read from, joined by commas.
    const error = trailer.replace(/^[\s,]+/, "");
    if (error !== "") this.#fail(`the stream ended with an error: ${error}`);
  }

  #fail(what: string): never {
    throw unreadable(this.url, what);
  }

  #explain(error: unknown, signal: AbortSignal | undefined): unknown {
    signal?.throwIfAborted();
    if (error instanceof FulaError) return error;
    const what = systemErrorCode(error) === "ECONNRESET" ? "the connection was cut" : messageOf(error);
    return unreadable(this.url, what, error);
  }
}

async function* chunksOf(response: IncomingMessage): AsyncGenerator<Uint8Array> {
  for await (const chunk of response) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError("a response without an encoding gives bytes");
    yield chunk;
  }
}

/** What a peer says in the body of an error answer. */
export function errorMessageOf(body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null && "message" in parsed) return String(parsed.message);
  } catch {
    // Not JSON: an HTTP server or a proxy in between speaks, in its own words.
  }
  const text = body.trim();
  if (text === "") return "(nothing)";
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

function unreadable(url: string, what: string, cause?: unknown): FulaError {
  return new FulaError("FULA_CLUSTER_UNREADABLE", `The IPFS Cluster peer at ${url} could not be read: ${what}.`, {
    cause,
    hint: "see that the peer runs (fula-master status) and that cluster.api in fula-master.yaml is its REST API.",
    details: { url },
  });
}

function denied(url: string, what: string): FulaError {
  return new FulaError("FULA_CLUSTER_DENIED", `The IPFS Cluster peer at ${url} does not let us in: ${what}.`, {
    hint: "let its REST API listen on an address that only this box reaches, without basic auth, and set cluster.api to it.",
    details: { url },
  });
}
