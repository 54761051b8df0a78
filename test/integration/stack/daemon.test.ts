import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type LoadedConfig, loadConfig } from "../../../src/lib/config/load.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { identifyProcess, identifySelf, isSameProcessRunning } from "../../../src/lib/runtime/processes.ts";
import { type DaemonDeps, daemonState, startDaemon, stopDaemon } from "../../../src/lib/stack/daemon.ts";
import { readDaemonFile, writeDaemonFile } from "../../../src/lib/stack/daemon-file.ts";
import { runCliForTest } from "../../support/cli.ts";
import { findFreePort } from "../../support/free-port.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { PostgresHolder } from "../../support/postgres-child.ts";
import { until } from "../../support/until.ts";

const LAUNCHER = join(import.meta.dirname, "../../support/children/fake-serve.ts");

let baseDir: string;
let loaded: LoadedConfig;

beforeEach(async () => {
  baseDir = await mkdtemp(join(tmpdir(), "fula-daemon-"));
  await mkdir(join(baseDir, "state"));
  await writeFile(join(baseDir, "fula-master.yaml"), `server:\n  port: ${await findFreePort()}\n`);
  loaded = await loadConfig({ globals: { baseDir }, env: {}, cwd: "/" });
});
afterEach(async () => {
  await stopDaemon(loaded, deps({ stopPatienceMs: 200 }), { force: true });
  await rm(baseDir, { recursive: true, force: true });
});

function deps(more: Partial<DaemonDeps> = {}, behaviour = ""): DaemonDeps {
  return { clock: systemClock, env: { PATH: process.env["PATH"], FAKE_SERVE: behaviour }, launcher: LAUNCHER, ...more };
}

async function runningPid(): Promise<number> {
  const state = await daemonState(loaded);
  if (state.status !== "running") throw new Error(`not running: ${JSON.stringify(state)}`);
  return state.pid;
}

describe("start and stop", () => {
  test("start returns when serve is ready, a second one says already so, and stop leaves nothing behind", async () => {
    expect(await daemonState(loaded)).toEqual({ status: "stopped", stale: null });
    const started = await startDaemon(loaded, deps());
    expect(started).toMatchObject({ already: false, logFile: join(baseDir, "logs", "serve.log") });
    expect(await daemonState(loaded)).toMatchObject({
      status: "running",
      pid: started.pid,
      since: started.since,
      ready: true,
    });
    expect(await startDaemon(loaded, deps())).toMatchObject({ already: true, pid: started.pid });
    const presence = await readDaemonFile(loaded.paths.servePidFile);
    expect(await stopDaemon(loaded, deps())).toMatchObject({ pid: started.pid, manner: "ended" });
    if (presence.status === "running") expect(isSameProcessRunning(presence.record)).toBe(false);
    expect(await daemonState(loaded)).toEqual({ status: "stopped", stale: null });
    expect(await stopDaemon(loaded, deps())).toMatchObject({ pid: null, manner: null });
  });

  test("two starts at the same time make one daemon", async () => {
    const [first, second] = await Promise.all([startDaemon(loaded, deps()), startDaemon(loaded, deps())]);
    expect(first.pid).toBe(second.pid);
    expect(first.already).toBe(!second.already);
  });

  test("the daemon gets the base directory and, where it lies elsewhere, the settings file", async () => {
    const config = join(baseDir, "other.yaml");
    await writeFile(config, `server:\n  port: ${await findFreePort()}\n`);
    loaded = await loadConfig({ globals: { baseDir, config }, env: {}, cwd: "/" });
    const { logFile } = await startDaemon(loaded, deps());
    expect(await readFile(logFile, "utf8")).toContain(
      JSON.stringify(["serve", "--base-dir", baseDir, "--config", config]),
    );
    expect((await stat(logFile)).mode & 0o777).toBe(0o600);
  });

  test("each start has a log of its own, and five old ones stay", async () => {
    for (let index = 0; index < 8; index += 1) {
      await startDaemon(loaded, deps());
      await stopDaemon(loaded, deps());
    }
    const names = (await readdir(join(baseDir, "logs"))).toSorted();
    expect(names).toEqual(["serve.log", ...[1, 2, 3, 4, 5].map((index) => `serve.log.${index}`)]);
  });

  test("a stop ends the embedded PostgreSQL that a killed master left behind", async () => {
    const holder = new PostgresHolder({ baseDir });
    const { pid } = await holder.ready();
    await holder.kill9();
    expect(await stopDaemon(loaded, deps())).toMatchObject({ pid: null, postgres: { stopped: "fast", usedBy: [] } });
    expect(identifyProcess(pid)).toBeNull();
  });

  test("a stop leaves an embedded PostgreSQL to whoever uses it, and names him", async () => {
    const holder = new PostgresHolder({ baseDir, purpose: "migrate" });
    await holder.ready();
    const usedBy = [{ pid: holder.process.pid, purpose: "migrate" }];
    expect(await stopDaemon(loaded, deps())).toMatchObject({ postgres: { stopped: null, usedBy } });
    await holder.stop();
  });
});

describe("failures", () => {
  test("a daemon that ends before it is ready is an error with its exit code and the end of its log", async () => {
    await expect(startDaemon(loaded, deps({}, "crash"))).rejects.toMatchObject({
      code: "FULA_DAEMON_START",
      message: expect.stringMatching(/ended before it was ready \(exit code 3\)[^]*the ledger is on fire/),
    });
    expect(await daemonState(loaded)).toEqual({ status: "stopped", stale: null });
  });

  test("one that is not ready in time is an error that says what /readyz answers, and runs on", async () => {
    const clock = new ManualClock();
    const starting = startDaemon(loaded, deps({ clock, readyPatienceMs: 60_000 }, "unready"));
    const failed = starting.catch((error: unknown) => error);
    await until("it says that it is not ready", async () => {
      await clock.step(1);
      const state = await daemonState(loaded);
      return state.status === "running" && state.notReady !== null;
    });
    let isOver = false;
    void failed.then(() => {
      isOver = true;
    });
    // It may be in the middle of a question just now, and sleep once more after that.
    await until("its patience is over", async () => {
      await clock.step(60_000);
      return isOver;
    });
    await expect(failed).resolves.toMatchObject({
      code: "FULA_DAEMON_START",
      message: expect.stringContaining("/readyz says 503: the ledger is on fire"),
    });
    expect(await daemonState(loaded)).toMatchObject({
      status: "running",
      ready: false,
      notReady: "the ledger is on fire",
    });
  });

  test("somebody else's 200 on the port is not taken for our readiness", async () => {
    const stranger = createServer((_request, response) => response.end("hello"));
    const { promise, resolve } = Promise.withResolvers<void>();
    stranger.listen({ host: "127.0.0.1", port: loaded.config.server.port }, resolve);
    await promise;
    try {
      await expect(startDaemon(loaded, deps({}, "crash"))).rejects.toMatchObject({ code: "FULA_DAEMON_START" });
    } finally {
      stranger.close();
    }
  });

  test("a daemon that does not end is an error, and is killed with force", async () => {
    await startDaemon(loaded, deps({}, "deaf"));
    const pid = await runningPid();
    await expect(stopDaemon(loaded, deps({ stopPatienceMs: 300 }))).rejects.toMatchObject({
      code: "FULA_DAEMON_STOP",
      hint: expect.stringContaining("--force"),
    });
    expect(await runningPid()).toBe(pid);
    expect(await stopDaemon(loaded, deps({ stopPatienceMs: 300 }), { force: true })).toMatchObject({
      pid,
      manner: "killed",
    });
  });

  test("a killed daemon is told from a running one, and the next start replaces it", async () => {
    const first = await startDaemon(loaded, deps());
    process.kill(first.pid, "SIGKILL");
    await expect.poll(async () => daemonState(loaded)).toMatchObject({ status: "stopped", stale: { pid: first.pid } });
    const second = await startDaemon(loaded, deps());
    expect(second.already).toBe(false);
    expect(second.pid).not.toBe(first.pid);
  });

  test("a pid file whose pid belongs to another process now is stale, and that process is left alone", async () => {
    await writeFile(loaded.paths.servePidFile, `${process.pid}\nsome-other-boot:1\n2026-11-20T00:00:00Z\n`);
    expect(await daemonState(loaded)).toMatchObject({ status: "stopped", stale: { pid: process.pid } });
    expect(await stopDaemon(loaded, deps())).toMatchObject({ pid: null });
    expect(await readDaemonFile(loaded.paths.servePidFile)).toEqual({ status: "absent" });
  });

  test.each(["", "garbage", "12", "-1\na:1\nb", "1e3\na:1\nb", "0\na:1\nb"])(
    "a pid file that reads %j is stale",
    async (text) => {
      await writeFile(loaded.paths.servePidFile, text);
      expect(await readDaemonFile(loaded.paths.servePidFile)).toMatchObject({ status: "stale", record: null });
    },
  );

  test("a pid file names the very process that wrote it", async () => {
    const record = await writeDaemonFile(loaded.paths.servePidFile, systemClock);
    expect(record).toMatchObject(identifySelf());
    expect(await readDaemonFile(loaded.paths.servePidFile)).toEqual({ status: "running", record });
    expect((await readFile(loaded.paths.servePidFile, "utf8")).split("\n")[0]).toBe(String(process.pid));
    await rm(loaded.paths.servePidFile);
  });
});

describe("the commands", () => {
  test("start on a box that nobody has set up says so and makes nothing", async () => {
    const nowhere = join(baseDir, "nowhere");
    const run = await runCliForTest(["start"], { baseDir: nowhere });
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain("FULA_NOT_JOINED");
    await expect(stat(nowhere)).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("stop where nothing runs is already so, in words and in JSON", async () => {
    expect(await runCliForTest(["stop"], { baseDir })).toMatchObject({
      exitCode: 0,
      stdout: "Already so: serve does not run.\n",
    });
    const { stdout } = await runCliForTest(["stop", "--json"], { baseDir });
    expect(JSON.parse(stdout)).toEqual({ pid: null, manner: null, postgres: { stopped: null, usedBy: [] } });
  });

  test("start --dry-run and stop --dry-run write nothing", async () => {
    const before = await readdir(baseDir, { recursive: true });
    expect((await runCliForTest(["start", "--dry-run"], { baseDir })).stdout).toContain("Would start serve");
    expect((await runCliForTest(["stop", "--dry-run", "--json"], { baseDir })).stdout).toContain('"changes": false');
    expect(await readdir(baseDir, { recursive: true })).toEqual(before);
  });

  test("stop ends a running serve, and start sees it", async () => {
    const { pid } = await startDaemon(loaded, deps());
    expect((await runCliForTest(["start"], { baseDir })).stdout).toContain(`Already so: serve runs as process ${pid}`);
    expect((await runCliForTest(["stop"], { baseDir })).stdout).toBe(`serve (process ${pid}) has ended.\n`);
  });
});
