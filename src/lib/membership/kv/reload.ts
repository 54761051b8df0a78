import type { NatsConnection } from "@nats-io/transport-node";
import { z } from "zod";
import { FulaError } from "../../kernel/errors.ts";
import { explainNatsError } from "./explain.ts";

/** A server that runs, and when it has read its files the last time. */
export interface LoadedServer {
  readonly id: string;
  readonly name: string;
  readonly loadedAtMs: number;
}

const varzSchema = z.object({
  server: z.object({ id: z.string(), name: z.string() }),
  data: z.object({ config_load_time: z.string() }),
});
const reloadedSchema = z.object({ error: z.object({ description: z.string().default("") }).optional() });

/**
 * Asks which servers run and since when each goes by the files that it has read.
 * @param system a connection that is logged in to the system account
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function readLoadedServers(
  system: NatsConnection,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<readonly LoadedServer[]> {
  const limits = { strategy: "stall" as const, maxWait: target.timeoutMs, noMux: true };
  const servers: LoadedServer[] = [];
  try {
    for await (const message of await system.requestMany("$SYS.REQ.SERVER.PING.VARZ", "{}", limits)) {
      const parsed = varzSchema.safeParse(message.json());
      if (!parsed.success) continue;
      const { server, data } = parsed.data;
      servers.push({ ...server, loadedAtMs: Date.parse(data.config_load_time) });
    }
  } catch (error) {
    throw explainNatsError(error, "tell what its servers go by", target.address);
  }
  return servers;
}

/**
 * Has a server read its files anew, without an end to anything that it does.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE, FULA_CONTROL_PLANE_FILES where it refuses what it read, and goes on as before
 */
export async function reloadServer(
  system: NatsConnection,
  { id, name }: LoadedServer,
  target: { readonly timeoutMs: number; readonly address: string },
): Promise<void> {
  let answer: unknown;
  try {
    answer = (await system.request(`$SYS.REQ.SERVER.${id}.RELOAD`, "", { timeout: target.timeoutMs })).json();
  } catch (error) {
    throw explainNatsError(error, `have ${name} read its files anew`, target.address);
  }
  const { error } = reloadedSchema.parse(answer);
  if (error === undefined) return;
  throw new FulaError("FULA_CONTROL_PLANE_FILES", `The server ${name} refuses its new files: ${error.description}.`, {
    hint: "it goes on with those that it had; its log says more.",
    details: { server: name },
  });
}
