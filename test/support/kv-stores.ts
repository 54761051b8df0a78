import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { systemRandom } from "../../src/lib/kernel/random.ts";
import { Secret } from "../../src/lib/kernel/secret.ts";
import { type KvDeps, type KvTarget, openKvStore } from "../../src/lib/membership/kv/kv-store.ts";
import type { MembershipStore } from "../../src/lib/membership/store.ts";
import type { NatsServers } from "./nats-servers.ts";

type Reachable = Pick<NatsServers, "urls" | "user">;

/** How to reach servers of a test, with times that a busy machine keeps; what is about time gives its own. */
export function kvTarget(servers: Reachable, changes: Partial<KvTarget> = {}): KvTarget {
  return {
    servers: servers.urls,
    prefix: "FULA",
    nkeySeed: new Secret(servers.user.seed),
    ca: null,
    replicas: 0,
    timeoutMs: 20_000,
    maxAgeMs: 60_000,
    bootstrapTimeoutMs: 60_000,
    ...changes,
  };
}

/** What a store needs of a process, with the machine's own clock. */
export const KV_DEPS: KvDeps = {
  clock: systemClock,
  random: systemRandom,
  signal: new AbortController().signal,
  log: silentLog,
};

/** Opens a store on servers of a test. */
export async function openTestKv(servers: Reachable, changes: Partial<KvTarget> = {}): Promise<MembershipStore> {
  return await openKvStore(kvTarget(servers, changes), KV_DEPS);
}
