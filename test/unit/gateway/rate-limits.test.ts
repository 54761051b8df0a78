import { CreateBucketCommand } from "@aws-sdk/client-s3";
import { describe, expect, test } from "vitest";
import { createRateLimits } from "../../../src/lib/gateway/rate-limits.ts";
import { createTrustlessGateway } from "../../../src/lib/gateway/trustless/answer-content.ts";
import { errorCodeOf, sendHttp, sendSigned } from "../../support/http.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryBlocks } from "../../support/memory-blocks.ts";
import { type MemoryGateway, startMemoryGateway } from "../../support/memory-gateway.ts";

const LIST = { method: "GET", path: "/" } as const;

async function startSlowGateway(clock: ManualClock): Promise<MemoryGateway> {
  return await startMemoryGateway({
    rateLimits: createRateLimits({ perSecond: 0.5, burst: 3 }, clock),
    trustless: createTrustlessGateway({ blocks: new MemoryBlocks(), isBlocked: async () => false }),
  });
}

async function statusesOf(count: number, send: () => Promise<{ readonly status: number }>): Promise<number[]> {
  const statuses: number[] = [];
  for (let index = 0; index < count; index += 1) statuses.push((await send()).status);
  return statuses;
}

describe("requests beyond the rate", () => {
  test("are refused with all credentials of their sender, and let in again as time goes by", async () => {
    const clock = new ManualClock();
    await using gateway = await startSlowGateway(clock);
    const [one, other] = [gateway.user("alice@example.com"), gateway.user("alice@example.com")];
    const bob = gateway.user("bob@example.com");
    expect(await statusesOf(2, async () => await sendSigned(gateway.port, one.pair, LIST))).toEqual([200, 200]);
    const bearer = [
      ["host", "a"],
      ["authorization", `Bearer ${other.pair.keyId}.${other.pair.secret.reveal()}`],
    ] as const;
    const byBearer = async (): ReturnType<typeof sendHttp> =>
      await sendHttp(gateway.port, { method: "GET", target: "/", headers: bearer });
    expect((await byBearer()).status).toBe(200);
    const refused = await byBearer();
    expect([refused.status, errorCodeOf(refused), refused.headers["retry-after"]]).toEqual([429, "SlowDown", "2"]);
    expect((await sendSigned(gateway.port, one.pair, LIST)).status).toBe(429);
    expect((await sendSigned(gateway.port, bob.pair, LIST)).status).toBe(200);
    await clock.step(2_000);
    expect(await statusesOf(2, async () => await sendSigned(gateway.port, one.pair, LIST))).toEqual([200, 429]);
  });

  test("are refused before their bytes are taken", async () => {
    await using gateway = await startSlowGateway(new ManualClock());
    const { pair, client } = gateway.user("alice@example.com");
    await client.send(new CreateBucketCommand({ Bucket: "photos" }));
    const put = { method: "PUT", path: "/photos/a", body: Buffer.from("bytes") } as const;
    expect(await statusesOf(3, async () => await sendSigned(gateway.port, pair, put))).toEqual([200, 200, 429]);
    expect(gateway.exchanges.at(-1)).toMatchObject({ code: "SlowDown", receivedBytes: 0, failure: null });
  });

  test("are counted by address where they bring no credential, and what is refused for its credential costs its owner nothing", async () => {
    await using gateway = await startSlowGateway(new ManualClock());
    const { pair } = gateway.user("alice@example.com");
    const ask = async (
      target: string,
      more: readonly (readonly [string, string])[] = [],
    ): ReturnType<typeof sendHttp> =>
      await sendHttp(gateway.port, { method: "GET", target, headers: [["host", "a"], ...more] });
    const wrong = [["authorization", `Bearer ${pair.keyId}.wrong`]] as const;
    expect(await statusesOf(5, async () => await ask("/", wrong))).toEqual([403, 403, 403, 403, 403]);
    expect((await ask("/healthz")).status).toBe(200);
    expect((await ask("/fula/capabilities")).status).toBe(200);
    const content = "/ipfs/bafkqaaa?format=raw";
    expect(await statusesOf(2, async () => await ask(content))).toEqual([200, 429]);
    const refused = await ask(content);
    expect([refused.headers["content-type"], refused.body.toString()]).toEqual([
      "text/plain; charset=utf-8",
      "Please reduce your request rate.\n",
    ]);
    expect((await sendSigned(gateway.port, pair, LIST)).status).toBe(200);
  });
});
