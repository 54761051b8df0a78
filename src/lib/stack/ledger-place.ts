import type { LoadedConfig } from "../config/load.ts";
import { exists } from "../kernel/files.ts";
import type { ServerPlace } from "../postgres/moving-server.ts";
import { epochOfSessions, type FollowedEpoch } from "./ledger-epoch-file.ts";
import { announcedAddress, ownPostgres } from "./own-postgres.ts";
import { postgresTlsFiles } from "./postgres-tls.ts";

type Where = Pick<LoadedConfig, "config" | "paths">;

/** Whether the ledger that this box uses is the server that it carries. */
export function isOwnLedger({ config }: Pick<LoadedConfig, "config">, followed: FollowedEpoch | null): boolean {
  return followed === null ? config.postgres.mode !== "external" : followed.primary === config.node.name;
}

/**
 * Where the ledger is: by the settings while it has never had a second server, else where the epoch's primary is.
 * @param own where a server of this box is that has chosen its port by itself; null: by the settings
 */
export function ledgerPlace(
  { config, paths }: Where,
  followed: FollowedEpoch | null,
  own: { readonly host: string; readonly port: number } | null = null,
): ServerPlace {
  const { host, port, tlsCaFile } = config.postgres;
  const ledgerEpoch = followed === null ? null : epochOfSessions(followed);
  const plain = { tls: "disable", tlsCaFile: null, ledgerEpoch } as const;
  if (isOwnLedger({ config }, followed)) {
    const place = own ?? (followed === null ? { host, port } : (ownPostgres(config) ?? { host, port }));
    return { host: place.host, port: place.port, ...plain };
  }
  if (followed !== null && followed.address !== null) {
    return {
      ...announcedAddress(followed.address),
      tls: "verify-full",
      tlsCaFile: postgresTlsFiles(paths.keysDir).ca,
      ledgerEpoch,
    };
  }
  return { host, port, tls: config.postgres.tls, tlsCaFile, ledgerEpoch };
}

/**
 * The same for a box on its way in, and for whoever only looks: where the authority is not here yet that vouches for the other
 * boxes' servers, or nobody has told of an epoch, it is the server that the operator named. Its sessions mean the epoch that is
 * known all the same; where none is, that database as it is.
 */
export async function placeOnTheWayIn(
  where: Where,
  followed: FollowedEpoch | null,
  own: { readonly host: string; readonly port: number } | null = null,
): Promise<ServerPlace> {
  const place = ledgerPlace(where, followed, own);
  if (where.config.postgres.mode !== "external" || isOwnLedger(where, followed)) return place;
  if (followed !== null && (await exists(postgresTlsFiles(where.paths.keysDir).ca))) return place;
  return { ...ledgerPlace(where, null), ledgerEpoch: place.ledgerEpoch ?? "unchecked" };
}
