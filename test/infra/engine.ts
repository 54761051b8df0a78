import { spawn } from "node:child_process";
import { existsSync, openSync, readFileSync, rmSync } from "node:fs";
import Docker from "dockerode";
import { messageOf } from "../../src/lib/kernel/errors.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { detectDockerEngine, isDockerPresent } from "../../src/lib/runtime/docker.ts";
import { makeCacheDir } from "./cache.ts";
import { run, type Say, systemPath } from "./run.ts";

/** Pid files that a killed machine leaves behind, and the program that each is of. */
const PID_FILES: Readonly<Record<string, string>> = {
  "/var/run/docker.pid": "dockerd",
  "/var/run/docker/containerd/containerd.pid": "containerd",
};
const DOCKERD = "/usr/sbin/dockerd";
const START_TIMEOUT_MS = 60_000;
const POLL_MS = 200;
const LOG_CHARS_SHOWN = 3_000;

/** What was done to have an engine. */
export type EngineState = "answers" | "started";

/** What an engine of our own needs of Debian, by package. */
export const ENGINE_PROGRAMS: Readonly<Record<string, string>> = {
  [DOCKERD]: "docker.io",
  "/usr/sbin/iptables": "iptables",
  "/usr/bin/cgroupfs-mount": "cgroupfs-mount",
};

/**
 * Makes sure that a Docker Engine answers; starts Debian's where none does. One that is started here keeps running
 * after the tests, as any service of the machine.
 * @param install installs Debian's packages of the engine
 * @throws Error that says what is missing and how to get it
 */
export async function ensureEngine(install: () => void, say: Say): Promise<EngineState> {
  // One that is there and silent is waited for, as one that was just started is: a second one could not start beside it.
  const found = await detectDockerEngine({ env: process.env, patienceMs: START_TIMEOUT_MS });
  if (isDockerPresent(found)) return "answers";
  const host = process.env["DOCKER_HOST"] ?? "";
  if (host !== "") {
    throw new Error(
      `DOCKER_HOST=${host} gives no answer: ${found.absent}\n  Try: start that engine, or unset DOCKER_HOST`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new Error(
      `The drills need a Docker Engine; none answers here: ${found.absent}\n` +
        "  Try: run npm run infra as root, or install docker.io, start it, and join the group docker",
    );
  }
  install();
  if (existsSync("/run/systemd/system")) {
    say("starting Docker's engine by systemd");
    run("systemctl", ["start", "docker"]);
  } else {
    startDockerd(say);
  }
  await answering();
  return "started";
}

function commandName(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return null;
  }
}

/** Where another process has got the pid since, Docker takes its own file for a proof that it runs. */
function removeStalePidFiles(): void {
  for (const [path, program] of Object.entries(PID_FILES)) {
    if (existsSync(path) && commandName(Number(readFileSync(path, "utf8"))) !== program) rmSync(path);
  }
}

/** Machines that are containers or minimal images mount no control groups by themselves. */
function mountControlGroups(say: Say): void {
  const isMounted = existsSync("/sys/fs/cgroup/cgroup.controllers") || existsSync("/sys/fs/cgroup/memory");
  if (isMounted) return;
  say("mounting control groups");
  run("cgroupfs-mount", []);
}

function startDockerd(say: Say): void {
  removeStalePidFiles();
  mountControlGroups(say);
  const logFile = dockerdLog();
  say(`starting ${DOCKERD}; it keeps running, and logs to ${logFile}`);
  const log = openSync(logFile, "a");
  const env = { ...process.env, PATH: systemPath() };
  spawn(DOCKERD, [], { detached: true, stdio: ["ignore", log, log], cwd: "/", env }).unref();
}

function dockerdLog(): string {
  return `${makeCacheDir("logs")}/dockerd.log`;
}

async function answering(): Promise<void> {
  const deadlineMs = systemClock.monotonicMs() + START_TIMEOUT_MS;
  for (;;) {
    try {
      await new Docker().ping();
      return;
    } catch (error) {
      if (systemClock.monotonicMs() > deadlineMs) {
        const log = existsSync(dockerdLog()) ? readFileSync(dockerdLog(), "utf8").slice(-LOG_CHARS_SHOWN) : "";
        const why = `Docker's engine did not answer within ${START_TIMEOUT_MS / 1_000} s: ${messageOf(error)}`;
        throw new Error(`${why}\n${log}`, { cause: error });
      }
      await systemClock.sleep(POLL_MS);
    }
  }
}
