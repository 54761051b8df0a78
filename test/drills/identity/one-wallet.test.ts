/*
 * One wallet at every door of a federation: it writes at one master and reads at the other, pins, and gives blocks to a
 * storage node; then it is revoked, and every door is found shut within the bound that the handbook states.
 */
import { randomBytes } from "node:crypto";
import { Wallet } from "ethers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { nameBlock, uploadObject } from "../../../src/lib/ingest/upload.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { Secret } from "../../../src/lib/kernel/secret.ts";
import { TEST_CLUSTER_ID } from "../../support/storage-node.ts";
import type { DrillGateway } from "../../support/two-gateways.ts";
import { until } from "../../support/until.ts";
import { apiOf, gatewayOf, type IdentityFederation, signIn, startIdentityFederation } from "./federation.ts";

/** What `auth deny` promises of masters and of storage nodes. */
const MASTER_BOUND_MS = 5_000;
const NODE_BOUND_MS = 15_000;
/** From then on it has to be shut. */
const SHUT_WITHIN_MS = 60_000;
/** What a door says that does not know for now who was revoked: it lets nobody in, and refuses nobody. */
const COME_AGAIN = 503;
/** A new key signs half a minute after it was made, when every master knows it. */
const ROTATION_MS = 120_000;
const POLL_MS = 50;

const signing = z.object({ kid: z.string() });
const pin = z.object({ requestid: z.string(), status: z.string() });
const session = z.object({ token: z.string() });

let federation: IdentityFederation;
let masterA: DrillGateway;
let masterB: DrillGateway;
let wallet: Wallet;
let token: string;
/** Users who do not notice that keys are rotated. */
let visitor: Visitor;

beforeAll(async () => {
  federation = await startIdentityFederation();
  [masterA, masterB] = federation.masters.both;
  wallet = new Wallet(Wallet.createRandom().privateKey);
  token = await signIn(wallet, systemClock.nowMs());
});
afterAll(async () => {
  visitor?.end.abort();
  await visitor?.done;
  await federation?.[Symbol.asyncDispose]();
});

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
}

async function ask(url: string, bearer: string, init: RequestInit = {}): Promise<Answer> {
  // A connection that is kept may be closed by the other end at the moment it is used again.
  const own = { authorization: `Bearer ${bearer}`, connection: "close" };
  const headers = { ...Object.fromEntries(new Headers(init.headers)), ...own };
  const answer = await fetch(url, { ...init, headers });
  return { status: answer.status, headers: answer.headers, bytes: Buffer.from(await answer.arrayBuffer()) };
}

/** As a client would, comes again where it is told to. */
async function askPatiently(url: string, bearer: string, init: RequestInit = {}): Promise<Answer> {
  return await until(`${url} answers`, async () => {
    const answer = await ask(url, bearer, init);
    return answer.status === COME_AGAIN ? null : answer;
  });
}

async function put(master: DrillGateway, path: string, body: Uint8Array<ArrayBuffer> | null = null): Promise<Answer> {
  return await askPatiently(`${gatewayOf(master)}/${path}`, token, { method: "PUT", body });
}

interface Visitor {
  readonly end: AbortController;
  readonly done: Promise<void>;
  /** Whatever was not answered as it should have been. */
  readonly refusals: string[];
  /** Names of the keys that tokens were signed with that then opened a door. */
  readonly kids: Set<string>;
}

function kidOf(jwt: string): string {
  return signing.parse(JSON.parse(Buffer.from(jwt.split(".")[0] ?? "", "base64url").toString("utf8"))).kid;
}

async function visit(wallets: Wallet, { end, refusals, kids }: Omit<Visitor, "done">): Promise<void> {
  const walletToken = await signIn(wallets, systemClock.nowMs());
  const jwts: string[] = [];
  for (let turn = 0; !end.signal.aborted; turn += 1) {
    const [here, there] = turn % 2 === 0 ? [masterA, masterB] : [masterB, masterA];
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: "{}" };
    const made = await askPatiently(`${apiOf(here)}/api/v1/sessions`, walletToken, init);
    if (made.status !== 201) {
      refusals.push(`session at ${here.name}: ${made.status} ${made.bytes.toString("utf8")}`);
      continue;
    }
    jwts.push(session.parse(JSON.parse(made.bytes.toString("utf8"))).token);
    // The oldest, the newest: neither is to be refused, at neither master.
    for (const jwt of [jwts[0] ?? "", jwts.at(-1) ?? ""]) {
      for (const url of [`${gatewayOf(there)}/`, `${apiOf(here)}/api/v1/me`]) {
        const { status } = await askPatiently(url, jwt);
        if (status === 200) kids.add(kidOf(jwt));
        else refusals.push(`${kidOf(jwt)} at ${url}: ${status}`);
      }
    }
    await systemClock.sleep(4 * POLL_MS, end.signal).catch(() => {});
  }
}

function startVisiting(): Visitor {
  const visits = { end: new AbortController(), refusals: [], kids: new Set<string>() };
  const done = visit(new Wallet(Wallet.createRandom().privateKey), visits);
  return { ...visits, done };
}

describe("one wallet", () => {
  test("writes at one master and reads the same bytes at the other", async () => {
    visitor = startVisiting();
    await until("the visitor has been let in", async () => await Promise.resolve(visitor.kids.size === 1));
    await federation.command("key", "rotate");
    expect((await put(masterA, "photos")).status).toBe(200);
    const bytes = new Uint8Array(randomBytes(600_000));
    const stored = await put(masterA, "photos/a.jpg", bytes);
    expect(stored.status).toBe(200);
    const read = await askPatiently(`${gatewayOf(masterB)}/photos/a.jpg`, token);
    expect([read.status, read.headers.get("etag")]).toEqual([200, stored.headers.get("etag")]);
    expect(read.bytes.equals(bytes)).toBe(true);
  });

  test("pins by the pinning service of one master, and sees it done at the other", async () => {
    const head = await askPatiently(`${gatewayOf(masterB)}/photos/a.jpg`, token, { method: "HEAD" });
    const cid = (head.headers.get("etag") ?? "").replaceAll('"', "");
    const asked = await askPatiently(`${apiOf(masterA)}/pins`, token, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ cid, name: "holiday" }),
    });
    expect(asked.status).toBe(202);
    const { requestid } = pin.parse(JSON.parse(asked.bytes.toString("utf8")));
    await until("the other master says that it is pinned", async () => {
      const { bytes } = await askPatiently(`${apiOf(masterB)}/pins/${requestid}`, token);
      return pin.parse(JSON.parse(bytes.toString("utf8"))).status === "pinned";
    });
    // One that holds it is enough for that; the follower hears of it when the cluster tells it, and knows no pin till then.
    await until("the follower has the pin", async () => await Promise.resolve(hasPin(cid)));
  });

  test("gives a block to a storage node, maps it at one master, and reads it at the other", async () => {
    const bytes = new Uint8Array(randomBytes(300_000));
    // A node that does not know for now who was revoked sends clients to the gateway.
    await until("the node lets the wallet in", async () => (await nodeDoor().knock(token)) === 200);
    const outcome = await uploadObject(
      {
        gateway: new URL(gatewayOf(masterB)),
        nodes: [new URL(federation.node)],
        bucket: "photos",
        key: "by-node.jpg",
        content: new Blob([bytes]),
        contentType: null,
      },
      { fetch, bearer: new Secret(token), signal: new AbortController().signal },
    );
    expect(outcome).toMatchObject({ via: "node", etag: nameBlock(bytes).cid, fellBack: null });
    const read = await askPatiently(`${gatewayOf(masterA)}/photos/by-node.jpg`, token);
    expect([read.status, read.bytes.equals(bytes)]).toEqual([200, true]);
  });

  test("cannot be acted for elsewhere with what it signed for one master alone", async () => {
    const forA = await signIn(wallet, systemClock.nowMs(), `master:${TEST_CLUSTER_ID}/box-1`);
    const bytes = new Uint8Array(randomBytes(100));
    const statusOf = async (url: string, init: RequestInit = {}): Promise<number> =>
      (await askPatiently(url, forA, init)).status;
    expect(await statusOf(`${gatewayOf(masterA)}/photos/a.jpg`)).toBe(200);
    expect(await statusOf(`${gatewayOf(masterB)}/photos/a.jpg`)).toBe(403);
    expect(await statusOf(`${apiOf(masterB)}/pins`)).toBe(401);
    const block = { method: "PUT", body: bytes };
    expect(await statusOf(`${federation.node}/v0/block?cid=${nameBlock(bytes).cid}`, block)).toBe(401);
  });
});

interface Door {
  readonly name: string;
  readonly boundMs: number;
  readonly knock: (bearer: string) => Promise<number>;
  readonly shut: number;
}

function doors(): readonly Door[] {
  const list = (master: DrillGateway): Door => ({
    name: `gateway of ${master.name}`,
    boundMs: MASTER_BOUND_MS,
    knock: async (bearer) => (await ask(`${gatewayOf(master)}/photos/a.jpg`, bearer, { method: "HEAD" })).status,
    shut: 403,
  });
  const pins = (master: DrillGateway): Door => ({
    name: `pinning service of ${master.name}`,
    boundMs: MASTER_BOUND_MS,
    knock: async (bearer) => (await ask(`${apiOf(master)}/pins`, bearer)).status,
    shut: 401,
  });
  return [list(masterA), list(masterB), pins(masterA), pins(masterB), nodeDoor()];
}

function nodeDoor(): Door {
  return {
    name: "storage node",
    boundMs: NODE_BOUND_MS,
    knock: async (bearer) => {
      const bytes = new Uint8Array(randomBytes(64));
      const init = { method: "PUT", body: bytes };
      return (await ask(`${federation.node}/v0/block?cid=${nameBlock(bytes).cid}`, bearer, init)).status;
    },
    shut: 401,
  };
}

/** As a client would, comes again where it is told to. */
async function knockPatiently({ name, knock }: Door, bearer: string): Promise<number> {
  return await until(`the ${name} answers`, async () => {
    const status = await knock(bearer);
    return status === COME_AGAIN ? null : status;
  });
}

function hasPin(cid: string): boolean {
  try {
    return federation.follower.ctl("pin", "ls", cid).includes(cid);
  } catch {
    return false;
  }
}

/** Knocks until it is shut, and then a while longer. @returns milliseconds from `sinceMs` to when it was last open */
async function lastOpenMs({ knock, shut }: Door, sinceMs: () => number | null): Promise<number> {
  let openMs = 0;
  let refusals = 0;
  let isOver = false;
  while (refusals < 10 && !isOver) {
    const askedMs = systemClock.monotonicMs();
    const status = await knock(token);
    const deniedMs = sinceMs();
    isOver = deniedMs !== null && systemClock.monotonicMs() > deniedMs + SHUT_WITHIN_MS;
    if (status === shut) refusals += 1;
    else if (status !== COME_AGAIN) {
      expect(status).toBe(200);
      refusals = 0;
      openMs = deniedMs === null ? 0 : askedMs - deniedMs;
    }
    await systemClock.sleep(POLL_MS);
  }
  expect(refusals).toBe(10);
  return openMs;
}

describe("a wallet that is revoked", () => {
  test("is refused at every door within the stated bound, tokens of a clock that is ahead too, while others come in", async () => {
    let deniedMs: number | null = null;
    const open = await Promise.all(
      doors().map(async (door) => [door.name, await knockPatiently(door, token)] as const),
    );
    expect(open).toEqual(open.map(([name]) => [name, 200]));
    const measured = Promise.all(
      doors().map(async (door) => ({ ...door, openMs: await lastOpenMs(door, () => deniedMs) })),
    );
    // Awaited below; where the command fails, that is told instead.
    measured.catch(() => {});
    await federation.command("auth", "deny", "--wallet", wallet.address, "--reason", "phone was stolen");
    deniedMs = systemClock.monotonicMs();
    for (const { name, openMs, boundMs } of await measured) {
      process.stderr.write(`${name}: open for ${Math.round(Math.max(0, openMs))} ms after it was revoked\n`);
      expect(openMs, name).toBeLessThan(boundMs);
    }
    const other = await signIn(new Wallet(Wallet.createRandom().privateKey), systemClock.nowMs());
    const ofFastClock = await signIn(wallet, systemClock.nowMs() + 200_000);
    for (const door of doors()) {
      expect(await knockPatiently(door, ofFastClock), door.name).toBe(door.shut);
      expect(await knockPatiently(door, other), door.name).not.toBe(door.shut);
    }
  });
});

describe("keys that are rotated while they are in use", () => {
  test("refuse nobody: what the old key signed stays good at both masters, and so is what the new one signs", async () => {
    const areBothUsed = async (): Promise<boolean> => await Promise.resolve(visitor.kids.size === 2);
    await until("tokens of both keys were used", areBothUsed, ROTATION_MS);
    visitor.end.abort();
    await visitor.done;
    expect(visitor.refusals).toEqual([]);
  });
});
