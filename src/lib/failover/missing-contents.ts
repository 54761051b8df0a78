import { z } from "zod";
import type { FailoverCheck, MissingContent } from "./failover-ports.ts";
import type { FailoverScene } from "./failover-scene.ts";

const EVENT = "content.missing";
const PER_LINE = 500;

/** Contents that checks found on no box, each once. */
export function missingOf(checks: readonly FailoverCheck[]): readonly MissingContent[] {
  const found = checks.flatMap(({ missing = [] }) => missing);
  return [...new Map(found.map((content) => [content.cid, content])).values()];
}

/** Writes down what is missing, many a line, and who accepts it: whoever stored it will ask. */
export function noteMissing({ checks, notes, keeper: { run } }: FailoverScene): void {
  const missing = missingOf(checks);
  const accepted = checks.every(({ missing: found = [], state }) => found.length === 0 || state !== "bad");
  for (let first = 0; first < missing.length; first += PER_LINE) {
    const contents = missing.slice(first, first + PER_LINE);
    notes.append(EVENT, { run: run.id, operator: run.operator, accepted, contents });
  }
}

const noted = z.object({
  event: z.literal(EVENT),
  contents: z.array(z.object({ cid: z.string(), name: z.string(), why: z.string() })),
});

/** What a line of a run's journal says is missing; empty for any other line. */
export function readMissing(entry: unknown): readonly MissingContent[] {
  return noted.safeParse(entry).data?.contents ?? [];
}
