import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { type WalletClaims, digestOf } from "../../../src/lib/identity/eip712/claims.ts";
import { signDigest } from "../../../src/lib/identity/eip712/signature.ts";
import { renderToken } from "../../../src/lib/identity/eip712/token.ts";
import { ownAccountOf, ownerOfSubject } from "../../../src/lib/identity/subject.ts";
import { Anvil } from "../../support/anvil.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { findFreePort } from "../../support/free-port.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";
import { partsOf, TestWallet, tokenOf } from "../../support/wallet-tokens.ts";

const verified = z.strictObject({
  accepted: z.boolean(),
  because: z.string().nullable(),
  by: z.string().nullable(),
  subject: z.string().nullable(),
  userId: z.string().nullable(),
  ownerId: z.string().nullable(),
  scopes: z.array(z.string()).nullable(),
  digest: z.string().nullable(),
  expiresAt: z.string().nullable(),
});

const CHAIN = { confirmations: 1, finalityDepth: 1, startBlock: 0, token: `0x${"11".repeat(20)}` };
const AUDIENCE = "federation:6f1e9a4e-0000-4000-8000-000000000001";
const alice = new TestWallet(0x42);
const bob = new TestWallet(0x43);

let anvil: Anvil;
let box: ServingBox;
/** The contract that Alice owns. */
let contract: string;

beforeAll(async () => {
  anvil = await Anvil.start();
  contract = await anvil.deployWallet(alice.address);
  box = await makeServingBox({
    identity: { eip712: "all" },
    chains: {
      own: { ...CHAIN, chainId: 31_337, rpcUrls: [anvil.url] },
      mistaken: { ...CHAIN, chainId: 31_338, rpcUrls: [anvil.url] },
      silent: { ...CHAIN, chainId: 31_339, rpcUrls: [`http://127.0.0.1:${await findFreePort()}`] },
    },
  });
});

afterAll(async () => {
  await Promise.all([anvil, box].map(async (opened) => await opened[Symbol.asyncDispose]()));
});

async function verify(token: string): Promise<CliRun> {
  return await runCliForTest(["auth", "verify", "-", "--json"], { baseDir: box.baseDir, stdin: token });
}

async function report(token: string): Promise<z.infer<typeof verified>> {
  const { stdout, stderr } = await verify(token);
  expect(stderr).toBe("");
  return verified.parse(JSON.parse(stdout));
}

/** A token of the contract's, signed by one of those who may say that they own it. */
function ofContract(owner: TestWallet, change: Partial<Extract<WalletClaims, { version: 2 }>> = {}): string {
  const claims = owner.secondClaims(Date.now(), { wallet: contract, audience: AUDIENCE, chainId: 31_337, ...change });
  const signature = signDigest(digestOf(claims), owner.key);
  signature[64] = (signature[64] ?? 0) + 27;
  return renderToken({ claims, signature });
}

describe("auth verify, of a wallet's token", () => {
  test("tells whose it is and who pays: nobody is without an account", async () => {
    const token = alice.second(Date.now(), { audience: AUDIENCE, scope: "storage:read" });
    expect(await report(token)).toMatchObject({
      accepted: true,
      by: "eip712",
      subject: alice.address,
      userId: ownAccountOf(alice.address),
      ownerId: ownerOfSubject({ kind: "wallet", wallet: alice.address }),
      scopes: ["read"],
    });
    const { stdout, exitCode } = await runCliForTest(["auth", "verify", "-"], { baseDir: box.baseDir, stdin: token });
    expect([exitCode, stdout]).toEqual([0, expect.stringContaining(`Accepted, by a wallet's signature.\n`) as unknown]);
  });

  test("refuses one for another federation, with exit code 1 and the reason", async () => {
    const { exitCode, stdout } = await verify(alice.second(Date.now(), { audience: "federation:elsewhere" }));
    expect(exitCode).toBe(1);
    expect(verified.parse(JSON.parse(stdout))).toMatchObject({
      accepted: false,
      because: "the wallet token is not taken: it is meant for federation:elsewhere",
    });
  });

  test("refuses what was revoked in whatever spelling it comes again", async () => {
    const token = alice.first(Date.now());
    const { payload, signature } = partsOf(token);
    expect(await report(token)).toMatchObject({ accepted: true, subject: alice.address });
    const file = join(box.baseDir, "denied");
    writeFileSync(file, token, { mode: 0o600 });
    const denied = await runCliForTest(
      ["auth", "deny", "--token-file", file, "--reason", "a test", "--operator", "test"],
      {
        baseDir: box.baseDir,
      },
    );
    expect([denied.exitCode, denied.stderr]).toEqual([0, ""]);
    signature[64] = (signature[64] ?? 0) + 27;
    for (const spelling of [
      token,
      tokenOf("fula-eip712", payload.replace(alice.address, alice.address.slice(2)), signature),
    ]) {
      expect(await report(spelling)).toMatchObject({
        accepted: false,
        because: expect.stringMatching(/revoked/) as unknown,
      });
    }
  });
});

describe("a wallet that is a contract on a real chain", () => {
  test("is let in with its owner's signature", async () => {
    expect(await report(ofContract(alice))).toMatchObject({ accepted: true, by: "eip712", subject: contract });
  });

  test("is refused with anybody else's, which makes the contract revert", async () => {
    expect(await report(ofContract(bob))).toMatchObject({
      accepted: false,
      because: expect.stringMatching(/no contract at its address says that it did$/) as unknown,
    });
  });

  test("is refused where there is no contract at its address", async () => {
    expect(await report(ofContract(alice, { wallet: bob.address }))).toMatchObject({ accepted: false });
  });

  test("is refused on a chain that has no endpoint in the settings", async () => {
    expect(await report(ofContract(alice, { chainId: 1 }))).toMatchObject({
      accepted: false,
      because: expect.stringMatching(/contract wallets of chain 1 cannot be asked here$/) as unknown,
    });
  });

  test.each([
    ["an endpoint that is on another chain than the settings say", 31_338],
    ["an endpoint that does not answer", 31_339],
  ])("is neither let in nor refused with %s", async (_what, chainId) => {
    const { exitCode, stdout, stderr } = await verify(ofContract(alice, { chainId }));
    expect([exitCode, stdout]).toEqual([4, ""]);
    expect(stderr).toContain("FULA_WALLET_UNCHECKED");
  });
});
