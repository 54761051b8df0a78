import { randomBytes } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { CliRun } from "../../support/cli.ts";
import { until } from "../../support/until.ts";
import { expectDone } from "../../support/cli.ts";
import type { Box } from "./boxes.ts";
import { once, SETTLE_MS } from "./runbook.ts";

const PSQL = "/usr/lib/postgresql/15/bin/psql -h 127.0.0.1 -U pinning_user -d pinning_service -v ON_ERROR_STOP=1 -qAt";
/** As long as a primary that waits for its standbys is given to say that it does not. */
const WRITE_SECONDS = 8;

/** As long as a server that is sure to answer may take, on a machine with much else to do. */
const ANSWER_SECONDS = 60;

/** Runs SQL on the PostgreSQL of a box, as the ledger's own role, over loopback. It says of no epoch that it means it. */
async function sql(box: Box, statement: string, withinSeconds = ANSWER_SECONDS): Promise<CliRun> {
  const script = `. /opt/fula-master/.env; export PGPASSWORD="$POSTGRES_PASSWORD" PGCONNECT_TIMEOUT=${withinSeconds}
PGOPTIONS="-c fula.ledger_epoch=unchecked" timeout ${withinSeconds} ${PSQL} <<'END'
${statement}
END`;
  return await box.sh(script);
}

/** Rows of one column. @throws Error where the box does not answer */
async function rows(box: Box, query: string): Promise<readonly string[]> {
  const { stdout } = expectDone(await sql(box, query), `“${query}” on ${box.name}`);
  return stdout.split("\n").filter((line) => line !== "");
}

/** Whether the PostgreSQL of a box says soon of a write that it is done. */
export async function takesWrites(box: Box): Promise<boolean> {
  const table = `stray_${randomBytes(4).toString("hex")}`;
  return (await sql(box, `create table ${table} (id int); drop table ${table};`, WRITE_SECONDS)).exitCode === 0;
}

interface StandbyView {
  readonly epoch: { readonly number: number; readonly primary: string; readonly syncSet: readonly string[] };
  readonly wouldLoseBytes: number | null;
  readonly problems: readonly { readonly message: string }[];
}

/** As soon as the box has something to say. */
async function standbyView(box: Box): Promise<StandbyView> {
  const runs: CliRun[] = [];
  const ask = async (): Promise<string | null> => {
    const run = await once(box, "fula-master standby status --json");
    runs.push(run);
    return run.stdout === "" ? null : run.stdout;
  };
  try {
    return JSON.parse(await until(`${box.name} tells of the standbys`, ask, SETTLE_MS));
  } catch (error) {
    throw new Error(`standby status on ${box.name}: ${JSON.stringify(runs.at(-1))}`, { cause: error });
  }
}

/** Who has the ledger's primary, as a box sees it. */
export async function primaryOn(box: Box): Promise<{ readonly primary: string; readonly epoch: number }> {
  const { epoch } = await standbyView(box);
  return { primary: epoch.primary, epoch: epoch.number };
}

/** Waits until a box sees that: what one of the control plane's servers tells may be of a moment before. */
export async function knows(box: Box, wanted: Awaited<ReturnType<typeof primaryOn>>): Promise<void> {
  const what = `${box.name} knows ${wanted.primary} as the primary of epoch ${wanted.epoch}`;
  await until(what, async () => isDeepStrictEqual(await primaryOn(box), wanted), SETTLE_MS);
}

/**
 * Waits until commits wait for so many standbys, nothing would be lost by a failover, and nothing is wrong.
 * @param away a former primary that nobody has brought back yet: that is told, and is to be
 */
export async function standbysFollow(primary: Box, standbys: number, away?: Box): Promise<void> {
  const expected = away === undefined ? [] : [`: fula-master resync on ${away.name}`];
  let seen: StandbyView | null = null;
  try {
    await until(
      `${standbys} standbys follow ${primary.name}`,
      async () => {
        seen = await standbyView(primary);
        const { epoch, wouldLoseBytes, problems } = seen;
        const isWell =
          expected.length === problems.length && expected.every((end, at) => problems[at]?.message.endsWith(end));
        return isWell && epoch.syncSet.length === standbys && wouldLoseBytes === 0;
      },
      SETTLE_MS,
    );
  } catch (error) {
    throw new Error(`${primary.name} sees ${JSON.stringify(seen)}`, { cause: error });
  }
}

/**
 * What has to hold after each drill, as a box sees it that follows the ledger: every fee was charged once and the books are
 * right, every bucket can be read whole, and nothing holds anything that belongs to no standby.
 */
export async function expectIntact(primary: Box, all: readonly Box[]): Promise<void> {
  expectDone(await once(primary, "fula-master billing verify"), "billing verify");
  expectDone(await once(primary, "fula-master buckets verify --all --deep"), "buckets verify");
  for (const box of all) await expectNothingHeld(box);
}

async function heldBy(box: Box): Promise<string> {
  const slots = await rows(box, "select slot_name from pg_replication_slots where slot_name like 'fm\\_pin%'");
  // Files of a server that runs go while they are looked at.
  const find = "find /opt/fula-master -ignore_readdir_race -name 'fm_pin_*'";
  const leases = expectDone(await box.sh(find), "find").stdout.trim();
  return [...slots, ...(leases === "" ? [] : [leases])].join(", ");
}

/**
 * No slot and no lease of a backup is left of a recovery: it lets go at its end, which for one that a box does by itself is
 * after its standby is counted in, or its caretaker does.
 */
export async function expectNothingHeld(box: Box): Promise<void> {
  let held = "";
  const isFree = async (): Promise<boolean> => {
    held = await heldBy(box);
    return held === "";
  };
  try {
    await until(`${box.name} holds nothing any more`, isFree);
  } catch (error) {
    throw new Error(`${box.name} still holds ${held}`, { cause: error });
  }
}

const PAYER = "drill-payer";
const STORED_BYTES = 10 * 1024 ** 3;
const HOURS = 3;

/** Has hours wait to be billed: an account has stored more than is free for days, and the federation bills since hours ago. */
export async function openHours(primary: Box): Promise<void> {
  const statement = `
with account as (insert into user_credits (user_id, balance_fula, opening_fula) values ('${PAYER}', 1000, 1000) returning id),
started as (
  insert into user_usage (account_id, bytes, changed_hour)
  select id, ${STORED_BYTES}, date_trunc('hour', now(), 'UTC') - interval '30 days' from account returning account_id, changed_hour),
stored as (insert into stored_contents (account_id, cid, bytes) select id, 'drill', ${STORED_BYTES} from account),
-- Where a full hour has struck meanwhile, that one is billed already, and no earlier one can come before it.
mode as (update billing_mode set first_hour = first_hour - interval '${HOURS} hours' where not exists (select from billing_hours))
insert into usage_history (account_id, hour, bytes) select account_id, changed_hour, ${STORED_BYTES} from started;`;
  expectDone(await sql(primary, statement), "hours that wait");
}

/** Waits until each hour that is over is billed: an hour may have struck a moment ago. Fails where one was billed twice. */
export async function expectEachHourOnce(primary: Box): Promise<void> {
  const counts = await until(
    "every hour is billed",
    async () => {
      const seen = await chargesPerHour(primary);
      return seen.length > 0 && seen.every((count) => count > 0) ? seen : null;
    },
    SETTLE_MS,
  );
  if (counts.some((count) => count > 1)) throw new Error(`Charges per hour: ${counts.join(", ")}`);
}

/** How often the account was charged for each hour that is over. */
async function chargesPerHour(primary: Box): Promise<readonly number[]> {
  const query = `
select count(c.id) from billing_mode,
  generate_series(first_hour, date_trunc('hour', now(), 'UTC') - interval '1 hour', interval '1 hour') as hour
  left join credit_history c on c.user_id = '${PAYER}' and c.tx_type = 'hourly_deduction'
    and c.reference_id = to_char(hour at time zone 'UTC', '"hour:"YYYY-MM-DD"T"HH24')
 group by hour order by hour;`;
  return (await rows(primary, query)).map(Number);
}
