import { FulaError } from "../kernel/errors.ts";
import { exists } from "../kernel/files.ts";
import { inspectEmbeddedPostgres } from "../runtime/embedded-postgres.ts";
import { readInstallation } from "./installation.ts";
import type { JoinBox } from "./join-box.ts";
import type { JoinRun, JoinStep } from "./join-step.ts";
import { noteMade } from "./join-steps-files.ts";
import { peekLedger } from "./ledger-peek.ts";
import { openPinCluster } from "./pinset.ts";
import { already, type Assessment, todo } from "./plan.ts";
import { lookAtSchema } from "./schema-look.ts";
import { formatCount } from "../kernel/units.ts";

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

async function assessExternal(box: JoinBox): Promise<Assessment> {
  const { host, port, database } = box.wanted.config.postgres;
  await peekLedger(box.wanted, async () => await Promise.resolve());
  const where = `${database} on ${host}:${port}`;
  if (await isMade(box, "ledger")) return already(`${where} answers`);
  return todo("the ledger is a database that exists", [`use ${where}`]);
}

/** Step: the ledger's database server. */
export function postgresStep(run: JoinRun): JoinStep {
  const { box } = run;
  return {
    id: "postgres",
    title: "PostgreSQL",
    assess: async () => (box.choice.runtime === "embedded" ? await assessEmbedded(box) : await assessExternal(box)),
    apply: async (report) => {
      report(box.choice.runtime === "embedded" ? "initialising and starting" : "connecting");
      const pool = await run.ledger();
      const { rows } = await pool.query<{ version: string }>("select current_setting('server_version') as version");
      await noteMade(box, "ledger");
      return `PostgreSQL ${rows[0]?.version ?? ""} answers`;
    },
  };
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
      if (box.choice.runtime === "embedded" && !(await isMade(box, "ledger"))) {
        return todo(why, ["apply every migration"]);
      }
      const schema = run.mayStart
        ? await lookAtSchema(await run.ledger())
        : await peekLedger(await run.load(), lookAtSchema);
      if (schema === null) return todo(why, ["apply what is missing; that shows once PostgreSQL runs"]);
      return schema.toDo.length === 0
        ? already(`the schema is current, at ${schema.version ?? "nothing"}`)
        : todo(why, schema.toDo);
    },
    apply: async (report) => {
      const { migrateUp } = await import("../postgres/migrator.ts");
      const { clock, signal, log } = box.context;
      const { applied, mended, version } = await migrateUp(await run.ledger(), {
        clock,
        signal,
        log,
        report: (event) => {
          if (event.event === "migration.started") report(event.id);
          if (event.event === "lock.waiting") report(`waiting for ${event.holder}`);
          if (event.event === "index.building") report(`${event.index}: ${event.phase}`);
        },
      });
      const indexes = mended.length === 0 ? "" : `, ${mended.length} indexes built again`;
      return `${applied.length} applied${indexes}, now at ${version ?? "none"}`;
    },
  };
}

/** Step: block store and pinset. */
export function storesStep(run: JoinRun): JoinStep {
  const { box } = run;
  const { blocksDir, pinsFile } = box.paths;
  return {
    id: "stores",
    title: "Block store and pinset",
    assess: async () => {
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
    },
    apply: async () => {
      const loaded = await run.load();
      await using pins = await openPinCluster(loaded, { clock: box.context.clock, create: true });
      const count = await pins.count(box.context.signal);
      await noteMade(box, "pinset");
      return `${count === null ? "an unknown number of pins" : formatCount(count, "pin")}, cluster ${pins.clusterId}`;
    },
  };
}
