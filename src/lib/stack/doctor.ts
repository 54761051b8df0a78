import type { Clock } from "../kernel/clock.ts";
import { assert } from "../kernel/assert.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { nearest } from "../kernel/nearest.ts";
import { toolVersion } from "../kernel/project.ts";
import { withinLimit } from "./look.ts";
import type { Finding } from "./preflight.ts";
import type { PartProblem } from "./status-part.ts";

/** Names of everything that doctor knows how to look at, in the order of its report. */
export const DOCTOR_CHECKS = [
  "node",
  "base-dir",
  "permissions",
  "settings",
  "versions",
  "journal",
  "disk",
  "clock",
  "ports",
  "exposure",
  "engine",
  "containers",
  "serve",
  "ledger",
  "schema",
  "ledger-rights",
  "ledger-clock",
  "standbys",
  "ledger-server",
  "ledger-certs",
  "backups",
  "billing",
  "buckets",
  "bucket-race",
  "pinning",
  "federation",
  "control-plane",
  "membership",
  "nats-servers",
  "nats-replicas",
  "nats-race",
  "nats-certs",
  "kubo",
  "cluster",
  "cluster-peers",
  "cluster-secret",
  "trust",
  "storage",
  "ingest",
  "round-trip",
  "signing-key",
  "snapshot",
  "sweep",
  "alert-log",
  "alert-command",
  "schedules",
] as const;

/** The name of one check. */
export type DoctorCheckName = (typeof DOCTOR_CHECKS)[number];

/** One thing to look at. `run` changes nothing that stays. */
export interface DoctorCheck {
  readonly name: DoctorCheckName;
  /** How long it may take; default `CHECK_LIMIT_MS`. */
  readonly limitMs?: number;
  readonly run: (signal: AbortSignal) => Promise<Finding | readonly Finding[]>;
}

/** One line of the report; `--json` prints it as it is. */
export interface DoctorResult {
  readonly name: DoctorCheckName;
  readonly verdict: "ok" | "warning" | "failed" | "skipped";
  /** What was looked at and found. */
  readonly message: string;
  /** What to do; null where nothing is to be done. */
  readonly remedy: string | null;
  /** Null where it did not fail. */
  readonly code: string | null;
}

/** What `doctor --json` prints; docs/doctor.md documents it. */
export interface DoctorReport {
  /** True where nothing failed. */
  readonly healthy: boolean;
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly version: string;
  readonly baseDir: string;
  readonly counts: Readonly<Record<DoctorResult["verdict"], number>>;
  readonly checks: readonly DoctorResult[];
}

/** Which checks an operator asked for. */
export interface DoctorChoice {
  /** Names of `--only`; empty = all. */
  readonly only: readonly string[];
  readonly skip: readonly string[];
}

/** Nothing that answers at all takes as long as this; longer than a look that it makes. */
const CHECK_LIMIT_MS = 20_000;

/** A check that came out well. */
export function fine(message: string): Finding {
  return { state: "ok", message };
}

/** A check that came out bad. */
export function failed(message: string, remedy: string): Finding {
  return { state: "failed", code: "FULA_CHECK_FAILED", message, remedy };
}

/** Something that works and should not stay so. */
export function doubtful(message: string, remedy: string): Finding {
  return { state: "warning", message, remedy };
}

/** The findings for what is wrong; one that all is well where nothing is. */
export function findingsOf(problems: readonly PartProblem[], well: string): readonly Finding[] {
  if (problems.length === 0) return [fine(well)];
  return problems.map(({ severity, message, remedy }) => (severity === "bad" ? failed : doubtful)(message, remedy));
}

/** Puts a thrown error into a finding. */
function findingOf(error: unknown): Finding {
  if (isFulaError(error)) {
    return { state: "failed", code: error.code, message: error.message, remedy: error.hint ?? "" };
  }
  return failed(
    `It could not be looked at: ${messageOf(error)}.`,
    "mend what it says, then run fula-master doctor again.",
  );
}

function namesOf(option: string, typed: readonly string[]): ReadonlySet<DoctorCheckName> {
  const words = typed.flatMap((text) => text.split(",")).filter((word) => word !== "");
  return new Set(
    words.map((word) => {
      const known = DOCTOR_CHECKS.find((name) => name === word);
      if (known !== undefined) return known;
      const meant = nearest(word, DOCTOR_CHECKS);
      throw new FulaError("FULA_USAGE", `There is no check named "${word}".`, {
        hint: `${meant === null ? "" : `${option} ${meant}; `}the checks are: ${DOCTOR_CHECKS.join(", ")}.`,
      });
    }),
  );
}

function resultOf(name: DoctorCheckName, finding: Finding): DoctorResult {
  const { state: verdict, message } = finding;
  const remedy = "remedy" in finding && finding.remedy !== "" ? finding.remedy : null;
  return { name, verdict, message, remedy, code: finding.state === "failed" ? finding.code : null };
}

function orderOf({ name }: DoctorResult): number {
  return DOCTOR_CHECKS.indexOf(name);
}

async function runCheck(
  { name, limitMs = CHECK_LIMIT_MS, run }: DoctorCheck,
  limits: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<readonly DoctorResult[]> {
  try {
    const found = await withinLimit({ ...limits, limitMs }, run);
    const findings: readonly Finding[] = "state" in found ? [found] : found;
    assert(findings.length > 0, `The check "${name}" found nothing at all`);
    return findings.map((finding) => resultOf(name, finding));
  } catch (error) {
    limits.signal.throwIfAborted();
    return [resultOf(name, findingOf(error))];
  }
}

/**
 * Runs all checks that were asked for, side by side; one that cannot be made is a failed one, and one that was left out
 * is told.
 * @param checks those that make sense on this box
 * @throws FulaError FULA_USAGE for a name that no check has, or where nothing would be looked at
 */
export async function runDoctor(
  checks: readonly DoctorCheck[],
  choice: DoctorChoice,
  box: { readonly baseDir: string; readonly clock: Clock; readonly signal: AbortSignal },
): Promise<DoctorReport> {
  const { clock, signal, baseDir } = box;
  const only = namesOf("--only", choice.only);
  const skip = namesOf("--skip", choice.skip);
  const wanted = checks.filter(({ name }) => only.size === 0 || only.has(name));
  if (wanted.every(({ name }) => skip.has(name))) {
    throw new FulaError(
      "FULA_USAGE",
      "There is nothing to look at: no check that makes sense on this box was asked for.",
      {
        hint: `on this box these do: ${checks.map(({ name }) => name).join(", ")}.`,
      },
    );
  }
  const results = await Promise.all(
    wanted.map(async (check): Promise<readonly DoctorResult[]> => {
      if (!skip.has(check.name)) return await runCheck(check, { clock, signal });
      return [resultOf(check.name, { state: "skipped", message: "left out by --skip" })];
    }),
  );
  const shown = results.flat().toSorted((a, b) => orderOf(a) - orderOf(b));
  const count = (verdict: DoctorResult["verdict"]): number => shown.filter((each) => each.verdict === verdict).length;
  return {
    healthy: count("failed") === 0,
    at: new Date(clock.nowMs()).toISOString(),
    version: toolVersion(),
    baseDir,
    counts: { ok: count("ok"), warning: count("warning"), failed: count("failed"), skipped: count("skipped") },
    checks: shown,
  };
}
