import { join } from "node:path";
import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import { formatBytes } from "../kernel/units.ts";
import { sqlStateOf } from "../postgres/database-errors.ts";
import type { Pool } from "../postgres/pool.ts";
import { runQuery } from "../postgres/run-query.ts";
import { connectDocker } from "../runtime/docker.ts";
import { readImageFacts } from "../runtime/compose-upgrade.ts";
import { diskRoom } from "../runtime/host.ts";
import { resolvePostgresBinaries } from "../runtime/postgres-binaries.ts";
import { clusterPlace } from "../runtime/postgres-cluster.ts";
import { planPostgresUser } from "../runtime/postgres-user.ts";
import { readAuthority } from "./control-plane-keys.ts";
import { withLedger } from "./ledger.ts";
import { nearestExisting } from "./preflight-base-dir.ts";
import type { StandbyBox } from "./standby-box.ts";

/** What the ledger says of itself to a box that wants a copy. */
export interface LedgerFacts {
  readonly major: number;
  readonly systemId: string;
  /** Of all its databases. */
  readonly bytes: number;
  /** How far the server's clock is ahead of this box's, in milliseconds. */
  readonly aheadMs: number;
}

/** Kinds of a standby's server. */
export type StandbyKind = "embedded" | "docker";

/** What `standby add` rests on; each was looked at. */
export interface StandbyFitness {
  readonly kind: StandbyKind;
  readonly ledger: LedgerFacts;
}

/** Beside the data: what is written while they are copied, and what the server needs to start. */
const ROOM_FACTOR = 1.2;
const ROOM_BYTES = 256 * 1024 ** 2;
/** Certificates and leases bear no more. */
const CLOCK_MS_MAX = 60_000;
const PROGRAMS = ["pg_basebackup", "pg_verifybackup", "pg_rewind", "pg_controldata", "pg_waldump"] as const;
const VERSION_STEP = 10_000;
const UNDEFINED_TABLE = "42P01";

interface FactsRow {
  readonly version: string;
  readonly system_id: string;
  readonly bytes: string;
  readonly now_ms: number;
}

async function readLedgerFacts(pool: Pool, nowMs: () => number): Promise<LedgerFacts> {
  const { rows } = await runQuery<FactsRow>(pool, {
    name: "standby_ledger_facts",
    text: `
      select current_setting('server_version_num') as version,
             (select system_identifier::text from pg_control_system()) as system_id,
             (select coalesce(sum(pg_database_size(oid)), 0)::text from pg_database
               where has_database_privilege(oid, 'connect')) as bytes,
             (extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms`,
    values: [],
  });
  const [row] = rows;
  if (row === undefined) throw new Error("the ledger's facts are one row");
  return {
    major: Math.floor(Number(row.version) / VERSION_STEP),
    systemId: row.system_id,
    bytes: Number(row.bytes),
    aheadMs: row.now_ms - nowMs(),
  };
}

async function hasEpochTable(pool: Pool): Promise<boolean> {
  try {
    await runQuery(pool, { name: "standby_epoch_table", text: "select 1 from ledger_epochs limit 1", values: [] });
    return true;
  } catch (error) {
    if (sqlStateOf(error) === UNDEFINED_TABLE) return false;
    throw error;
  }
}

/** What this box lacks that no other box can give it, each a sentence. */
async function boxProblems({ loaded, name }: StandbyBox): Promise<readonly string[]> {
  const { config, paths } = loaded;
  const problems: string[] = [];
  if (config.postgres.mode !== "external") {
    problems.push(
      `the ledger of ${name} is its own server (postgres.mode is ${config.postgres.mode}): a standby belongs on another master`,
    );
  }
  if (config.postgres.announce === null) {
    problems.push(
      "postgres.announce is not set: fula-master config set postgres.announce <host:port>, where the other masters reach this box's server",
    );
  }
  if ((await readAuthority(paths.keysDir)) === null) {
    problems.push("the federation's certificate authority is not in keys/: fula-master membership sync brings it");
  }
  return problems;
}

async function processProblems(loaded: LoadedConfig, ledger: LedgerFacts): Promise<readonly string[]> {
  const { config, paths } = loaded;
  const { binDir, runAs } = config.postgres;
  const where = `/usr/lib/postgresql/${ledger.major}/bin`;
  const install = `install PostgreSQL ${ledger.major} from your distribution and: fula-master config set postgres.binDir ${where}`;
  if (binDir === null) {
    return [`the programs of the npm package have no pg_basebackup and speak no TLS: ${install}`];
  }
  const missing: string[] = [];
  for (const program of PROGRAMS) if (!(await exists(join(binDir, program)))) missing.push(program);
  if (missing.length > 0) return [`${binDir} has no ${missing.join(", ")}: ${install}`];
  const place = clusterPlace(paths.stateDir);
  const plan = await planPostgresUser({ runAs: runAs ?? undefined, dataDir: place.dataDir });
  const problems: string[] = [];
  if (plan.kind !== "create") {
    const { major, version } = await resolvePostgresBinaries({ binDir, copyRoot: place.root, user: plan.user });
    if (major !== ledger.major) {
      problems.push(
        `the ledger is PostgreSQL ${ledger.major}, and the programs in ${binDir} are ${version}: ${install}`,
      );
    }
  }
  const needed = Math.ceil(ledger.bytes * ROOM_FACTOR) + ROOM_BYTES;
  const { bytesFree } = await diskRoom(await nearestExisting(place.root));
  if (bytesFree < needed && !(await exists(place.dataDir))) {
    problems.push(
      `a copy of the ledger needs ${formatBytes(needed)} in ${place.root}, and ${formatBytes(bytesFree)} are free`,
    );
  }
  return problems;
}

async function containerProblems(
  { config }: LoadedConfig,
  ledger: LedgerFacts,
  env: StandbyBox["context"]["env"],
): Promise<readonly string[]> {
  const { postgres: image } = config.docker.images;
  const facts = await readImageFacts(await connectDocker(env), image);
  if (facts === null || facts.postgresMajor === ledger.major) return [];
  return [
    `the ledger is PostgreSQL ${ledger.major}, and ${image} is ${facts.postgresMajor ?? "none that says which"}: set docker.images.postgres to one of that version`,
  ];
}

/** What the records of the control plane speak against. */
async function recordProblems({ store, name }: StandbyBox, ledger: LedgerFacts): Promise<readonly string[]> {
  const { value: epoch } = await store.get("epoch");
  if (epoch === null) return [];
  const problems: string[] = [];
  if (epoch.phase !== "open") problems.push("a failover is under way: fula-master failover status shows how far it is");
  if (epoch.primary === name) problems.push(`${name} has the ledger's primary`);
  if (epoch.systemId !== ledger.systemId) {
    problems.push(
      `the ledger that this box uses (${ledger.systemId}) is not the federation's (${epoch.systemId}): look at postgres.host`,
    );
  }
  return problems;
}

/**
 * Looks at everything that a standby needs, and tells all that is missing at once. Changes nothing.
 * @throws FulaError FULA_STANDBY_UNFIT; FULA_DATABASE_UNREACHABLE, FULA_CONTROL_PLANE_UNREACHABLE
 */
export async function checkStandbyFitness(box: StandbyBox): Promise<StandbyFitness> {
  const { context, loaded } = box;
  const { clock, random, log, signal, env } = context;
  const own = await boxProblems(box);
  const kind: StandbyKind = loaded.config.runtime === "docker" ? "docker" : "embedded";
  if (loaded.config.postgres.mode !== "external") throw unfit(box.name, own);
  const [ledger, hasTable] = await withLedger(
    loaded,
    { clock, random, log, signal, part: "standby" },
    async (pool) => [await readLedgerFacts(pool, () => clock.nowMs()), await hasEpochTable(pool)] as const,
  );
  const problems = [
    ...own,
    ...(hasTable ? [] : ["the ledger's schema is older than standbys: fula-master migrate up"]),
    ...(kind === "docker" ? await containerProblems(loaded, ledger, env) : await processProblems(loaded, ledger)),
    ...(await recordProblems(box, ledger)),
  ];
  if (Math.abs(ledger.aheadMs) > CLOCK_MS_MAX) {
    problems.push(
      `the clocks of this box and of the ledger's are ${Math.round(Math.abs(ledger.aheadMs) / 1_000)} s apart: have both set by a time service`,
    );
  }
  if (problems.length > 0) throw unfit(box.name, problems);
  return { kind, ledger };
}

function unfit(name: string, problems: readonly string[]): FulaError {
  const [first = "", ...others] = problems;
  const list = others.length === 0 ? first : problems.map((problem) => `\n  - ${problem}`).join("");
  return new FulaError(
    "FULA_STANDBY_UNFIT",
    `${name} cannot carry a standby of the ledger yet: ${list}. Nothing was changed.`,
    {
      hint: "mend that, and run the command again.",
      details: { problems },
    },
  );
}
