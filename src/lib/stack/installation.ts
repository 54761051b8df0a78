import { join } from "node:path";
import { z } from "zod";
import { FulaError } from "../kernel/errors.ts";
import { readTextIfExists, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";

/**
 * What makes a base directory ours: written by the first `join`, kept for ever. It holds what must survive even where
 * an operator loses the settings file, above all the name of the pinset.
 */
export interface Installation {
  readonly format: 1;
  readonly clusterId: string;
  /** RFC 3339, UTC. */
  readonly createdAt: string;
  /** The fula-master that made it. */
  readonly createdBy: string;
  /** The newest fula-master that changed it. */
  readonly changedBy: string;
  /** What was made once: where it is gone later, it was lost, and an empty one must not take its place silently. */
  readonly made: readonly MadeOnce[];
  /** The cluster peer and the Kubo node that a test pin has gone through; absent where none has. */
  readonly verified?: string | undefined;
}

/** `ledger`: the database; `pinset`: the list of pins; `control-plane`: the file of members, secrets and operators. */
export type MadeOnce = "ledger" | "pinset" | "control-plane";

const installationSchema = z.object({
  format: z.literal(1),
  clusterId: z.string().min(1),
  createdAt: z.string(),
  createdBy: z.string(),
  changedBy: z.string(),
  made: z.array(z.enum(["ledger", "pinset", "control-plane"])),
  verified: z.string().optional(),
});

/** Where it lies. */
export function installationFile(stateDir: string): string {
  return join(stateDir, "installation.json");
}

/**
 * Reads `state/installation.json`; null where there is none.
 * @throws FulaError FULA_STATE_NEWER for a format that this version does not know, FULA_BASE_DIR_FOREIGN for a file that is none of ours
 */
export async function readInstallation(stateDir: string): Promise<Installation | null> {
  const path = installationFile(stateDir);
  const text = await readTextIfExists(path);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  const parsed = installationSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const format = z.object({ format: z.number() }).safeParse(value);
  if (format.success && format.data.format > 1) {
    throw new FulaError(
      "FULA_STATE_NEWER",
      `${path} has format ${format.data.format}; this fula-master knows format 1.`,
      {
        hint: "install the newest fula-master on this box; nothing was changed.",
      },
    );
  }
  throw unreadable(path, parsed.error);
}

function unreadable(path: string, cause: unknown): FulaError {
  return new FulaError("FULA_BASE_DIR_FOREIGN", `${path} is not a file that fula-master wrote, or it is damaged.`, {
    cause,
    hint: "put the file back from a backup, or choose another place with --base-dir.",
  });
}

/** Writes it, atomically. @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
export async function writeInstallation(stateDir: string, installation: Installation): Promise<void> {
  await writeFileAtomic(installationFile(stateDir), `${JSON.stringify(installation, null, 2)}\n`, {
    mode: SECRET_FILE_MODE,
  });
}

function numbersOf(version: string): readonly number[] {
  return (/^\d+(?:\.\d+)*/.exec(version)?.[0] ?? "0").split(".").map(Number);
}

/** Compares two version numbers part by part; pre-release tags do not count. @returns < 0, 0 or > 0 */
export function compareVersions(left: string, right: string): number {
  const a = numbersOf(left);
  const b = numbersOf(right);
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** When this box was set up, in milliseconds since the Unix epoch; null where it was not. @throws FulaError as `readInstallation` */
export async function joinedAtMs(stateDir: string): Promise<number | null> {
  const installation = await readInstallation(stateDir);
  return installation === null ? null : Date.parse(installation.createdAt);
}
