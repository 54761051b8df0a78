import { createHash } from "node:crypto";
import type { Random } from "../../src/lib/kernel/random.ts";
import { seededRandom } from "../support/seeded-random.ts";
import type { Verdict } from "../support/fault-proxy.ts";

/** Masters that bill one ledger. */
export const MASTERS = 8;
const ACCOUNTS = 200;
const HOURS = 50;
/** Enough for masters that race to meet in one hour. */
const SHARDS = 4;
/** The default of `billing.freeTierBytes`. */
const FREE_TIER_BYTES = 524_288_000;
const UNITS = 10n ** 18n;

/** From this hour on an account stored so many bytes. */
export interface UsageChange {
  /** 0 is the first hour that is billed. */
  readonly hour: number;
  readonly bytes: number;
}

export interface Account {
  readonly userId: string;
  /** Units of 10^-18 FULA. */
  readonly openingUnits: bigint;
  /** In ascending order of hours, the first one before hour 0; empty where nothing was ever stored. */
  readonly usage: readonly UsageChange[];
  /** Index of the account that brought this one; a lower one, so that nobody is above himself. */
  readonly referrer: number | null;
}

/** Something that users and operators do while hours are billed. */
export type Errand =
  | { readonly kind: "deposit"; readonly account: number; readonly units: bigint; readonly reference: string }
  | { readonly kind: "adjustment"; readonly account: number; readonly units: bigint; readonly key: string }
  | { readonly kind: "pin"; readonly account: number; readonly cid: string; readonly bytes: number };

/** When a fault comes: at a message of any master's work or lease sessions, counted over all of them, or at a time. */
export type Trigger = { readonly session: "work" | "lease"; readonly message: number } | { readonly afterMs: number };

/** What is done to a master. */
export type Harm =
  /** kill -9, and a new process under the same name. */
  | { readonly kind: "kill"; readonly restartMs: number }
  /** SIGTERM: it ends what it does and gives the lease back; then a new process. */
  | { readonly kind: "terminate"; readonly restartMs: number }
  /** SIGSTOP, and SIGCONT later. */
  | { readonly kind: "pause"; readonly forMs: number }
  /** The connection that the message came from; at a time, all that there are are torn off. */
  | { readonly kind: "connection"; readonly verdict: Exclude<Verdict, "pass"> }
  | { readonly kind: "slow"; readonly delayMs: number; readonly forMs: number };

export interface Fault {
  readonly at: Trigger;
  /** The master that it happens to; null = whoever sent the message. */
  readonly master: number | null;
  readonly harm: Harm;
}

export interface Scenario {
  readonly seed: number;
  /** Parts in which each hour's accounts are charged. */
  readonly shards: number;
  /** Hours that are over and that nobody has billed yet. */
  readonly hours: number;
  readonly hasLease: boolean;
  readonly leaseTtlMs: number;
  readonly freeTierBytes: number;
  /** Decimal text, as in the settings. */
  readonly fulaPerGibMonth: string;
  /** Of each master's clock, against the database's. */
  readonly clockSkewsMs: readonly number[];
  readonly accounts: readonly Account[];
  readonly errands: readonly Errand[];
  /** What is done to the connections of errands, by the number of the message, counted over all of them. */
  readonly errandCuts: ReadonlyMap<number, Verdict>;
  readonly faults: readonly Fault[];
}

function oneOf<T>(random: Random, choices: readonly [T, ...T[]]): T {
  return choices[random.int(choices.length)] ?? choices[0];
}

/** From `from` up to and including `to`. */
function between(random: Random, from: number, to: number): number {
  return from + random.int(to - from + 1);
}

/** Sizes around what decides: nothing, the free tier to the byte, a little, a lot. */
function drawBytes(random: Random): number {
  const drawn = random.int(10);
  if (drawn === 0) return 0;
  if (drawn < 4) return FREE_TIER_BYTES + between(random, -1, 1);
  if (drawn < 6) return random.int(FREE_TIER_BYTES);
  return FREE_TIER_BYTES + random.int(2 ** (drawn < 9 ? 34 : 44));
}

function drawUsage(random: Random): readonly UsageChange[] {
  if (random.int(20) === 0) return [];
  const hours = new Set(Array.from({ length: random.int(5) }, () => random.int(HOURS)));
  const before = { hour: -between(random, 1, 100), bytes: drawBytes(random) };
  return [before, ...[...hours].toSorted((a, b) => a - b).map((hour) => ({ hour, bytes: drawBytes(random) }))];
}

function drawAccount(random: Random, seed: number, index: number): Account {
  // A balance of nothing, one that some hours use up, and one that lasts.
  const openingUnits = oneOf(random, [0n, BigInt(random.int(2 ** 31)) * 10n ** 9n, 100_000n * UNITS + 1n]);
  const userId = createHash("sha256").update(`${seed}/${index}`).digest("hex");
  const referrer = index > 0 && random.int(2) === 0 ? random.int(index) : null;
  return { userId, openingUnits, usage: drawUsage(random), referrer };
}

function drawErrand(random: Random, seed: number, index: number): Errand {
  const account = random.int(ACCOUNTS);
  const units = BigInt(between(random, 1, 2 ** 31)) * 10n ** BigInt(between(random, 0, 10));
  switch (random.int(3)) {
    case 0:
      return { kind: "deposit", account, units, reference: `faults:${seed}:${index}` };
    case 1:
      return { kind: "adjustment", account, units: random.int(2) === 0 ? units : -units, key: `${seed}-${index}` };
    default:
      return { kind: "pin", account, cid: `errand-${index}`, bytes: 1 + random.int(2 ** 34) };
  }
}

/** What there is to say about the work: once, or where there is no lease, by each master. Faults fall before its end. */
const WORK_MESSAGES = 2_000;
const RACE_MESSAGES = 10_000;
const LEASE_MESSAGES = 400;
const RUN_MS = 1_500;

/** Messages of twenty errands, about. */
const ERRAND_MESSAGES = 300;
const CUTS = ["cut before", "cut within", "cut after", "reset"] as const;
const VERDICTS = [...CUTS, "swallow", "swallow answers"] as const;

function drawFault(random: Random, hasLease: boolean, leaseTtlMs: number): Fault {
  const session = random.int(3) === 0 ? ("lease" as const) : ("work" as const);
  const workMessages = hasLease ? WORK_MESSAGES : RACE_MESSAGES;
  const message = between(random, 1, session === "work" ? workMessages : LEASE_MESSAGES);
  // Whoever sends a message of a work session is at work; one that is drawn mostly stands by.
  const isSender = random.int(4) > 0;
  const at: Trigger = isSender ? { session, message } : { afterMs: random.int(RUN_MS) };
  const master = isSender ? null : random.int(MASTERS);
  const pauseMs = between(random, Math.round(leaseTtlMs / 2), leaseTtlMs * 2);
  const harms: readonly [Harm, ...Harm[]] = [
    { kind: "kill", restartMs: random.int(400) },
    { kind: "pause", forMs: pauseMs },
    { kind: "connection", verdict: oneOf(random, VERDICTS) },
    { kind: "connection", verdict: oneOf(random, VERDICTS) },
    { kind: "slow", delayMs: between(random, 1, 20), forMs: between(random, 50, 500) },
    { kind: "terminate", restartMs: random.int(200) },
  ];
  return { at, master, harm: oneOf(random, harms) };
}

/** Everything that a seed decides; the same for the same seed. */
export function drawScenario(seed: number): Scenario {
  const random = seededRandom(seed);
  const leaseTtlMs = between(random, 300, 500);
  const hasLease = random.int(5) > 0;
  const hasErrands = random.int(3) === 0;
  return {
    seed,
    shards: SHARDS,
    hours: HOURS,
    hasLease,
    leaseTtlMs,
    freeTierBytes: FREE_TIER_BYTES,
    fulaPerGibMonth: oneOf(random, ["3", "3", "8", "0.000000001", "2.718281828459045235"]),
    clockSkewsMs: Array.from({ length: MASTERS }, () => between(random, -600_000, 600_000)),
    accounts: Array.from({ length: ACCOUNTS }, (_, index) => drawAccount(random, seed, index)),
    errands: hasErrands ? Array.from({ length: 20 }, (_, index) => drawErrand(random, seed, index)) : [],
    errandCuts: new Map(Array.from({ length: 8 }, () => [random.int(ERRAND_MESSAGES), oneOf(random, CUTS)])),
    faults: Array.from({ length: between(random, 3, 8) }, () => drawFault(random, hasLease, leaseTtlMs)),
  };
}

/** One line a fault, to read where a seed fails. */
export function describeScenario({ hasLease, leaseTtlMs, errands, faults }: Scenario): string {
  const lines = faults.map(({ at, master, harm }) => {
    const when = "afterMs" in at ? `after ${at.afterMs} ms` : `at message ${at.message} of ${at.session} sessions`;
    return `  ${when}, ${master === null ? "its sender" : `master ${master}`}: ${JSON.stringify(harm)}`;
  });
  return [`lease ${hasLease ? `of ${leaseTtlMs} ms` : "off"}, ${errands.length} errands`, ...lines].join("\n");
}
