import { Agent, type IncomingHttpHeaders, request } from "node:http";
import { storeContent } from "../../src/lib/gateway/unixfs.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import type { Answer, Asked, Condition, Operation } from "./history-check.ts";

/** A call that is answered by nobody within this time is one whose outcome nobody knows. */
const CALL_TIMEOUT_MS = 15_000;
const PAGE_KEYS = 1_000;

interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What a client heard: an answer, nothing at all after the request went out, or that nobody took it. */
type Heard = HttpAnswer | "silence" | "refused";

/** A read that its master marked as the last thing that it knew, while its ledger did not answer. */
export interface StaleRead {
  readonly key: string;
  readonly value: string | null;
  readonly answeredAt: number;
}

/** What all clients of a drill did, in the order of one process's events. */
export class HistoryRecorder {
  readonly operations: Operation[] = [];
  readonly stale: StaleRead[] = [];
  /** What no fault explains, such as a list that is out of order. */
  readonly complaints: string[] = [];
  /** How often each status came, and why a call failed. */
  readonly statuses = new Map<string, number>();
  #events = 0;
  #bodies = 0;
  readonly #sizes = new Map<string, number>();

  tick(): number {
    this.#events += 1;
    return this.#events;
  }

  count(what: string): void {
    this.statuses.set(what, (this.statuses.get(what) ?? 0) + 1);
  }

  /** Bytes that nobody wrote before, and the ETag that they have to get. */
  async newBody(sizeBytes: number): Promise<{ readonly bytes: Buffer; readonly value: string }> {
    this.#bodies += 1;
    const text = `body ${this.#bodies};`;
    const bytes = Buffer.from(text.repeat(Math.ceil(sizeBytes / text.length)));
    const value = await contentCid(bytes);
    this.#sizes.set(value, bytes.byteLength);
    return { bytes, value };
  }

  /** Bytes that were to be written as this value; undefined where nobody wrote it. */
  sizeOf(value: string): number | undefined {
    return this.#sizes.get(value);
  }
}

/** The CID that these bytes are stored under. */
async function contentCid(bytes: Uint8Array): Promise<string> {
  const once = async function* (): AsyncGenerator<Uint8Array> {
    yield await Promise.resolve(bytes);
  };
  const { root } = await storeContent(once(), { put: async () => {} });
  return root.toString();
}

/** One key as a list has it. */
export interface ListedKey {
  readonly key: string;
  readonly etag: string;
  readonly size: number;
}

/** Where a client is, and who it is. */
export interface ClientPlace {
  readonly name: string;
  readonly port: number;
  /** `<key id>.<secret>` */
  readonly token: string;
  readonly bucket: string;
}

const encodeKey = (key: string): string => key.split("/").map(encodeURIComponent).join("/");

const ALWAYS: Condition = { kind: "always" };

function conditionHeaders(when: Condition): Record<string, string> {
  if (when.kind === "absent") return { "if-none-match": "*" };
  return when.kind === "is" ? { "if-match": `"${when.value}"` } : {};
}

const etagOf = ({ headers }: HttpAnswer): string => (headers.etag ?? "").replaceAll('"', "");
const codeOf = ({ headers, body }: HttpAnswer): string =>
  /<Code>([^<]*)<\/Code>/.exec(body)?.[1] ?? String(headers["x-amz-error-code"] ?? "");

/** A client of the gateway that writes down what it asked and what it was told. It repeats nothing. */
export class RecordingClient implements Disposable {
  readonly #place: ClientPlace;
  readonly #recorder: HistoryRecorder;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(place: ClientPlace, recorder: HistoryRecorder) {
    this.#place = place;
    this.#recorder = recorder;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  /** Makes the bucket, which is no part of the history. */
  async createBucket(): Promise<void> {
    const heard = await this.#send("PUT", "");
    if (typeof heard === "string" || heard.status !== 200) throw new Error(`No bucket: ${JSON.stringify(heard)}`);
  }

  /** @returns the value that it wrote; null where it did not, or nobody knows */
  async put(key: string, sizeBytes: number, when: Condition = ALWAYS): Promise<string | null> {
    const { bytes, value } = await this.#recorder.newBody(sizeBytes);
    const asked = { kind: "put", value, when } as const;
    const heard = await this.#write(
      key,
      asked,
      async () => await this.#send("PUT", encodeKey(key), bytes, conditionHeaders(when)),
    );
    if (heard === null) return null;
    if (etagOf(heard) !== value) this.#complain(`put ${key} was answered with ETag ${etagOf(heard)}, not ${value}`);
    return value;
  }

  async remove(key: string): Promise<void> {
    await this.#write(key, { kind: "delete", when: ALWAYS }, async () => await this.#send("DELETE", encodeKey(key)));
  }

  /** @returns the value; null where there is none; undefined where nobody said */
  async get(key: string): Promise<string | null | undefined> {
    const calledAt = this.#recorder.tick();
    const heard = await this.#send("GET", encodeKey(key));
    const answeredAt = this.#recorder.tick();
    const told = this.#readOf(heard);
    if (told === null) return undefined;
    const value = told.status === 404 ? null : etagOf(told);
    this.#noteRead(key, value, told, { calledAt, answeredAt });
    if (value === null) return null;
    const size = this.#recorder.sizeOf(value);
    if (size !== told.body.length || !told.body.startsWith("body ")) {
      this.#complain(`get ${key} gave ${told.body.length} bytes as ${value}, which has ${size ?? "no"}`);
    }
    return value;
  }

  /**
   * Lists what begins with a prefix, page by page: each page is a read of every one of these keys that lies in it.
   * @returns what it listed; null where a page was not answered
   */
  async list(prefix: string, keys: readonly string[], maxKeys = PAGE_KEYS): Promise<readonly ListedKey[] | null> {
    const sorted = keys.filter((key) => key.startsWith(prefix)).toSorted(byBytes);
    const found: ListedKey[] = [];
    for (let token: string | null = null, after = ""; ; ) {
      const calledAt = this.#recorder.tick();
      const query = new URLSearchParams({ "list-type": "2", prefix, "max-keys": String(maxKeys) });
      if (token !== null) query.set("continuation-token", token);
      const heard = await this.#send("GET", `?${query.toString()}`);
      const answeredAt = this.#recorder.tick();
      const told = this.#readOf(heard);
      if (told === null) return null;
      const page = parsePage(told.body);
      this.#judgePage(page, prefix, after);
      token = page.next;
      const last = page.entries.at(-1)?.key ?? after;
      const values = new Map(page.entries.map(({ key, etag }) => [key, etag]));
      for (const key of sorted) {
        if (byBytes(key, after) <= 0 || (token !== null && byBytes(key, last) > 0)) continue;
        this.#noteRead(key, values.get(key) ?? null, told, { calledAt, answeredAt });
      }
      found.push(...page.entries);
      if (token === null) return found;
      after = last;
    }
  }

  #judgePage({ entries, next }: Page, prefix: string, after: string): void {
    const keys = entries.map(({ key }) => key);
    const isInOrder = [after, ...keys].every(
      (key, index, all) => index === 0 || byBytes(all[index - 1] ?? "", key) < 0,
    );
    if (!isInOrder) this.#complain(`a list after ${after} is out of order: ${keys.join(" ")}`);
    if (keys.some((key) => !key.startsWith(prefix)))
      this.#complain(`a list of ${prefix} has other keys: ${keys.join(" ")}`);
    if (next !== null && keys.length === 0) this.#complain(`a page of ${prefix} is empty, and not the last one`);
    for (const { key, etag, size } of entries) {
      if (this.#recorder.sizeOf(etag) !== size) this.#complain(`a list says that ${key} = ${etag} has ${size} bytes`);
    }
  }

  #noteRead(
    key: string,
    value: string | null,
    { headers }: HttpAnswer,
    times: { readonly calledAt: number; readonly answeredAt: number },
  ): void {
    if (headers["x-fula-stale"] === undefined) this.#note(key, { kind: "get" }, { kind: "saw", value }, times);
    else this.#recorder.stale.push({ key, value, answeredAt: times.answeredAt });
  }

  /** @returns the answer where the write was made */
  async #write(key: string, asked: Asked, send: () => Promise<Heard>): Promise<HttpAnswer | null> {
    const calledAt = this.#recorder.tick();
    const heard = await send();
    const answeredAt = this.#recorder.tick();
    if (heard === "refused") return null;
    const answer = this.#answerOf(heard);
    if (answer === null) return null;
    const isUnknown = answer.kind === "unknown";
    this.#note(key, asked, answer, { calledAt, answeredAt: isUnknown ? Infinity : answeredAt });
    return answer.kind === "done" && typeof heard !== "string" ? heard : null;
  }

  /** Null where it is certain that nothing was done. */
  #answerOf(heard: Exclude<Heard, "refused">): Answer | null {
    if (heard === "silence") return { kind: "unknown" };
    if (heard.status < 300) return { kind: "done" };
    if (heard.status === 412) return { kind: "refused" };
    if (heard.status === 404 && codeOf(heard) === "NoSuchKey") return { kind: "saw", value: null };
    if (heard.status < 500) this.#complain(`a write was answered with ${heard.status} ${heard.body}`);
    return codeOf(heard) === "SlowDown" ? null : { kind: "unknown" };
  }

  /** The answer to a read; null where it tells nothing. */
  #readOf(heard: Heard): HttpAnswer | null {
    if (typeof heard === "string" || heard.status >= 500) return null;
    if (heard.status === 200 || (heard.status === 404 && codeOf(heard) === "NoSuchKey")) return heard;
    this.#complain(`a read was answered with ${heard.status} ${heard.body}`);
    return null;
  }

  #note(
    key: string,
    asked: Asked,
    answer: Answer,
    times: { readonly calledAt: number; readonly answeredAt: number },
  ): void {
    this.#recorder.operations.push({ client: this.#place.name, key, asked, answer, ...times });
  }

  #complain(what: string): void {
    this.#recorder.complaints.push(`${this.#place.name}: ${what}`);
  }

  async #send(method: string, path: string, body?: Buffer, headers: Record<string, string> = {}): Promise<Heard> {
    const { port, token, bucket } = this.#place;
    const { promise, resolve } = Promise.withResolvers<Heard>();
    const fail = (error: NodeJS.ErrnoException): void => {
      this.#recorder.count(`${method} ${error.code ?? error.message}`);
      resolve(error.code === "ECONNREFUSED" ? "refused" : "silence");
    };
    const call = request(
      {
        host: "127.0.0.1",
        port,
        method,
        path: path.startsWith("?") ? `/${bucket}${path}` : `/${bucket}${path === "" ? "" : `/${path}`}`,
        agent: this.#agent,
        headers: { authorization: `Bearer ${token}`, "content-length": body?.byteLength ?? 0, ...headers },
        signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
      },
      (response) => {
        const pieces: Uint8Array[] = [];
        response.on("data", (piece: Uint8Array) => pieces.push(piece));
        response.on("error", fail);
        response.on("end", () => {
          const answer = {
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(pieces).toString(),
          };
          this.#recorder.count(`${method} ${answer.status} ${answer.status < 400 ? "" : codeOf(answer)}`);
          if (answer.status === 500) this.#complain(`${method} ${path} was answered with 500 ${answer.body}`);
          resolve(answer);
        });
      },
    );
    call.on("error", fail);
    call.end(body);
    return await promise;
  }
}

interface Page {
  readonly entries: readonly ListedKey[];
  readonly next: string | null;
}

const unescape = (text: string): string =>
  text
    .replaceAll("&quot;", '"')
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&apos;", "'")
    .replaceAll("&amp;", "&");

function parsePage(xml: string): Page {
  const fieldOf = (text: string, name: string): string =>
    unescape(new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1] ?? "");
  const entries = [...xml.matchAll(/<Contents>(.*?)<\/Contents>/gs)].map(([text]) => ({
    key: fieldOf(text, "Key"),
    etag: fieldOf(text, "ETag").replaceAll('"', ""),
    size: Number(fieldOf(text, "Size")),
  }));
  const next = fieldOf(xml, "NextContinuationToken");
  return { entries, next: next === "" ? null : next };
}

function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Waits before a client that nobody answered asks again; ends early with the signal. */
export async function restAWhile(ms: number, signal: AbortSignal): Promise<void> {
  await systemClock.sleep(ms, signal).catch(() => {});
}
