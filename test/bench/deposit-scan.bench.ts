import { createHash } from "node:crypto";
import { Client } from "pg";
import { creditUsersTx } from "../../src/lib/billing/credits.ts";
import { runScan, type ScanDeps } from "../../src/lib/billing/scan.ts";
import { RpcEndpoint } from "../../src/lib/billing/rpc.ts";
import type { Chain } from "../../src/lib/config/chain-settings.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { Secret } from "../../src/lib/kernel/secret.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";
import { addressOf, Anvil } from "../support/anvil.ts";
import { startTestPostgres } from "../support/postgres-server.ts";
import { median } from "./measure.ts";

/** `SCAN_BLOCKS=10000 SCAN_DEPOSITS=1000 npm run bench deposit-scan` for a quick look. */
const BLOCKS = Number(process.env["SCAN_BLOCKS"] ?? 100_000);
const DEPOSITS = Number(process.env["SCAN_DEPOSITS"] ?? 10_000);
const ROUNDS = Number(process.env["SCAN_ROUNDS"] ?? 3);
const WALLETS = 500;
/** Deposits of one transaction. */
const BUNDLE = 10;
const WINDOW = 10_000;
const USER = createHash("sha256").update("bench@example.com").digest("hex");

async function fillChain(anvil: Anvil, vault: string): Promise<Chain> {
  const token = await anvil.deployToken();
  const startBlock = await anvil.head();
  // Several a transaction, because anvil takes longer to be filled than anything takes to read it.
  const apart = Math.floor((BLOCKS / DEPOSITS) * BUNDLE);
  for (let deposit = 0; deposit < DEPOSITS; deposit += BUNDLE) {
    const from = Array.from({ length: BUNDLE }, (_, place) => addressOf((deposit + place) % WALLETS));
    await anvil.send(
      token,
      from.map((wallet) => ({ from: wallet, to: vault, value: 10n ** 18n })),
    );
    await anvil.mine(apart);
  }
  const rpcUrls = [new Secret(anvil.url)];
  const rest = { decimals: 18, confirmations: 10, finalityDepth: 64, offBecause: null };
  return { name: "anvil", chainId: anvil.chainId, rpcUrls, token, vault, startBlock, ...rest };
}

/** The bare walk over the same windows, with the same client: what nobody can do without. */
async function bareWalk(chain: Chain, deps: ScanDeps, head: number): Promise<number> {
  const endpoint = new RpcEndpoint(new Secret(chain.rpcUrls[0]?.reveal() ?? ""), deps);
  const filter = { token: chain.token, vault: chain.vault ?? "" };
  let found = 0;
  for (let from = chain.startBlock; from <= head; from += WINDOW) {
    const to = Math.min(from + WINDOW - 1, head);
    found += (await endpoint.transfers(filter, BigInt(from), BigInt(to))).length;
  }
  return found;
}

async function timed(run: () => Promise<void>): Promise<number> {
  const startedMs = performance.now();
  await run();
  return performance.now() - startedMs;
}

/** One scan of a long chain, recording alone and with every deposit credited, beside the bare walk over its logs. */
export async function bench(): Promise<void> {
  await using anvil = await Anvil.start({ history: 0 });
  const chain = await fillChain(anvil, addressOf(1_000_000));
  const head = await anvil.head();
  const { postgres, stop } = await startTestPostgres();
  const { host, port, superuser, template } = postgres;
  const admin = new Client({ host, port, database: "postgres", user: superuser.user, password: superuser.password });
  await admin.connect();
  const times: Record<"walk" | "record" | "credit", number[]> = { walk: [], record: [], credit: [] };
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const database = `bench_${round}`;
      await admin.query(`create database ${database} template ${template}`);
      const login = { user: superuser.user, password: superuser.password };
      const pool = createPool({ host, port, database, ...login, part: "bench", node: "bench" });
      const { signal } = new AbortController();
      const rules = { credit: creditUsersTx, referralBonuses: false, minUnits: 1n };
      const deps = { pool, chains: [chain], fence: null, clock: systemClock, signal, log: silentLog, fetch, ...rules };
      times.walk.push(
        await timed(async () => {
          const found = await bareWalk(chain, deps, head);
          if (found !== DEPOSITS) throw new Error(`the walk found ${found} deposits`);
        }),
      );
      times.record.push(
        await timed(async () => {
          const { chains } = await runScan(deps);
          if (chains[0]?.found !== DEPOSITS) throw new Error(`the scan found ${chains[0]?.found} deposits`);
        }),
      );
      await pool.query(
        `insert into user_wallets (user_id, chain_id, wallet_address_hash, is_verified)
         select distinct $1, ${chain.chainId}, sender_hash, 1 from token_transactions`,
        [USER],
      );
      await anvil.mine(12);
      times.credit.push(
        await timed(async () => {
          const { chains } = await runScan(deps);
          if ((chains[0]?.credited ?? 0) < DEPOSITS - 2 * BUNDLE)
            throw new Error(`${chains[0]?.credited} deposits were credited`);
        }),
      );
      await pool.end();
    }
  } finally {
    await admin.end();
    await stop();
  }
  const walkMs = median(times.walk);
  console.log(`${BLOCKS} blocks, ${DEPOSITS} deposits of ${WALLETS} wallets, median of ${ROUNDS}:`);
  for (const [what, ms] of [
    ["bare eth_getLogs walk", walkMs],
    ["scan: read, recorded, settled", median(times.record)],
    ["credits of all of them", median(times.credit)],
  ] as const) {
    const perDeposit = ((ms * 1_000) / DEPOSITS).toFixed(0);
    console.log(
      `${what.padEnd(32)} ${ms.toFixed(0).padStart(8)} ms  ${(ms / walkMs).toFixed(2).padStart(7)} ×  ${perDeposit} µs a deposit`,
    );
  }
}
