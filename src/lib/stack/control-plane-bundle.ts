import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import type { BundleControlPlane } from "../membership/join-bundle.ts";
import { readAuthority } from "./control-plane-keys.ts";
import { ownRoute } from "./nats-files.ts";

/**
 * What a further master must know to come to the control plane of this one.
 * @param known routes of the masters' servers, as they stand in the ledger
 * @throws FulaError FULA_NOT_JOINED where this master's own server has no certificates yet
 */
export async function controlPlaneOf(loaded: LoadedConfig, known: readonly string[]): Promise<BundleControlPlane> {
  const { mode, servers, routes } = loaded.config.controlPlane;
  if (mode === "sqlite") return { mode };
  const ca = await readAuthority(loaded.paths.keysDir);
  if (mode === "nats") return { mode, servers, ca };
  const own = ownRoute(loaded.config);
  if (ca !== null) return { mode, routes: [...new Set([...(own === null ? [] : [own]), ...known, ...routes])], ca };
  throw new FulaError("FULA_NOT_JOINED", `There is no certificate of the control plane in ${loaded.paths.keysDir}.`, {
    hint: "fula-master join makes it.",
  });
}
