import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { isFulaError, messageOf } from "../kernel/errors.ts";
import type { Random } from "../kernel/random.ts";
import type { DrillBelongings } from "./drill-belongings.ts";

/** `passed` and `failed` say what was seen; `not-run` was not looked at, and counts as neither. */
export type DrillOutcome = "passed" | "failed" | "not-run";

/** One thing that a drill claims, and what was seen. */
export interface Assertion {
  readonly claim: string;
  readonly outcome: DrillOutcome;
  /** What was seen; for `not-run`, why nobody looked. */
  readonly evidence: string;
}

/** What every drill takes from its caller. */
export interface DrillDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Where one run of one drill takes place. */
export interface DrillScene extends DrillDeps {
  readonly loaded: LoadedConfig;
  /**
   * The same settings, but with every state, snapshot, journal, alert and lock below `dir`: what a drill does with it
   * does not count as a snapshot or sweep of this box, and pages nobody.
   */
  readonly apart: LoadedConfig;
  /** A directory of this run's own; it is removed afterwards. */
  readonly dir: string;
  /** Names this run: fresh for each, so that nothing of an earlier run can be taken for something of this one. */
  readonly runId: string;
  /** Notes what the run makes, before it makes it. */
  readonly belongings: DrillBelongings;
}

/** Looks whether one claim holds. @returns false where it does not, or could not be looked at */
export type Check<Claim extends string> = (claim: Claim, look: () => Promise<string>) => Promise<boolean>;

/** One drill: what it claims, what it costs a live stack, and how it looks. */
export interface Drill {
  /** `D1`, as the runbooks of earlier fleets count them. */
  readonly id: string;
  readonly title: string;
  /** What it does to a stack that others use; null where nobody notices it. */
  readonly disturbs: string | null;
  readonly claims: readonly string[];
  /** Why it says nothing about a box with these settings; null where it does. */
  readonly unfitFor: (loaded: LoadedConfig) => string | null;
  /** Why it cannot be carried out here and now, as what it needs says; null where it can. */
  readonly unableHere: (scene: DrillScene) => Promise<string | null>;
  /** Carries it out. A drill that cannot be carried out to the end leaves claims as `not-run`. */
  readonly run: (scene: DrillScene) => Promise<readonly Assertion[]>;
}

/** What was seen where a claim does not hold. */
class ClaimFailure extends Error {
  override readonly name = "ClaimFailure";
}

/** Ends a look with what was seen instead. */
export function expectThat(holds: boolean, seenInstead: string): asserts holds {
  if (!holds) throw new ClaimFailure(seenInstead);
}

/** How `defineDrill` is told about a drill. */
export interface DrillSpec<Claim extends string> {
  readonly id: string;
  readonly title: string;
  readonly disturbs?: string;
  /** By a short name each, in the order in which they are looked at. */
  readonly claims: Readonly<Record<Claim, string>>;
  readonly unfitFor?: Drill["unfitFor"];
  readonly unableHere?: Drill["unableHere"];
  /** Claims that say nothing about some boxes, with whether they do about this one; they are left out there. */
  readonly onlyWhere?: Readonly<Partial<Record<Claim, (loaded: LoadedConfig) => boolean>>>;
  /** Looks at the claims one by one; those that it leaves out are `not-run`. */
  readonly run: (scene: DrillScene, check: Check<Claim>) => Promise<void>;
}

function describeError(error: unknown): string {
  return isFulaError(error) ? `${error.code}: ${error.message}` : messageOf(error);
}

/** Makes a drill of which every claim ends up in the report, whether it was looked at or not. */
export function defineDrill<Claim extends string>(spec: DrillSpec<Claim>): Drill {
  const { id, title, disturbs = null, claims, unfitFor = () => null, unableHere = async () => null } = spec;
  const onlyWhere: Readonly<Record<string, ((loaded: LoadedConfig) => boolean) | undefined>> = spec.onlyWhere ?? {};
  const all = Object.entries<string>(claims);
  return {
    id,
    title,
    disturbs,
    claims: all.map(([, claim]) => claim),
    unfitFor,
    unableHere,
    run: async (scene) => {
      const entries = all.filter(([name]) => onlyWhere[name]?.(scene.loaded) ?? true);
      const concerned = new Set(entries.map(([name]) => name));
      const seen = new Map<string, Omit<Assertion, "claim">>();
      const failures: string[] = [];
      const check: Check<Claim> = async (name, look) => {
        scene.signal.throwIfAborted();
        if (!concerned.has(name)) return true;
        try {
          seen.set(name, { outcome: "passed", evidence: await look() });
          return true;
        } catch (error) {
          scene.signal.throwIfAborted();
          seen.set(name, { outcome: "failed", evidence: describeError(error) });
          failures.push(claims[name]);
          return false;
        }
      };
      let stopped: string | null = null;
      try {
        await spec.run(scene, check);
      } catch (error) {
        scene.signal.throwIfAborted();
        stopped = describeError(error);
      }
      const [failure] = failures;
      const because = stopped ?? (failure === undefined ? "nobody looked" : `it needs what failed: ${failure}`);
      return entries.map(([name, claim]) => ({
        claim,
        ...(seen.get(name) ?? { outcome: "not-run" as const, evidence: because }),
      }));
    },
  };
}
