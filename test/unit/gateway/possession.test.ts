import { createHmac } from "node:crypto";
import { expect, test } from "vitest";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import { createPossession, provesBlock } from "../../../src/lib/gateway/possession.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const BLOCK = Buffer.from("a block");
const CID = createCid(RAW_CODEC, BLOCK);
const OTHER_CID = createCid(RAW_CODEC, Buffer.from("another block"));

test("a challenge holds for its user and block, for five minutes, in the process that gave it", async () => {
  const clock = new ManualClock();
  const possession = createPossession(seededRandom(1), clock);
  const challenge = possession.challenge("alice", CID);
  expect(possession.holds(challenge, "alice", CID)).toBe(true);
  expect(possession.holds(challenge, "bob", CID)).toBe(false);
  expect(possession.holds(challenge, "alice", OTHER_CID)).toBe(false);
  expect(possession.holds(`${challenge}A`, "alice", CID)).toBe(false);
  expect(possession.holds("", "alice", CID)).toBe(false);
  expect(createPossession(seededRandom(2), clock).holds(challenge, "alice", CID)).toBe(false);
  await clock.step(300_000);
  expect(possession.holds(challenge, "alice", CID)).toBe(true);
  await clock.step(1);
  expect(possession.holds(challenge, "alice", CID)).toBe(false);
});

test("a proof is made of the block's bytes and the challenge", () => {
  const proof = createHmac("sha256", "challenge").update(BLOCK).digest("hex");
  expect(provesBlock(proof, "challenge", BLOCK)).toBe(true);
  expect(provesBlock(proof.toUpperCase(), "challenge", BLOCK)).toBe(true);
  expect(provesBlock(proof, "another", BLOCK)).toBe(false);
  expect(provesBlock(proof, "challenge", Buffer.from("a blocK"))).toBe(false);
  expect(provesBlock("", "challenge", BLOCK)).toBe(false);
});
