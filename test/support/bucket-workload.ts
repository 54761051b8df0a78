import type { Random } from "../../src/lib/kernel/random.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type HistoryRecorder, RecordingClient, restAWhile } from "./recording-client.ts";
import { seededRandom } from "./seeded-random.ts";
import type { DrillGateway, TwoGateways } from "./two-gateways.ts";

/** Keys that all writers fight for, with what makes paths and encodings difficult. */
export const SHARED_KEYS: readonly string[] = Array.from({ length: 40 }, (_, index) => {
  const name = String(index).padStart(2, "0");
  return index % 8 === 0 ? `shared/ü ${name}/+&%` : index % 8 === 4 ? `shared/deep/er/${name}` : `shared/${name}`;
});

/** Larger ones have several blocks. */
const SMALL_BYTES_MAX = 3_000;
const LARGE_BYTES = 600_000;
const WAIT_MS = 100;
const NEMESIS_PAUSE_MS = { least: 300, spread: 1_500 } as const;
const MESSAGES_UNTIL_AMBUSH = 40;

/** What one run of writers does to one bucket. */
export interface Workload {
  readonly bucket: string;
  readonly writersPerGateway: number;
  readonly seed: number;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Lets clients of one gateway, or another, into one bucket. */
export function clientOf(
  gateways: TwoGateways,
  { box, name }: DrillGateway,
  bucket: string,
  recorder: HistoryRecorder,
  who: string,
): RecordingClient {
  const { keyId, secret } = gateways.key;
  const token = `${keyId}.${secret.reveal()}`;
  return new RecordingClient({ name: `${who} at ${name}`, port: box.ports.gateway, token, bucket }, recorder);
}

/**
 * Lets that many writers a gateway put, put on condition, delete, read and list, until the signal.
 * @returns the keys that only one writer wrote, beside those that all fight for
 */
export async function runWriters(
  gateways: TwoGateways,
  recorder: HistoryRecorder,
  workload: Workload,
): Promise<readonly string[]> {
  const { signal } = workload;
  const own: string[] = [];
  const writers = gateways.both.flatMap((gateway, place) =>
    Array.from({ length: workload.writersPerGateway }, async (_, index) => {
      const random = seededRandom(workload.seed * 1_000 + place * 100 + index);
      const who = `writer ${place * workload.writersPerGateway + index}`;
      using client = clientOf(gateways, gateway, workload.bucket, recorder, who);
      const known = new Map<string, string>();
      for (let step = 0; !signal.aborted; step += 1) {
        const before = recorder.operations.length;
        const ownKey = `own/${who.replace(" ", "-")}/${step}`;
        if (await act(client, random, known, ownKey)) own.push(ownKey);
        // Nobody answers: the gateway is down, and asking it without rest would leave the others no processor.
        if (recorder.operations.length === before) await restAWhile(WAIT_MS, signal);
      }
    }),
  );
  await Promise.all(writers);
  return own;
}

/** One thing that a writer does. @returns true where it was a put of its own key */
async function act(
  client: RecordingClient,
  random: Random,
  known: Map<string, string>,
  ownKey: string,
): Promise<boolean> {
  const key = SHARED_KEYS[random.int(SHARED_KEYS.length)] ?? "";
  const sizeBytes = random.int(40) === 0 ? LARGE_BYTES : 1 + random.int(SMALL_BYTES_MAX);
  const dice = random.int(100);
  if (dice < 20) {
    await client.put(ownKey, sizeBytes);
    return true;
  }
  if (dice < 40) remember(known, key, await client.put(key, sizeBytes));
  else if (dice < 50) remember(known, key, await client.put(key, sizeBytes, { kind: "absent" }));
  else if (dice < 60) {
    const value = known.get(key);
    const when = value === undefined ? ({ kind: "absent" } as const) : ({ kind: "is", value } as const);
    remember(known, key, await client.put(key, sizeBytes, when));
  } else if (dice < 72) await client.remove(key);
  else if (dice < 95) remember(known, key, (await client.get(key)) ?? null);
  else if (dice < 98) await client.list("shared/", SHARED_KEYS);
  else await client.list("shared/", SHARED_KEYS, 7);
  return false;
}

function remember(known: Map<string, string>, key: string, value: string | null): void {
  if (value !== null) known.set(key, value);
}

/** What a nemesis does. */
export interface Nemesis {
  readonly seed: number;
  readonly signal: AbortSignal;
  /** Done now and then in between, such as a collection of garbage. */
  readonly meddle?: () => Promise<void>;
}

/**
 * Kills, pauses and cuts off both gateways, whatever the other one is at, as the seed draws it; in the end both serve
 * again.
 * @param done gets what it does, in order
 */
export async function harass({ both }: TwoGateways, { seed, signal, meddle }: Nemesis, done: string[]): Promise<void> {
  const harassOne = async (gateway: DrillGateway, random: Random): Promise<void> => {
    while (!signal.aborted) {
      await restAWhile(NEMESIS_PAUSE_MS.least + random.int(NEMESIS_PAUSE_MS.spread), signal);
      const what = HARMS[random.int(HARMS.length)] ?? "kill";
      done.push(`${what} ${gateway.name}`);
      await strike(gateway, what, random);
      if (meddle !== undefined && random.int(4) === 0) {
        done.push("meddle");
        await meddle();
      }
    }
  };
  await Promise.all(both.map(async (gateway, place) => await harassOne(gateway, seededRandom(seed + place))));
  for (const gateway of both) gateway.ambush("pass", 0);
}

const HARMS = ["kill", "pause", "cut", "ambush", "ambush", "ambush", "slow"] as const;

async function strike(gateway: DrillGateway, what: (typeof HARMS)[number], random: Random): Promise<void> {
  const { process: daemon, ledger } = gateway;
  switch (what) {
    case "kill":
      await daemon.kill();
      // What was to befall the one that is gone must not keep the next one from starting: it would be right to refuse.
      gateway.ambush("pass", 0);
      await systemClock.sleep(random.int(500));
      await daemon.start();
      break;
    case "pause":
      daemon.freeze();
      await systemClock.sleep(200 + random.int(2_500));
      daemon.thaw();
      break;
    case "cut":
      ledger.resetAll();
      break;
    case "ambush": {
      const verdicts = ["cut before", "cut within", "cut after", "reset", "swallow", "swallow answers"] as const;
      gateway.ambush(verdicts[random.int(verdicts.length)] ?? "reset", random.int(MESSAGES_UNTIL_AMBUSH));
      break;
    }
    case "slow":
      ledger.delayMs = 5 + random.int(40);
      await systemClock.sleep(200 + random.int(800));
      ledger.delayMs = 0;
      break;
  }
}
