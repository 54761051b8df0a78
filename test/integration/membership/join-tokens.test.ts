import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { parseJoinToken, renderJoinToken } from "../../../src/lib/membership/join-token.ts";
import {
  createMasterToken,
  finishJoinToken,
  listTokens,
  type MadeToken,
  redeemJoinToken,
  type Redeemer,
  revokeToken,
} from "../../../src/lib/membership/token-table.ts";
import { makeBundle } from "../../support/federation.ts";
import { freshDatabase, type TestDatabase } from "../../support/postgres.ts";

const DAY_MS = 86_400_000;
let database: TestDatabase;

beforeEach(async () => {
  database = await freshDatabase();
});
afterEach(async () => {
  await database.drop();
});

function redeemer(nodeName: string): Redeemer {
  return { nodeName, nonce: new Uint8Array(randomBytes(32)) };
}

async function make(validMs = DAY_MS): Promise<MadeToken> {
  return await createMasterToken(database.pool, makeBundle(), { validMs, random: systemRandom });
}

async function redeem({ text }: MadeToken, by: Redeemer): ReturnType<typeof redeemJoinToken> {
  return await redeemJoinToken(database.pool, parseJoinToken(text), by);
}

async function everything(): Promise<string> {
  const { rows } = await database.pool.query<{ row: string }>("select join_tokens::text as row from join_tokens");
  return rows.map(({ row }) => row).join("\n");
}

/** Moves every time of the token back, as if it had been made so much earlier. */
async function age(interval: string): Promise<void> {
  await database.pool.query(
    `update join_tokens set created_at = created_at - $1::interval, expires_at = expires_at - $1::interval,
       redeemed_at = redeemed_at - $1::interval`,
    [interval],
  );
}

describe("a master's join token", () => {
  test("gives the whole bundle, with every secret as the first master has it", async () => {
    const made = await make();
    const bundle = await redeem(made, redeemer("master-2"));
    const expected = makeBundle();
    expect(bundle.clusterId).toBe(expected.clusterId);
    expect(bundle.masters).toEqual(expected.masters);
    expect(Object.values(bundle.secrets).map((secret) => secret?.reveal())).toEqual(
      Object.values(expected.secrets).map((secret) => secret?.reveal()),
    );
  });

  test("keeps the secrets from whoever reads the ledger", async () => {
    await make();
    const stored = await everything();
    const texts = Object.values(makeBundle().secrets).flatMap((secret) => secret?.reveal() ?? []);
    expect(texts.length).toBeGreaterThan(4);
    for (const text of texts) {
      expect(stored).not.toContain(text);
      expect(stored).not.toContain(Buffer.from(text, "utf8").toString("hex"));
    }
  });

  test("is good once: a second box is refused, and told who was first", async () => {
    const made = await make();
    await redeem(made, redeemer("master-2"));
    await expect(redeem(made, redeemer("master-3"))).rejects.toMatchObject({
      code: "FULA_TOKEN_USED",
      message: expect.stringContaining("master-2 joined with it"),
    });
  });

  test("that two boxes use at the same time is used by one of them", async () => {
    const made = await make();
    const boxes = Array.from({ length: 8 }, (_, index) => redeemer(`box-${index}`));
    const outcomes = await Promise.allSettled(boxes.map(async (box) => await redeem(made, box)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "FULA_TOKEN_USED" });
    }
  });

  test("gives the same bundle again to the box that was killed before it wrote it down", async () => {
    const made = await make();
    const box = redeemer("master-2");
    await redeem(made, box);
    const again = await redeem(made, box);
    expect(again.secrets.jwtSecret.reveal()).toBe(makeBundle().secrets.jwtSecret.reveal());
  });

  test("gives nothing again once that box is done, or an hour later", async () => {
    const [finished, late] = [await make(), await make()];
    const box = redeemer("master-2");
    await redeem(finished, box);
    await redeem(late, box);
    await finishJoinToken(database.pool, finished.record.id, box);
    await expect(redeem(finished, box)).rejects.toMatchObject({ code: "FULA_TOKEN_USED" });
    await age("61 minutes");
    await expect(redeem(late, box)).rejects.toMatchObject({ code: "FULA_TOKEN_USED" });
    const { rows } = await database.pool.query("select from join_tokens where sealed_bundle is not null");
    expect(rows).toEqual([]);
  });

  test("of another box's nonce finishes nothing", async () => {
    const made = await make();
    const box = redeemer("master-2");
    await redeem(made, box);
    await finishJoinToken(database.pool, made.record.id, redeemer("master-2"));
    await expect(redeem(made, box)).resolves.toBeDefined();
  });

  test("that is too old is refused by the ledger's clock, and its bundle is wiped", async () => {
    const made = await make(60_000);
    await age("2 minutes");
    await expect(redeem(made, redeemer("master-2"))).rejects.toMatchObject({ code: "FULA_TOKEN_EXPIRED" });
    const { rows } = await database.pool.query("select from join_tokens where sealed_bundle is not null");
    expect(rows).toEqual([]);
  });

  test("whose expiry was changed does not open", async () => {
    const made = await make();
    const token = parseJoinToken(made.text);
    const longer = renderJoinToken({ ...token, expiresAtMs: token.expiresAtMs + DAY_MS });
    await expect(redeem({ ...made, text: longer }, redeemer("master-2"))).rejects.toMatchObject({
      code: "FULA_TOKEN_INVALID",
      message: expect.stringContaining("does not open"),
    });
  });

  test("that was revoked is refused, and revoking it again changes nothing", async () => {
    const made = await make();
    expect(await revokeToken(database.pool, made.record.id)).toMatchObject({ changed: true });
    expect(await revokeToken(database.pool, made.record.id)).toMatchObject({ changed: false });
    await expect(redeem(made, redeemer("master-2"))).rejects.toMatchObject({ code: "FULA_TOKEN_REVOKED" });
  });

  test("that was used cannot be revoked as if nobody had its secrets", async () => {
    const made = await make();
    await redeem(made, redeemer("master-2"));
    await expect(revokeToken(database.pool, made.record.id)).rejects.toMatchObject({ code: "FULA_TOKEN_USED" });
  });

  test("of another federation is refused, and one with a wrong key is not used up", async () => {
    const made = await make();
    const token = parseJoinToken(made.text);
    const wrongKey = renderJoinToken({ ...token, body: new Secret("0".repeat(64)) });
    await expect(redeem({ ...made, text: wrongKey }, redeemer("thief"))).rejects.toMatchObject({
      code: "FULA_TOKEN_INVALID",
    });
    const elsewhere = renderJoinToken({ ...token, id: systemRandom.uuid() });
    await expect(redeem({ ...made, text: elsewhere }, redeemer("master-2"))).rejects.toMatchObject({
      code: "FULA_TOKEN_UNKNOWN",
    });
    await expect(redeem(made, redeemer("master-2"))).resolves.toBeDefined();
  });

  test("is listed with what became of it", async () => {
    const made = [await make(), await make(), await make(), await make(60_000)] as const;
    await redeem(made[1], redeemer("master-2"));
    await revokeToken(database.pool, made[2].record.id);
    await database.pool.query("update join_tokens set expires_at = now() where token_id = $1", [made[3].record.id]);
    const states = new Map((await listTokens(database.pool)).map(({ id, state }) => [id, state]));
    expect(made.map(({ record }) => states.get(record.id))).toEqual(["open", "redeemed", "revoked", "expired"]);
  });
});
