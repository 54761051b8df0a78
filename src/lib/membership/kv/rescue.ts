import { errors, type NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { controlPlaneSilent } from "./budget.ts";
import { explainNatsError } from "./explain.ts";

const RESCUE = "$JS.API.META.RESCUE";
/** What a server says that has not yet given up on a leader who is gone: it takes up to half a minute. */
const LEADER_KNOWN = /leader is known/;

const answerSchema = z.object({
  server: z.string(),
  error: z.object({ description: z.string().default("") }).optional(),
});

/** What asking servers to go on with fewer came to. */
export type Lowered = "lowered" | "leader-known" | "refused";

/**
 * Asks the servers that are left to elect a leader with so few votes, for five minutes. It is for a group that has lost
 * more than half of its servers for good; each server that is left refuses while it knows a leader, or holds nothing.
 * @param system a connection that is logged in to the system account
 * @param votes how many are left that hold something
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE where no server knows how to do that, as before nats-server 2.15
 */
export async function lowerQuorum(
  system: NatsConnection,
  votes: number,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<Lowered> {
  const limits = { strategy: "stall" as const, maxWait: Math.ceil(target.timeoutMs), noMux: true };
  const answers: z.infer<typeof answerSchema>[] = [];
  try {
    for await (const message of await system.requestMany(RESCUE, JSON.stringify({ quorum_needed: votes }), limits)) {
      const parsed = answerSchema.safeParse(message.json());
      if (parsed.success) answers.push(parsed.data);
    }
  } catch (error) {
    if (!(error instanceof errors.NoRespondersError))
      throw explainNatsError(error, "elect without the others", target.address);
  }
  if (answers.length === 0) {
    throw controlPlaneSilent(
      `No server of the control plane at ${target.address} can elect a leader without the others`,
      "no-quorum",
      "that takes nats-server 2.15 or newer, and this box's system key must be of its system account.",
    );
  }
  if (answers.some(({ error }) => error === undefined)) return "lowered";
  return answers.some(({ error }) => LEADER_KNOWN.test(error?.description ?? "")) ? "leader-known" : "refused";
}
