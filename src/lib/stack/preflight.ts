import type { ErrorCode } from "../kernel/error-codes.ts";
import { FulaError, isFulaError, messageOf } from "../kernel/errors.ts";
import { nearest } from "../kernel/nearest.ts";

/** Names of the checks that `join` makes before it plans, in the order they are shown; `--skip-preflight` takes them. */
export const CHECK_NAMES = [
  "node",
  "base-dir",
  "contents",
  "permissions",
  "settings",
  "versions",
  "disk",
  "ports",
  "clock",
  "postgres",
  "root",
  "docker",
  "memory",
  "containers",
] as const;

/** The name of one preflight check. */
export type CheckName = (typeof CHECK_NAMES)[number];

/** What one check found. A failed one carries the code and the remedy that the operator is shown. */
export type Finding =
  /** Not made, because another check that failed comes before it. */
  | { readonly state: "skipped"; readonly message: string }
  | { readonly state: "ok"; readonly message: string }
  | { readonly state: "warning"; readonly message: string; readonly remedy: string }
  | {
      readonly state: "failed";
      readonly code: ErrorCode;
      readonly message: string;
      readonly remedy: string;
      readonly details?: Readonly<Record<string, unknown>>;
    };

/** A check by name; `run` reads and never writes. One name may have several checks (one a port, say). */
export interface Check {
  readonly name: CheckName;
  readonly run: () => Promise<Finding | readonly Finding[]>;
}

/** One line of the preflight report; `--json` prints it as it is. */
export type CheckResult = { readonly name: CheckName } & Finding;

/**
 * Reads the names given to `--skip-preflight`.
 * @throws FulaError FULA_USAGE for a name that no check has
 */
export function parseSkips(names: readonly string[]): ReadonlySet<CheckName> {
  return new Set(
    names.map((name) => {
      const known = CHECK_NAMES.find((candidate) => candidate === name);
      if (known !== undefined) return known;
      const meant = nearest(name, CHECK_NAMES);
      throw new FulaError("FULA_USAGE", `There is no preflight check named "${name}".`, {
        hint: `${meant === null ? "" : `--skip-preflight ${meant}; `}the checks are: ${CHECK_NAMES.join(", ")}.`,
      });
    }),
  );
}

function findingOfError(error: unknown, name: CheckName): Finding {
  if (isFulaError(error)) {
    const { code, message, hint, details } = error;
    return { state: "failed", code, message, remedy: hint ?? "", ...(details === undefined ? {} : { details }) };
  }
  return {
    state: "failed",
    code: "FULA_PREFLIGHT_FAILED",
    message: `The check "${name}" could not be made: ${messageOf(error)}.`,
    remedy: `mend what it says, or leave the check out with --skip-preflight ${name}.`,
  };
}

/** Runs every check that is not left out and gives all their findings; a check that cannot be made is a failed one. */
export async function runPreflight(
  checks: readonly Check[],
  skips: ReadonlySet<CheckName> = new Set(),
): Promise<readonly CheckResult[]> {
  const results = await Promise.all(
    checks.map(async ({ name, run }): Promise<readonly CheckResult[]> => {
      if (skips.has(name)) return [{ name, state: "skipped", message: "left out by --skip-preflight" }];
      try {
        const found = await run();
        const findings: readonly Finding[] = "state" in found ? [found] : found;
        return findings.map((finding) => Object.assign({ name }, finding));
      } catch (error) {
        return [{ name, ...findingOfError(error, name) }];
      }
    }),
  );
  const order = (name: CheckName): number => CHECK_NAMES.indexOf(name);
  return results.flat().toSorted((a, b) => order(a.name) - order(b.name));
}

/**
 * Gives the one error for all that failed: a single failure under its own code, several under FULA_PREFLIGHT_FAILED
 * with every one of them in the message and in `details.failures`. Null where nothing failed.
 */
export function preflightError(results: readonly CheckResult[]): FulaError | null {
  const failures = results.filter((result) => result.state === "failed");
  const [first] = failures;
  if (first === undefined) return null;
  if (failures.length === 1) {
    return new FulaError(first.code, first.message, {
      hint: first.remedy,
      details: { check: first.name, ...first.details },
    });
  }
  const lines = failures.map(({ name, code, message, remedy }) => `  ${name}: ${code}: ${message}\n    Try: ${remedy}`);
  return new FulaError(
    "FULA_PREFLIGHT_FAILED",
    `This box is not ready; ${failures.length} checks failed and nothing was changed.\n${lines.join("\n")}`,
    { hint: "mend these, then run the command again.", details: { failures } },
  );
}
