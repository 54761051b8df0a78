import { existsSync } from "node:fs";
import { formatDuration } from "../kernel/units.ts";
import { readBackupFacts } from "./backup-facts.ts";
import { judgeBackups } from "./backup-judge.ts";
import { backupPlace } from "./backup-place.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import { joinedAtMs } from "./installation.ts";
import { ownPostgres } from "./own-postgres.ts";
import type { Finding } from "./preflight.ts";

/** Many segments have to be looked at. */
const LIMIT_MS = 30_000;

async function backupsFinding({ loaded, clock }: DoctorBox): Promise<readonly Finding[]> {
  const facts = await readBackupFacts(loaded, clock);
  const { newest } = facts;
  const problems = judgeBackups(facts, {
    maxAgeMs: loaded.config.backup.maxAge,
    archive: loaded.config.backup.archive,
    joinedAtMs: await joinedAtMs(loaded.paths.stateDir),
    nowMs: clock.nowMs(),
  });
  const found = problems.map(({ severity, message, remedy }) =>
    severity === "bad" ? failed(message, remedy) : doubtful(message, remedy),
  );
  if (newest !== null) return [fine(`${newest.name}, ${formatDuration(Math.max(0, newest.ageMs))} old`), ...found];
  return found.length > 0 ? found : [fine(facts.isDue ? "the first is taken by its schedule" : "none is due here")];
}

/** Looks at base backups and archive where this box has some, or is to have them. */
export function backupChecks(box: DoctorBox): readonly DoctorCheck[] {
  const { loaded } = box;
  if (ownPostgres(loaded.config) === null && !existsSync(backupPlace(loaded).backupDir)) return [];
  return [{ name: "backups", limitMs: LIMIT_MS, run: async () => await backupsFinding(box) }];
}
