import { copyFile, rm } from "node:fs/promises";
import { join, relative } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { ensureDir, exists } from "../kernel/files.ts";

/** A file or directory that a purge removes, and what goes with it. */
interface Doomed {
  readonly path: string;
  readonly what: string;
}

function isInside(path: string, dir: string): boolean {
  const way = relative(dir, path);
  return way !== "" && !way.startsWith("..");
}

/**
 * Everything of ours in the base directory but the snapshots and the journal, in the order in which it goes: what says
 * that there is a master goes last, so that a purge that was stopped is seen and gone on with.
 */
function everythingOf({ paths, config }: LoadedConfig): readonly Doomed[] {
  const { baseDir, logsDir, envFile, keysDir, configFile, stateDir } = paths;
  const { alertLog } = config.sweep;
  const all: readonly Doomed[] = [
    { path: logsDir, what: "logs" },
    { path: alertLog, what: "the alert log" },
    { path: join(baseDir, "compose.yaml"), what: "the Compose file" },
    { path: join(baseDir, "docker"), what: "start scripts of the containers" },
    { path: join(baseDir, "secrets"), what: "secrets of the containers" },
    { path: keysDir, what: "the snapshot key" },
    { path: envFile, what: "every secret, the encryption key of wallet addresses among them" },
    { path: configFile, what: "settings" },
    {
      path: stateDir,
      what: "embedded PostgreSQL with the ledger, blocks and pinset where they lie on this box, and what join made",
    },
  ];
  // What the operator keeps elsewhere is the operator's.
  return all.filter(({ path }) => isInside(path, baseDir));
}

/** What there is of it by now. */
export async function findDoomed(loaded: LoadedConfig): Promise<readonly Doomed[]> {
  const found = await Promise.all(everythingOf(loaded).map(async (each) => ((await exists(each.path)) ? [each] : [])));
  return found.flat();
}

/** Without the public key nobody could tell any more that the snapshots are ours. */
async function keepPublicKey({ paths }: LoadedConfig): Promise<void> {
  if (!(await exists(paths.snapshotPublicKeyFile)) || !(await exists(paths.snapshotsDir))) return;
  await ensureDir(paths.snapshotsDir);
  await copyFile(paths.snapshotPublicKeyFile, join(paths.snapshotsDir, "snapshot-ed25519.pub.pem"));
}

/** Removes all of it. Snapshots stay, with the public key that they verify by. @returns the paths that went */
export async function removeDoomed(loaded: LoadedConfig, report: (text: string) => void): Promise<readonly string[]> {
  await keepPublicKey(loaded);
  const gone: string[] = [];
  for (const { path } of await findDoomed(loaded)) {
    report(`removing ${path}`);
    await rm(path, { recursive: true, force: true });
    gone.push(path);
  }
  return gone;
}
