import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Log } from "../kernel/log.ts";
import type { Random } from "../kernel/random.ts";
import { rawKeyOf, verifyEd25519 } from "../pinset/keys.ts";
import { loadTrustedKeys } from "../pinset/trust.ts";
import type { ConnectionOptions } from "../postgres/pool.ts";
import { openShelf, type Shelf } from "../recovery/backup/shelf.ts";
import type { BackupTrust } from "../recovery/backup/signer.ts";
import type { BackupPlace } from "../recovery/backup/take-backup.ts";
import { type Ledger, openLedger } from "./ledger.ts";
import { readKnownEpochs } from "./ledger-epoch-file.ts";
import { isOwnLedger } from "./ledger-place.ts";
import { type OwnPostgres, ownPostgres } from "./own-postgres.ts";
import { adminConnection } from "./own-server.ts";

/** What the commands about backups take from their command. */
export interface BackupDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** Where the base backups and the archived WAL of this box lie. */
export function backupPlace({ config, paths }: Pick<LoadedConfig, "config" | "paths">): BackupPlace {
  return { backupDir: config.backup.dir ?? join(paths.baseDir, "backups", "ledger"), locksDir: paths.locksDir };
}

/**
 * Why no base backup is to be taken here by itself, a clause; null where one is: on the box that has the ledger's primary, and
 * on one that archives its server's WAL, which is of use, and bounded, by base backups alone.
 * @throws FulaError FULA_EPOCH_ROLLED_BACK
 */
export async function whyNoBackups({ config, paths }: Pick<LoadedConfig, "config" | "paths">): Promise<string | null> {
  if (ownPostgres(config) === null) return "this box carries no server of the ledger";
  const followed = (await readKnownEpochs(paths.stateDir))?.followed ?? null;
  if (config.backup.archive || isOwnLedger({ config }, followed)) return null;
  return followed === null ? "this box carries a standby" : `${followed.primary} has the ledger's primary`;
}

/** Whose base backups this box trusts: those whose snapshots it does. @throws FulaError FULA_SIGNING_KEY_INVALID, FULA_KEY_UNUSABLE */
export async function backupTrust({ config, paths }: LoadedConfig): Promise<BackupTrust> {
  const trusted = new Set<string>(
    (await loadTrustedKeys(paths.keysDir, config.snapshot.trustedKeys)).map(({ keyId }) => keyId),
  );
  return {
    isSignedBy: (keyId, message, signature) => {
      const raw = trusted.has(keyId) ? rawKeyOf(keyId) : null;
      return raw !== null && verifyEd25519(raw, message, signature);
    },
  };
}

/** The catalogue of this box, for whoever rebuilds a server from it. @throws FulaError as `backupTrust` */
export async function openOwnShelf(loaded: LoadedConfig, clock: Clock): Promise<Shelf> {
  return openShelf(backupPlace(loaded).backupDir, await backupTrust(loaded), clock);
}

/**
 * How the server is reached that is copied: the one that this box carries, as its superuser; where it carries none, the
 * ledger's as the ledger's own role, which then needs REPLICATION.
 */
export async function backupConnection(
  loaded: LoadedConfig,
  ledger: Pick<Ledger, "connection" | "host" | "port">,
  deps: Omit<BackupDeps, "signal">,
  part: string,
): Promise<ConnectionOptions> {
  const own = ownPostgres(loaded.config);
  if (own === null) return { ...ledger.connection, part };
  return await adminConnection(loaded, { kind: own.kind, ...addressOf(own, ledger) }, { ...deps, part });
}

/** An embedded server may have chosen its port itself. */
function addressOf(
  { role, host, port }: OwnPostgres,
  ledger: Pick<Ledger, "host" | "port">,
): { readonly host: string; readonly port: number } {
  return role === "own" && port === 0 ? { host: ledger.host, port: ledger.port } : { host, port };
}

/**
 * Lends the way to the server that is copied for the time of one callback. A standby is copied although its primary is down.
 * @throws FulaError what `openLedger` and `use` throw
 */
export async function withBackupConnection<T>(
  loaded: LoadedConfig,
  deps: BackupDeps,
  use: (connection: ConnectionOptions) => Promise<T>,
): Promise<T> {
  const { clock, random, log, signal } = deps;
  const own = ownPostgres(loaded.config);
  if (own?.role === "standby") return await use(await adminConnection(loaded, own, { ...deps, part: "backup" }));
  await using ledger = await openLedger(loaded, { clock, random, log, signal, part: "backup", poolMax: 1 });
  return await use(await backupConnection(loaded, ledger, deps, "backup"));
}
