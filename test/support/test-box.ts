import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LoadedConfig, loadConfig } from "../../src/lib/config/load.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { findFreePort } from "./free-port.ts";
import { stopDaemon } from "../../src/lib/stack/daemon.ts";
import { type CliRun, type CliTestOptions, runCliForTest } from "./cli.ts";

/** A place for one master: a base directory that is not there yet, free ports, and a cron of its own. */
export interface TestBox extends AsyncDisposable {
  readonly root: string;
  readonly baseDir: string;
  /** Stands for `/` where schedules are installed; it has a cron. */
  readonly scheduleRoot: string;
  readonly ports: { readonly server: number; readonly gateway: number; readonly api: number };
  /** Arguments of a join that asks nothing and touches nothing outside of the box. */
  readonly joinArgs: readonly string[];
  /** Runs a command in this process with `--base-dir`. */
  run(argv: readonly string[], options?: CliTestOptions): Promise<CliRun>;
  load(): Promise<LoadedConfig>;
}

/** Makes one. When it is disposed of, everything that runs in it is stopped and all of it is removed. */
export async function makeTestBox(): Promise<TestBox> {
  const root = await mkdtemp(join(tmpdir(), "fula-box-"));
  // As on a real box: the user that PostgreSQL runs as can pass through to the base directory.
  await chmod(root, 0o755);
  const baseDir = join(root, "base");
  const scheduleRoot = join(root, "schedules");
  await mkdir(join(scheduleRoot, "etc/cron.d"), { recursive: true });
  await mkdir(join(scheduleRoot, "usr/sbin"), { recursive: true });
  await writeFile(join(scheduleRoot, "usr/sbin/cron"), "");
  const ports = { server: await findFreePort(), gateway: await findFreePort(), api: await findFreePort() };
  const load = async (): Promise<LoadedConfig> => await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
  return {
    root,
    baseDir,
    scheduleRoot,
    ports,
    joinArgs: [
      "join",
      "--runtime",
      "embedded",
      "--yes",
      "--server-port",
      String(ports.server),
      "--gateway-port",
      String(ports.gateway),
      "--api-port",
      String(ports.api),
      "--schedule-root",
      scheduleRoot,
    ],
    run: async (argv, options = {}) => await runCliForTest(argv, { ...options, baseDir }),
    load,
    [Symbol.asyncDispose]: async () => {
      const loaded = await load().catch(() => null);
      if (loaded !== null) await stopDaemon(loaded, { clock: systemClock, env: {} }, { force: true });
      // Of a server that has just ended, something may still be written.
      await rm(root, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    },
  };
}

/** Reads a file of the base directory. */
export async function readBoxFile(box: TestBox, name: string): Promise<string> {
  return await readFile(join(box.baseDir, name), "utf8");
}
