import { once } from "node:events";
import { createServer } from "node:http";
import type { S3Client } from "@aws-sdk/client-s3";
import type { Buckets } from "../../src/lib/buckets/buckets.ts";
import { createGateway, type ExchangeSummary, type GatewayParts } from "../../src/lib/gateway/gateway.ts";
import { createRateLimits } from "../../src/lib/gateway/rate-limits.ts";
import { NO_QUOTA } from "../../src/lib/gateway/quota.ts";
import { type AccessKey, type AccessKeyPair, generateAccessKey } from "../../src/lib/identity/access-key.ts";
import { createIdentities } from "../../src/lib/identity/bearer.ts";
import { ownAccountOf } from "../../src/lib/identity/subject.ts";
import { resolveUserId } from "../../src/lib/identity/user-id.ts";
import { systemClock } from "../../src/lib/kernel/clock.ts";
import { createPool } from "../../src/lib/postgres/pool.ts";
import { testBuckets } from "./buckets.ts";
import { MemoryBlocks } from "./memory-blocks.ts";
import { seededRandom } from "./seeded-random.ts";
import { accessKey } from "./signing.ts";
import { s3Client } from "./serving.ts";

/** A user of a gateway. */
export interface GatewayUser {
  readonly key: AccessKey;
  readonly pair: AccessKeyPair;
  readonly client: S3Client;
}

/** A gateway over buckets, blocks and keys in memory, behind a port. Multipart uploads need a ledger, which it has not. */
export interface MemoryGateway extends AsyncDisposable {
  readonly port: number;
  readonly blocks: MemoryBlocks;
  readonly buckets: Buckets;
  /** Every exchange since the start. */
  readonly exchanges: readonly ExchangeSummary[];
  /** Makes a user, or another key of the same one. */
  user(name: string): GatewayUser;
  /** Since when the ledger has not been heard of, to whoever asks for a key. */
  keysStaleMs: number | null;
}

/** Starts one. */
export async function startMemoryGateway(
  more: Partial<GatewayParts> & {
    readonly wrapBuckets?: (buckets: Buckets) => Buckets;
    readonly remoteCidPut?: boolean;
  } = {},
): Promise<MemoryGateway> {
  const { wrapBuckets = (buckets) => buckets, remoteCidPut = false, ...given } = more;
  const random = seededRandom(1);
  const blocks = new MemoryBlocks();
  const buckets = wrapBuckets(testBuckets({ blocks }));
  const keys = new Map<string, AccessKey>();
  const exchanges: ExchangeSummary[] = [];
  // Never connected to.
  const pool = createPool({ host: "127.0.0.1", port: 1, database: "-", user: "-", part: "test", node: "test" });
  const clients: S3Client[] = [];
  const gateway = createGateway({
    buckets,
    blocks,
    quota: NO_QUOTA,
    multipart: { pool, random, openMax: 10, partBytesMin: 0 },
    findKey: async (keyId) => {
      const key = keys.get(keyId);
      return key === undefined ? null : { key, staleMs: box.keysStaleMs };
    },
    identities: createIdentities({
      verifiers: [],
      denials: { judge: () => "allowed" },
      accountOf: async (wallet) => ({ userId: ownAccountOf(wallet), staleMs: null }),
    }),
    onKeyUsed: () => {},
    staleMaxMs: 3_600_000,
    jwtAccessKeys: false,
    region: "us-east-1",
    maxObjectBytes: 5 * 1024 ** 3,
    etag: "cid",
    leases: { find: async () => null, release: async () => {} },
    capabilities: {
      remoteCidPut,
      eip712Auth: false,
      eip712: { versions: [], audiences: [], chainIds: [] },
      trustless: more.trustless !== undefined,
    },
    trustless: null,
    rateLimits: createRateLimits({ perSecond: 1_000, burst: 10_000 }, systemClock),
    casExhausted: 412,
    corsOrigins: ["*"],
    clock: systemClock,
    random,
    ...given,
  });
  const server = createServer((request, response) => {
    void gateway.handle(request, response, false).then((summary) => {
      exchanges.push(summary);
    });
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const box: MemoryGateway = {
    port,
    blocks,
    buckets,
    exchanges,
    keysStaleMs: null,
    user: (name) => {
      const pair = generateAccessKey(random);
      const key = accessKey(pair, resolveUserId(name));
      keys.set(pair.keyId, key);
      const client = s3Client({ ports: { server: 0, gateway: port, api: 0 } }, pair);
      clients.push(client);
      return { key, pair, client };
    },
    [Symbol.asyncDispose]: async () => {
      for (const client of clients) client.destroy();
      server.closeAllConnections();
      server.close();
      await pool.end();
    },
  };
  return box;
}
