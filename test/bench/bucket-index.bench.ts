import {
  COMPACT_AFTER,
  type Cost,
  costOfFlushes,
  type FlushContestant,
  hashedKey,
  numberedKey,
  OwnIndex,
} from "../support/index-flushes.ts";
import { atprotoMst, pail, prollyTree } from "./index-competitors.ts";
import { peakMemoryMB } from "./measure.ts";

/** The old way, as it was measured in the existing fleet: 150 files of 4 KB, one flush each; its last flush alone. */
const OLD_WAY = { puts: 1_630, bytes: 12_200_000, last: { puts: 17, bytes: 161_700 } };
const FILES = 150;
const PUTS_MAX = 160;
const BYTES_MAX = 200_000;
const LAST_MAX: Cost = { puts: 2, bytes: 2_000 };
const FLUSH_MAX: Cost = { puts: 3.3, bytes: 8_000 };
const COLD_READS_MAX = 20;
const COLD_KEYS = 1_000;
/** Keys of a bench begin here, far from those that are in the base. */
const FIRST = 100_000_000;
/** `BUCKET_KEYS=10000 npm run bench bucket-index` for a quick look. */
const SIZES = (process.env["BUCKET_KEYS"] ?? "10000,1000000").split(",").map(Number);
const COMPETITORS_KEYS = 10_000;

const COMPETITORS: readonly ((count: number) => Promise<FlushContestant>)[] = [
  atprotoMst,
  pail,
  async (count) => await prollyTree(3, count),
  async (count) => await prollyTree(16, count),
];

function judge(what: string, isMet: boolean): void {
  console.log(`${what}: ${isMet ? "met" : "NOT MET"}`);
  if (!isMet) process.exitCode = 1;
}

function fits(cost: Cost, max: Cost): boolean {
  return cost.puts <= max.puts && cost.bytes <= max.bytes;
}

function line(name: string, cost: Cost, against: Cost, digits: number): void {
  const ratios = `${(cost.puts / against.puts).toFixed(2)} × ${(cost.bytes / against.bytes).toFixed(2)} ×`;
  console.log(
    `${name.padEnd(24)} ${cost.puts.toFixed(digits).padStart(9)} PUTs ${(cost.bytes / 1_000).toFixed(2).padStart(10)} KB  ${ratios}`,
  );
}

interface FilesCost {
  readonly name: string;
  readonly all: Cost;
  readonly last: Cost;
}

async function costOfFiles(contestant: FlushContestant, keyOf: (n: number) => string): Promise<FilesCost> {
  const first = await costOfFlushes(contestant, 0, FILES - 1, keyOf);
  const last = await costOfFlushes(contestant, FILES - 1, FILES, keyOf);
  return { name: contestant.name, last, all: { puts: first.puts + last.puts, bytes: first.bytes + last.bytes } };
}

/** (a) 150 files, one flush each, into an empty bucket. */
async function benchFiles(names: string, keyOf: (n: number) => string): Promise<void> {
  console.log(`\n${FILES} files with ${names} names, one flush each; entries and compaction counted, contents not:\n`);
  const ours = await costOfFiles(await OwnIndex.holding(0), keyOf);
  const others: FilesCost[] = [];
  for (const make of COMPETITORS) others.push(await costOfFiles(await make(0), keyOf));
  for (const { name, all } of [ours, ...others]) line(name, all, ours.all, 0);
  line("the existing fleet", OLD_WAY, ours.all, 0);
  console.log(`\nthe last of them alone:\n`);
  for (const { name, last } of [ours, ...others]) line(name, last, ours.last, 0);
  line("the existing fleet", OLD_WAY.last, ours.last, 0);
  console.log("");
  judge(`at most ${PUTS_MAX} PUTs and ${BYTES_MAX / 1e6} MB`, fits(ours.all, { puts: PUTS_MAX, bytes: BYTES_MAX }));
  judge(`the last one at most ${LAST_MAX.puts} PUTs and ${LAST_MAX.bytes / 1_000} KB`, fits(ours.last, LAST_MAX));
  const isAhead = others.every(({ all }) => ours.all.puts < all.puts && ours.all.bytes < all.bytes);
  judge("ahead of all others on both counts", isAhead);
}

function average({ puts, bytes }: Cost, flushes: number): Cost {
  return { puts: puts / flushes, bytes: bytes / flushes };
}

async function benchColdReads(index: OwnIndex, count: number): Promise<void> {
  // The longest log that readers ever meet lies over the base: the next flush would have it worked in.
  const from = FIRST + 10_000_000;
  await costOfFlushes(index, from, from + COMPACT_AFTER - 1);
  const inBase = COLD_KEYS - (COMPACT_AFTER - 1);
  const keys = [
    ...Array.from({ length: inBase }, (_none, n) => Math.floor((n * count) / inBase)),
    ...Array.from({ length: COMPACT_AFTER - 1 }, (_none, n) => from + n),
  ];
  let sum = 0;
  let max = 0;
  for (const n of keys) {
    const reads = await index.coldReads(hashedKey(n));
    sum += reads;
    max = Math.max(max, reads);
  }
  console.log(
    `one cold key of ${keys.length}: ${(sum / keys.length).toFixed(1)} block reads on average, ${max} at most`,
  );
  judge(`at most ${COLD_READS_MAX} block reads for one cold key`, max <= COLD_READS_MAX);
}

/** (b) Flushes of one random key into a bucket that has many already. */
async function benchSize(count: number): Promise<void> {
  console.log(`\nA flush of one random key into ${count.toLocaleString("en")} keys, on average, compaction counted:\n`);
  const index = await OwnIndex.holding(count);
  const flushes = COMPACT_AFTER * 4;
  const ours = average(await costOfFlushes(index, FIRST, FIRST + flushes), flushes);
  line(index.name, ours, ours, 2);
  if (count <= COMPETITORS_KEYS) {
    for (const make of COMPETITORS) {
      const other = await make(count);
      line(other.name, average(await costOfFlushes(other, FIRST, FIRST + COMPACT_AFTER), COMPACT_AFTER), ours, 2);
    }
  }
  console.log("");
  judge(`at most ${FLUSH_MAX.puts} PUTs and ${FLUSH_MAX.bytes / 1_000} KB`, fits(ours, FLUSH_MAX));
  await benchColdReads(index, count);
}

/** What the index of a bucket costs: blocks that are put and read, which are counts and the same on every machine. */
export async function bench(): Promise<void> {
  await benchFiles("hashed", hashedKey);
  await benchFiles("numbered", numberedKey);
  for (const size of SIZES) await benchSize(size);
  console.log(`\npeak memory: ${peakMemoryMB().toFixed(0)} MB`);
}
