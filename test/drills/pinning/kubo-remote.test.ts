import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { builtBinaries } from "../../infra/infra.ts";
import { anyContent } from "../../support/contents.ts";
import { type KuboProcess, startKubo } from "../../support/kubo-process.ts";
import { type PinningBox, startPinningBox } from "../../support/pinning-box.ts";
import { until } from "../../support/until.ts";

const USER = "kubo@example.org";
let pinning: PinningBox;
let client: KuboProcess;

beforeAll(async () => {
  [pinning, client] = await Promise.all([startPinningBox({ api: { requestsPerMinute: 100_000 } }), startKubo()]);
  await ipfs("", "pin", "remote", "service", "add", "fula", pinning.endpoint, await pinning.tokenOf(USER));
});
afterAll(async () => {
  await Promise.all([pinning?.[Symbol.asyncDispose](), client?.[Symbol.asyncDispose]()]);
});

/** Runs `ipfs <args>` against the client's node while this process goes on: the master is in it. @returns stdout */
async function ipfs(input: string, ...args: readonly string[]): Promise<string> {
  const env = { PATH: process.env["PATH"], HOME: "/nonexistent", IPFS_PATH: client.repo };
  const running = promisify(execFile)(builtBinaries().ipfs, args, { env, encoding: "utf8" });
  running.child.stdin?.end(input);
  return (await running).stdout;
}

async function remote(...args: readonly string[]): Promise<string> {
  return await ipfs("", "pin", "remote", ...args);
}

/** Puts bytes into the client's node, pinned nowhere. */
async function store(text: string): Promise<string> {
  return (await ipfs(text, "add", "--quieter", "--pin=false", "--cid-version=1", "--chunker=size-1024")).trim();
}

test("ipfs pin remote: what a Kubo node has is fetched from it, pinned, listed under its name, and let go", async () => {
  const cid = await store("a text of two thousand characters. ".repeat(60));
  // It waits until the service says that it is pinned. Nobody told the two nodes of each other but service and client.
  await remote("add", cid, "--service=fula", "--name=a text");
  const [listed] = (await remote("ls", "--service=fula", "--name=a text")).split("\n");
  expect(listed?.split("\t")).toEqual([cid, "pinned", "a text"]);
  expect(pinning.peer.kubo.ipfs("pin", "ls", "--type=recursive", "--quiet")).toContain(cid);
  const headers = { authorization: `Bearer ${await pinning.tokenOf(USER)}` };
  const answer = await fetch(`${pinning.endpoint}/api/v1/storage`, { headers });
  const storage = z.object({ currentStorageBytes: z.int() }).parse(await answer.json());
  // Its three blocks, and the node above them.
  expect(storage.currentStorageBytes).toBeGreaterThan(2_100);
  await remote("rm", "--service=fula", `--cid=${cid}`);
  expect(await remote("ls", "--service=fula")).toBe("");
});

test("ipfs pin remote ls pages through more than its pages of ten", async () => {
  const cids: string[] = [];
  for (let index = 0; index < 23; index += 1) {
    const cid = anyContent(`paged ${index}`);
    cids.push(cid);
    await remote("add", cid, "--service=fula", "--background", "--name=paged");
  }
  const listed = await remote("ls", "--service=fula", "--name=paged", "--status=queued,pinning,pinned");
  const found = listed
    .trim()
    .split("\n")
    .map((line) => line.split("\t")[0]);
  expect(found).toEqual(cids.toReversed());
  expect(await remote("service", "ls", "--stat")).toMatch(/fula +\S+ +\d+\/\d+\/\d+\/\d+/);
});

test("ipfs pin remote rm ends what nobody has and what is still looked for, all of one name at once", async () => {
  const statuses = "--status=queued,pinning,pinned,failed";
  await until("it is being looked for", async () =>
    (await remote("ls", "--service=fula", "--status=pinning", "--name=paged")).includes(anyContent("paged 0")),
  );
  await remote("rm", "--service=fula", statuses, "--name=paged", "--force");
  expect(await remote("ls", "--service=fula", statuses, "--name=paged")).toBe("");
});
