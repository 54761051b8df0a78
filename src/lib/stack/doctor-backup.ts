import { existsSync } from "node:fs";
import { formatDuration } from "../kernel/units.ts";
import { readBackupFacts } from "./backup-facts.ts";
import { backupPlace } from "./backup-place.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import type { Finding } from "./preflight.ts";

/** Many segments have to be looked at. */
const LIMIT_MS = 30_000;

async function backupsFinding({ loaded, clock }: DoctorBox): Promise<readonly Finding[]> {
  const { dir, newest, stale, future, damaged, archive } = await readBackupFacts(loaded, clock);
  const findings: Finding[] = [];
  if (newest === null) findings.push(failed(`There is no good base backup in ${dir}.`, "fula-master backup create"));
  else {
    const age = formatDuration(Math.max(0, newest.ageMs));
    const limit = formatDuration(loaded.config.backup.maxAge);
    if (stale) {
      findings.push(
        failed(
          `The newest good base backup, ${newest.name}, is ${age} old; backup.maxAge is ${limit}.`,
          "fula-master backup create; with --install-cron it is taken by itself.",
        ),
      );
    } else findings.push(fine(`${newest.name}, ${age} old`));
    if (newest.tested === false)
      findings.push(
        failed(`The test restore of ${newest.name} found something wrong.`, "fula-master backup verify --deep"),
      );
    if (newest.tested === null)
      findings.push(doubtful(`${newest.name} was never restored for a test.`, "fula-master backup verify --deep"));
  }
  if (damaged.length > 0)
    findings.push(
      failed(`Base backups that are not good: ${damaged.join(", ")}.`, "fula-master backup list tells why."),
    );
  if (future.length > 0)
    findings.push(
      failed(
        `Base backups that are dated later than it is now: ${future.join(", ")}.`,
        "set this box's clock right; if it is right, they were taken while it was wrong: rm -r those that are not needed.",
      ),
    );
  if (archive !== null && archive.holes.length > 0)
    findings.push(
      doubtful(
        `The archived WAL has holes: ${archive.holes.join(", ")}.`,
        "fula-master backup create: a restore from it needs nothing older.",
      ),
    );
  if (loaded.config.backup.archive && archive === null)
    findings.push(
      failed("backup.archive is on, and no WAL is archived.", "/readyz of serve tells why (check archive)."),
    );
  return findings;
}

/** Looks at base backups and archive where this box has some, or is to have them. */
export function backupChecks(box: DoctorBox): readonly DoctorCheck[] {
  const { loaded } = box;
  if (!loaded.config.backup.archive && !existsSync(backupPlace(loaded).backupDir)) return [];
  return [{ name: "backups", limitMs: LIMIT_MS, run: async () => await backupsFinding(box) }];
}
