import { messageOf } from "../kernel/errors.ts";

/** What a URL gave: its text, or why there is none. */
export type HttpsDocument = { readonly text: string; readonly failed?: never } | { readonly failed: string };

const ANSWER_TIMEOUT_MS = 15_000;
const TEXT_BYTES_MAX = 1024 * 1024;

async function readLimited(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response.body ?? []) {
    length += piece.byteLength;
    if (length > TEXT_BYTES_MAX) throw new Error("it is longer than 1 MiB");
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

/**
 * Fetches a small text over HTTPS. Follows no redirect: what is pinned is the signature, but where it comes from shall
 * be what the operator typed.
 * @throws the signal's reason when `signal` aborts
 */
export async function fetchHttpsDocument(url: URL, signal: AbortSignal): Promise<HttpsDocument> {
  const stop = AbortSignal.any([AbortSignal.timeout(ANSWER_TIMEOUT_MS), signal]);
  try {
    const response = await fetch(url, { signal: stop, redirect: "manual" });
    if (response.status !== 200) return { failed: `it answered ${response.status} instead of 200` };
    return { text: await readLimited(response) };
  } catch (error) {
    signal.throwIfAborted();
    const cause = error instanceof Error && error.cause !== undefined ? `: ${messageOf(error.cause)}` : "";
    return { failed: `${messageOf(error)}${cause}` };
  }
}
