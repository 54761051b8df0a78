import type { LoadedConfig } from "../config/load.ts";
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
