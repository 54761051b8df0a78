import { mkdir, open, readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, formatUtc } from "../../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../../kernel/errors.ts";
import {
  ensureDir,
  exists,
  explainWriteError,
  fsyncDir,
  PRIVATE_DIR_MODE,
  SECRET_FILE_MODE,
} from "../../kernel/files.ts";
import type { Pin } from "../adapters.ts";
import { pinName, sessionOfPin } from "../pins.ts";
import type { SessionId } from "../types.ts";

const SUFFIX = ".json";

function pinsDir(backupDir: string): string {
  return join(backupDir, "pins");
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** The names of the pins that hold a backup. A file that nobody of ours wrote holds it as well. */
export async function listKeepFiles(backupDir: string, backup: string): Promise<readonly string[]> {
  return (await namesIn(join(pinsDir(backupDir), backup)))
    .filter((file) => file.endsWith(SUFFIX))
    .map((file) => file.slice(0, -SUFFIX.length))
    .toSorted();
}

/** Every pin of a catalogue, for whoever looks for those of sessions that are dead. */
export async function listAllKeepFiles(
  backupDir: string,
): Promise<readonly { readonly backup: string; readonly pin: string; readonly session: SessionId | null }[]> {
  const found: { readonly backup: string; readonly pin: string; readonly session: SessionId | null }[] = [];
  for (const backup of await namesIn(pinsDir(backupDir))) {
    for (const pin of await listKeepFiles(backupDir, backup)) found.push({ backup, pin, session: sessionOfPin(pin) });
  }
  return found;
}

/** Takes a pin away, durably; one that is not there is none the less gone. */
export async function removeKeepFile(backupDir: string, backup: string, pin: string): Promise<void> {
  const dir = join(pinsDir(backupDir), backup);
  if (!(await exists(dir))) return;
  await rm(join(dir, `${pin}${SUFFIX}`), { force: true });
  await fsyncDir(dir);
  try {
    await rmdir(dir);
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== "ENOTEMPTY" && code !== "ENOENT") throw error;
  }
}

/**
 * Holds a backup for a session: a file of its own, made exclusively and durably, and only then is looked whether the backup
 * is still there. Whoever removes one takes it away first and looks for such files after that, so one of the two sees the other.
 * @throws FulaError FULA_BASE_BACKUP_ABSENT where it is gone
 */
export async function pinBackup(backupDir: string, backup: string, session: SessionId, clock: Clock): Promise<Pin> {
  const name = pinName(session, "snapshot");
  const dir = join(pinsDir(backupDir), backup);
  const release = async (): Promise<void> => {
    await removeKeepFile(backupDir, backup, name);
  };
  try {
    await ensureDir(pinsDir(backupDir));
    await mkdir(dir, { recursive: true, mode: PRIVATE_DIR_MODE });
    const handle = await open(join(dir, `${name}${SUFFIX}`), "wx", SECRET_FILE_MODE);
    try {
      await handle.writeFile(`${JSON.stringify({ session: String(session), at: formatUtc(clock.nowMs()) })}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fsyncDir(dir);
    await fsyncDir(pinsDir(backupDir));
  } catch (error) {
    throw explainWriteError(error, dir);
  }
  if (!(await exists(join(backupDir, backup)))) {
    await release();
    throw absent(backupDir, backup);
  }
  return { name, release, [Symbol.asyncDispose]: release };
}

/** The error for a backup that is not there. */
export function absent(backupDir: string, backup: string): FulaError {
  return new FulaError("FULA_BASE_BACKUP_ABSENT", `There is no base backup ${backup} in ${backupDir}.`, {
    hint: "fula-master backup list shows those that there are.",
    details: { backup, backupDir },
  });
}
