import { request } from "node:http";
import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { expect, test } from "vitest";
import { DocumentBudget, type DocumentShare } from "../../../src/lib/gateway/document-budget.ts";
import { S3Error } from "../../../src/lib/gateway/s3-error.ts";
import { sendSigned, signNow } from "../../support/http.ts";
import { type GatewayUser, startMemoryGateway } from "../../support/memory-gateway.ts";
import { until } from "../../support/until.ts";

const MIB = 1024 * 1024;

function takes(share: DocumentShare, bytes: number): boolean {
  try {
    share.grow(bytes);
    return true;
  } catch (error) {
    if (error instanceof S3Error && error.code === "SlowDown") return false;
    throw error;
  }
}

test("documents under way have a bound in all and for each user, and give everything back", () => {
  const budget = new DocumentBudget();
  const shares = ["alice", "alice", "bob", "bob", "carol"].map((user) => budget.open(user));
  const [one, two, three, four, five] = shares.map((share) => [share, takes(share, 8 * MIB)] as const);
  expect([one?.[1], two?.[1], three?.[1], four?.[1], five?.[1]]).toEqual([true, true, true, true, false]);
  one?.[0].release();
  expect(takes(budget.open("bob"), 1)).toBe(false);
  expect(takes(budget.open("carol"), 8 * MIB)).toBe(true);
  for (const share of shares) share.release();
  // Released twice is released once.
  for (const share of shares) share.release();
  expect(takes(budget.open("alice"), 16 * MIB)).toBe(true);
  expect(takes(budget.open("bob"), 8 * MIB + 1)).toBe(false);
  expect(takes(budget.open("bob"), 8 * MIB)).toBe(true);
});

test("a user whose slow documents fill his share is told to slow down, and nobody else is", async () => {
  await using gateway = await startMemoryGateway();
  const [alice, bob] = [gateway.user("alice@example.com"), gateway.user("bob@example.com")];
  for (const { client } of [alice, bob]) await client.send(new CreateBucketCommand({ Bucket: "photos" }));
  const target = { method: "POST", path: "/photos", query: "delete" } as const;
  const remove = async ({ pair }: GatewayUser): Promise<number> => {
    const body = Buffer.from("<Delete><Object><Key>a</Key></Object></Delete>");
    return (await sendSigned(gateway.port, pair, { ...target, body })).status;
  };
  const slow = Array.from({ length: 2 }, () => {
    const headers = signNow(gateway.port, alice.pair, { ...target, payload: "UNSIGNED-PAYLOAD" }).flat();
    const call = request({
      host: "127.0.0.1",
      port: gateway.port,
      method: "POST",
      path: "/photos?delete",
      setHost: false,
      headers: [...headers, "content-length", String(8 * MIB)],
    });
    call.on("error", () => {});
    call.write(Buffer.alloc(8 * MIB - 10, " "));
    return call;
  });
  await until("the documents fill the share", async () => (await remove(alice)) === 503);
  expect(await remove(bob)).toBe(200);
  for (const call of slow) call.destroy();
  await until("the share is given back", async () => (await remove(alice)) === 200);
});
