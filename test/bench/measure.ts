import { readFileSync } from "node:fs";

/** One thing that is measured. */
export interface Contestant {
  readonly name: string;
  readonly run: () => void | Promise<void>;
}

/** What was measured of one contestant, in milliseconds. */
export interface Measured {
  readonly name: string;
  readonly medianMs: number;
  readonly minMs: number;
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/**
 * Runs all contestants in turns, `rounds` times after one round that does not count, so that whatever slows the machine
 * for a while slows them all.
 */
export async function measureInTurns(contestants: readonly Contestant[], rounds: number): Promise<readonly Measured[]> {
  const timesMs = contestants.map((): number[] => []);
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, { run }] of contestants.entries()) {
      const startedMs = performance.now();
      await run();
      if (round >= 0) timesMs[index]?.push(performance.now() - startedMs);
    }
  }
  return contestants.map(({ name }, index) => {
    const ours = timesMs[index] ?? [];
    return { name, medianMs: median(ours), minMs: Math.min(...ours) };
  });
}

/** Prints the medians as a table, each with its difference and its ratio to the first one. */
export function printAgainstFirst(measured: readonly Measured[]): void {
  const baseline = measured[0]?.medianMs ?? Number.NaN;
  const rows = measured.map(({ name, medianMs, minMs }) => [
    name,
    medianMs.toFixed(1),
    minMs.toFixed(1),
    `${medianMs < baseline ? "" : "+"}${(medianMs - baseline).toFixed(1)}`,
    `${(medianMs / baseline).toFixed(2)} ×`,
  ]);
  const table = [["", "median ms", "min ms", "difference", "ratio"], ...rows];
  const widths = table[0]?.map((_title, column) => Math.max(...table.map((row) => (row[column] ?? "").length))) ?? [];
  for (const row of table) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    console.log(cells.join("  "));
  }
}

/**
 * The most memory that a process ever held, in MB (10⁶ bytes). Read from the kernel's account of its address space,
 * because `getrusage` also counts what the parent held when it forked.
 */
export function peakMemoryMB(pid: number | "self" = "self"): number {
  const status = `/proc/${pid}/status`;
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(status, "utf8"))?.[1];
  if (kilobytes === undefined) throw new Error(`${status} has no VmHWM`);
  return (Number(kilobytes) * 1024) / 1e6;
}
