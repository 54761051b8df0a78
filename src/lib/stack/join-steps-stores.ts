import { FulaError, isFulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import { listControlPlaneRoutes } from "../membership/federation-nodes.ts";
import type { Pool } from "../postgres/pool.ts";
import { inspectEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { readAuthority } from "./control-plane-keys.ts";
import { readFederation } from "./federation-look.ts";
import { readInstallation } from "./installation.ts";
import type { JoinBox } from "./join-box.ts";
import { JOIN_LOGIN_PATIENCE_MS } from "./ledger.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { bringUpToDate, lookAtLedger, migrationReport } from "./join-migrate.ts";
import { noteMade } from "./join-steps-files.ts";
import { peekLedger } from "./ledger-peek.ts";
import { openPinCluster } from "./pinset.ts";
import { already, type Assessment, todo } from "./plan.ts";
import { secretsDigests } from "./registration.ts";
import type { SchemaLook } from "./schema-look.ts";
import { formatCount } from "../kernel/units.ts";
import { checkWriter } from "./writer-identity.ts";

function lost(what: string, path: string, hint: string): FulaError {
  return new FulaError(
    "FULA_STATE_LOST",
    `${what} of this master is gone: ${path} is not there. Nothing was changed.`,
    {
      hint,
      details: { path },
    },
  );
}

async function isMade(box: JoinBox, what: "ledger" | "pinset"): Promise<boolean> {
  return (await readInstallation(box.paths.stateDir))?.made.includes(what) === true;
}

async function assessEmbedded(box: JoinBox): Promise<Assessment> {
  const { dataMajor } = await inspectEmbeddedPostgres(box.paths);
  const made = await isMade(box, "ledger");
  const { postgresDataDir } = box.paths;
  if (dataMajor !== null && made) return already(`PostgreSQL ${dataMajor} in ${postgresDataDir}`);
  if (dataMajor !== null) return todo("an earlier run did not finish it", ["start PostgreSQL and check it"]);
  if (made) {
    throw lost(
      "The ledger",
      postgresDataDir,
      "put the directory back from your backup; to begin with an empty ledger on purpose, join in another --base-dir.",
    );
  }
  return todo("the ledger of this master is a PostgreSQL of its own, on loopback only", [
    `initialise PostgreSQL in ${postgresDataDir}`,
    "start it on a free port of 127.0.0.1",
  ]);
}

function tokenNeeded(cluster: string, lack: string): FulaError {
  return new FulaError(
    "FULA_TOKEN_NEEDED",
    `This ledger belongs to the masters of cluster ${cluster}, and this box ${lack}. Nothing was changed.`,
    {
      hint: "make a token on one of them (fula-master token create), and join with --token-file.",
      details: { ledger: cluster },
    },
  );
}

/**
 * A ledger that the masters of a federation share is no place for a box that is none of theirs, or that has other
 * secrets: it could read nothing there, and nobody could read what it wrote.
 */
async function assertMayShare(box: JoinBox, pool: Pool): Promise<void> {
  const { config } = box.wanted;
  const nodes = await readFederation(pool);
  const [first] = nodes;
  if (first === undefined) return;
  if (first.clusterId !== box.clusterId) throw tokenNeeded(first.clusterId, "is none of them");
  const theirs = nodes.find(({ name, secretsDigest: digest }) => name !== config.node.name && digest !== null);
  if (theirs === undefined) return;
  const { systemKey, jwtSecret, sessionSecret, encryptionKey } = box.wanted.secrets;
  const lacks = systemKey === null || jwtSecret === null || sessionSecret === null || encryptionKey === null;
  if (lacks) throw tokenNeeded(first.clusterId, "does not have their secrets");
  // While a rekey is under way, theirs may be of another epoch than those in use here.
  if (!secretsDigests(box.wanted).includes(theirs.secretsDigest ?? ""))
    throw tokenNeeded(first.clusterId, `has other secrets than ${theirs.name}`);
}

/** A box without the certificates of the others' servers would make a control plane of its own beside theirs. */
async function assertMayEnter(box: JoinBox, pool: Pool): Promise<void> {
  const { controlPlane, node } = box.wanted.config;
  const isSure =
    controlPlane.mode !== "docker" || box.entry !== null || (await readAuthority(box.paths.keysDir)) !== null;
  const nodes = isSure ? [] : await readFederation(pool);
  const [first] = nodes;
  if (first === undefined) return;
  const there = (await listControlPlaneRoutes(pool)).find(({ name }) => name !== node.name);
  if (there === undefined) return;
  throw tokenNeeded(first.clusterId, `has no certificate for the control plane, of which ${there.name} runs a server`);
}

async function assessExternal(box: JoinBox): Promise<Assessment> {
  const { host, port, database } = box.wanted.config.postgres;
  const { clock, signal } = box.context;
  const look = async (pool: Pool): Promise<void> => {
    await assertMayShare(box, pool);
    await assertMayEnter(box, pool);
  };
  await peekLedger(box.wanted, look, signal, { clock, patienceMs: JOIN_LOGIN_PATIENCE_MS });
  const where = `${database} on ${host}:${port}`;
  if (await isMade(box, "ledger")) return already(`${where} answers`);
  return todo("the ledger is a database that exists", [`use ${where}`]);
}

async function assessContainer(box: JoinBox): Promise<Assessment> {
  const { host, port, database } = box.wanted.config.postgres;
  const why = "the ledger of this master is a PostgreSQL in a container of its own";
  if (!(await isMade(box, "ledger"))) return todo(why, ["wait until it answers, and note that the ledger is made"]);
  try {
    await peekLedger(box.wanted, async () => await Promise.resolve());
  } catch (error) {
    // Its container is brought up by the step before this one.
    if (!isFulaError(error, "FULA_DATABASE_UNREACHABLE")) throw error;
    return todo(why, ["wait until it answers"]);
  }
  return already(`${database} on ${host}:${port} answers`);
}

const ASSESS_LEDGER = { embedded: assessEmbedded, docker: assessContainer, external: assessExternal } as const;

/** Step: the ledger's database server. */
export function postgresStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { mode } = box.wanted.config.postgres;
  return {
    id: "postgres",
    title: "PostgreSQL",
    assess: async () => await ASSESS_LEDGER[mode](box),
    apply: async (report) => {
      report(mode === "embedded" ? "initialising and starting" : "connecting");
      const pool = await run.ledger();
      const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
      await noteMade(box, "ledger");
      return `PostgreSQL ${rows[0]?.version ?? ""} answers`;
    },
  };
}

/** What the migrations would do; null where that shows only once PostgreSQL runs. */
async function lookForMigrations(run: JoinRun): Promise<SchemaLook | null> {
  const { box } = run;
  if (run.mayStart) return await lookAtLedger(run.box, await run.ledger());
  try {
    return await peekLedger(await run.load(), async (pool) => await lookAtLedger(box, pool));
  } catch (error) {
    if (box.wanted.config.postgres.mode === "docker" && isFulaError(error, "FULA_DATABASE_UNREACHABLE")) return null;
    throw error;
  }
}

/** Step: the ledger's tables. */
export function migrationsStep(run: JoinRun): JoinStep {
  const { box } = run;
  return {
    id: "migrations",
    title: "Migrations",
    assess: async () => {
      const why = "every table of the ledger comes from a numbered migration";
      // A server that the step before has not finished may run, but need not let anybody in yet.
      if (box.wanted.config.postgres.mode === "embedded" && !(await isMade(box, "ledger"))) {
        return todo(why, ["apply every migration"]);
      }
      const schema = await lookForMigrations(run);
      if (schema === null) return todo(why, ["apply what is missing; that shows once PostgreSQL runs"]);
      return schema.toDo.length === 0
        ? already(`the schema is current, at ${schema.version ?? "nothing"}`)
        : todo(why, schema.toDo);
    },
    apply: async (report) => {
      const { clock, signal, log } = box.context;
      return await bringUpToDate(box, await run.ledger(), { clock, signal, log, report: migrationReport(report) });
    },
  };
}

/** Step: block store and pinset. */
export function storesStep(run: JoinRun): JoinStep {
  const { box } = run;
  return {
    id: "stores",
    title: "Block store and pinset",
    assess: async () =>
      box.wanted.config.cluster.mode === "local" ? await assessLocal(box) : await assessDaemons(box),
    apply: async () => {
      const loaded = await run.load();
      await using pins = await openPinCluster(loaded, { clock: box.context.clock, create: true });
      const count = await pins.count(box.context.signal);
      await noteMade(box, "pinset");
      return `${count === null ? "the pinset answers" : formatCount(count, "pin")}, cluster ${pins.clusterId}`;
    },
  };
}

async function assessLocal(box: JoinBox): Promise<Assessment> {
  const { blocksDir, pinsFile } = box.paths;
  const missing: string[] = [];
  if (!(await exists(blocksDir))) missing.push(blocksDir);
  if (!(await exists(pinsFile))) missing.push(pinsFile);
  const made = await isMade(box, "pinset");
  const [first] = missing;
  if (made && first !== undefined) {
    throw lost(
      first === blocksDir ? "The block store" : "The pinset",
      first,
      first === blocksDir
        ? "put the directory back from your backup; fula-master sweep then shows what is still missing."
        : "fula-master restore makes the pinset again from the last good snapshot.",
    );
  }
  if (made) return already(`${blocksDir} and ${pinsFile} are there`);
  return todo("objects are kept as blocks on this box, and the pinset says which of them must stay", [
    ...missing.map((path) => `create ${path}`),
    ...(missing.length === 0 ? ["check the pinset that an earlier run made"] : []),
  ]);
}

/** Kubo and IPFS Cluster, in containers of our own or somebody else's. */
async function assessDaemons(box: JoinBox): Promise<Assessment> {
  const { blocks, cluster } = box.wanted.config;
  const { random, signal } = box.context;
  const made = await isMade(box, "pinset");
  const where = `Kubo ${blocks.kuboApi}, IPFS Cluster ${cluster.api}`;
  if (cluster.mode === "docker") {
    if (made) return already(where);
    return todo("objects are kept as blocks in Kubo, and IPFS Cluster says which of them must stay", [
      "wait until both answer, and note that the pinset is made",
    ]);
  }
  const { clusterPeerId } = await checkWriter({ kuboApi: blocks.kuboApi, clusterApi: cluster.api }, { random, signal });
  if (made) return already(`${where}, peer ${clusterPeerId}`);
  return todo(`the writer that runs here already is adopted${box.writer === null ? "" : `: ${box.writer.found}`}`, [
    `use ${where}, peer ${clusterPeerId}`,
  ]);
}
