import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createCid, RAW_CODEC } from "../../../src/lib/blocks/cid.ts";
import type { BlockStore } from "../../../src/lib/blocks/block-store.ts";
import { openKuboBlockStore } from "../../../src/lib/blocks/kubo.ts";
import { resolveUserId } from "../../../src/lib/identity/user-id.ts";
import { type DeviceCycle, type FieldDevice, startFieldDevice } from "../../support/field-device.ts";
import { type PinningBox, startPinningBox } from "../../support/pinning-box.ts";
import { until } from "../../support/until.ts";

const USER = "device@example.org";
const REGISTRY = "fula-bucket-registry";
/** Requests of earlier years, as the fleet wrote them. */
const OLD = 2_200;

let pinning: PinningBox;
let device: FieldDevice;
let blocks: BlockStore;
let headers: Readonly<Record<string, string>>;

beforeAll(async () => {
  pinning = await startPinningBox({ api: { requestsPerMinute: 100_000 } });
  const token = await pinning.tokenOf(USER);
  headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  blocks = openKuboBlockStore(pinning.peer.kubo.api);
  device = await startFieldDevice(pinning.endpoint, token);
});
afterAll(async () => {
  await Promise.all([pinning?.[Symbol.asyncDispose](), device?.[Symbol.asyncDispose]()]);
});

async function store(text: string): Promise<string> {
  const bytes = Buffer.from(text);
  const cid = createCid(RAW_CODEC, bytes);
  await blocks.put(cid, bytes);
  return cid.toString();
}

/** Pins as a gateway of the fleet does for its user, and waits until the service says that it is done. */
async function pin(cid: string, name: string): Promise<string> {
  const body = JSON.stringify({ cid, name });
  const answer = await fetch(`${pinning.endpoint}/pins`, { method: "POST", headers, body });
  const { requestid } = z.object({ requestid: z.string() }).parse(await answer.json());
  await until(`${name} is pinned`, async () => {
    const read = await fetch(`${pinning.endpoint}/pins/${requestid}`, { headers });
    const { status } = z.object({ status: z.string() }).parse(await read.json());
    return status === "pinned";
  });
  return requestid;
}

async function isOnDevice(cid: string): Promise<boolean> {
  return (await Promise.resolve(device.kubo.ipfs("pin", "ls", "--type=recursive", "--quiet"))).includes(cid);
}

let registryA: string;
let registryB: string;

test("a device that was never updated reads 2,200 requests of the fleet and the registry in full, page by page", async () => {
  const cids = await Promise.all(Array.from({ length: 20 }, async (_, index) => await store(`old ${index}`)));
  await pinning.box.database.pool.query(
    `insert into pins (requestid, user_id, cid, name, status, size, created_at)
     select 'old-' || n, $1, ($2::text[])[n % 20 + 1], 'object:photos/' || n, 'pinned', 6,
            '2025-03-01T00:00:00Z'::timestamptz + (n / 3) * interval '777 microseconds' from generate_series(1, $3) n`,
    [resolveUserId(USER), cids, OLD],
  );
  registryA = await store("registry a");
  await pin(registryA, REGISTRY);
  const seen = await device.cycle();
  expect([seen.kind, seen.known.size, seen.registry]).toEqual(["full", OLD + 1, registryA]);
  expect(seen.pages.length).toBe(3);
  expect(await isOnDevice(registryA)).toBe(true);
  expect(await isOnDevice(cids[0] ?? "")).toBe(true);
});

test("it hears of what is new by asking for what came after, and takes the registry that came last", async () => {
  const photo = await store("a new photo");
  await pin(photo, "object:photos/new");
  registryB = await store("registry b");
  await pin(registryB, REGISTRY);
  const seen = await device.cycle();
  expect([seen.kind, seen.pages.length, seen.registry]).toEqual(["incremental", 1, registryB]);
  expect(await isOnDevice(photo)).toBe(true);
});

test("a gateway that goes back to an earlier registry has devices go back, too", async () => {
  await pin(registryA, REGISTRY);
  expect((await device.cycle()).registry).toBe(registryA);
  // And whoever sends it once more changes nothing.
  await pin(registryA, REGISTRY);
  expect((await device.cycle()).registry).toBe(registryA);
});

test("nothing that came while it was reading is lost to it", async () => {
  const cids = await Promise.all(Array.from({ length: 20 }, async (_, index) => await store(`storm ${index}`)));
  const pinned = Promise.all(cids.map(async (cid, index) => await pin(cid, `object:storm/${index}`)));
  await device.cycle();
  const requestIds = await pinned;
  const { known } = await device.cycle();
  expect(requestIds.filter((requestId) => !known.has(requestId))).toEqual([]);
});

test("what was ended is gone for it with the next full scan, which is every tenth", async () => {
  const cid = await store("to be ended");
  const requestId = await pin(cid, "object:ended");
  let seen: DeviceCycle = await device.cycle();
  expect(seen.known.has(requestId)).toBe(true);
  await fetch(`${pinning.endpoint}/pins/${requestId}`, {
    method: "DELETE",
    headers: { authorization: headers["authorization"] ?? "" },
  });
  while (seen.kind !== "full") seen = await device.cycle();
  expect(seen.known.has(requestId)).toBe(false);
  expect(seen.registry).toBe(registryA);
});
