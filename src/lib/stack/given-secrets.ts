import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { JoinBundle, SharedSecrets } from "../membership/join-bundle.ts";
import { type ControlPlaneDeps, withControlPlane } from "./control-plane.ts";
import { laggards, lookAtPools, newestSecret, type PoolLooks } from "./federation-pools.ts";
import { FEDERATION_POOLS, type FederationPool, parseMastersSecret, parseNetworkKey } from "./federation-secrets.ts";
import { requireBoxKey } from "./membership-run.ts";
import { otherEpochs } from "./other-epochs.ts";
import { ownSecrets, standingOf } from "./pool-entry.ts";

/** What a master gives to boxes that join: the newest secrets of the control plane, and of which epochs they are. */
export interface GivenSecrets {
  readonly secrets: SharedSecrets;
  readonly epochs: JoinBundle["epochs"];
}

function notIn(pool: FederationPool, what: string): FulaError {
  return new FulaError("FULA_NOT_JOINED", `${what} pool ${pool} of the control plane.`, {
    hint: "fula-master join writes this master into the control plane, and makes what it lacks.",
    details: { pool },
  });
}

function behind(pools: readonly FederationPool[], waitingFor: readonly string[], name: string): FulaError {
  const where = waitingFor.length === 0 ? "" : ` on ${waitingFor.join(", ")}, then here`;
  return new FulaError(
    "FULA_SECRETS_BEHIND",
    `${name} does not work with the newest secrets of ${pools.join(", ")}; whoever joined with its own could not be read by the others.`,
    { hint: `fula-master membership sync${where}; then make the token.`, details: { pools, waitingFor } },
  );
}

function assertNewest(
  loaded: LoadedConfig,
  looks: PoolLooks,
  own: Parameters<typeof standingOf>[3],
  endpoint: string,
): void {
  const late: FederationPool[] = [];
  for (const pool of FEDERATION_POOLS) {
    const standing = standingOf(loaded, pool, looks, own);
    if (standing === "out") throw notIn(pool, "This box is no member of the");
    if (standing === "missing" || (pool === "masters" && standing === "none")) throw notIn(pool, "There is no");
    if (standing === "behind") late.push(pool);
  }
  if (late.length === 0) return;
  const waiting = looks.masters === null ? [] : laggards(looks.masters, endpoint);
  throw behind(late, late.includes("masters") ? waiting : [], loaded.config.node.name);
}

/** In files each master counts epochs for itself: those of before would be taken for later ones there. */
function assertOneEpoch({ config, secrets }: LoadedConfig): void {
  if (config.controlPlane.mode !== "sqlite" || otherEpochs(secrets).length === 0) return;
  throw new FulaError(
    "FULA_REKEY_UNFINISHED",
    "This master still reads older secrets, which a control plane in a file cannot hand on.",
    { hint: "fula-master membership sync --forget-old; then make the token." },
  );
}

/**
 * The federation's secrets as the control plane has them, for a box that is to join.
 * @throws FulaError FULA_NOT_JOINED, FULA_SECRETS_BEHIND where `.env` is of an older epoch, FULA_SECRETS_DIFFER where it is
 *   of none, FULA_REKEY_UNFINISHED, FULA_SEALED_BOX, and what opening the control plane throws
 */
export async function givenSecrets(loaded: LoadedConfig, deps: ControlPlaneDeps): Promise<GivenSecrets> {
  assertOneEpoch(loaded);
  const key = await requireBoxKey(loaded.paths);
  return await withControlPlane(loaded, deps, async (store) => {
    const looks = await lookAtPools(store, key);
    assertNewest(loaded, looks, await ownSecrets(loaded), key.endpoint);
    const newest = (pool: FederationPool): ReturnType<typeof newestSecret> => {
      const look = looks[pool];
      return look === null ? null : newestSecret(look);
    };
    const [masters, cluster, swarm] = [newest("masters"), newest("cluster"), newest("swarm")];
    if (masters === null) throw notIn("masters", "This box is no member of the");
    const { controlPlaneCa: _, ...keys } = parseMastersSecret(masters.secret);
    return {
      secrets: {
        ...keys,
        clusterSecret: cluster === null ? null : parseNetworkKey("cluster", cluster.secret),
        swarmKey: swarm === null ? null : parseNetworkKey("swarm", swarm.secret),
        otherMasterSecrets: loaded.secrets.otherMasterSecrets,
      },
      epochs: { masters: masters.epoch, cluster: cluster?.epoch ?? null, swarm: swarm?.epoch ?? null },
    };
  });
}
