import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { readBackupFacts } from "../stack/backup-facts.ts";
import { judgeBackups } from "../stack/backup-judge.ts";
import { joinedAtMs } from "../stack/installation.ts";
import { ownPostgres } from "../stack/own-postgres.ts";
import type { CheckOutcome, HealthCheck } from "./health.ts";

/** Every archived segment is looked at. */
const TIMEOUT_MS = 10_000;
const CACHE_MS = 60_000;
const SECOND_MS = 1_000;

async function lookAtBackups(loaded: LoadedConfig, clock: Clock): Promise<CheckOutcome> {
  const facts = await readBackupFacts(loaded, clock);
  const { maxAge: maxAgeMs, archive } = loaded.config.backup;
  const joinedMs = await joinedAtMs(loaded.paths.stateDir);
  const [worst] = judgeBackups(facts, { maxAgeMs, archive, joinedAtMs: joinedMs, nowMs: clock.nowMs() });
  const { newest, damaged, isDue } = facts;
  const details = {
    isDue,
    name: newest?.name ?? null,
    endedAtSeconds: newest === null ? null : Math.floor(Date.parse(newest.endedAt) / SECOND_MS),
    tested: newest?.tested ?? null,
    damaged: damaged.length,
    archivedTo: facts.archive?.reachesTo ?? null,
    holes: facts.archive?.holes.length ?? 0,
  };
  if (worst === undefined) return { state: "ok", details };
  return { state: "degraded", error: `${worst.message} Try: ${worst.remedy}`, details };
}

/** Looks at the base backups of a box that carries a server of the ledger; none where it carries none. */
export function backupsChecks(loaded: LoadedConfig, clock: Clock): readonly HealthCheck[] {
  if (ownPostgres(loaded.config) === null) return [];
  return [
    {
      name: "backups",
      critical: false,
      timeoutMs: TIMEOUT_MS,
      cacheMs: CACHE_MS,
      run: async () => await lookAtBackups(loaded, clock),
    },
  ];
}
