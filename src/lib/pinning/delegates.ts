import { isLoopback } from "../config/addresses.ts";
import type { Clock } from "../kernel/clock.ts";
import { answerWithin } from "../kernel/deadline.ts";
import { messageOf } from "../kernel/errors.ts";
import type { Log } from "../kernel/log.ts";

/** Where clients connect to, so that what they ask to be kept is fetched from them. */
export interface Delegates {
  /** Multiaddresses with `/p2p/<id>`, at most twenty; the last known ones while nobody answers, empty before the first. */
  read(): Promise<readonly string[]>;
}

/** What finding them out needs. */
export interface DelegateParts {
  /** Multiaddresses of the Kubo nodes that fetch, our own first; each source may fail by itself. */
  readonly sources: readonly (() => Promise<readonly string[]>)[];
  readonly clock: Clock;
  readonly log: Log;
}

/** The API's own limit. */
const DELEGATES_MAX = 20;
/** Addresses change when a box is given another one. */
const FRESH_MS = 60_000;
/** A request is not to wait for a daemon that is silent. */
const WAIT_MS = 1_000;

const PRIVATE = /^\/ip4\/(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.)|^\/ip6\/f[cd]/i;

function hostOf(address: string): string {
  return address.split("/")[2] ?? "";
}

function isUseful(address: string): boolean {
  const host = hostOf(address);
  return !isLoopback(host) && host !== "0.0.0.0" && host !== "::";
}

function rank(address: string): number {
  if (PRIVATE.test(address)) return 2;
  return address.includes("/p2p-circuit") ? 1 : 0;
}

/**
 * Puts addresses in the order in which they are worth a try: those that everybody reaches, those by way of a relay, those of
 * private networks. Addresses of the box's own loopback are told only where there are no others: then the client is on it.
 */
export function chooseDelegates(addresses: readonly string[]): readonly string[] {
  const all = [...new Set(addresses)].filter((address) => address.includes("/p2p/"));
  const useful = all.filter(isUseful);
  const chosen = useful.length === 0 ? all : useful.toSorted((a, b) => rank(a) - rank(b));
  return chosen.slice(0, DELEGATES_MAX);
}

/** Asks for them once a minute at most, when somebody needs them. */
export function createDelegates({ sources, clock, log }: DelegateParts): Delegates {
  let known: readonly string[] = [];
  let freshUntilMs = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | null = null;
  const ask = async (): Promise<void> => {
    const answers = await Promise.allSettled(sources.map(async (source) => await source()));
    const failed = answers.find((answer) => answer.status === "rejected");
    if (failed !== undefined) log.warn("pinning.delegates.not_asked", { message: messageOf(failed.reason) });
    const heard = chooseDelegates(answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : [])));
    if (heard.length > 0 || failed === undefined) known = heard;
    freshUntilMs = clock.monotonicMs() + FRESH_MS;
    asking = null;
  };
  return {
    read: async () => {
      if (clock.monotonicMs() < freshUntilMs) return known;
      asking ??= ask();
      if (known.length === 0) await answerWithin(clock, WAIT_MS, asking);
      return known;
    },
  };
}
