import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

// What the fleet's web UI and APIs send (contract section 2.2 and 2.4, defect 21). They run beside us on one database
// until they are replaced, so every one of their statements must go on working on the newest schema.

let database: TestDatabase;
const ADA = "a".repeat(64);
const BOB = "b".repeat(64);

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await database.drop();
});

async function run(sql: string, values: readonly unknown[] = []): Promise<readonly object[]> {
  return (await database.pool.query<object>(sql, [...values])).rows;
}

describe("a statement of the fleet", () => {
  test("the hourly charge is taken once per user and hour", async () => {
    const charge = `insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id)
      values ($1, 'hourly_deduction', $2, $3, $4)
      on conflict (user_id, reference_id) where tx_type = 'hourly_deduction' do nothing returning id`;
    expect(await run(charge, [ADA, -0.0416667, 99.9583333, "hour:2026-06-12T14"])).toHaveLength(1);
    expect(await run(charge, [ADA, -0.0416667, 99.9583333, "hour:2026-06-12T14"])).toHaveLength(0);
    expect(await run(charge, [BOB, -0.0416667, 99.9583333, "hour:2026-06-12T14"])).toHaveLength(1);
    expect(await run("select amount_fula from credit_history where user_id = $1", [ADA])).toEqual([
      { amount_fula: "-0.041666700000000000" },
    ]);
  });

  test("the balance is put in or added to", async () => {
    const upsert = `insert into user_credits (user_id, balance_fula, total_deposited_fula) values ($1, $2, $2)
      on conflict (user_id) do update set balance_fula = user_credits.balance_fula + $2, is_suspended = 0
      returning balance_fula`;
    expect(await run(upsert, [ADA, 0.1])).toEqual([{ balance_fula: "0.100000000000000000" }]);
    expect(await run(upsert, [ADA, 0.2])).toEqual([{ balance_fula: "0.300000000000000000" }]);
  });

  test("a bonus is given once per source and level, to rows of 64-bit ids", async () => {
    await run("select setval('credit_history_id_seq', 3000000000)");
    const [row] = await database.pool
      .query<{ id: string }>(
        "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, 'deposit', 5, 5, '8453:0xaa') returning id",
        [ADA],
      )
      .then(({ rows }) => rows);
    expect(row?.id).toBe("3000000001");
    const bonus = `insert into referral_bonuses (credit_history_id, recipient_user_id, recipient_referral_code,
        source_credit_history_id, source_user_id, source_referral_code, level, bonus_amount_fula, source_amount_fula)
      values ($1, $2, 'R', $1, $3, 'S', 1, 0.5, 5) on conflict (source_credit_history_id, level) do nothing returning id`;
    expect(await run(bonus, [row?.id, BOB, ADA])).toHaveLength(1);
    expect(await run(bonus, [row?.id, BOB, ADA])).toHaveLength(0);
  });

  test("a transfer is recorded once per transaction and chain, also by software that knows no log index", async () => {
    const record = `insert into token_transactions (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula,
        block_number, block_timestamp, ingestion_source) values ($1, 8453, '0xa', '0xv', '1', 1, 1, 1, 'manual')`;
    expect(await run(`${record} returning log_index`, ["0xAA"])).toEqual([{ log_index: -1 }]);
    await expect(run(record, ["0xaa"])).rejects.toMatchObject({ code: "23505" });
    // Its scanner writes nothing any more: it would credit one transfer of a transaction, and lose the others.
    await expect(run(`${record} on conflict (tx_hash, chain_id) do nothing`, ["0xaa"])).rejects.toMatchObject({
      code: "42P10",
    });
    const indexed = `insert into token_transactions (tx_hash, chain_id, log_index, from_address, to_address, amount_raw,
        amount_fula, block_number, block_timestamp) values ($1, 8453, 3, '0xa', '0xv', '1', 1, 1, 1)
      on conflict (tx_hash, chain_id, log_index) do nothing returning id`;
    expect(await run(indexed, ["0xbb"])).toHaveLength(1);
    expect(await run(indexed, ["0xbb"])).toHaveLength(0);
  });

  test("users are put in by user id, and by name (defect 21: these failed with 42P10)", async () => {
    const byId =
      "insert into users (user_id, password_hash) values ($1, '') on conflict (user_id) do nothing returning id";
    expect(await run(byId, [ADA])).toHaveLength(1);
    expect(await run(byId, [ADA])).toHaveLength(0);
    const byName =
      "insert into users (username, password_hash) values ('ada', '') on conflict (username) do nothing returning id";
    expect(await run(byName)).toHaveLength(1);
    expect(await run(byName)).toHaveLength(0);
    expect(await run("insert into users (password_hash) values (''), ('') returning id")).toHaveLength(2);
  });

  test("a wallet is linked on several chains by one user, and put in again", async () => {
    const link = `insert into user_wallets (user_id, chain_id, wallet_address_hash, encrypted_wallet_address, is_verified)
      values ($1, $2, $3, 'enc', 1) on conflict (user_id, wallet_address_hash, chain_id) do update set is_verified = 1 returning id`;
    expect(await run(link, [ADA, 1, "w1"])).toHaveLength(1);
    expect(await run(link, [ADA, 8453, "w1"])).toHaveLength(1);
    expect(await run(link, [ADA, 8453, "w1"])).toHaveLength(1);
  });

  test("a root moves from one known version to the next", async () => {
    const move = `insert into bucket_roots (owner_id, bucket, root_cid, version) values ('o', 'b', $1, 1)
      on conflict (owner_id, bucket) do update set root_cid = $1, version = bucket_roots.version + 1
      where bucket_roots.root_cid = $2 returning version`;
    expect(await run(move, ["cid1", "none"])).toEqual([{ version: "1" }]);
    expect(await run(move, ["cid2", "cid1"])).toEqual([{ version: "2" }]);
    expect(await run(move, ["cid3", "cid1"])).toEqual([]);
  });

  test("updated_at follows an update", async () => {
    await run("update user_credits set updated_at = '2000-01-01', balance_fula = 1 where user_id = $1", [ADA]);
    expect(
      await run("select updated_at > now() - interval '1 minute' as fresh from user_credits where user_id = $1", [ADA]),
    ).toEqual([{ fresh: true }]);
  });
});

describe("what the ledger refuses now", () => {
  test("a deposit cannot be credited twice, in whatever case its hash is written (defect 5)", async () => {
    const credit =
      "insert into credit_history (user_id, tx_type, amount_fula, balance_after, reference_id) values ($1, $2, 1, 1, $3)";
    await run(credit, [ADA, "deposit", "1:0xcafe"]);
    await expect(run(credit, [BOB, "deposit", "1:0xCAFE"])).rejects.toMatchObject({
      code: "23505",
      constraint: "idx_credit_history_deposit_reference",
    });
    await run(credit, [ADA, "adjustment", "1:0xcafe"]);
    await run(credit, [ADA, "adjustment", "1:0xcafe"]);
  });

  test("720 hours at a balance of a million are charged to the last digit (defect 7)", async () => {
    await run("insert into user_credits (user_id, balance_fula) values ('rich', 1000000)");
    for (let hour = 0; hour < 720; hour += 1) {
      await run("update user_credits set balance_fula = balance_fula - 0.0166666666666667 where user_id = 'rich'");
    }
    const [row] = await database.pool
      .query<{ paid: string }>(
        "select trim_scale(1000000 - balance_fula)::text as paid from user_credits where user_id = 'rich'",
      )
      .then(({ rows }) => rows);
    expect(row?.paid).toBe("12.000000000000024");
    // Control: in float4 the same 720 charges leave the balance where it was.
    expect(await run("select 1000000::real - 0.0166666666666667::real = 1000000::real as unchanged")).toEqual([
      { unchanged: true },
    ]);
  });
});
