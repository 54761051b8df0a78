import type { SiteSession } from "../../runtime/postgres-site.ts";
import { runScript } from "./site-files.ts";

/** Files of a data directory that say what it is. */
export interface NodeFiles {
  /** Text of `backup_label`: the directory is a copy that was never started. */
  readonly backupLabel: string | null;
  /** Names of the WAL files that have anything in them. */
  readonly segments: ReadonlySet<string>;
  /** Texts of the history files, by timeline. */
  readonly histories: ReadonlyMap<number, string>;
}

const TIMEOUT_MS = 30_000;
/** Before each part; no text of PostgreSQL has it. */
const MARK = "\u001E";

// One program for all of it: in a container, each is a call of the engine.
const SCRIPT = `
[ -e "$1" ] || exit 0
cd "$1" || exit 1
[ -n "$(ls -A .)" ] || exit 0
printf '\\036directory\\n'
if [ -e backup_label ]; then printf '\\036backup_label\\n'; cat backup_label || exit 1; fi
[ -d pg_wal ] || exit 0
cd pg_wal || exit 1
for file in *.history; do
  [ -e "$file" ] || continue
  printf '\\036%s\\n' "$file"; cat "$file" || exit 1
done
printf '\\036segments\\n'
find . -type f -size +0 -name '????????????????????????'`;

const HISTORY = /^([0-9A-F]{8})\.history$/;

/**
 * Reads them in one go.
 * @returns null where there is no such directory, or nothing in it
 * @throws FulaError FULA_RECOVERY_STEP
 */
export async function readNodeFiles(
  session: SiteSession,
  dataDir: string,
  signal: AbortSignal,
): Promise<NodeFiles | null> {
  const text = await runScript(session, `read ${dataDir}`, SCRIPT, [dataDir], { signal, timeoutMs: TIMEOUT_MS });
  const parts = text.split(MARK).slice(1);
  if (parts.length === 0) return null;
  const histories = new Map<number, string>();
  const segments = new Set<string>();
  let backupLabel: string | null = null;
  for (const part of parts) {
    const newline = part.indexOf("\n");
    const [name, content] = [part.slice(0, newline), part.slice(newline + 1)];
    const timeline = HISTORY.exec(name)?.[1];
    if (timeline !== undefined) histories.set(Number.parseInt(timeline, 16), content);
    if (name === "backup_label") backupLabel = content;
    if (name !== "segments") continue;
    for (const line of content.split("\n")) {
      // Not what lies in archive_status.
      if (/^\.\/[0-9A-F]{24}$/.test(line)) segments.add(line.slice(2));
    }
  }
  return { backupLabel, segments, histories };
}
