/* oxlint-disable typescript/no-unsafe-type-assertion -- answers have the form that JSON-RPC gives them */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Claim, claimDeposit, type ClaimOutcome } from "../../src/lib/billing/claim.ts";
import { creditUsersTx } from "../../src/lib/billing/credits.ts";
import { creditWaitingDeposits } from "../../src/lib/billing/deposit-credit.ts";
import { type ChainReport, runScan, type ScanDeps, type ScanWishes } from "../../src/lib/billing/scan.ts";
import type { Chain } from "../../src/lib/config/chain-settings.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { silentLog } from "../../src/lib/kernel/log.ts";
import { Secret } from "../../src/lib/kernel/secret.ts";
import { withTransaction } from "../../src/lib/postgres/transaction.ts";
import { addressOf, type Anvil, type Move } from "./anvil.ts";
import { freshDatabase, type TestDatabase } from "./postgres.ts";

/** 10⁻¹⁸ FULA in one. */
export const FULA = 10n ** 18n;

/** The chain's settings that a test changes. */
export type ChainChange = Partial<Pick<Chain, "confirmations" | "finalityDepth" | "startBlock" | "vault" | "decimals">>;

/** A record as a test looks at it. */
export interface SeenDeposit {
  readonly tx: string;
  readonly log: number;
  readonly state: string;
  readonly amount: string;
  readonly user: string | null;
}

let tokens = 0;

/** A ledger of its own and a token of its own on a chain that is shared, with a scanner for the two. */
export class ScanBox implements AsyncDisposable {
  readonly database: TestDatabase;
  readonly anvil: Anvil;
  readonly chain: Chain;

  private constructor(database: TestDatabase, anvil: Anvil, chain: Chain) {
    this.database = database;
    this.anvil = anvil;
    this.chain = chain;
  }

  static async open(anvil: Anvil, change: ChainChange = {}): Promise<ScanBox> {
    const database = await freshDatabase();
    const token = await anvil.deployToken();
    tokens += 1;
    const chain: Chain = {
      name: "anvil",
      chainId: anvil.chainId,
      rpcUrls: [new Secret(anvil.url)],
      token,
      vault: addressOf(1_000_000 + tokens),
      decimals: 18,
      confirmations: 3,
      finalityDepth: 32,
      startBlock: await anvil.head(),
      offBecause: null,
      ...change,
    };
    return new ScanBox(database, anvil, chain);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.database[Symbol.asyncDispose]();
  }

  deps(change: Partial<ScanDeps> = {}): ScanDeps {
    return {
      pool: this.database.pool,
      chains: [this.chain],
      fence: null,
      clock: { ...systemClock, sleep: async () => {} },
      signal: new AbortController().signal,
      log: silentLog,
      fetch,
      credit: creditUsersTx,
      referralBonuses: false,
      minUnits: FULA / 1_000n,
      ...change,
    };
  }

  /** One look. @returns what it says of the one chain */
  async scan(change: Partial<ScanDeps> = {}, wishes: ScanWishes = {}): Promise<ChainReport> {
    const { chains } = await runScan(this.deps(change), wishes);
    const [report] = chains;
    if (report === undefined) throw new Error("no chain was looked at");
    return report;
  }

  async claim(claim: Omit<Claim, "chainId">, change: Partial<ScanDeps> = {}): Promise<ClaimOutcome> {
    return await claimDeposit(this.deps(change), { ...claim, chainId: null });
  }

  move(from: string, fula: bigint): Move {
    return { from, to: this.chain.vault ?? "", value: fula * FULA };
  }

  /** Sends one transaction with these transfers, and mines it. @returns its hash */
  async pay(...moves: readonly Move[]): Promise<string> {
    const txHash = await this.anvil.send(this.chain.token, moves);
    await this.anvil.mine();
    return txHash;
  }

  /** Gives the wallet an owner, and credits what waits for him, as linking does. */
  async link(userId: string, address: string): Promise<void> {
    const walletHash = createHash("sha256").update(address.toLowerCase()).digest("hex");
    await withTransaction(this.database.pool, async (client) => {
      await client.query(
        "insert into user_wallets (user_id, chain_id, wallet_address_hash, is_verified) values ($1, $2, $3, 1)",
        [userId, this.chain.chainId, walletHash],
      );
      await creditWaitingDeposits(client, { userId, walletHash }, { credit: creditUsersTx, referralBonuses: false });
    });
  }

  async deposits(): Promise<readonly SeenDeposit[]> {
    const { rows } = await this.database.pool.query<SeenDeposit>(
      `select tx_hash as tx, log_index as log, state, trim_scale(amount_fula)::text as amount, user_id as user
         from token_transactions order by block_number, log_index`,
    );
    return rows;
  }

  /** The account's balance, which is what its entries sum up to. */
  async balance(userId: string): Promise<string> {
    const { rows } = await this.database.pool.query<{ balance: string; sum: string }>(
      `select trim_scale(coalesce((select balance_fula from user_credits where user_id = $1), 0))::text as balance,
              trim_scale(coalesce((select sum(amount_fula) from credit_history where user_id = $1), 0))::text as sum`,
      [userId],
    );
    const { balance = "", sum = "" } = rows[0] ?? {};
    if (balance !== sum) throw new Error(`the balance is ${balance}, the entries sum up to ${sum}`);
    return balance;
  }
}

/** What a proxy does with one question; null = passes it on. */
export type Meddler = (method: string, params: readonly unknown[], pass: () => Promise<unknown>) => Promise<unknown>;

/** An endpoint that answers as it likes: `{ result }`, `{ error }`, or text that is sent as it is. */
export class RpcProxy implements AsyncDisposable {
  readonly url: string;
  readonly #close: () => Promise<void>;
  meddle: Meddler | null = null;

  private constructor(url: string, close: () => Promise<void>) {
    this.url = url;
    this.#close = close;
  }

  static async start(target: string): Promise<RpcProxy> {
    const server = createServer((request, response) => {
      void answer(request, response);
    });
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen(0, "127.0.0.1", resolve);
    await promise;
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const proxy = new RpcProxy(`http://127.0.0.1:${port}`, async () => {
      server.closeAllConnections();
      const closed = Promise.withResolvers<void>();
      server.close(() => {
        closed.resolve();
      });
      await closed.promise;
    });
    async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
      const pieces: Uint8Array[] = [];
      for await (const piece of request) pieces.push(piece);
      const body = Buffer.concat(pieces).toString();
      const { method, params } = JSON.parse(body) as { method: string; params: readonly unknown[] };
      const pass = async (): Promise<unknown> => {
        const headers = { "content-type": "application/json" };
        return await (await fetch(target, { method: "POST", headers, body })).json();
      };
      const given = proxy.meddle === null ? await pass() : await proxy.meddle(method, params, pass);
      response.setHeader("content-type", "application/json");
      response.end(typeof given === "string" ? given : JSON.stringify({ jsonrpc: "2.0", id: 1, ...(given as object) }));
    }
    return proxy;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}
