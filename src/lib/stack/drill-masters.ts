import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { hourlyFee } from "../billing/fee.ts";
import { formatUnits, parseUnits } from "../billing/money.ts";
import { type LoadedConfig, loadConfig } from "../config/load.ts";
import type { Clock } from "../kernel/clock.ts";
import { writeFileAtomic } from "../kernel/files.ts";
import { quoteIdentifier } from "../postgres/index-health.ts";
import { migrateUp } from "../postgres/migrator.ts";
import { createPool, type Pool } from "../postgres/pool.ts";
import { argumentsOf, findFreePort, identifyProcess, listPids, signalProcess } from "../runtime/processes.ts";
import { startDaemon } from "./daemon.ts";
import type { DrillScene } from "./drill.ts";
import { openLedger } from "./ledger.ts";
import { withPinCluster } from "./pinset.ts";

/** Prefix of databases that drills make; nothing else is ever dropped. */
const DATABASE = /^fula_drill_[a-z0-9_]{1,40}$/;
const SECRET_BYTES = 32;
const OWN_SETTINGS: readonly string[] = ["PATH", "HOME", "TMPDIR", "TZ", "LANG"];

/** What the drill's user stores: it costs something in each hour. */
const STORED_BYTES = 10n * 2n ** 30n;
const PRICE = { freeTierBytes: 524_288_000n, fulaPerGibMonth: parseUnits("3") };
const OPENING = "1000";

/** A ledger of a drill's own: a database beside the box's, with one user who stores 10 GiB. */
export interface DrillLedger extends AsyncDisposable {
  readonly pool: Pool;
  readonly database: string;
  readonly userId: string;
  /** What an hour costs that user, in units of 10⁻¹⁸ FULA. */
  readonly feeUnits: bigint;
}

/** A `serve` of a drill's own, started by the launcher of this installation. */
export interface DrillMaster {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
}

/** Why this box cannot make a ledger for a drill; null where it can. @throws FulaError as `openLedger` does */
export async function whyNoScratch({ loaded, ...deps }: DrillScene): Promise<string | null> {
  await using ledger = await openLedger(loaded, { ...deps, part: "drill" });
  const { rows } = await ledger.pool.query<{ may: boolean }>(
    "select rolcreatedb or rolsuper as may from pg_roles where rolname = current_user",
  );
  if (rows[0]?.may === true) return null;
  const { user } = loaded.config.postgres;
  return `the role ${user} may not create a database of the drill's own; as the owner of the server: alter role ${user} createdb;`;
}

async function fill(pool: Pool, userId: string, hoursAgo: number): Promise<void> {
  await pool.query(
    `with account as (
       insert into user_credits (user_id, balance_fula, opening_fula) values ($1, $2::numeric, $2::numeric) returning id
     ), started as (
       insert into user_usage (account_id, bytes, changed_hour)
       select id, $3::bigint, date_trunc('hour', now(), 'UTC') - interval '30 days' from account returning account_id, changed_hour
     ), stored as (
       insert into stored_contents (account_id, cid, bytes) select id, 'drill', $3::bigint from account
     ), mode as (
       insert into billing_mode (mode, first_hour, changed_by)
       values ('keyed', date_trunc('hour', now(), 'UTC') - $4::integer * interval '1 hour', 'drill')
     )
     insert into usage_history (account_id, hour, bytes) select account_id, changed_hour, $3::bigint from started`,
    [userId, OPENING, STORED_BYTES.toString(), hoursAgo],
  );
}

/**
 * Makes a ledger for a drill on the server of this box's: migrated, billed by the hour, with `hoursAgo` hours that are over
 * and wait to be billed. It is noted first, and dropped with everything else of the run.
 */
export async function openDrillLedger(scene: DrillScene, hoursAgo: number): Promise<DrillLedger> {
  const { loaded, belongings, runId, random, dir, signal, ...deps } = scene;
  const database = `fula_drill_${runId.toLowerCase().replaceAll(/[^a-z0-9]/g, "_")}`;
  await belongings.noteMasters(database, dir);
  const ledger = await openLedger(loaded, { ...deps, signal, part: "drill" });
  await ledger.pool.query(`create database ${quoteIdentifier(database)} template template0 encoding 'UTF8'`);
  // Another database than the ledger's has none of its epochs.
  const other = { database, ledgerEpoch: "unchecked", part: "drill", node: loaded.config.node.name };
  const pool = createPool({ ...ledger.connection, ...other, max: 8 });
  const close = async (): Promise<void> => {
    await pool.end();
    await ledger.close();
  };
  try {
    await migrateUp(pool, { signal });
    const userId = Buffer.from(random.bytes(SECRET_BYTES)).toString("hex");
    await fill(pool, userId, hoursAgo);
    return { pool, database, userId, feeUnits: hourlyFee(STORED_BYTES, PRICE), [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

function settingsOf(
  loaded: LoadedConfig,
  name: string,
  database: string,
  port: number,
  ports: readonly number[],
): object {
  const { mode, host, user, tls, tlsCaFile } = loaded.config.postgres;
  const [server, gateway, api] = ports;
  return {
    node: { name, clusterId: "00000000-0000-4000-8000-00000000d411" },
    postgres: {
      mode: "external",
      host: mode === "embedded" ? "127.0.0.1" : host,
      port,
      database,
      user,
      ...(mode === "external" ? { tls, ...(tlsCaFile === null ? {} : { tlsCaFile }) } : {}),
    },
    blocks: { mode: "local" },
    cluster: { mode: "local" },
    server: { port: server },
    gateway: { port: gateway },
    api: { port: api },
    billing: {
      enabled: "on",
      // Longer than any drill waits: whoever takes over a lease has not waited until it ran out.
      leaseTtl: "10m",
      fulaPerGbMonth: formatUnits(PRICE.fulaPerGibMonth),
      freeTierBytes: Number(PRICE.freeTierBytes),
    },
  };
}

/** Starts a master on the drill's ledger and waits until it is ready. It knows nothing of this box's environment. */
export async function startDrillMaster(scene: DrillScene, ledger: DrillLedger, name: string): Promise<DrillMaster> {
  const { loaded, random, clock, signal, env, dir } = scene;
  const baseDir = join(dir, name);
  await mkdir(join(baseDir, "state"), { recursive: true, mode: 0o700 });
  const ports = [await findFreePort(), await findFreePort(), await findFreePort()];
  const port = ledger.pool.options.port ?? loaded.config.postgres.port;
  const settings = settingsOf(loaded, name, ledger.database, port, ports);
  await writeFileAtomic(join(baseDir, "fula-master.yaml"), JSON.stringify(settings), { mode: 0o600 });
  const password = loaded.secrets.postgresPassword;
  const secret = (): string => Buffer.from(random.bytes(SECRET_BYTES)).toString("hex");
  const lines = [
    ...(password === null ? [] : [`POSTGRES_PASSWORD=${JSON.stringify(password.reveal())}`]),
    ...["ENCRYPTION_KEY", "JWT_SECRET", "SESSION_SECRET", "SYSTEM_KEY"].map((key) => `${key}=${secret()}`),
  ];
  await writeFileAtomic(join(baseDir, ".env"), `${lines.join("\n")}\n`, { mode: 0o600 });
  const own = Object.fromEntries(OWN_SETTINGS.map((key) => [key, env[key]]));
  const master = await loadConfig({ globals: { baseDir }, env: own, cwd: baseDir });
  await withPinCluster(master, { clock, create: true }, async () => {});
  const { pid, logFile } = await startDaemon(master, { clock, signal, env: own });
  return { name, pid, logFile };
}

/** Ends every process that was started with a base directory below `dir`, as the kernel would. @returns how many */
export async function killMasters(dir: string, clock: Clock): Promise<number> {
  const isOurs = (pid: number): boolean => {
    const args = argumentsOf(pid);
    const baseDir = args[args.indexOf("--base-dir") + 1] ?? "";
    return args.includes("serve") && args.includes("--base-dir") && baseDir.startsWith(`${dir}/`);
  };
  const found = listPids()
    .filter(isOurs)
    .flatMap((pid) => identifyProcess(pid) ?? []);
  for (const process of found) signalProcess(process, "SIGKILL");
  for (const { pid } of found) while (identifyProcess(pid) !== null && isOurs(pid)) await clock.sleep(20);
  return found.length;
}

/** Drops databases that drills made, whoever is still connected with them. */
export async function dropDrillDatabases(loaded: LoadedConfig, names: readonly string[], clock: Clock): Promise<void> {
  await using ledger = await openLedger(loaded, { clock, part: "drill" });
  for (const name of names.filter((each) => DATABASE.test(each))) {
    await ledger.pool.query(`drop database if exists ${quoteIdentifier(name)} with (force)`);
  }
}
