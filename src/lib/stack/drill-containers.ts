import { readFile } from "node:fs/promises";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { formatDuration } from "../kernel/units.ts";
import { connectDocker } from "../runtime/docker.ts";
import { identifyProcess, signalProcess } from "../runtime/processes.ts";
import { readProjectHealth, type ServiceHealth } from "../runtime/project-health.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import { openStores } from "./drill-stores.ts";

const BLOCK_BYTES = 64;
const BACK_PATIENCE_MS = 180_000;
const POLL_MS = 1_000;

/** D9: a daemon that dies comes back by itself, with what it held. */
export const killedContainerDrill = defineDrill({
  id: "D9",
  title: "A Kubo that is killed comes back with its blocks",
  disturbs: "kills Kubo's process, so that blocks cannot be read for some seconds",
  claims: {
    killed: "Kubo runs in a container of ours, and its process was killed",
    back: "It runs again, and its own health check says that it is well",
    kept: "A block that it was given before is still there",
  },
  unfitFor: ({ config }) => (config.blocks.mode === "docker" ? null : "there is no Kubo container of our own"),
  run: async (scene, check) => {
    const { random, belongings, signal } = scene;
    const bytes = random.bytes(BLOCK_BYTES);
    const cid = createCid(RAW_CODEC, bytes);
    await belongings.noteBlock(cid.toString());
    await using stores = await openStores(scene.loaded, scene);
    await stores.blocks.put(cid, bytes, signal);
    const before = await kuboOf(scene);
    if (!(await check("killed", async () => await kill(scene, before)))) return;
    if (!(await check("back", async () => await untilBack(scene, before)))) return;
    await check("kept", async () => {
      const again = await stores.blocks.get(cid, signal);
      expectThat(Buffer.compare(bytes, again) === 0, `${cid.toString()} came back as other bytes`);
      return `${cid.toString()}, ${bytes.length} B`;
    });
  },
});

async function kuboOf({ loaded, env, signal }: DrillScene): Promise<ServiceHealth> {
  const { project } = loaded.config.docker;
  const found = await readProjectHealth(await connectDocker(env), project, { signal });
  const kubo = found.find(({ service }) => service === "kubo");
  expectThat(kubo !== undefined, `project ${project} has no container of the service kubo`);
  return kubo;
}

/** Kills the process itself: a container that the engine was told to kill counts as stopped on purpose, and stays down. */
async function kill({ env }: DrillScene, { containerId, containerName, state }: ServiceHealth): Promise<string> {
  expectThat(state === "running", `${containerName} is ${state}`);
  const docker = await connectDocker(env);
  const { State } = await docker.getContainer(containerId).inspect();
  // The engine may be on another machine, where the same number is another process.
  const groups = await readFile(`/proc/${State.Pid}/cgroup`, "utf8");
  expectThat(groups.includes(containerId), `process ${State.Pid} of this machine is not in ${containerName}`);
  const process = identifyProcess(State.Pid);
  expectThat(process !== null && signalProcess(process, "SIGKILL"), `process ${State.Pid} had ended already`);
  return `process ${State.Pid} of ${containerName}`;
}

async function untilBack(scene: DrillScene, before: ServiceHealth): Promise<string> {
  const { clock, signal } = scene;
  const startedMs = clock.monotonicMs();
  for (;;) {
    const now = await kuboOf(scene);
    const tookMs = clock.monotonicMs() - startedMs;
    const isAnother = now.startedAt !== before.startedAt;
    if (isAnother && now.state === "running" && now.health === "healthy") return `after ${formatDuration(tookMs)}`;
    expectThat(tookMs < BACK_PATIENCE_MS, `${now.containerName} is ${now.state} (${now.health})`);
    await clock.sleep(POLL_MS, signal);
  }
}
