import { userInfo } from "node:os";
import { join, resolve } from "node:path";

/** Where everything of this box lies; `docs/configuration.md` shows the same list to operators. */
export interface Paths {
  readonly baseDir: string;
  /** Settings that an operator edits: `fula-master.yaml`, or what `--config` names. */
  readonly configFile: string;
  /** Secrets: `.env`. */
  readonly envFile: string;
  readonly keysDir: string;
  /** Private snapshot key, PKCS#8 PEM, mode 0600. */
  readonly snapshotKeyFile: string;
  readonly snapshotPublicKeyFile: string;
  /** The public snapshot key in the form that `minisign -V -p` reads. */
  readonly snapshotMinisignFile: string;
  /** Private key that this box's sealed secrets open with: X25519, PKCS#8 PEM, mode 0600. */
  readonly boxKeyFile: string;
  readonly snapshotsDir: string;
  readonly journalDir: string;
  readonly stateDir: string;
  readonly locksDir: string;
  readonly logsDir: string;
  readonly postgresDataDir: string;
  readonly blocksDir: string;
  /** SQLite pinset of an embedded master. */
  readonly pinsFile: string;
  /** SQLite control plane of a master. */
  readonly controlPlaneFile: string;
  /** What a storage node holds for clients until the cluster does: SQLite. */
  readonly ingestHoldsFile: string;
  readonly servePidFile: string;
  readonly serveLogFile: string;
  readonly sweepReportFile: string;
}

/** What decides where the base directory is. */
export interface PathsContext {
  readonly globals: { readonly baseDir?: string; readonly config?: string };
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** The user that runs this process; tests hand in another. Default: the real one. */
  readonly user?: { readonly uid: number; readonly homedir: string };
}

const ROOT_BASE_DIR = "/opt/fula-master";

/** Where a setting such as the base directory was taken from, in words for `config path`. */
export interface LocationSource {
  readonly path: string;
  readonly because: string;
}

/** An environment value, where an empty one counts as not set: Compose passes every undefined variable on as "". */
export function envValue(env: PathsContext["env"], name: string): string | undefined {
  const value = env[name];
  return value === "" ? undefined : value;
}

/** The base directory: `--base-dir`, FULA_MASTER_BASE_DIR, /opt/fula-master for root, else under the XDG data directory. */
export function locateBaseDir(context: PathsContext): LocationSource {
  const { globals, env, cwd } = context;
  if (globals.baseDir !== undefined) return { path: resolve(cwd, globals.baseDir), because: "--base-dir" };
  const named = envValue(env, "FULA_MASTER_BASE_DIR");
  if (named !== undefined) return { path: resolve(cwd, named), because: "environment FULA_MASTER_BASE_DIR" };
  const { uid, homedir } = context.user ?? userInfo();
  if (uid === 0) return { path: ROOT_BASE_DIR, because: "default for root" };
  const xdg = envValue(env, "XDG_DATA_HOME");
  // The XDG base directory specification: a relative path is invalid and must be ignored.
  if (xdg?.startsWith("/") === true) return { path: join(xdg, "fula-master"), because: "XDG_DATA_HOME" };
  return { path: join(envValue(env, "HOME") ?? homedir, ".local/share/fula-master"), because: "default for this user" };
}

/** The settings file: `--config`, FULA_MASTER_CONFIG, else `fula-master.yaml` in the base directory. */
export function locateConfigFile(context: PathsContext, baseDir: string): LocationSource {
  const { globals, env, cwd } = context;
  if (globals.config !== undefined) return { path: resolve(cwd, globals.config), because: "--config" };
  const named = envValue(env, "FULA_MASTER_CONFIG");
  if (named !== undefined) return { path: resolve(cwd, named), because: "environment FULA_MASTER_CONFIG" };
  return { path: join(baseDir, "fula-master.yaml"), because: "default" };
}

/** Every path of this box. Reads no file and creates none. */
export function resolvePaths(context: PathsContext): Paths {
  const baseDir = locateBaseDir(context).path;
  const keysDir = join(baseDir, "keys");
  const stateDir = join(baseDir, "state");
  const logsDir = join(baseDir, "logs");
  return {
    baseDir,
    configFile: locateConfigFile(context, baseDir).path,
    envFile: join(baseDir, ".env"),
    keysDir,
    snapshotKeyFile: join(keysDir, "snapshot-ed25519.pem"),
    snapshotPublicKeyFile: join(keysDir, "snapshot-ed25519.pub.pem"),
    snapshotMinisignFile: join(keysDir, "snapshot-minisign.pub"),
    boxKeyFile: join(keysDir, "box-x25519.pem"),
    snapshotsDir: join(baseDir, "snapshots"),
    journalDir: join(baseDir, "journal"),
    stateDir,
    locksDir: join(stateDir, "locks"),
    logsDir,
    postgresDataDir: join(stateDir, "postgres", "data"),
    blocksDir: join(stateDir, "blocks"),
    pinsFile: join(stateDir, "pins.sqlite"),
    controlPlaneFile: join(stateDir, "control-plane.sqlite"),
    ingestHoldsFile: join(stateDir, "ingest-holds.sqlite"),
    servePidFile: join(stateDir, "serve.pid"),
    serveLogFile: join(logsDir, "serve.log"),
    sweepReportFile: join(stateDir, "sweep-last.json"),
  };
}
