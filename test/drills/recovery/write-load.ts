import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import type { Box } from "./boxes.ts";

/** What signs requests to the gateways. */
export interface AccessKey {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

const REQUEST_MS = 5_000;
const PAUSE_MS = 20;
const BUCKET = "recovery";

function clientOf(port: number, credentials: AccessKey): S3Client {
  return new S3Client({
    endpoint: `http://127.0.0.1:${port}`,
    region: "us-east-1",
    forcePathStyle: true,
    credentials,
    maxAttempts: 1,
    requestHandler: { requestTimeout: REQUEST_MS, connectionTimeout: REQUEST_MS, throwOnRequestTimeout: true },
  });
}

/** Clients that store one object after the other at the gateways of several boxes, whatever happens to those. */
export class WriteLoad {
  readonly #acknowledged: string[] = [];
  readonly #running: Promise<unknown>;
  readonly #paceMs: number;
  #isEnded = false;

  /** @param paceMs rest after each object: what is stored for minutes is read and looked after for minutes, too */
  constructor(boxes: readonly Box[], credentials: AccessKey, run: string, paceMs = 0) {
    this.#paceMs = paceMs;
    this.#running = Promise.all(
      boxes.map(async (box) => {
        await this.#write(clientOf(box.ports.gateway, credentials), `${run}/${box.name}`);
      }),
    );
  }

  /** Objects acknowledged so far. */
  count(): number {
    return this.#acknowledged.length;
  }

  /** @returns keys of objects that a gateway said were stored */
  async stop(): Promise<readonly string[]> {
    this.#isEnded = true;
    await this.#running;
    return this.#acknowledged;
  }

  async #write(client: S3Client, prefix: string): Promise<void> {
    for (let index = 0; !this.#isEnded; index += 1) {
      const key = `${prefix}/${index}`;
      try {
        // Twice under one key would be told: what was stored is never stored again.
        await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: key, IfNoneMatch: "*" }));
        this.#acknowledged.push(key);
        if (this.#paceMs > 0) await systemClock.sleep(this.#paceMs);
      } catch {
        // Not acknowledged: whether it was stored, nobody was told.
        await systemClock.sleep(PAUSE_MS);
      }
    }
    client.destroy();
  }
}

export async function makeLoadBucket(box: Box, credentials: AccessKey): Promise<void> {
  const client = clientOf(box.ports.gateway, credentials);
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
  client.destroy();
}

/** Those of the keys that a box does not give back with their content. */
export async function missingObjects(
  box: Box,
  credentials: AccessKey,
  keys: readonly string[],
): Promise<readonly string[]> {
  const client = clientOf(box.ports.gateway, credentials);
  const missing: string[] = [];
  for (const key of keys) {
    try {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
      if ((await Body?.transformToString()) !== key) missing.push(key);
    } catch {
      missing.push(key);
    }
  }
  client.destroy();
  return missing;
}
