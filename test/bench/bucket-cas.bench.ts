import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { moveQuery } from "../../src/lib/buckets/roots/move-sql.ts";
import { PostgresRoots } from "../../src/lib/buckets/roots/postgres-roots.ts";
import type { BucketName, BucketState } from "../../src/lib/buckets/roots/root-pointer.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { createPool, type Pool } from "../../src/lib/postgres/pool.ts";
import { bucketNamed, moveTo, rootCid } from "../support/bucket-moves.ts";
import { startTestPostgres } from "../support/postgres-server.ts";
import { median, peakMemoryMB } from "./measure.ts";

/** `BENCH_SECONDS=1 npm run bench bucket-cas` for a quick look. */
const SECONDS = Number(process.env["BENCH_SECONDS"] ?? 3);
const ROUNDS = 5;
/** Ours reads JSON and CIDs where pgbench throws every answer away, in one process beside the server's. */
const RATIO_MIN = 0.4;

/** As an operator's server: a commit is on the disk before it counts. */
const SETTINGS = `
shared_buffers = 256MB
max_wal_size = 4GB
fsync = on
synchronous_commit = on
full_page_writes = on
`;

interface Scenario {
  readonly what: string;
  readonly writers: number;
  readonly buckets: number;
}

const SCENARIOS: readonly Scenario[] = [
  { what: "1 writer, 1 bucket", writers: 1, buckets: 1 },
  { what: "16 writers, 64 buckets", writers: 16, buckets: 64 },
  { what: "16 writers, 1 bucket", writers: 16, buckets: 1 },
];

const NAMES: readonly BucketName[] = Array.from({ length: 64 }, (_, index) => bucketNamed(`b-${index}`));

function bucketOf(index: number): BucketName {
  const name = NAMES[index];
  if (name === undefined) throw new Error(`there is no bucket ${index}`);
  return name;
}

/** Every version is a move that won. */
async function wins(pool: Pool): Promise<number> {
  const { rows } = await pool.query<{ sum: string }>("select sum(version) as sum from bucket_roots");
  return Number(rows[0]?.sum);
}

/** The store: each writer reads a bucket and tries to move it, over and over. */
async function runStore(store: PostgresRoots, { writers, buckets }: Scenario): Promise<void> {
  const endMs = performance.now() + SECONDS * 1_000;
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (performance.now() < endMs) {
        const name = bucketOf(systemRandom.int(buckets));
        const state = await store.get(name);
        if (state !== null) await store.cas(name, { ...moveTo(state, rootCid(1)), commitId: systemRandom.uuid() });
      }
    }),
  );
}

/** The store's own statements as a script of pgbench: what it sends as values stands there as variables. */
function scriptOf(state: BucketState, buckets: number): string {
  const { text } = moveQuery(state, moveTo(state, state.root), "pgbench");
  const bucket = "'b-' || :bucket";
  const values: readonly string[] = [
    `'${state.ownerId}'`,
    `(${bucket})`,
    "md5(random()::text)",
    "'pgbench'",
    "'{}'",
    "'{}'",
    "null",
    `'${state.root.toString()}'`,
    "1",
    "100",
    `'{"tags":{}}'`,
    ":version",
    ":root",
  ];
  const move = text
    .replaceAll(/\$(\d+)/g, (_, number: string) => {
      const value = values[Number(number) - 1];
      if (value === undefined) throw new Error(`the statement has a value ${number} that the script does not know`);
      return value;
    })
    .replaceAll(/\s+/g, " ");
  return `\\set bucket random(0, ${buckets - 1})
select version, root_cid as root from bucket_roots where owner_id = '${state.ownerId}' and bucket = ${bucket} \\gset
${move};
`;
}

const run = promisify(execFile);

/** Tries at a version that has moved on change nothing in pgbench either; only wins are counted. */
async function runPgbench(pool: Pool, script: string, writers: number, password: string): Promise<void> {
  const { host = "", port = 0, user = "", database = "" } = pool.options;
  const connection = ["-h", host, "-p", String(port), "-U", user];
  const load = ["-n", "-M", "prepared", "-c", String(writers), "-j", "1", "-T", String(SECONDS), "-f", script];
  await run("pgbench", [...connection, ...load, database], { env: { ...process.env, PGPASSWORD: password } });
}

async function makeBuckets(store: PostgresRoots): Promise<BucketState> {
  for (const name of NAMES) await store.cas(name, moveTo(null, rootCid(0)));
  const state = await store.get(bucketOf(0));
  if (state === null) throw new Error("the bucket was not made");
  return state;
}

/** Moves of roots a second that win, by the store and by pgbench with the same statements on the same server, in turns. */
export async function bench(): Promise<void> {
  const { postgres, stop } = await startTestPostgres(SETTINGS);
  const { host, port, superuser, template } = postgres;
  const pool = createPool({ host, port, database: template, ...superuser, part: "bench", node: "m-1", max: 16 });
  const dir = mkdtempSync(join(tmpdir(), "fula-bench-cas-"));
  try {
    await pool.query("update bucket_mode set mode = 'cas'");
    const store = new PostgresRoots({ pool, node: "m-1", clock: systemClock, random: systemRandom });
    const state = await makeBuckets(store);
    for (const scenario of SCENARIOS) {
      const script = join(dir, `${scenario.writers}-${scenario.buckets}.sql`);
      writeFileSync(script, scriptOf(state, scenario.buckets));
      const rates: Record<"store" | "pgbench", number[]> = { store: [], pgbench: [] };
      const measure = async (
        who: "store" | "pgbench",
        work: () => Promise<void>,
        isCounted: boolean,
      ): Promise<void> => {
        await pool.query("vacuum bucket_roots");
        const before = await wins(pool);
        await work();
        if (isCounted) rates[who].push(((await wins(pool)) - before) / SECONDS);
      };
      for (let round = -1; round < ROUNDS; round += 1) {
        await measure("store", async () => await runStore(store, scenario), round >= 0);
        await measure(
          "pgbench",
          async () => await runPgbench(pool, script, scenario.writers, superuser.password),
          round >= 0,
        );
      }
      const [ours, theirs] = [median(rates.store), median(rates.pgbench)];
      const ratio = ours / theirs;
      const verdict = ratio >= RATIO_MIN ? "met" : "NOT MET";
      console.log(
        `${scenario.what}: store ${Math.round(ours)}/s, pgbench ${Math.round(theirs)}/s, ratio ${ratio.toFixed(2)}; at least ${RATIO_MIN}: ${verdict}`,
      );
      if (ratio < RATIO_MIN) process.exitCode = 1;
    }
    console.log(`peak memory ${peakMemoryMB().toFixed(0)} MB`);
  } finally {
    rmSync(dir, { recursive: true });
    await pool.end();
    await stop();
  }
}
