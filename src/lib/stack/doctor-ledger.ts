import type { LoadedConfig } from "../config/load.ts";
import { FulaError } from "../kernel/errors.ts";
import { formatCount, formatDuration } from "../kernel/units.ts";
import { listFederationNodes } from "../membership/federation-nodes.ts";
import type { Pool } from "../postgres/pool.ts";
import { checkBilling } from "./doctor-billing.ts";
import { checkBucketRace, checkBuckets } from "./doctor-buckets.ts";
import { checkPinning } from "./doctor-pinning.ts";
import type { DoctorBox } from "./doctor-box.ts";
import { type DoctorCheck, doubtful, failed, fine } from "./doctor.ts";
import { peekLedger } from "./ledger-peek.ts";
import type { Finding } from "./preflight.ts";
import { secretsDigests } from "./registration.ts";
import { lookAtSchema } from "./schema-look.ts";

/** Lends the ledger as it runs. @throws FulaError FULA_DATABASE_UNREACHABLE where the embedded server does not run */
async function askLedger<T>(loaded: LoadedConfig, signal: AbortSignal, ask: (pool: Pool) => Promise<T>): Promise<T> {
  const answer = await peekLedger(loaded, async (pool) => ({ value: await ask(pool) }), signal);
  if (answer !== null) return answer.value;
  throw new FulaError("FULA_DATABASE_UNREACHABLE", "The embedded PostgreSQL does not run.", {
    hint: "fula-master start brings it up with serve.",
  });
}

async function checkServer({ mode }: LoadedConfig["config"]["postgres"], pool: Pool): Promise<Finding> {
  const { rows } = await pool.query<{ version: string; standby: boolean; read_only: boolean; at: string | null }>(
    `select current_setting('server_version') as version, pg_is_in_recovery() as standby,
            current_setting('transaction_read_only')::boolean as read_only, host(inet_server_addr()) as at`,
  );
  const [row] = rows;
  if (row === undefined) return failed("The server gives no answer to a question.", "look into its log.");
  const { version, standby, read_only: readOnly, at } = row;
  const what = `PostgreSQL ${version} (${mode}${at === null ? "" : ` at ${at}`})`;
  if (standby) return failed(`${what} is a standby and takes no writes.`, "set postgres.host to the primary.");
  if (readOnly) return failed(`${what} is set to read only.`, "look why default_transaction_read_only is on.");
  return fine(`${what} answers and takes writes`);
}

async function checkSchema(pool: Pool): Promise<readonly Finding[]> {
  const { version, toDo } = await lookAtSchema(pool);
  if (toDo.length === 0) return [fine(`migration ${version ?? "none"} is in effect, and every unique index is valid`)];
  return toDo.map((each) => failed(`To be done: ${each}.`, "fula-master migrate up"));
}

interface RightsRow {
  readonly name: string;
  readonly missing: readonly string[];
  readonly owned: boolean;
}

/** What the role lacks on each table and sequence of the ledger. */
const RIGHTS = `
  select c.relname::text as name,
         array_remove(array[
           case when c.relkind = 'S' then case when not has_sequence_privilege(c.oid, 'usage') then 'usage' end
                when not has_table_privilege(c.oid, 'select') then 'select' end,
           case when c.relkind <> 'S' and not has_table_privilege(c.oid, 'insert') then 'insert' end,
           case when c.relkind <> 'S' and not has_table_privilege(c.oid, 'update') then 'update' end,
           case when c.relkind <> 'S' and not has_table_privilege(c.oid, 'delete') then 'delete' end
         ], null) as missing,
         pg_has_role(c.relowner, 'usage') as owned
    from pg_class c
   where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'S')
   order by c.relname`;

async function checkRights(pool: Pool, user: string): Promise<readonly Finding[]> {
  const { rows } = await pool.query<RightsRow>(RIGHTS);
  const without = rows.filter(({ missing }) => missing.length > 0);
  if (without.length > 0) {
    const list = without.map(({ name, missing }) => `${name} (${missing.join(", ")})`).join(", ");
    const remedy = `as the owner: grant all on all tables in schema public to ${user}; grant all on all sequences in schema public to ${user};`;
    return [failed(`The role ${user} lacks rights on ${list}.`, remedy)];
  }
  const foreign = rows.filter(({ owned }) => !owned).map(({ name }) => name);
  const fineText = `the role ${user} may read and write all ${formatCount(rows.length, "table and sequence", "tables and sequences")}`;
  if (foreign.length === 0) return [fine(fineText)];
  return [
    fine(fineText),
    doubtful(
      `${foreign.join(", ")} belong to another role, so migrate up cannot change them.`,
      `as the owner: alter table … owner to ${user};`,
    ),
  ];
}

/** Masters that lead by turns allow for two seconds between their clocks; half of it is for one box. */
const SKEW_WARN_MS = 1_000;
const SKEW_MAX_MS = 5_000;

async function checkClock({ clock }: DoctorBox, pool: Pool): Promise<Finding> {
  const beforeMs = clock.nowMs();
  const { rows } = await pool.query<{ ms: string }>(
    "select (extract(epoch from clock_timestamp()) * 1000)::bigint as ms",
  );
  const middleMs = (beforeMs + clock.nowMs()) / 2;
  const skewMs = Math.round(Number(rows[0]?.ms) - middleMs);
  const text = `the database's clock is ${formatDuration(Math.abs(skewMs))} ${skewMs < 0 ? "behind" : "ahead of"} this box's`;
  const remedy = "turn a time service on, on both: timedatectl set-ntp true.";
  if (Math.abs(skewMs) > SKEW_MAX_MS) return failed(`${text}.`, remedy);
  return Math.abs(skewMs) > SKEW_WARN_MS ? doubtful(`${text}.`, remedy) : fine(text);
}

/** A master notes every minute that it is there. */
const UNSEEN_MAX_MS = 24 * 3_600_000;

async function checkFederation({ loaded, clock }: DoctorBox, pool: Pool): Promise<readonly Finding[]> {
  const { node: self, cluster, controlPlane } = loaded.config;
  const { name, clusterId } = self;
  const nodes = await listFederationNodes(pool);
  if (nodes.length === 0 && cluster.mode === "local") return [fine("this master is on its own")];
  const own = nodes.find((node) => node.name === name);
  const others = nodes.filter((node) => node.role === "master" && node.name !== name);
  const found: Finding[] = [
    own === undefined
      ? failed(`${name} does not stand in the ledger's list of masters.`, "fula-master join writes it down.")
      : fine(
          `${formatCount(others.length + 1, "master")} in the ledger: ${[name, ...others.map((node) => node.name)].join(", ")}`,
        ),
  ];
  if (controlPlane.mode === "sqlite" && others.length > 0) {
    found.push(
      doubtful(
        "The control plane is a file of this box, and there are other masters: each has its own, and none knows what another decides.",
        "move it to NATS servers: fula-master membership migrate-to-kv; then fula-master join on every master.",
      ),
    );
  }
  const [digest, ...ofOtherEpochs] = secretsDigests(loaded);
  for (const node of others) {
    if (node.clusterId !== clusterId) {
      found.push(
        failed(
          `${node.name} is of another cluster: ${node.clusterId}.`,
          `join one of the two again; fula-master peers forget ${node.name} takes it out.`,
        ),
      );
    }
    if (node.secretsDigest !== null && ofOtherEpochs.includes(node.secretsDigest)) {
      found.push(
        doubtful(
          `${node.name} works with the masters' secrets of another epoch than this box; each still reads what the other signs and seals.`,
          "fula-master membership sync on both, until neither has anything to do.",
        ),
      );
    } else if (node.secretsDigest !== null && node.secretsDigest !== digest) {
      found.push(
        failed(
          `${node.name} has other secrets than this box: what one signs or encrypts the other cannot read.`,
          "make a token on the master that is right (fula-master token create) and join the other again with it.",
        ),
      );
    }
    if (clock.nowMs() - Date.parse(node.seenAt) > UNSEEN_MAX_MS) {
      found.push(
        doubtful(
          `${node.name} has not been seen since ${node.seenAt}.`,
          `see whether it runs; fula-master peers forget ${node.name} takes it out for good.`,
        ),
      );
    }
  }
  return found;
}

/** Checks of the ledger, which a storage node has none of. */
export function ledgerChecks(box: DoctorBox): readonly DoctorCheck[] {
  const { loaded } = box;
  const { postgres } = loaded.config;
  const check = (
    name: DoctorCheck["name"],
    ask: (pool: Pool) => Promise<Finding | readonly Finding[]>,
  ): DoctorCheck => ({ name, run: async (signal) => await askLedger(loaded, signal, ask) });
  return [
    check("ledger", async (pool) => await checkServer(postgres, pool)),
    check("schema", checkSchema),
    check("ledger-rights", async (pool) => await checkRights(pool, postgres.user)),
    check("ledger-clock", async (pool) => await checkClock(box, pool)),
    check("billing", async (pool) => await checkBilling(loaded, pool)),
    check("buckets", async (pool) => await checkBuckets(box, pool)),
    check("bucket-race", async (pool) => await checkBucketRace(box, pool)),
    check("pinning", checkPinning),
    check("federation", async (pool) => await checkFederation(box, pool)),
  ];
}
