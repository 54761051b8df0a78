import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { FulaError } from "../kernel/errors.ts";
import { BUCKET_KINDS, bucketName } from "../membership/kv/buckets.ts";
import type { ClusterView } from "../membership/kv/state.ts";
import { natsAccess } from "./control-plane.ts";
import type { WantedCluster } from "./control-plane-judge.ts";
import { natsServerName } from "./stack-values.ts";

/**
 * Asks the servers of a control plane on NATS how they are.
 * @throws FulaError FULA_CONTROL_PLANE_UNREACHABLE; FULA_CONTROL_PLANE_UNSEEN where this box has no key for that
 */
export async function readServers(loaded: LoadedConfig, { clock }: { readonly clock: Clock }): Promise<ClusterView> {
  const { mode, prefix, timeout: timeoutMs, systemNkeyFile } = loaded.config.controlPlane;
  if (mode === "nats" && systemNkeyFile === null) {
    throw new FulaError(
      "FULA_CONTROL_PLANE_UNSEEN",
      "How the servers of the control plane are is not to be seen from here.",
      {
        hint: "name the seed of an NKey of their system account with controlPlane.systemNkeyFile.",
      },
    );
  }
  const { connectNats } = await import("../membership/kv/connect.ts");
  const { readClusterView } = await import("../membership/kv/state.ts");
  const access = await natsAccess(loaded, "system");
  const system = await connectNats(access, timeoutMs);
  try {
    return await readClusterView(system, { prefix, timeoutMs, address: access.servers.join(", ") }, clock);
  } finally {
    await system.close();
  }
}

const REPLICAS_MAX = 3;

/** What the servers should be like, by the settings and by how many there are. */
export function wantedCluster({ config }: Pick<LoadedConfig, "config">, view: ClusterView): WantedCluster {
  const { prefix, replicas, witness } = config.controlPlane;
  const size = view.metaLeader === null ? 1 : view.members.length + 1;
  return {
    buckets: BUCKET_KINDS.map((kind) => bucketName(prefix, kind)),
    replicas: replicas > 0 ? replicas : size < REPLICAS_MAX ? 1 : REPLICAS_MAX,
    witness: witness ? natsServerName(config, "nats-witness") : null,
  };
}
