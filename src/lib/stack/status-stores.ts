import { dirname } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { formatCount } from "../kernel/units.ts";
import type { Pool } from "../postgres/pool.ts";
import { diskRoom } from "../runtime/host.ts";
import { peekLedger } from "./ledger-peek.ts";
import type { LookLimits } from "./look.ts";
import { openPinCluster } from "./pinset.ts";
import { DISK_THRESHOLDS } from "./preflight-base-dir.ts";
import { lookAtSchema, type SchemaLook } from "./schema-look.ts";
import { bad, lookAtPart, OK } from "./status-part.ts";
import type { DiskPart, LedgerPart, PinsPart } from "./status-report.ts";

async function askServer(pool: Pool): Promise<{ readonly serverVersion: string | null; readonly schema: SchemaLook }> {
  const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
  return { serverVersion: rows[0]?.version ?? null, schema: await lookAtSchema(pool) };
}

/** Looks at the ledger's server and schema. */
export async function readLedger(loaded: LoadedConfig, limits: LookLimits): Promise<LedgerPart> {
  const { mode } = loaded.config.postgres;
  const nothing = { mode, serverVersion: null, schemaVersion: null, pending: [] };
  return await lookAtPart<LedgerPart>(limits, nothing, async (signal) => {
    const found = await peekLedger(loaded, askServer, signal);
    if (found === null) return { ...nothing, ...bad("the embedded PostgreSQL does not run. Try: fula-master start") };
    const { serverVersion, schema } = found;
    const known = { mode, serverVersion, schemaVersion: schema.version, pending: schema.toDo };
    if (schema.toDo.length === 0) return { ...known, ...OK };
    const missing = formatCount(schema.toDo.length, "migration is", "migrations are");
    return { ...known, ...bad(`${missing} missing. Try: fula-master migrate up`) };
  });
}

/** Counts the pins. */
export async function readPins(loaded: LoadedConfig, limits: LookLimits): Promise<PinsPart> {
  return await lookAtPart<PinsPart>(limits, { count: null }, async (signal) => {
    await using pins = await openPinCluster(loaded, { clock: limits.clock });
    const count = await pins.count(signal);
    if (count === null) {
      // Listing all of a large pinset takes too long for a screen; the first record shows that it can be read.
      for await (const _ of pins.pins(signal)) break;
    }
    return { count, ...OK };
  });
}

/** Looks at the room on the file system that holds `path`. */
export async function readRoom(path: string, limits: LookLimits): Promise<DiskPart> {
  return await lookAtPart<DiskPart>(limits, { path, freeBytes: null, totalBytes: null }, async () => {
    const { bytesFree, bytesTotal, inodesFree } = await diskRoom(path);
    const known = { path, freeBytes: bytesFree, totalBytes: bytesTotal };
    const full =
      bytesFree < DISK_THRESHOLDS.bytesMin || (inodesFree !== null && inodesFree < DISK_THRESHOLDS.inodesMin);
    if (full) return { ...known, ...bad(`the file system is almost full. Try: df -h ${path}; df -i ${path}`) };
    return { ...known, ...OK };
  });
}

/** Looks at the file system of the stores. */
export async function readDisk({ paths }: LoadedConfig, limits: LookLimits): Promise<DiskPart> {
  return await readRoom(dirname(paths.blocksDir), limits);
}
