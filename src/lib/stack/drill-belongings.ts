import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { BlockStore } from "../blocks/block-store.ts";
import { parseCid } from "../blocks/cid.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf, systemErrorCode } from "../kernel/errors.ts";
import { type Journal, latestJournal, openJournal, readJournal } from "../kernel/journal.ts";
import type { DrillStores } from "./drill-stores.ts";

const KIND = "drill";

/** Blocks may stay pinned for a while after their pin is gone; no more than this is waited for all of them together. */
const DELETE_PATIENCE_MS = 30_000;
const DELETE_PAUSE_MS = 500;

/** Where the directories of drills that run, or were killed, lie. */
export function drillsDir({ paths }: LoadedConfig): string {
  return join(paths.stateDir, "drills");
}

/**
 * What one run makes in stores that are not its own. Everything is written down before it is made, so that the next
 * run can clear away what a killed one left.
 */
export class DrillBelongings implements AsyncDisposable {
  readonly #journal: Journal;

  private constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** @param dir the run's own directory */
  static async open(dir: string, clock: Clock): Promise<DrillBelongings> {
    return new DrillBelongings(await openJournal(dir, KIND, clock));
  }

  /** Notes CIDs that will be pinned, and whose blocks will be stored. Returns when they are on the disk. */
  async notePins(cids: readonly string[]): Promise<void> {
    await this.#journal.append("makes", { pins: cids, blocks: cids });
  }

  /** Notes a CID whose block alone will be stored. Returns when it is on the disk. */
  async noteBlock(cid: string): Promise<void> {
    await this.#journal.append("makes", { pins: [], blocks: [cid] });
  }

  /** Notes a database that will be made, and a directory below which masters will run. Returns when it is on the disk. */
  async noteMasters(database: string, dir: string): Promise<void> {
    await this.#journal.append("makes", { databases: [database], masters: [dir] });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#journal.close();
  }
}

interface Noted {
  readonly pins: readonly string[];
  readonly blocks: readonly string[];
  readonly databases: readonly string[];
  readonly masters: readonly string[];
}

/** What a run's belongings are cleared away with. */
export interface ClearingTools {
  readonly openStores: () => Promise<DrillStores & AsyncDisposable>;
  readonly dropDatabases: (names: readonly string[]) => Promise<void>;
  /** Ends the masters that run below a directory. */
  readonly killMasters: (dir: string) => Promise<unknown>;
  readonly clock: Clock;
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((cid) => typeof cid === "string") : [];
}

async function notedIn(dir: string): Promise<Noted> {
  const noted = {
    pins: new Array<string>(),
    blocks: new Array<string>(),
    databases: new Array<string>(),
    masters: new Array<string>(),
  };
  const journal = await latestJournal(dir, KIND);
  if (journal === null) return noted;
  for await (const { pins, blocks, databases, masters } of readJournal(journal)) {
    noted.pins.push(...textsOf(pins));
    noted.blocks.push(...textsOf(blocks));
    noted.databases.push(...textsOf(databases));
    noted.masters.push(...textsOf(masters));
  }
  return noted;
}

/** Directories of runs that are still there, oldest first. */
export async function unfinishedRuns(loaded: LoadedConfig): Promise<readonly string[]> {
  const dir = drillsDir(loaded);
  try {
    return (await readdir(dir)).toSorted().map((name) => join(dir, name));
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/**
 * Ends and removes everything that a run noted, then its directory. Where something cannot be removed the directory stays, so that
 * the next run tries again. Takes no signal: it must also end what was interrupted.
 * @returns why something stays behind; null where nothing does
 */
export async function clearAway(dir: string, tools: ClearingTools): Promise<string | null> {
  const { openStores, dropDatabases, killMasters, clock } = tools;
  try {
    const { pins, blocks, databases, masters } = await notedIn(dir);
    for (const each of masters) await killMasters(each);
    if (databases.length > 0) await dropDatabases(databases);
    if (blocks.length > 0) {
      await using stores = await openStores();
      for (const cid of pins) await stores.cluster.remove(cid);
      await deleteBlocks(stores.blocks, blocks, clock);
    }
    await rm(dir, { recursive: true, force: true });
    return null;
  } catch (error) {
    return `what the drill in ${dir} made is still there: ${messageOf(error)}`;
  }
}

/**
 * Deletes blocks that nothing pins any more. What the store still takes for pinned when the patience is over is left to
 * its garbage collection: it costs a few bytes until then.
 */
async function deleteBlocks(blocks: BlockStore, cids: readonly string[], clock: Clock): Promise<void> {
  const untilMs = clock.monotonicMs() + DELETE_PATIENCE_MS;
  for (const cid of cids) {
    while (!(await isDeleted(blocks, cid)) && clock.monotonicMs() < untilMs) await clock.sleep(DELETE_PAUSE_MS);
  }
}

async function isDeleted(blocks: BlockStore, cid: string): Promise<boolean> {
  try {
    await blocks.delete(parseCid(cid));
    return true;
  } catch (error) {
    if (isFulaError(error)) return false;
    throw error;
  }
}
