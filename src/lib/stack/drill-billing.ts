import { creditUser } from "../billing/credits.ts";
import { runDeduction } from "../billing/deduction.ts";
import { formatUnits, parseUnits } from "../billing/money.ts";
import { verifyLedger } from "../billing/verify.ts";
import { formatDuration } from "../kernel/units.ts";
import { silentLog } from "../kernel/log.ts";
import { readLease } from "../lease/lease-record.ts";
import { identifyProcess, signalProcess } from "../runtime/processes.ts";
import { readLogTail } from "../runtime/log-files.ts";
import { defineDrill, type DrillScene, expectThat } from "./drill.ts";
import {
  type DrillLedger,
  type DrillMaster,
  openDrillLedger,
  startDrillMaster,
  whyNoScratch,
} from "./drill-masters.ts";

const ACQUIRED = "acquired cron lease";
const STANDBY = "standby (lease held by another master)";
/** A master that has just started takes the lease and bills within a second; a busy box may need longer. */
const PATIENCE_MS = 60_000;
const POLL_MS = 10;
const LOG_LINES = 10_000;

const unfitFor = ({ config }: DrillScene["loaded"]): string | null =>
  config.node.role === "storage" ? "a storage node does not bill" : null;

async function until<T>(
  { clock, signal }: Pick<DrillScene, "clock" | "signal">,
  look: () => Promise<T | null>,
  what: string,
): Promise<T> {
  const startedMs = clock.monotonicMs();
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    expectThat(clock.monotonicMs() - startedMs < PATIENCE_MS, `${what}: not within ${formatDuration(PATIENCE_MS)}`);
    await clock.sleep(POLL_MS, signal);
  }
}

async function says({ logFile }: DrillMaster, event: string): Promise<boolean> {
  return (await readLogTail(logFile, LOG_LINES)).some((line) => line.includes(`"${event}"`));
}

interface Pair {
  readonly leader: DrillMaster;
  readonly standby: DrillMaster;
}

/** Waits until one of the masters says that it took the lease. @returns that one first */
async function whoLeads(scene: DrillScene, masters: readonly DrillMaster[]): Promise<Pair> {
  return await until(
    scene,
    async () => {
      const holds = await Promise.all(masters.map(async (master) => await says(master, ACQUIRED)));
      const leader = masters[holds.indexOf(true)];
      const standby = masters[holds.indexOf(false)];
      expectThat(holds.includes(false), "both masters say that they took the lease");
      return leader === undefined || standby === undefined ? null : { leader, standby };
    },
    "no master took the lease",
  );
}

async function startTwo(scene: DrillScene, ledger: DrillLedger): Promise<readonly DrillMaster[]> {
  return await Promise.all(["drill-a", "drill-b"].map(async (name) => await startDrillMaster(scene, ledger, name)));
}

/** Keys of the hours that are over since the ledger's first one, the oldest first. */
async function hourKeys({ pool }: DrillLedger): Promise<readonly string[]> {
  const { rows } = await pool.query<{ key: string }>(
    `select to_char(hour at time zone 'UTC', '"hour:"YYYY-MM-DD"T"HH24') as key
       from billing_mode, generate_series(first_hour, date_trunc('hour', now(), 'UTC') - interval '1 hour', interval '1 hour') as hour
      order by hour`,
  );
  return rows.map(({ key }) => key);
}

async function chargesOf({ pool, userId }: DrillLedger, key: string): Promise<readonly string[]> {
  const { rows } = await pool.query<{ amount: string }>(
    "select amount_fula as amount from credit_history where user_id = $1 and tx_type = 'hourly_deduction' and reference_id = $2",
    [userId, key],
  );
  return rows.map(({ amount }) => amount);
}

/** Waits until the hour is billed, and counts what the user paid for it. */
async function chargedOnce(scene: DrillScene, ledger: DrillLedger, key: string): Promise<string> {
  await until(
    scene,
    async () => {
      const { rows } = await ledger.pool.query(
        `select from billing_hours where state = 'done' and to_char(hour at time zone 'UTC', '"hour:"YYYY-MM-DD"T"HH24') = $1`,
        [key],
      );
      return rows.length > 0 ? true : null;
    },
    `${key} is not billed`,
  );
  const charges = await chargesOf(ledger, key);
  const [amount = "0"] = charges;
  expectThat(charges.length === 1, `${charges.length} charges for ${key}`);
  expectThat(
    parseUnits(amount) === -ledger.feeUnits,
    `charged ${amount} for ${key}; the fee is ${formatUnits(ledger.feeUnits)}`,
  );
  return `one charge of ${formatUnits(ledger.feeUnits)} FULA for ${key}`;
}

async function booksAreRight({ pool }: DrillLedger): Promise<string> {
  const { checks, looked } = await verifyLedger(pool);
  const broken = checks.filter(({ ok }) => !ok).map(({ name, examples }) => `${name}: ${examples[0] ?? ""}`);
  expectThat(broken.length === 0, broken.join("; "));
  return `${checks.length} checks over ${looked.entries} entries found nothing`;
}

const BOOKS = "The books of the drill's ledger verify afterwards";

/** D3: of two masters one bills. */
export const oneMasterBillsDrill = defineDrill({
  id: "D3",
  title: "Of two masters one bills, and bills once",
  claims: {
    one: "Exactly one of two masters takes the lease",
    standby: "The other one says that it stands by",
    once: "One user is charged exactly once for one hour",
    books: BOOKS,
  },
  unfitFor,
  unableHere: whyNoScratch,
  run: async (scene, check) => {
    await using ledger = await openDrillLedger(scene, 1);
    const [key = ""] = await hourKeys(ledger);
    const masters = await startTwo(scene, ledger);
    let pair: Pair | null = null;
    const one = await check("one", async () => {
      pair = await whoLeads(scene, masters);
      const { holder, epoch } = await readLease(ledger.pool);
      expectThat(
        holder === pair.leader.name,
        `${pair.leader.name} says that it took the lease; the ledger says ${holder ?? "nobody"}`,
      );
      return `${holder} has it, epoch ${epoch}`;
    });
    if (!one) return;
    await check("standby", async () => await standsBy(scene, pair));
    await check("once", async () => await chargedOnce(scene, ledger, key));
    await check("books", async () => await booksAreRight(ledger));
  },
});

async function standsBy(scene: DrillScene, pair: Pair | null): Promise<string> {
  expectThat(pair !== null, "nobody leads");
  const { standby } = pair;
  await until(scene, async () => ((await says(standby, STANDBY)) ? true : null), `${standby.name} does not say so`);
  expectThat(!(await says(standby, ACQUIRED)), `${standby.name} says that it took the lease, too`);
  return `${standby.name}: "${STANDBY}"`;
}

/** D4: the leader is killed. */
export const leaderKilledDrill = defineDrill({
  id: "D4",
  title: "When the billing master is killed, the other one goes on",
  claims: {
    took: "The other master takes the lease at once, and does not wait until it has run out",
    once: "The user is still charged exactly once for that hour",
    next: "The next hour is charged by the other one, once",
    books: BOOKS,
  },
  unfitFor,
  unableHere: whyNoScratch,
  run: async (scene, check) => {
    const { clock } = scene;
    await using ledger = await openDrillLedger(scene, 2);
    const { pool } = ledger;
    const [key = "", next = ""] = await hourKeys(ledger);
    // Settled for now, so that an hour is left for the other master.
    await pool.query(
      `insert into billing_hours (hour, state, free_tier_bytes, fula_per_gib_month, began_by, reason)
       select first_hour + interval '1 hour', 'waived', 0, 0, 'drill', 'left for the other master' from billing_mode`,
    );
    const { leader, standby } = await whoLeads(scene, await startTwo(scene, ledger));
    await chargedOnce(scene, ledger, key);
    await standsBy(scene, { leader, standby });
    await pool.query("delete from billing_hours where state = 'waived'");
    const took = await check("took", async () => {
      const { epoch } = await readLease(pool);
      const process = identifyProcess(leader.pid);
      expectThat(process !== null && signalProcess(process, "SIGKILL"), `process ${leader.pid} had ended already`);
      const killedMs = clock.monotonicMs();
      const after = await until(
        scene,
        async () => {
          const lease = await readLease(pool);
          return lease.standing === "held" && lease.epoch > epoch ? lease : null;
        },
        "nobody took the lease",
      );
      const tookMs = clock.monotonicMs() - killedMs;
      expectThat(after.holder === standby.name, `${after.holder ?? "nobody"} took it`);
      return `${standby.name} took it after ${formatDuration(tookMs)}, epoch ${after.epoch}`;
    });
    await check("once", async () => await chargedOnce(scene, ledger, key));
    if (!took) return;
    await check("next", async () => await chargedOnce(scene, ledger, next));
    await check("books", async () => await booksAreRight(ledger));
  },
});

/** How many hours are settled: one more than was due before, where an hour has struck meanwhile. */
async function hoursBilled({ pool }: DrillLedger): Promise<number> {
  const { rows } = await pool.query<{ hours: number }>(
    "select count(*)::int as hours from billing_hours where state = 'done'",
  );
  return rows[0]?.hours ?? 0;
}

const DEPOSITS = ["3.25", "0.000000000000000001"];

/** Sends every charge and every deposit twice at the same time. @returns what the balance was before and after */
async function sendTwice(scene: DrillScene, ledger: DrillLedger): Promise<readonly [bigint, bigint]> {
  const { pool, userId } = ledger;
  const { clock, random, signal, loaded, runId } = scene;
  const balance = async (): Promise<bigint> => {
    const { rows } = await pool.query<{ balance: string }>(
      "select balance_fula as balance from user_credits where user_id = $1",
      [userId],
    );
    return parseUnits(rows[0]?.balance ?? "0");
  };
  const before = await balance();
  const settings = {
    ...loaded.config.billing,
    idempotency: true,
    basis: "completed",
    fulaPerGbMonth: "3",
    freeTierBytes: 524_288_000,
    catchUpHours: 24,
  } as const;
  const charge = async (node: string): Promise<void> => {
    await runDeduction({ pool, log: silentLog, clock, random, signal, fence: null, node, settings });
  };
  const deposit = async (amount: string): Promise<void> => {
    await creditUser(pool, {
      type: "deposit",
      userId,
      amountUnits: parseUnits(amount),
      reference: `drill:${runId}:${amount}`,
      referralBonuses: false,
    });
  };
  const twice = DEPOSITS.flatMap((amount) => [deposit(amount), deposit(amount)]);
  await Promise.all([charge("drill-a"), charge("drill-b"), ...twice]);
  return [before, await balance()];
}

/** D5: the same things at the same time. */
export const sameTimeDrill = defineDrill({
  id: "D5",
  title: "Charges and deposits that arrive at the same time count once",
  claims: {
    once: "Two charges and two deposits, each sent twice at the same time, change the balance once each",
    entries: "Each of them is in the ledger once",
    books: BOOKS,
  },
  unfitFor,
  unableHere: whyNoScratch,
  run: async (scene, check) => {
    await using ledger = await openDrillLedger(scene, 2);
    const due = await hourKeys(ledger);
    let billed = 0;
    await check("once", async () => {
      const [before, after] = await sendTwice(scene, ledger);
      billed = await hoursBilled(ledger);
      expectThat(billed >= due.length, `${billed} hours of ${due.length} are billed`);
      const deposits = DEPOSITS.reduce((sum, amount) => sum + parseUnits(amount), 0n);
      const expected = before + deposits - BigInt(billed) * ledger.feeUnits;
      expectThat(
        after === expected,
        `${formatUnits(before)} became ${formatUnits(after)}; it should be ${formatUnits(expected)}`,
      );
      return `${formatUnits(before)} became ${formatUnits(after)} FULA`;
    });
    await check("entries", async () => {
      const { rows } = await ledger.pool.query<{ tx_type: string; entries: string }>(
        "select tx_type, count(*) as entries from credit_history group by tx_type order by tx_type",
      );
      const seen = rows.map(({ tx_type: type, entries }) => `${type} ${entries}`).join(", ");
      expectThat(seen === `deposit ${DEPOSITS.length}, hourly_deduction ${billed}`, seen);
      return seen;
    });
    await check("books", async () => await booksAreRight(ledger));
  },
});
