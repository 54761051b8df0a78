import { join } from "node:path";
import Docker from "dockerode";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { type ProcessLock, tryLock } from "../../src/lib/kernel/lock.ts";
import { ensurePrograms } from "../support/debian-tools.ts";
import { makeCacheDir } from "./cache.ts";
import { buildDaemons, isBuilt } from "./daemons.ts";
import { ENGINE_PROGRAMS, type EngineState, ensureEngine } from "./engine.ts";
import { buildImages, findStaleImages, prepareImages } from "./images.ts";
import type { Say } from "./run.ts";

/** What a run of the set-up found or had to make; nothing was made where both lists are empty and the engine answered. */
export interface Made {
  readonly engine: EngineState;
  /** Modules whose programs were built. */
  readonly daemons: readonly string[];
  /** Tags of the images that were built. */
  readonly images: readonly string[];
}

/** What the set-up itself runs, and what the drills compare us with, by Debian's package. */
const TOOLS: Readonly<Record<string, string>> = {
  "/usr/sbin/debootstrap": "debootstrap",
  "/bin/busybox": "busybox-static",
  unzip: "unzip",
  "/usr/bin/docker-compose": "docker-compose",
};

const LOCK_POLL_MS = 500;

/** Two runs at once would build the same thing twice into one place; the second waits and then finds it. */
async function takeTurn(say: Say): Promise<ProcessLock> {
  const path = join(makeCacheDir(), "setup.lock");
  for (let waited = false; ; waited = true) {
    const lock = await tryLock(path, "test infrastructure", systemClock);
    if (lock !== null) return lock;
    if (!waited) say("waiting for another set-up that is running");
    await systemClock.sleep(LOCK_POLL_MS);
  }
}

/** Makes what is missing of the test infrastructure, and nothing else. @throws Error that says what is missing */
export async function setUpInfra(say: Say): Promise<Made> {
  using _turn = await takeTurn(say);
  ensurePrograms(TOOLS);
  const engine = await ensureEngine(() => {
    ensurePrograms(ENGINE_PROGRAMS);
  }, say);
  const docker = new Docker();
  const stale = await findStaleImages(docker);
  // Downloads and one program after the other on one side, compilers on the other.
  const [daemons, prepared] = await Promise.allSettled([buildDaemons(say), prepareImages(stale, say)]);
  if (daemons.status === "rejected") throw daemons.reason;
  if (prepared.status === "rejected") throw prepared.reason;
  return { engine, daemons: daemons.value, images: await buildImages(docker, stale, say) };
}

/** Builds the nats-server alone: what needs no engine needs nothing else of the infrastructure. */
export async function setUpNatsServer(say: Say): Promise<void> {
  // Nobody who has it already waits for another's set-up of all the rest.
  if (isBuilt("nats-server")) return;
  using _turn = await takeTurn(say);
  ensurePrograms({ unzip: "unzip" });
  await buildDaemons(say, ["nats-server"]);
}
