import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PostgresSite, SiteSession } from "../../src/lib/runtime/postgres-site.ts";

const BUSYBOX = "/bin/busybox";

/** Makes a directory with all programs of busybox, its shell among them: the caller removes it. */
export function makeBusyboxDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "fula-test-busybox-"));
  chmodSync(dir, 0o755);
  execFileSync(BUSYBOX, ["--install", "-s", dir]);
  return dir;
}

/** The same server, where scripts are run by busybox, as in PostgreSQL's images that stand on Alpine. */
export function onBusybox(site: PostgresSite, busyboxDir: string): PostgresSite {
  const run = `PATH=${busyboxDir}:$PATH; exec ${busyboxDir}/sh "$@"`;
  const wrap = (session: SiteSession): SiteSession => ({
    host: session.host,
    run: async (program, options) =>
      await session.run(program, program === "sh" ? { ...options, args: ["-c", run, "sh", ...options.args] } : options),
    [Symbol.asyncDispose]: async () => {
      await session[Symbol.asyncDispose]();
    },
  });
  const { kind, where, dataDir, rootDir, major, host, port, innerHost, innerPort } = site;
  return {
    kind,
    where,
    dataDir,
    rootDir,
    major,
    host,
    port,
    innerHost,
    innerPort,
    open: async (signal) => wrap(await site.open(signal)),
    state: async () => await site.state(),
    start: async () => {
      await site.start();
    },
    stop: async (how) => {
      await site.stop(how);
    },
    reload: async () => {
      await site.reload();
    },
  };
}
