import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { openSqliteStore } from "../../src/lib/membership/sqlite/sqlite-store.ts";
import { migrateToKv } from "../../src/lib/stack/membership-migrate.ts";
import { CLUSTER_ID } from "../support/federation.ts";
import { markJoined } from "../support/joined.ts";
import { makeState } from "../support/membership-state.ts";
import { type NatsServers, startNatsServers } from "../support/nats-servers.ts";
import { median, peakMemoryMB, printAgainstFirst } from "./measure.ts";

const SOAK = process.env["SOAK"] === "1";
/** SOAK=1 measures the size that the contract names. */
const SIZE = { pools: SOAK ? 10_000 : 250, members: 20, epochs: 3 };
const ROUNDS = SOAK ? 1 : 3;
/** As many as the store's own import keeps under way. */
const PUTS_AT_ONCE = 256;
const STORE_BYTES_MAX = 8 * 1_073_741_824;

interface Message {
  readonly subject: string;
  readonly data: Uint8Array;
}

function seedOf(nats: NatsServers): Uint8Array {
  return new TextEncoder().encode(nats.user.seed);
}

async function migrateOnce(nats: NatsServers, parent: string, prefix: string): Promise<number> {
  const baseDir = join(parent, prefix);
  const { signal } = new AbortController();
  const context = { globals: { baseDir }, env: {}, cwd: parent, clock: systemClock, random: systemRandom, signal };
  markJoined(baseDir, CLUSTER_ID);
  const yaml = `node:\n  role: master\n  clusterId: ${CLUSTER_ID}\ncontrolPlane:\n  prefix: ${prefix}\n  timeout: 60s\n`;
  await writeFile(join(baseDir, "fula-master.yaml"), yaml);
  const nkeyFile = join(baseDir, "user.nk");
  const db = join(baseDir, "moved.sqlite");
  await writeFile(nkeyFile, nats.user.seed, { mode: 0o600 });
  {
    await using store = await openSqliteStore(db, { clock: systemClock, timeoutMs: 60_000, create: true });
    await store.importSnapshot(makeState(SIZE));
  }
  const startedMs = performance.now();
  await migrateToKv(context, {
    db,
    natsUrl: nats.urls.join(","),
    replicas: 1,
    caFile: null,
    nkeyFile,
    backup: true,
    overwrite: false,
    dryRun: false,
    onWait: () => {},
    onProgress: () => {},
  });
  return performance.now() - startedMs;
}

/** Every message that a migration has left on the servers. */
async function messagesOf(connection: NatsConnection, prefix: string): Promise<readonly Message[]> {
  const manager = await jetstreamManager(connection);
  const messages: Message[] = [];
  for await (const { config, state } of manager.streams.list()) {
    if (!config.name.startsWith(`KV_${prefix}_`)) continue;
    for (let seq = state.first_seq; seq <= state.last_seq; seq += 1) {
      const message = await manager.streams.getMessage(config.name, { seq });
      if (message !== null) messages.push({ subject: message.subject, data: message.data });
    }
  }
  return messages;
}

/** Puts the same bytes under as many keys into one bucket, and nothing else. */
async function putPlain(connection: NatsConnection, bucket: string, messages: readonly Message[]): Promise<number> {
  const manager = await jetstreamManager(connection);
  const subjects = [`$KV.${bucket}.>`];
  await manager.streams.add({ name: `KV_${bucket}`, subjects, max_msgs_per_subject: 1, num_replicas: 1 });
  const startedMs = performance.now();
  let next = 0;
  const put = async (): Promise<void> => {
    for (let index = next++; index < messages.length; index = next++) {
      await connection.request(`$KV.${bucket}.${index}`, messages[index]?.data, { timeout: 60_000 });
    }
  };
  await Promise.all(Array.from({ length: PUTS_AT_ONCE }, put));
  return performance.now() - startedMs;
}

/**
 * Compares a whole migration (backup, its check, export, writing, reading again, comparison) with plain KV puts of the same
 * bytes to the same server, pipelined.
 */
export async function bench(): Promise<void> {
  await using nats = await startNatsServers(1, { maxFileBytes: STORE_BYTES_MAX });
  const parent = await mkdtemp(join(tmpdir(), "fula-bench-"));
  const connection = await connect({ servers: [...nats.urls], authenticator: nkeyAuthenticator(seedOf(nats)) });
  try {
    const [plainMs, migrateMs]: [number[], number[]] = [[], []];
    let messages: readonly Message[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      migrateMs.push(await migrateOnce(nats, parent, `BENCH${round}`));
      if (messages.length === 0) messages = await messagesOf(connection, "BENCH0");
      plainMs.push(await putPlain(connection, `PLAIN${round}`, messages));
    }
    const bytes = messages.reduce((sum, { data }) => sum + data.length, 0);
    console.log(
      `${SIZE.pools} pools × ${SIZE.members} members × ${SIZE.epochs} epochs: ${messages.length} messages, ${(bytes / 1e6).toFixed(1)} MB; at most ${peakMemoryMB().toFixed(0)} MB of memory\n`,
    );
    printAgainstFirst([
      { name: "plain KV puts of the same bytes", medianMs: median(plainMs), minMs: Math.min(...plainMs) },
      { name: "membership migrate-to-kv", medianMs: median(migrateMs), minMs: Math.min(...migrateMs) },
    ]);
  } finally {
    await connection.close();
    await rm(parent, { recursive: true, force: true });
  }
}
