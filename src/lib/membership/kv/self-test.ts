import {
  jetstream,
  type JetStreamClient,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
  jetstreamManager,
} from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import type { NatsConnection } from "@nats-io/transport-node";
import { assert } from "../../kernel/assert.ts";
import type { Random } from "../../kernel/random.ts";
import { formatCount } from "../../kernel/units.ts";
import { SELF_TEST } from "./buckets.ts";
import { isTooFewServers } from "./explain.ts";

/** One of those who race: a client with a connection of its own. */
export interface Racer {
  /** @returns the revision that it wrote; null where the server refused, since the key is at another revision */
  readonly compareAndSet: (value: string, revision: number) => Promise<number | null>;
}

/** A key that nobody else writes, in a bucket of its own: its revisions are 1, 2, 3 … */
export interface ScratchKey {
  readonly racers: readonly Racer[];
  /** Every value that was ever written, oldest first; its place is its revision, counted from 1. */
  readonly history: () => Promise<readonly string[]>;
}

/** How the races went. */
export interface RaceReport {
  readonly rounds: number;
  readonly racers: number;
  /** Most winners that one round had. */
  readonly mostWinners: number;
  /** What must not be; empty where every round had one winner, and its value and nothing else was written. */
  readonly problems: readonly string[];
}

interface Win {
  readonly value: string;
  readonly revision: number;
}

async function runRound(racers: readonly Racer[], round: number, revision: number): Promise<readonly Win[]> {
  const outcomes = await Promise.all(
    racers.map(async ({ compareAndSet }, index) => {
      const value = `round ${round}, client ${index + 1}`;
      return { value, revision: await compareAndSet(value, revision) };
    }),
  );
  return outcomes.filter((outcome): outcome is Win => outcome.revision !== null);
}

function problemOfRound(wins: readonly Win[], round: number, racers: number, expected: number): string | null {
  if (wins.length !== 1) return `in round ${round} ${wins.length} of ${racers} clients won`;
  const [{ revision } = { revision: 0 }] = wins;
  return revision === expected ? null : `round ${round} was written as revision ${revision}, not as ${expected}`;
}

function problemOfHistory(written: readonly string[], won: readonly Win[]): string | null {
  if (written.length !== won.length) {
    return `${formatCount(won.length, "write was", "writes were")} acknowledged and ${written.length} are there`;
  }
  const at = won.findIndex(({ value }, index) => value !== written[index]);
  return at === -1
    ? null
    : `revision ${at + 1} is "${written[at] ?? ""}", and "${won[at]?.value ?? ""}" was acknowledged`;
}

/**
 * Lets all clients write the same key at once, each on the revision that all of them know, round after round. Ends with the
 * first round that does not have one winner: from there on they would not know the same.
 * @throws what a client throws that got no answer
 */
export async function raceOnKey({ racers, history }: ScratchKey, rounds: number): Promise<RaceReport> {
  const won: Win[] = [];
  const problems: string[] = [];
  let mostWinners = 0;
  for (let round = 1; round <= rounds && problems.length === 0; round += 1) {
    const wins = await runRound(racers, round, won.at(-1)?.revision ?? 0);
    mostWinners = Math.max(mostWinners, wins.length);
    won.push(...wins);
    const problem = problemOfRound(wins, round, racers.length, round);
    if (problem !== null) problems.push(problem);
  }
  const written = problemOfHistory(await history(), won);
  return { rounds, racers: racers.length, mostWinners, problems: written === null ? problems : [...problems, written] };
}

const KEY = "raced-for";
const REPLICAS = 3;
/** As many as a bucket remembers of one key. */
const ROUNDS_MAX = 64;
/** What a run that was killed leaves is no longer than this of any use. */
const LEFT_OVER_AFTER_MS = 600_000;

function isOutrun(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError &&
    (error.code === JetStreamApiCodes.StreamWrongLastSequence ||
      error.code === JetStreamApiCodes.StreamWrongLastSequenceUnknown)
  );
}

function racerOf(bucket: KV): Racer {
  return {
    compareAndSet: async (value, revision) => {
      try {
        return await bucket.put(KEY, value, { previousSeq: revision });
      } catch (error) {
        if (isOutrun(error)) return null;
        throw error;
      }
    },
  };
}

async function readAll(manager: JetStreamManager, stream: string): Promise<readonly string[]> {
  const { state } = await manager.streams.info(stream);
  const values: string[] = [];
  for (let seq = state.first_seq; seq <= state.last_seq && state.messages > 0; seq += 1) {
    const stored = await manager.streams.getMessage(stream, { seq });
    if (stored !== null) values.push(stored.string());
  }
  return values;
}

async function removeStream(manager: JetStreamManager, stream: string): Promise<void> {
  try {
    await manager.streams.delete(stream);
  } catch (error) {
    if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)) throw error;
  }
}

/** Takes away what runs that were killed have left. A run of another master that goes on is younger. */
async function removeLeftOvers(manager: JetStreamManager, prefix: string, nowMs: number): Promise<void> {
  const names: string[] = [];
  for await (const { config, created } of manager.streams.list()) {
    const isOurs = config.name.startsWith(`KV_${prefix}_${SELF_TEST}`);
    if (isOurs && nowMs - Date.parse(created) > LEFT_OVER_AFTER_MS) names.push(config.name);
  }
  for (const name of names) await removeStream(manager, name);
}

async function makeBucket(client: JetStreamClient, name: string, replicas: number): Promise<KV> {
  const create = async (count: number): Promise<KV> =>
    await new Kvm(client).create(name, {
      history: ROUNDS_MAX,
      replicas: count,
      allow_direct: false,
      ttl: LEFT_OVER_AFTER_MS,
      description: "fula-master doctor; may be deleted",
    });
  if (replicas > 0) return await create(replicas);
  try {
    return await create(REPLICAS);
  } catch (error) {
    if (isTooFewServers(error)) return await create(1);
    throw error;
  }
}

/** What a self-test is made with. */
export interface SelfTestTarget {
  /** One a client; the first one makes the bucket too. */
  readonly connections: readonly NatsConnection[];
  /** First word of the names of the buckets. */
  readonly prefix: string;
  /** As many as the records have; 0 takes three where there are as many servers, else one. */
  readonly replicas: number;
  readonly rounds: number;
  readonly random: Random;
  /** Wall time, milliseconds. */
  readonly nowMs: number;
  /** For each question to the servers. */
  readonly timeoutMs: number;
}

/**
 * Lets as many clients as there are connections race for a key of a bucket that is made for it and taken away again; one that
 * a killed run left is taken away by the next, ten minutes later.
 * @throws what a client throws that got no answer, or may not make the bucket
 */
export async function runSelfTest(target: SelfTestTarget): Promise<RaceReport> {
  const { connections, prefix, replicas, random, nowMs, timeoutMs } = target;
  const [first] = connections;
  assert(first !== undefined, "A race needs clients");
  const manager = await jetstreamManager(first, { timeout: timeoutMs });
  await removeLeftOvers(manager, prefix, nowMs);
  const name = `${prefix}_${SELF_TEST}${Buffer.from(random.bytes(6)).toString("hex")}`;
  const bucket = await makeBucket(jetstream(first, { timeout: timeoutMs }), name, replicas);
  const stream = `KV_${name}`;
  try {
    const racers = await Promise.all(
      connections.map(async (connection, index) =>
        racerOf(index === 0 ? bucket : await new Kvm(jetstream(connection, { timeout: timeoutMs })).open(name)),
      ),
    );
    const key = { racers, history: async () => await readAll(manager, stream) };
    return await raceOnKey(key, Math.min(target.rounds, ROUNDS_MAX));
  } finally {
    // What the race says counts, also where the bucket cannot be taken away: the next run does it.
    await removeStream(manager, stream).catch(() => {});
  }
}
