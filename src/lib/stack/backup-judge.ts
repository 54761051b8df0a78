import { formatDuration } from "../kernel/units.ts";
import type { BackupFacts } from "./backup-facts.ts";
import type { PartProblem } from "./status-part.ts";

/** What the judgement needs to know beside the facts. */
export interface BackupPolicy {
  readonly maxAgeMs: number;
  /** `backup.archive` */
  readonly archive: boolean;
  /** When this box was set up; null where that is not known. */
  readonly joinedAtMs: number | null;
  readonly nowMs: number;
}

const CREATE = "fula-master backup create";
const DEEP = "fula-master backup verify --deep";

function bad(message: string, remedy: string): PartProblem {
  return { severity: "bad", message, remedy };
}

function attention(message: string, remedy: string): PartProblem {
  return { severity: "attention", message, remedy };
}

function newestProblems({ newest, stale, dir, isDue }: BackupFacts, policy: BackupPolicy): readonly PartProblem[] {
  const { maxAgeMs, joinedAtMs, nowMs } = policy;
  if (newest === null) {
    // The first one is taken in the first night.
    const isNew = joinedAtMs !== null && nowMs - joinedAtMs <= maxAgeMs;
    return isDue && !isNew ? [bad(`There is no good base backup in ${dir}.`, CREATE)] : [];
  }
  const { name, ageMs, tested } = newest;
  const problems: PartProblem[] = [];
  if (stale && isDue) {
    const [age, limit] = [formatDuration(Math.max(0, ageMs)), formatDuration(maxAgeMs)];
    problems.push(bad(`The newest good base backup, ${name}, is ${age} old; backup.maxAge is ${limit}.`, CREATE));
  }
  if (tested === false) problems.push(bad(`The test restore of ${name} found something wrong.`, DEEP));
  if (tested === null && isDue) problems.push(attention(`${name} was never restored for a test.`, DEEP));
  return problems;
}

/** What is wrong with the base backups of a box and its archive; nothing is well. Reads nothing. */
export function judgeBackups(facts: BackupFacts, policy: BackupPolicy): readonly PartProblem[] {
  const { damaged, future, archive } = facts;
  const problems = [...newestProblems(facts, policy)];
  if (future.length > 0) {
    problems.push(
      bad(
        `Base backups that are dated later than it is now: ${future.join(", ")}.`,
        "set this box's clock right; if it is right, they were taken while it was wrong: rm -r those that are not needed.",
      ),
    );
  }
  if (damaged.length > 0) {
    problems.push(bad(`Base backups that are not good: ${damaged.join(", ")}.`, "fula-master backup list tells why."));
  }
  if (policy.archive && archive === null) {
    problems.push(bad("backup.archive is on, and no WAL is archived.", "/readyz of serve tells why (check archive)."));
  }
  if (archive !== null && archive.holes.length > 0) {
    problems.push(
      attention(
        `The archived WAL has holes: ${archive.holes.join(", ")}.`,
        "fula-master backup create: a restore from it needs nothing older.",
      ),
    );
  }
  return problems;
}
