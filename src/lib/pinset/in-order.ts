import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pin, PinCluster, PinStatus, StatusOptions } from "../cluster/pins.ts";
import { PRIVATE_DIR_MODE } from "../kernel/files.ts";
import { type KeyedLine, sortLines } from "./external-sort.ts";

/** The pinset and the statuses of a cluster in ascending order of the CID text; each call reads from the start. */
export interface OrderedSources {
  readonly pins: (signal: AbortSignal) => AsyncIterable<Pin>;
  readonly statuses: (options: StatusOptions) => AsyncIterable<PinStatus>;
}

/**
 * Reads a cluster in order: as it comes where it comes in order, sorted on the disk otherwise.
 * @param tempDir where to sort; default the system's directory for temporary files
 */
export function inOrder(cluster: PinCluster, tempDir: string = tmpdir()): OrderedSources {
  if (cluster.sorted) {
    return { pins: (signal) => cluster.pins(signal), statuses: (options) => cluster.statuses(options) };
  }
  return {
    pins: (signal) => sortByCid(cluster.pins(signal), tempDir, signal),
    statuses: (options) => sortByCid(cluster.statuses(options), tempDir, options.signal),
  };
}

async function* sortByCid<T extends { readonly cid: string }>(
  source: AsyncIterable<T>,
  tempDir: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  await mkdir(tempDir, { recursive: true, mode: PRIVATE_DIR_MODE });
  const dir = await mkdtemp(join(tempDir, "fula-sort-"));
  try {
    for await (const batch of sortLines(asLines(source), { dir, signal })) {
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is what `asLines` wrote a moment ago
      for (const { line } of batch) yield JSON.parse(line) as T;
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function* asLines<T extends { readonly cid: string }>(source: AsyncIterable<T>): AsyncGenerator<KeyedLine> {
  for await (const item of source) yield { key: item.cid, line: JSON.stringify(item) };
}
