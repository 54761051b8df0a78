import { chmod, mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { mergeEnvFile } from "../config/env-file.ts";
import { updateSettingsFile } from "../config/settings-file.ts";
import { formatUtc } from "../kernel/clock.ts";
import { systemErrorCode } from "../kernel/errors.ts";
import { ensureDir, explainWriteError, PRIVATE_DIR_MODE, SECRET_FILE_MODE } from "../kernel/files.ts";
import { toolVersion } from "../kernel/project.ts";
import { ensureSigningKey, readSigningKey, signingKeyFiles } from "../pinset/signing.ts";
import { identifyProcess } from "../runtime/processes.ts";
import {
  compareVersions,
  type Installation,
  type MadeOnce,
  readInstallation,
  writeInstallation,
} from "./installation.ts";
import { secretChanges, settingChanges } from "./join-settings.ts";
import type { JoinBox } from "./join-box.ts";
import type { JoinStep } from "./join-step.ts";
import { already, todo } from "./plan.ts";
import { writerOf } from "./preflight-base-dir.ts";

/** Directories above the base directory that we make; whoever needs to pass through to it can. */
const PARENT_DIR_MODE = 0o755;
/** Everything but passing through, for the group of the PostgreSQL user (0710). */
const TOO_OPEN = 0o067;

/** What these steps look at of a box, be it a master or a storage node. */
export type FileBox = Pick<JoinBox, "context" | "paths" | "clusterId" | "wanted" | "saved">;

/** What these steps share with the rest of their run. */
export interface FileRun {
  readonly box: FileBox;
  /** As in `JoinRun`. */
  settingsChanged: boolean;
}

function directoriesOf({ paths, wanted }: FileBox): readonly string[] {
  const { baseDir, keysDir, snapshotsDir, journalDir, stateDir, locksDir, logsDir } = paths;
  // A storage node signs nothing and takes no snapshots.
  const masters = wanted.config.node.role === "master" ? [keysDir, snapshotsDir] : [];
  return [baseDir, ...masters, journalDir, stateDir, locksDir, logsDir];
}

async function modeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).mode & 0o7777;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return null;
    throw error;
  }
}

/**
 * Makes the base directory, private, below parents that others may pass through.
 * @throws FulaError FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function makeBaseDir(baseDir: string): Promise<void> {
  try {
    const created = await mkdir(dirname(baseDir), { recursive: true, mode: PARENT_DIR_MODE });
    // The umask of a careful root (077) would shut the PostgreSQL user out.
    if (created !== undefined) {
      for (let dir = dirname(baseDir); dir.length >= created.length; dir = dirname(dir))
        await chmod(dir, PARENT_DIR_MODE);
    }
  } catch (error) {
    throw explainWriteError(error, baseDir);
  }
  await ensureDir(baseDir);
}

/** Removes what writers that were killed left unfinished, secrets among it; those of running processes stay. */
async function clearUnfinished(dirs: readonly string[]): Promise<void> {
  for (const dir of dirs) {
    for (const name of await readdir(dir)) {
      const pid = writerOf(name);
      if (pid !== null && identifyProcess(pid) === null) await rm(join(dir, name), { force: true });
    }
  }
}

/** Where files are replaced in one step, so that a kill may leave the half of one. */
function writtenDirsOf(box: FileBox): readonly string[] {
  const { baseDir, stateDir, keysDir } = box.paths;
  return directoriesOf(box).filter((dir) => [baseDir, stateDir, keysDir].includes(dir));
}

async function unfinishedIn(dirs: readonly string[]): Promise<number> {
  const names = await Promise.all(dirs.map(async (dir) => await readdir(dir).catch(() => [])));
  return names.flat().filter((name) => {
    const pid = writerOf(name);
    return pid !== null && identifyProcess(pid) === null;
  }).length;
}

/** Step: the directories of the base directory, closed to others. */
export function directoriesStep({ box }: FileRun): JoinStep {
  const dirs = directoriesOf(box);
  return {
    id: "directories",
    title: "Directories",
    assess: async () => {
      const modes = await Promise.all(dirs.map(async (path) => ({ path, mode: await modeOf(path) })));
      const missing = modes.filter(({ mode }) => mode === null).map(({ path }) => relative(box.paths.baseDir, path));
      const changes = modes
        .filter(({ mode }) => mode !== null && (mode & TOO_OPEN) !== 0)
        .map(({ path, mode }) => `close ${path} to others (${mode?.toString(8)} → 700)`);
      if (missing.includes("")) changes.push(`create ${box.paths.baseDir} (0700)`);
      const unfinished = await unfinishedIn(writtenDirsOf(box));
      if (unfinished > 0) changes.push(`remove ${unfinished} files that a killed run left unfinished`);
      const inner = missing.filter((name) => name !== "");
      if (inner.length > 0) changes.push(`create in it: ${inner.join(", ")}`);
      if (changes.length === 0) return already(`${box.paths.baseDir} and what belongs in it are there`);
      return todo("everything of this box lies in one place that only its user can look into", changes);
    },
    apply: async () => {
      await makeBaseDir(box.paths.baseDir);
      for (const path of dirs) {
        await ensureDir(path);
        if ((((await modeOf(path)) ?? 0) & TOO_OPEN) !== 0) await chmod(path, PRIVATE_DIR_MODE);
      }
      await clearUnfinished(writtenDirsOf(box));
      return box.paths.baseDir;
    },
  };
}

function wantedInstallation(box: FileBox, current: Installation | null): Installation {
  const version = toolVersion();
  const now = formatUtc(box.context.clock.nowMs());
  if (current === null) {
    return { format: 1, clusterId: box.clusterId, createdAt: now, createdBy: version, changedBy: version, made: [] };
  }
  return compareVersions(current.changedBy, version) < 0 ? { ...current, changedBy: version } : current;
}

/** Notes that something now exists which must never be replaced by an empty one. */
export async function noteMade(box: FileBox, what: MadeOnce): Promise<void> {
  const current = wantedInstallation(box, await readInstallation(box.paths.stateDir));
  if (current.made.includes(what)) return;
  await writeInstallation(box.paths.stateDir, { ...current, made: [...current.made, what] });
}

/** Notes in `state/` that the base directory is ours, and which pinset it belongs to. */
export async function noteOurs(box: FileBox): Promise<void> {
  const current = await readInstallation(box.paths.stateDir);
  const next = wantedInstallation(box, current);
  if (next !== current) await writeInstallation(box.paths.stateDir, next);
}

/** Step: `fula-master.yaml` and the file that makes the base directory ours. */
export function settingsStep(run: FileRun): JoinStep {
  const { box } = run;
  const { paths, wanted, saved } = box;
  return {
    id: "settings",
    title: "Settings",
    assess: async () => {
      const current = await readInstallation(paths.stateDir);
      const changes = settingChanges(wanted, saved).map(({ key, from, to, because }) =>
        from === null ? `${key}: ${to}` : `${key}: ${from} → ${to} (${because})`,
      );
      if (current === null) changes.unshift(`note in ${paths.stateDir} that this directory is ours`);
      else if (wantedInstallation(box, current) !== current) changes.unshift(`note the new version ${toolVersion()}`);
      if (changes.length === 0) return already(`${paths.configFile} says what this master is`);
      return todo(
        `what this run decides is written to ${paths.configFile}, so that every later command finds it`,
        changes,
      );
    },
    apply: async () => {
      // First: the name of the pinset must be the same if we are killed before the settings are written.
      await noteOurs(box);
      const changes = settingChanges(wanted, saved);
      if (changes.length === 0) return paths.configFile;
      run.settingsChanged = true;
      const values = Object.fromEntries(changes.map(({ key, value }) => [key, value]));
      const { clock, signal } = box.context;
      await updateSettingsFile(paths.configFile, values, { clock, signal });
      return paths.configFile;
    },
  };
}

/** Step: the secrets in `.env`, generated once. */
export function secretsStep(run: FileRun): JoinStep {
  const { box } = run;
  const { paths, wanted, saved, context } = box;
  return {
    id: "secrets",
    title: "Secrets",
    assess: async () => {
      const { added, replaced, generated } = secretChanges(wanted, saved, context.random);
      const mode = await modeOf(paths.envFile);
      const changes = [
        ...Object.keys(added).map((name) => (generated.includes(name) ? `generate ${name}` : `save ${name}`)),
        ...Object.keys(replaced).map((name) => `replace ${name} by the one that was given`),
        ...(mode !== null && (mode & 0o077) !== 0 ? [`close ${paths.envFile} to others`] : []),
      ];
      if (changes.length === 0) return already(`${paths.envFile} has every secret`);
      return todo(`secrets are kept in ${paths.envFile} (0600) and nowhere else`, changes);
    },
    apply: async () => {
      const { added, replaced } = secretChanges(wanted, saved, context.random);
      const { clock, signal } = context;
      if (Object.keys(replaced).length > 0) {
        await mergeEnvFile(paths.envFile, replaced, { overwrite: true, clock, signal });
        run.settingsChanged = true;
      }
      await mergeEnvFile(paths.envFile, added, { clock, signal });
      if ((((await modeOf(paths.envFile)) ?? 0) & 0o077) !== 0) await chmod(paths.envFile, SECRET_FILE_MODE);
      const count = Object.keys(added).length;
      return count === 0 ? "closed to others" : `${count} written to ${paths.envFile}`;
    },
  };
}

/** Step: the key that signs snapshots. */
export function signingKeyStep({ box }: FileRun): JoinStep {
  const { keysDir } = box.paths;
  return {
    id: "signing-key",
    title: "Signing key",
    assess: async () => {
      const files = signingKeyFiles(keysDir);
      const key = await readSigningKey(keysDir);
      const missing: string[] = [];
      for (const path of [files.private, files.public, files.minisign]) {
        if ((await modeOf(path)) === null) missing.push(`write ${path}`);
      }
      if (key !== null && missing.length === 0) return already(`${files.private} is there`);
      return todo("snapshots are signed with a key that never leaves this box", missing);
    },
    apply: async () => (await ensureSigningKey(keysDir)).keyId,
  };
}
