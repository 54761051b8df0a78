import { STATUS_CODES, type IncomingMessage, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { AuthenticatedRequest } from "../identity/authenticate.ts";
import type { RawRequest } from "../identity/raw-request.ts";
import { closeLingering } from "../kernel/lingering-close.ts";
import type { Address } from "./address.ts";
import type { DocumentBudget } from "./document-budget.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";
import { errorDocument } from "./xml.ts";

/** Headers of an answer. */
export type AnswerHeaders = Readonly<Record<string, string | number>>;

/** One request and its answer, as the operations see them. */
export interface Exchange {
  readonly raw: RawRequest;
  readonly auth: AuthenticatedRequest;
  readonly address: Address;
  readonly query: QueryMap;
  readonly wire: Wire;
  /** What documents of all exchanges may take. */
  readonly documents: DocumentBudget;
}

/** The client ended the connection in the middle of an exchange: nobody is left to be told anything. */
export class ClientGone extends Error {
  override readonly name = "ClientGone";
}

/** The connection's side of an exchange: bytes in, bytes out, and how many of each. */
export class Wire {
  readonly requestId: string;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #expectsContinue: boolean;
  #isOpen = false;
  receivedBytes = 0;
  sentBytes = 0;

  constructor(request: IncomingMessage, response: ServerResponse, requestId: string, expectsContinue: boolean) {
    this.#request = request;
    this.#response = response;
    this.requestId = requestId;
    this.#expectsContinue = expectsContinue;
    response.setHeader("x-amz-request-id", requestId);
    response.setHeader("server", "fula-master");
  }

  /** Where the connection comes from; empty once it is gone. */
  get address(): string {
    return this.#request.socket.remoteAddress ?? "";
  }

  get status(): number {
    return this.#response.statusCode;
  }

  /** True once the answer's head is on its way, so that it can no longer become another one. */
  get answered(): boolean {
    return this.#response.headersSent;
  }

  /** Puts a header into the answer, whatever it will be. */
  tell(name: string, value: string): void {
    this.#response.setHeader(name, value);
  }

  /** True where a page in a browser may read the answer. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Lets pages of an origin read the answer, whatever it will be, with all of its headers. */
  openTo(origin: string): void {
    this.#isOpen = true;
    this.#response.setHeader("access-control-allow-origin", origin);
  }

  /** The request's body. A client that waits for `100 Continue` is told to send only when the first byte is wanted. */
  async *body(): AsyncGenerator<Uint8Array> {
    if (this.#expectsContinue) this.#response.writeContinue();
    try {
      // Leaving the loop early must not destroy the connection: the client is still to get its answer.
      for await (const piece of this.#request.iterator({ destroyOnReturn: false })) {
        if (!(piece instanceof Uint8Array)) throw new Error("The request body is not read as bytes");
        this.receivedBytes += piece.byteLength;
        yield piece;
      }
    } catch (error) {
      if (!this.#request.destroyed) throw error;
      throw new ClientGone("The connection ended before the whole body was there.", { cause: error });
    }
  }

  /** Answers without a body. */
  empty(status: number, headers: AnswerHeaders = {}): void {
    // 204 must not have a Content-Length (RFC 9110 §8.6); an empty 200 must, or the client waits for the end.
    const length = status === 204 ? {} : { "content-length": 0 };
    this.#writeHead(status, { ...length, ...headers });
    this.#response.end();
  }

  /** Answers a HEAD: the headers of a body that is not sent. */
  headOnly(status: number, headers: AnswerHeaders): void {
    this.#writeHead(status, headers);
    this.#response.end();
  }

  /** Answers with a text. */
  text(status: number, contentType: string, body: string, headers: AnswerHeaders = {}): void {
    const bytes = Buffer.from(body, "utf8");
    this.#writeHead(status, { "content-type": contentType, "content-length": bytes.byteLength, ...headers });
    if (this.#request.method !== "HEAD") this.sentBytes += bytes.byteLength;
    this.#response.end(bytes);
  }

  /** Answers with bytes that are at hand. */
  bytes(status: number, headers: AnswerHeaders, body: Uint8Array): void {
    this.#writeHead(status, { ...headers, "content-length": body.byteLength });
    this.sentBytes += body.byteLength;
    this.#response.end(body);
  }

  /** Answers with an error for people and for clients that know no S3. */
  plainError({ code, message, status, headers }: S3Error): void {
    this.text(status, "text/plain; charset=utf-8", `${message}\n`, { "x-amz-error-code": code, ...headers });
  }

  /** Answers with an S3 error document; the header tells the code where a HEAD has no body. */
  error(error: S3Error): void {
    const { code, message, fields, status } = error;
    const document = errorDocument({ code, message, fields, requestId: this.requestId });
    this.text(status, "application/xml", document, { "x-amz-error-code": code, ...error.headers });
  }

  /**
   * Streams a body whose length is known. The head goes out with the first bytes, so that content which cannot be read
   * at all is an error document; an error after that cuts the connection, so that nobody takes a part for the whole.
   */
  async stream(status: number, headers: AnswerHeaders, content: AsyncGenerator<Uint8Array>): Promise<void> {
    const first = await content.next();
    this.#writeHead(status, headers);
    const failures: unknown[] = [];
    const rest = this.#counted(first, content, (error) => failures.push(error));
    try {
      await pipeline(Readable.from(rest, { highWaterMark: 1 }), this.#response);
    } catch (error) {
      if (failures.length > 0) throw failures[0];
      throw new ClientGone("The connection ended before the whole answer was out.", { cause: error });
    }
  }

  /** Ends the connection without another word. */
  cut(): void {
    this.#response.destroy();
  }

  #writeHead(status: number, headers: AnswerHeaders): void {
    // By name: in some browsers `*` stands for nothing, and there are no names for metadata but those that an object has.
    const names = [...this.#response.getHeaderNames(), ...Object.keys(headers)].filter(isForPages);
    closeLingering(this.#request, this.#response);
    const exposed = this.#isOpen && { "access-control-expose-headers": [...new Set(names)].join(", ") };
    this.#response.writeHead(status, { ...headers, ...exposed });
  }

  /** Counts what goes out. Only the content's own errors are failures: a client that leaves throws in here as well. */
  async *#counted(
    first: IteratorResult<Uint8Array, void>,
    content: AsyncGenerator<Uint8Array>,
    onFailure: (error: unknown) => void,
  ): AsyncGenerator<Uint8Array> {
    try {
      for (let next = first; next.done !== true; next = await nextOf(content, onFailure)) {
        this.sentBytes += next.value.byteLength;
        yield next.value;
      }
    } finally {
      await content.return(undefined);
    }
  }
}

/** Headers that say something of the answer; the others are for browsers and caches. */
function isForPages(name: string): boolean {
  return name !== "vary" && !name.startsWith("access-control-");
}

async function nextOf(
  content: AsyncGenerator<Uint8Array>,
  onFailure: (error: unknown) => void,
): Promise<IteratorResult<Uint8Array, void>> {
  try {
    return await content.next();
  } catch (error) {
    onFailure(error);
    throw error;
  }
}

/** The answer to bytes that are no HTTP request, for a socket that has no response object. */
export function rawErrorAnswer(error: S3Error, requestId: string): string {
  const { code, message, status, fields } = error;
  const body = errorDocument({ code, message, fields, requestId });
  return [
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
    "Content-Type: application/xml",
    `Content-Length: ${Buffer.byteLength(body)}`,
    `x-amz-error-code: ${code}`,
    `x-amz-request-id: ${requestId}`,
    "Connection: close",
    "",
    body,
  ].join("\r\n");
}
