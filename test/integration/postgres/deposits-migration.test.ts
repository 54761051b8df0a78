import { describe, expect, test } from "vitest";
import { migrateDown, migrateUp } from "../../../src/lib/postgres/migrator.ts";
import { emptyDatabase } from "../../support/postgres.ts";

const HASH = "ab".repeat(32);

describe("033", () => {
  test("takes the fleet's records over: credited, unclaimed, claimed without an entry, and one hash in two cases", async () => {
    await using database = await emptyDatabase();
    const { pool } = database;
    await migrateUp(pool, { to: 32 });
    const record = `insert into token_transactions (tx_hash, chain_id, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp, claimed_at)
      values ($1, 8453, '0xAbC', '0xv', $2, 1, 1, 1, $3)`;
    await pool.query(record, [`0x${HASH}`, "1000000000000000000", "2026-01-01"]);
    await pool.query(record, [`0x${HASH.toUpperCase()}`, "1000000000000000000", null]);
    await pool.query(record, ["0xFREE", "5", null]);
    await pool.query(record, ["0xlost", "5", "2026-01-01"]);
    await pool.query(record, ["0xodd", "1e18", null]);
    await pool.query(
      "insert into credit_history (tx_type, amount_fula, balance_after, reference_id, user_id) values ('deposit', 1, 1, $1, 'ada')",
      [`8453:0x${HASH}`],
    );
    await migrateUp(pool);
    const { rows } = await pool.query(
      "select tx_hash, state, raw, reference, entry_id, note, sender_hash = encode(sha256('0xabc'), 'hex') as hashed from token_transactions order by id",
    );
    expect(rows).toMatchObject([
      { tx_hash: `0x${HASH}`, state: "credited", reference: `8453:0x${HASH}`, entry_id: "1", hashed: true },
      { state: "refused", note: "the same transaction as another row", entry_id: null },
      { tx_hash: "0xfree", state: "unclaimed", raw: "5", reference: "8453:0xfree" },
      { tx_hash: "0xlost", state: "credited", entry_id: null },
      { tx_hash: "0xodd", state: "refused", raw: null },
    ]);
  });

  test("is not reverted while a transaction holds several transfers, not even by force", async () => {
    await using database = await emptyDatabase();
    const { pool } = database;
    await migrateUp(pool, { to: 33 });
    for (const place of [0, 1]) {
      await pool.query(
        "insert into token_transactions (tx_hash, chain_id, log_index, from_address, to_address, amount_raw, amount_fula, block_number, block_timestamp) values ('0xa', 1, $1, '', '', '1', 1, 1, 1)",
        [place],
      );
    }
    await expect(migrateDown(pool, { force: true })).rejects.toMatchObject({
      code: "FULA_MIGRATION_ABORTED",
      message: expect.stringContaining("Revert 033 aborted: 1 transaction(s) hold several transfers"),
    });
    await pool.query("delete from token_transactions where log_index = 1");
    expect(await migrateDown(pool)).toMatchObject({ version: 32 });
  });
});
