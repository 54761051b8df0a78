import { existsSync } from "node:fs";
import type { LoadedConfig } from "../config/load.ts";
import { type BackupFacts, readBackupFacts } from "./backup-facts.ts";
import { judgeBackups } from "./backup-judge.ts";
import { backupPlace } from "./backup-place.ts";
import type { Installation } from "./installation.ts";
import type { LookLimits } from "./look.ts";
import { ownPostgres } from "./own-postgres.ts";
import { judgementOf, lookAtPart } from "./status-part.ts";
import type { BackupsPart } from "./status-report.ts";

function partOf({ count, newest, archive, isDue }: BackupFacts): Omit<BackupsPart, "problem" | "state"> {
  return {
    due: isDue,
    count,
    newest: newest?.name ?? null,
    ageMs: newest?.ageMs ?? null,
    tested: newest?.tested ?? null,
    archivedTo: archive?.reachesTo ?? null,
  };
}

/** Looks at base backups and archive; null where this box has none and is to have none. */
export async function readBackupsPart(
  loaded: LoadedConfig,
  { createdAt }: Installation,
  limits: LookLimits,
): Promise<BackupsPart | null> {
  if (ownPostgres(loaded.config) === null && !existsSync(backupPlace(loaded).backupDir)) return null;
  const { clock } = limits;
  const { maxAge: maxAgeMs, archive } = loaded.config.backup;
  const nothing = { due: true, count: null, newest: null, ageMs: null, tested: null, archivedTo: null };
  return await lookAtPart<BackupsPart>(limits, nothing, async () => {
    const facts = await readBackupFacts(loaded, clock);
    const policy = { maxAgeMs, archive, joinedAtMs: Date.parse(createdAt), nowMs: clock.nowMs() };
    return { ...partOf(facts), ...judgementOf(judgeBackups(facts, policy)) };
  });
}
