import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { JoinBundle } from "../membership/join-bundle.ts";
import { makeAuthority } from "./control-plane-certificates.ts";
import { readAuthority, writeAuthority } from "./control-plane-keys.ts";
import { newestSecret, type PoolLooks } from "./federation-pools.ts";
import { parseMastersSecret } from "./federation-secrets.ts";

/**
 * True where this box should have the authority that vouches for the federation's boxes to one another, and has not. With
 * servers of its own a box has it from the step that makes their keys; a control plane that is a file needs none.
 */
export async function lacksAuthority({ config, paths }: LoadedConfig): Promise<boolean> {
  return config.controlPlane.mode === "nats" && (await readAuthority(paths.keysDir)) === null;
}

/**
 * Gives this box the authority where it lacks it: what its join token brought, else what the pool of the masters has, else a
 * new one, which the caller then puts into that pool.
 * @returns what was done, in a few words; null where nothing had to be
 * @throws FulaError FULA_CONTROL_PLANE_KEYS where what was brought cannot be used
 */
export async function ensureAuthority(
  loaded: LoadedConfig,
  { looks, bundle }: { readonly looks: PoolLooks; readonly bundle: JoinBundle | null },
  clock: Clock,
): Promise<string | null> {
  if (!(await lacksAuthority(loaded))) return null;
  const { keysDir } = loaded.paths;
  const brought = bundle?.controlPlane.mode === "nats" ? bundle.controlPlane.ca : null;
  const newest = looks.masters === null ? null : newestSecret(looks.masters);
  const shared = brought ?? (newest === null ? null : parseMastersSecret(newest.secret).controlPlaneCa);
  if (shared !== null) {
    await writeAuthority(keysDir, shared);
    return "the federation's certificate authority";
  }
  const clusterId = loaded.config.node.clusterId ?? bundle?.clusterId;
  // A member that cannot read the pool's secret must not make a second authority beside the one that may be in it.
  const isOut = looks.masters !== null && looks.masters.pool.epoch > 0 && newest === null;
  if (clusterId === undefined || isOut) return null;
  await writeAuthority(keysDir, await makeAuthority(clusterId, clock.nowMs()));
  return "a certificate authority made";
}
