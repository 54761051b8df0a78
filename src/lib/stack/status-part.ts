import { describeError, type LookLimits, withinLimit } from "./look.ts";

/**
 * How one part is. `bad` makes the box unhealthy; a part that could not be looked at is `bad`, never `ok`.
 * `attention` is for a person to look at; it does not make the box unhealthy.
 */
export type PartState = "ok" | "attention" | "bad";

/** What every part of the status has. */
export interface Part {
  readonly state: PartState;
  /** Why it is not `ok`; null where it is. */
  readonly problem: string | null;
}

export const OK: Part = { state: "ok", problem: null };

/** A part that makes the box unhealthy. */
export function bad(problem: string): Part {
  return { state: "bad", problem };
}

/** A part that a person should look at. */
export function attention(problem: string): Part {
  return { state: "attention", problem };
}

/** What is wrong with a part, and what to do about it. */
export interface PartProblem {
  readonly severity: "bad" | "attention";
  readonly message: string;
  readonly remedy: string;
}

/** How a part is whose problems are known: as bad as the worst of them. */
export function judgementOf(problems: readonly PartProblem[]): Part {
  const worst = problems.find(({ severity }) => severity === "bad") ?? problems[0];
  if (worst === undefined) return OK;
  const text = `${worst.message} Try: ${worst.remedy}`;
  return worst.severity === "bad" ? bad(text) : attention(text);
}

/**
 * Looks at one part for as long as it may take; what cannot be looked at is bad.
 * @param unknown the part's fields where nothing could be found out
 * @throws the reason of the run's signal, and nothing else
 */
export async function lookAtPart<T extends Part>(
  limits: LookLimits,
  unknown: Omit<T, keyof Part>,
  read: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  try {
    return await withinLimit(limits, read);
  } catch (error) {
    limits.signal.throwIfAborted();
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the unknown part and the two fields of Part are all of T
    return { ...unknown, ...bad(describeError(error)) } as T;
  }
}
