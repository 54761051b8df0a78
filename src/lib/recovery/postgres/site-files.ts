import { createHash } from "node:crypto";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import type { SiteProgram, SiteRun, SiteSession } from "../../runtime/postgres-site.ts";

/** Exit codes of our scripts that are an answer and no failure; the shell and coreutils use none of them. */
const ABSENT = 44;
const CHANGED = 45;
/** A file of some kilobytes: a disk that takes longer does not answer. */
const FILE_TIMEOUT_MS = 30_000;
/** Two or three write the same file, each a few times an hour at most. */
const CHANGE_ATTEMPTS = 20;
/** What is shown of a program's last words. */
const STDERR_CHARS = 600;

// A directory that cannot be entered is an error, not a directory without the file.
const READ = `[ -x "\${1%/*}" ] || exit 1; [ -e "$1" ] || exit ${ABSENT}; exec cat "$1"`;

// The lock is held by descriptor 9 until the shell ends. What the file has to be is compared under it.
const WRITE = `
umask 177
if [ "$2" != any ]; then
  exec 9>"$1.lock" && flock 9 || exit 1
  if [ -e "$1" ]; then was=$(sha256sum <"$1") || exit 1; else was=absent; fi
  [ "\${was%% *}" = "$2" ] || exit ${CHANGED}
fi
cat >"$1.tmp" && sync "$1.tmp" && mv -f "$1.tmp" "$1" && sync "\${1%/*}"`;

const REMOVE = 'rm -f "$1" && sync "${1%/*}"';

function failed(program: string, doing: string, end: { exitCode: number | null; stderr: string; timedOut: boolean }) {
  const how = end.timedOut ? "took too long and was ended" : `ended with ${end.exitCode ?? "a signal"}`;
  const said = end.stderr.trim().slice(-STDERR_CHARS);
  return new FulaError("FULA_RECOVERY_STEP", `Cannot ${doing}: ${program} ${how}${said === "" ? "" : `: ${said}`}.`, {
    hint: "mend what it names, then run the command again; what was done so far is left in a state from which it goes on.",
    details: { program, exitCode: end.exitCode, timedOut: end.timedOut },
  });
}

/**
 * Runs a program of a site that has to succeed.
 * @param doing for the message, an infinitive: "read the control file"
 * @returns what it wrote
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function runStep(
  session: SiteSession,
  doing: string,
  program: SiteProgram,
  run: SiteRun,
): Promise<string> {
  const end = await session.run(program, run);
  run.signal?.throwIfAborted();
  if (end.exitCode !== 0) throw failed(program, doing, end);
  return end.stdout;
}

/** Runs a script of ours as the server's user; its arguments are `$1` and on. @throws FulaError FULA_RECOVERY_STEP */
export async function runScript(
  session: SiteSession,
  doing: string,
  script: string,
  args: readonly string[],
  options: Omit<SiteRun, "args"> = {},
): Promise<string> {
  return await runStep(session, doing, "sh", { ...options, args: ["-c", script, "sh", ...args] });
}

/** What this process does itself, told as what programs do. */
async function byItself<T>(doing: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof FulaError) throw error;
    throw new FulaError("FULA_RECOVERY_STEP", `Cannot ${doing}: ${messageOf(error)}.`, {
      cause: error,
      hint: "mend what it names, then run the command again; what was done so far is left in a state from which it goes on.",
    });
  }
}

/** A file beside the data directory, or in it; null where it is not there. @throws FulaError FULA_RECOVERY_STEP */
export async function readSiteFile(session: SiteSession, path: string): Promise<string | null> {
  if (session.files !== undefined) return await byItself(`read ${path}`, session.files.read(path));
  const end = await session.run("sh", { args: ["-c", READ, "sh", path], timeoutMs: FILE_TIMEOUT_MS });
  if (end.exitCode === ABSENT) return null;
  if (end.exitCode !== 0) throw failed("sh", `read ${path}`, end);
  return end.stdout;
}

async function writeOver(session: SiteSession, path: string, content: string, expected: string): Promise<boolean> {
  if (session.files !== undefined)
    return await byItself(`write ${path}`, session.files.replace(path, content, expected));
  const end = await session.run("sh", {
    args: ["-c", WRITE, "sh", path, expected],
    stdin: content,
    timeoutMs: FILE_TIMEOUT_MS,
  });
  if (end.exitCode === CHANGED) return false;
  if (end.exitCode !== 0) throw failed("sh", `write ${path}`, end);
  return true;
}

/** Replaces a file in one step, durably: temporary file, fsync, rename, fsync of the directory. @throws FulaError FULA_RECOVERY_STEP */
export async function writeSiteFile(session: SiteSession, path: string, content: string): Promise<void> {
  await writeOver(session, path, content, "any");
}

/**
 * Reads a file and says how to change it. @returns what writes it, durably: false where somebody else has changed it since
 * @param change what it is to hold, of what it holds (null: it is not there)
 * @throws FulaError FULA_RECOVERY_STEP; what `change` throws
 */
export async function prepareSiteFile(
  session: SiteSession,
  path: string,
  change: (before: string | null) => string,
): Promise<() => Promise<boolean>> {
  const before = await readSiteFile(session, path);
  const after = change(before);
  if (after === before) return async () => await Promise.resolve(true);
  const expected = before === null ? "absent" : createHash("sha256").update(before).digest("hex");
  return async () => await writeOver(session, path, after, expected);
}

/**
 * As `writeSiteFile`, from what the file holds: whoever else changes it at the same time loses nothing.
 * @throws FulaError FULA_RECOVERY_STEP; what `change` throws
 */
export async function changeSiteFile(
  session: SiteSession,
  path: string,
  change: (before: string | null) => string,
): Promise<void> {
  for (let attempt = 0; attempt < CHANGE_ATTEMPTS; attempt += 1) {
    const write = await prepareSiteFile(session, path, change);
    if (await write()) return;
  }
  throw new FulaError(
    "FULA_RECOVERY_STEP",
    `Cannot write ${path}: others changed it at each of ${CHANGE_ATTEMPTS} attempts.`,
    { hint: "look which other command of fula-master runs on this box: ps aux | grep fula-master" },
  );
}

/** Removes a file, durably; one that is not there is none the less removed. @throws FulaError FULA_RECOVERY_STEP */
export async function removeSiteFile(session: SiteSession, path: string): Promise<void> {
  if (session.files !== undefined) {
    await byItself(`remove ${path}`, session.files.remove(path));
    return;
  }
  await runScript(session, `remove ${path}`, REMOVE, [path], { timeoutMs: FILE_TIMEOUT_MS });
}
