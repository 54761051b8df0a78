import { z } from "zod";
import { endpointLabel } from "../config/chain-settings.ts";
import type { Clock } from "../kernel/clock.ts";
import { messageOf, systemErrorCode } from "../kernel/errors.ts";
import { retry } from "../kernel/retry.ts";
import type { Secret } from "../kernel/secret.ts";
import { formatBytes } from "../kernel/units.ts";
import { hash, LOG, quantity, topicsOf, type Transfer, type TransferFilter, transferOf } from "./chain-transfers.ts";

/** The network, handed in. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** What calls to endpoints need. */
export interface RpcDeps {
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** A block's place in its chain. */
export interface Block {
  readonly number: bigint;
  readonly hash: string;
  readonly parentHash: string;
  /** Seconds since 1970. */
  readonly timestamp: bigint;
}

/** What an endpoint did instead of answering. Its message names the endpoint, and never what its path may hold. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  /** True where asking for less may help: a refusal, a silence, an answer that is too long or cut off. */
  readonly isAboutSize: boolean;
  /** True where the contract that was called refuses, which is an answer. */
  readonly isRevert: boolean;

  constructor(message: string, isAboutSize: boolean, isRevert = false) {
    super(message);
    this.isAboutSize = isAboutSize;
    this.isRevert = isRevert;
  }
}

/** Shorter parts of an address, such as `v2`, are words that say nothing. */
const KEY_LENGTH_MIN = 6;
const ANSWER_TIMEOUT_MS = 20_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
/** Pauses before the second and third attempt where the endpoint could not be reached or has too much to do. */
const RETRY_DELAYS_MS = [250, 1_000];
/** An answer with so many logs may have been cut by a limit that nobody tells; it is read again in halves. */
const LOGS_TRUSTED_MAX = 1_000;
/** What a call of a contract may cost: many times what checking signatures takes, and a moment of an endpoint's work. */
const CALL_GAS = 5_000_000n;
/** The number that most endpoints give the error of a contract that refuses; others have words alone. */
const REVERT_CODE = 3;

const BLOCK = z.object({ number: quantity, hash, parentHash: hash, timestamp: quantity });
const RECEIPT = z.object({
  blockNumber: quantity,
  blockHash: hash,
  transactionHash: hash,
  logs: z.array(LOG).readonly(),
});
const RETURNED = z.string().regex(/^0x(?:[0-9a-f]{2})*$/i);
const ENVELOPE = z.object({
  id: z.unknown().optional(),
  result: z.unknown().optional(),
  error: z.object({ code: z.number().optional(), message: z.string().optional() }).nullish(),
});

/** What a transaction left on the chain. */
export interface Receipt {
  readonly blockNumber: bigint;
  readonly blockHash: string;
  readonly transfers: readonly Transfer[];
}

function hexOf(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** What of an endpoint's address may be a key: the parts of its path, and the values of its query. */
function keysIn(url: Secret): readonly string[] {
  const { pathname, searchParams } = new URL(url.reveal());
  // A query is decoded by form's rules, which refuse nothing; a path may have percent signs of its own.
  const decoded =
    new URLSearchParams(`path=${pathname.replaceAll("&", "%26").replaceAll("+", "%2B")}`).get("path") ?? "";
  const parts = [...pathname.split("/"), ...decoded.split("/")];
  return [...parts, ...searchParams.values()].filter((part) => part.length >= KEY_LENGTH_MIN);
}

/** Text of somebody else in a message of ours: one line, not long, and without keys and addresses that may hold them. */
function foreign(text: string, keys: readonly string[]): string {
  return keys
    .reduce((clean, key) => clean.replaceAll(key, "…"), text)
    .replaceAll(/https?:\/\/\S+/g, "…")
    .replaceAll(/[\p{Cc}\s]+/gu, " ")
    .slice(0, 200);
}

/** One endpoint of one chain: JSON-RPC over HTTP, every answer checked for its form. */
export class RpcEndpoint {
  /** For people. */
  readonly label: string;
  readonly #url: Secret;
  readonly #keys: readonly string[];
  readonly #deps: RpcDeps;

  constructor(url: Secret, deps: RpcDeps) {
    this.label = endpointLabel(url);
    this.#url = url;
    this.#keys = keysIn(url);
    this.#deps = deps;
  }

  /** EIP-155. @throws RpcError */
  async chainId(): Promise<bigint> {
    return await this.#ask("eth_chainId", [], quantity);
  }

  /** The head. @throws RpcError */
  async latest(): Promise<Block> {
    return await this.#ask("eth_getBlockByNumber", ["latest", false], BLOCK);
  }

  /** The block of this number; null where the endpoint has none. @throws RpcError */
  async block(number: bigint): Promise<Block | null> {
    const block = await this.#ask("eth_getBlockByNumber", [hexOf(number), false], BLOCK.nullable());
    if (block !== null && block.number !== number)
      throw this.#odd(`answers block ${number} with block ${block.number}`);
    return block;
  }

  /** What a transaction left; null where the endpoint knows of none. @throws RpcError */
  async receipt(txHash: string, filter: TransferFilter): Promise<Receipt | null> {
    const receipt = await this.#ask("eth_getTransactionReceipt", [txHash], RECEIPT.nullable());
    if (receipt === null) return null;
    if (receipt.transactionHash !== txHash) throw this.#odd(`answers ${txHash} with ${receipt.transactionHash}`);
    const { blockNumber, blockHash, logs } = receipt;
    const transfers = logs.map((log) => transferOf(log, filter)).filter((transfer) => transfer !== null);
    if (transfers.some((transfer) => transfer.blockHash !== blockHash || transfer.txHash !== txHash))
      throw this.#odd(`has logs of other transactions in the receipt of ${txHash}`);
    return { blockNumber, blockHash, transfers };
  }

  /**
   * Every transfer of the blocks from `from` to `to`. Asks for less at a time as long as the endpoint refuses, is silent,
   * or may have cut its answer.
   * @throws RpcError where it refuses single blocks too, or says what cannot be
   */
  async transfers(filter: TransferFilter, from: bigint, to: bigint): Promise<readonly Transfer[]> {
    const waiting = [{ from, to }];
    const found: Transfer[] = [];
    // Each refusal halves one span, so there are never more spans than blocks.
    for (let span = waiting.pop(); span !== undefined; span = waiting.pop()) {
      const some = await this.#transfersOrTooMuch(filter, span.from, span.to);
      if (some !== null) {
        found.push(...some);
        continue;
      }
      const middle = (span.from + span.to) / 2n;
      waiting.push({ from: middle + 1n, to: span.to }, { from: span.from, to: middle });
    }
    const places = new Set(found.map(({ blockHash, logIndex }) => `${blockHash} ${logIndex}`));
    if (places.size !== found.length) throw this.#odd("tells of one log twice");
    return found;
  }

  async #transfersOrTooMuch(filter: TransferFilter, from: bigint, to: bigint): Promise<readonly Transfer[] | null> {
    try {
      const question = { fromBlock: hexOf(from), toBlock: hexOf(to), address: filter.token, topics: topicsOf(filter) };
      const logs = await this.#ask("eth_getLogs", [question], z.array(LOG).readonly());
      if (logs.length >= LOGS_TRUSTED_MAX && from < to) return null;
      return logs.map((log) => {
        const transfer = log.removed === true ? null : transferOf(log, filter);
        if (transfer === null || log.blockNumber < from || log.blockNumber > to)
          throw this.#odd(`has a log in blocks ${from} to ${to} that it was not asked for`);
        return transfer;
      });
    } catch (error) {
      if (error instanceof RpcError && error.isAboutSize && from < to) return null;
      throw error;
    }
  }

  /**
   * What a contract returns to a call that changes nothing, `0x` and hex in lower case; `0x` alone where it refuses, or
   * where there is none.
   * @throws RpcError
   */
  async callContract(to: string, data: string): Promise<string> {
    try {
      const returned = await this.#ask("eth_call", [{ to, data, gas: hexOf(CALL_GAS) }, "latest"], RETURNED);
      return returned.toLowerCase();
    } catch (error) {
      if (error instanceof RpcError && error.isRevert) return "0x";
      throw error;
    }
  }

  #odd(what: string): RpcError {
    return new RpcError(`${this.label} ${what}`, false);
  }

  async #ask<T>(method: string, params: readonly unknown[], schema: z.ZodType<T>): Promise<T> {
    const { clock, signal } = this.#deps;
    const text = await retry(async () => await this.#post(method, params), {
      delaysMs: RETRY_DELAYS_MS,
      clock,
      signal,
      shouldRetry: isPassing,
    });
    const result = this.#resultOf(method, text);
    const parsed = schema.safeParse(result);
    if (parsed.success) return parsed.data;
    throw this.#odd(`answers ${method} with what is no such answer`);
  }

  #resultOf(method: string, text: string): unknown {
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch {
      throw new RpcError(`${this.label} answers ${method} with what is no JSON, or is cut off`, true);
    }
    const envelope = ENVELOPE.safeParse(answer);
    if (!envelope.success) throw this.#odd(`answers ${method} with what is no answer of JSON-RPC`);
    const { error, result } = envelope.data;
    if (error !== undefined && error !== null)
      throw new RpcError(
        `${this.label} refuses ${method}: ${foreign(error.message ?? `error ${error.code}`, this.#keys)}`,
        true,
        error.code === REVERT_CODE || /\brevert/i.test(error.message ?? ""),
      );
    // `undefined` would pass for "there is none", which is `null`.
    if (result === undefined) throw this.#odd(`answers ${method} without a result`);
    return result;
  }

  /** @throws RpcError where no whole answer came; the signal's reason */
  async #post(method: string, params: readonly unknown[]): Promise<string> {
    const { fetch, signal } = this.#deps;
    const patience = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    try {
      const response = await fetch(this.#url.reveal(), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
        signal: AbortSignal.any([signal, patience]),
        // The key in the path is meant for this host alone.
        redirect: "error",
      });
      const text = await this.#read(response, method);
      // Many answer an error of JSON-RPC with a status of its own; what they say is worth more than the number.
      if (response.ok || (response.status !== 429 && /"error"/.test(text))) return text;
      const mayBeSize = response.status === 413 || response.status === 504;
      throw new RpcError(`${this.label} answers ${method} with HTTP ${response.status}`, mayBeSize);
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof RpcError) throw error;
      if (patience.aborted) throw new RpcError(`${this.label} was silent for ${ANSWER_TIMEOUT_MS / 1_000} s`, true);
      throw new RpcError(`${this.label} cannot be reached: ${reasonOf(error, this.#keys)}`, false);
    }
  }

  async #read(response: Response, method: string): Promise<string> {
    const pieces: Uint8Array[] = [];
    let length = 0;
    for await (const piece of response.body ?? []) {
      length += piece.byteLength;
      if (length > ANSWER_BYTES_MAX)
        throw new RpcError(`${this.label} answers ${method} with more than ${formatBytes(ANSWER_BYTES_MAX)}`, true);
      pieces.push(piece);
    }
    return Buffer.concat(pieces).toString("utf8");
  }
}

/** True where the same question may be answered in a moment. */
function isPassing(error: unknown): boolean {
  return error instanceof RpcError && !error.isAboutSize;
}

function reasonOf(error: unknown, keys: readonly string[]): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  return systemErrorCode(cause) ?? foreign(messageOf(cause), keys);
}
