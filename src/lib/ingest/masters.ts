import { z } from "zod";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";
import type { Secret } from "../kernel/secret.ts";
import { type LeaseQuestion, NODE_PROOF_HEADER, proveNode } from "./lease-proof.ts";

/** What a master says about whoever sends blocks. */
export type MasterAnswer =
  | {
      readonly state: "accepted";
      /** The account that pays. */
      readonly userId: string;
      /** What it may still store; null without end. */
      readonly leftBytes: number | null;
      /** Milliseconds since 1970; null for never. */
      readonly credentialExpiresMs: number | null;
      /** How long the blocks count as the account's; null where none was named. */
      readonly leasedUntilMs: number | null;
    }
  | { readonly state: "refused"; readonly status: 401 | 402 | 403; readonly because: string };

/** The masters of a federation, as a storage node asks them. */
export interface Masters {
  /**
   * Asks one of them with the user's own credential.
   * @throws FulaError FULA_INGEST_MASTERS_SILENT where none gave an answer that can be used
   */
  ask(bearer: string, question: LeaseQuestion, signal?: AbortSignal): Promise<MasterAnswer>;
  /** True where one of them answers now. */
  answer(signal: AbortSignal): Promise<boolean>;
}

/** What asking needs. */
export interface MastersParts {
  /** Base URLs, the one to begin with first. */
  readonly urls: readonly string[];
  readonly clusterSecret: Secret;
  readonly fetch: typeof globalThis.fetch;
  readonly clock: Clock;
  readonly log: Log;
}

/** A client waits for it, and goes to another node or to the gateway where it takes long. */
const ANSWER_MS = 5_000;
const ANSWER_BYTES_MAX = 16 * 1_024;

const leasedSchema = z.object({
  userId: z.string().regex(/^[0-9a-f]{64}$/),
  leftBytes: z.number().nullable(),
  credentialExpires: z.iso.datetime().nullable(),
  leasedUntil: z.iso.datetime().nullable(),
});
const refusedSchema = z.object({ error: z.object({ reason: z.string(), details: z.string() }) });

function timeOf(text: string | null): number | null {
  return text === null ? null : Date.parse(text);
}

function acceptedOf(body: unknown): MasterAnswer {
  const { userId, leftBytes, credentialExpires, leasedUntil } = leasedSchema.parse(body);
  return {
    state: "accepted",
    userId,
    leftBytes,
    credentialExpiresMs: timeOf(credentialExpires),
    leasedUntilMs: timeOf(leasedUntil),
  };
}

/** Throws for what says nothing about the user: the next master is asked then. */
function answerOf(status: number, body: unknown): MasterAnswer {
  if (status === 200) return acceptedOf(body);
  const { reason, details } = refusedSchema.parse(body).error;
  // That this node is not known there is nothing that its client could change.
  const isAboutUser = (status === 401 || status === 402 || status === 403) && reason !== "NODE_NOT_PROVED";
  if (isAboutUser) return { state: "refused", status, because: details };
  throw new Error(`it answers ${status} ${reason}: ${details}`);
}

async function readJson(response: Response): Promise<unknown> {
  const text = await response.text();
  if (text.length > ANSWER_BYTES_MAX) throw new Error("its answer is too long");
  return JSON.parse(text);
}

function within(signal: AbortSignal | undefined): AbortSignal {
  const late = AbortSignal.timeout(ANSWER_MS);
  return signal === undefined ? late : AbortSignal.any([late, signal]);
}

/** Makes the way to the masters: stays with one that answers, and goes on to the next where it does not. */
export function createMasters({ urls, clusterSecret, fetch, clock, log }: MastersParts): Masters {
  const bases = urls.map((url) => url.replace(/\/+$/, ""));
  let preferred = 0;
  const askOne = async (base: string, bearer: string, question: LeaseQuestion, signal: AbortSignal | undefined) => {
    const response = await fetch(`${base}/api/v1/ingest/leases`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${bearer}`,
        "content-type": "application/json",
        [NODE_PROOF_HEADER]: proveNode(clusterSecret, bearer, question, clock.nowMs()),
      },
      body: JSON.stringify(question),
      // A token goes to the masters of the settings, and nowhere that they send us.
      redirect: "error",
      signal: within(signal),
    });
    return answerOf(response.status, await readJson(response));
  };
  const inTurn = <T>(each: (base: string, index: number) => T): readonly T[] => {
    const order = bases.map((_, step) => (preferred + step) % bases.length);
    return order.map((index) => each(bases[index] ?? "", index));
  };
  return {
    ask: async (bearer, question, signal) => {
      let last: unknown = null;
      for (const { base, index } of inTurn((url, at) => ({ base: url, index: at }))) {
        try {
          const answer = await askOne(base, bearer, question, signal);
          preferred = index;
          return answer;
        } catch (error) {
          signal?.throwIfAborted();
          last = error;
          log.warn("ingest.master.silent", { master: base, message: messageOf(error) });
        }
      }
      throw silent(bases, last);
    },
    answer: async (signal) => {
      const looks = inTurn(async (base) => {
        const response = await fetch(`${base}/api/v1/credits/pricing`, { redirect: "error", signal: within(signal) });
        await response.body?.cancel();
        if (response.status >= 500) throw new Error(`it answers ${response.status}`);
      });
      return await Promise.any(looks).then(
        () => true,
        () => false,
      );
    },
  };
}

function silent(bases: readonly string[], cause: unknown): FulaError {
  return new FulaError(
    "FULA_INGEST_MASTERS_SILENT",
    `No master could be asked about a client (${bases.join(", ")}): ${messageOf(cause)}.`,
    {
      cause,
      hint: "see that ingest.masters names the APIs of the masters, and that this node has their CLUSTER_SECRET.",
    },
  );
}
