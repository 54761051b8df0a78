/**
 * Runs the benchmarks: `npm run bench` all of them, `npm run bench startup` those whose name contains the word. Each
 * module measures against a baseline of the same run, because the time of one machine says nothing about another.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";

const SUFFIX = ".bench.ts";
const wanted = process.argv.slice(2);
const names = (await readdir(import.meta.dirname, { recursive: true }))
  .filter((name) => name.endsWith(SUFFIX))
  .filter((name) => wanted.length === 0 || wanted.some((word) => name.includes(word)))
  .toSorted();
if (names.length === 0) {
  console.error(`No benchmark is named like ${wanted.join(" or ")}.`);
  process.exitCode = 2;
}
for (const name of names) {
  console.log(`\n## ${name.slice(0, -SUFFIX.length)}\n`);
  const { bench }: { bench: () => Promise<void> } = await import(join(import.meta.dirname, name));
  await bench();
}
