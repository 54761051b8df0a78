import { z } from "zod";
import { createCid, RAW_CODEC } from "../blocks/cid.ts";
import { retry } from "../kernel/retry.ts";
import { formatCount } from "../kernel/units.ts";
import { connectDocker } from "../runtime/docker.ts";
import { probeHttp } from "../runtime/http-probe.ts";
import { readProjectHealth } from "../runtime/project-health.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import { openStores } from "./drill-stores.ts";
import { peekLedger } from "./ledger-peek.ts";
import { lookAtSchema } from "./schema-look.ts";
import { stackServices } from "./stack-values.ts";

const READYZ_TIMEOUT_MS = 10_000;
const BLOCK_BYTES = 64;
/** What is busy for a moment, or is just starting, is asked again before it is said not to answer. */
const ASK_AGAIN_MS = [1_000, 3_000] as const;

const readinessSchema = z.object({
  checks: z.array(z.object({ name: z.string(), state: z.string(), error: z.string().nullable() })),
});

/** D1: every service is asked for something that it can only answer when it works. */
export const servicesDrill = defineDrill({
  id: "D1",
  title: "Every service answers a question",
  claims: {
    ledger: "PostgreSQL answers a query, and its schema is current",
    blocks: "The block store gives back a block that it was just given",
    pinset: "The pinset can be counted, and every peer that belongs to it answers",
    serve: "serve is ready: each of its own checks is ok",
    containers: "Each container of the project runs, and its own health check says that it is well",
  },
  onlyWhere: {
    ledger: ({ config }) => config.node.role === "master",
    containers: ({ config }) => stackServices(config).length > 0,
  },
  run: async (scene, check) => {
    await check("ledger", async () => await lookAtLedger(scene));
    await check("blocks", async () => await lookAtBlocks(scene));
    const again = { delaysMs: ASK_AGAIN_MS, clock: scene.clock, signal: scene.signal };
    await check("pinset", async () => await retry(async () => await lookAtPinset(scene), again));
    await check("serve", async () => await retry(async () => await lookAtServe(scene), again));
    await check("containers", async () => await retry(async () => await lookAtContainers(scene), again));
  },
});

async function lookAtLedger({ loaded }: DrillScene): Promise<string> {
  const found = await peekLedger(loaded, async (pool) => {
    const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
    return { server: rows[0]?.version, schema: await lookAtSchema(pool) };
  });
  expectThat(found !== null, "PostgreSQL does not run");
  const { server, schema } = found;
  expectThat(schema.toDo.length === 0, `not current: ${schema.toDo.join(", ")}`);
  return `PostgreSQL ${server ?? "of unknown version"}, schema ${schema.version ?? "none"}`;
}

async function lookAtBlocks(scene: DrillScene): Promise<string> {
  const { random, belongings, signal } = scene;
  const bytes = random.bytes(BLOCK_BYTES);
  const cid = createCid(RAW_CODEC, bytes);
  await belongings.noteBlock(cid.toString());
  await using stores = await openStores(scene.loaded, scene);
  await stores.blocks.put(cid, bytes, signal);
  const again = await stores.blocks.get(cid, signal);
  expectThat(Buffer.compare(bytes, again) === 0, `${cid.toString()} came back as other bytes`);
  return `${cid.toString()}, ${bytes.length} B`;
}

async function lookAtPinset(scene: DrillScene): Promise<string> {
  await using stores = await openStores(scene.loaded, scene);
  const { cluster } = stores;
  let pins = await cluster.count(scene.signal);
  if (pins === null) {
    pins = 0;
    for await (const _ of cluster.pins(scene.signal)) pins += 1;
  }
  const peers = await cluster.peers(scene.signal);
  const silent = peers.filter(({ state }) => state !== "answers");
  const names = silent.map(({ id, name, state, error }) => `${name === "" ? id : name} ${state} ${error}`.trimEnd());
  expectThat(silent.length === 0, `of ${formatCount(peers.length, "peer")}: ${names.join("; ")}`);
  return `${formatCount(pins, "pin")}, ${formatCount(peers.length, "peer")}`;
}

async function lookAtServe({ loaded, signal }: DrillScene): Promise<string> {
  const { host, port } = loaded.config.server;
  const answer = await probeHttp({ host, port, path: "/readyz" }, READYZ_TIMEOUT_MS, signal);
  expectThat(answer !== null, `nobody answers /readyz on port ${port}`);
  const { checks } = readinessSchema.parse(JSON.parse(answer.body));
  const bad = checks.filter(({ state }) => state !== "ok");
  const said = bad.map(({ name, state, error }) => `${name} ${state}: ${error ?? ""}`).join("; ");
  expectThat(answer.status === 200 && bad.length === 0 && checks.length > 0, `/readyz ${answer.status}: ${said}`);
  return `/readyz 200: ${checks.map(({ name }) => name).join(", ")}`;
}

async function lookAtContainers({ loaded, env, signal }: DrillScene): Promise<string> {
  const { project } = loaded.config.docker;
  const found = await readProjectHealth(await connectDocker(env), project, { signal });
  const bad = stackServices(loaded.config).flatMap((service) => {
    const container = found.find((one) => one.service === service);
    if (container === undefined) return [`${service} has no container`];
    const { state, health, containerName } = container;
    return state === "running" && health === "healthy" ? [] : [`${containerName} is ${state} (${health})`];
  });
  expectThat(bad.length === 0, bad.join("; "));
  return `project ${project}: ${found.map(({ containerName }) => containerName).join(", ")}`;
}
