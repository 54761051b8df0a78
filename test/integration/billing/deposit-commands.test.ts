import { afterAll, beforeAll, expect, test } from "vitest";
import { setInYaml } from "../../../src/lib/config/yaml-edit.ts";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { addressOf, Anvil } from "../../support/anvil.ts";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { makeServingBox, type ServingBox } from "../../support/serving.ts";

const FULA = 10n ** 18n;
const VAULT = addressOf(50);
let anvil: Anvil;
let box: ServingBox;

beforeAll(async () => {
  anvil = await Anvil.start();
  box = await makeServingBox();
});

afterAll(async () => {
  await box[Symbol.asyncDispose]();
  await anvil[Symbol.asyncDispose]();
});

async function run(...argv: readonly string[]): Promise<CliRun> {
  return await runCliForTest(["billing", ...argv], { baseDir: box.baseDir });
}

test("an operator looks for deposits, lists them, and lets a chain that stood still go on", async () => {
  const token = await anvil.deployToken();
  const chains = {
    anvil: {
      chainId: 31_337,
      token,
      vault: VAULT,
      confirmations: 2,
      finalityDepth: 8,
      startBlock: 0,
      rpcUrls: [anvil.url],
    },
  };
  const file = join(box.baseDir, "fula-master.yaml");
  await writeFile(file, setInYaml(await readFile(file, "utf8"), ["chains"], chains));
  const tx = await anvil.send(token, [{ from: addressOf(1), to: VAULT, value: 3n * FULA }]);
  await anvil.mine(3);

  const planned = await run("scan", "--dry-run", "--json");
  expect(JSON.parse(planned.stdout)).toMatchObject({ dryRun: true });
  expect((await box.database.pool.query("select from token_transactions")).rowCount).toBe(0);
  const scanned = await run("scan", "--chain", "anvil", "--json");
  expect([scanned.stderr, scanned.exitCode]).toEqual(["", 0]);
  expect(JSON.parse(scanned.stdout)).toMatchObject({
    chains: [{ name: "anvil", state: "ok", found: 1, credited: 0, creditedFula: "0", problem: null }],
  });
  const listed = await run("deposits", "--state", "unclaimed", "--json");
  expect(JSON.parse(listed.stdout)).toMatchObject({
    total: 1,
    deposits: [{ txHash: tx, amount: "3", state: "unclaimed" }],
  });
  expect((await run("chains")).stdout).toContain("no vault: billing.vaultAddress is not set");
  const mistyped = await run("scan", "--chain", "anvli");
  expect([mistyped.exitCode, mistyped.stderr]).toEqual([2, expect.stringContaining("did you mean anvil?")]);
  expect((await run("scan", "--chain", "base")).exitCode).toBe(3);

  await box.database.pool.query("update chain_sync_state set halted_because = 'a test', halted_at = now()");
  expect((await run("scan")).exitCode).toBe(1);
  expect((await run("chains", "resume", "anvil")).exitCode).toBe(2);
  const dry = await run("chains", "resume", "anvil", "--reason", "looked", "--dry-run");
  expect([dry.exitCode, dry.stdout]).toEqual([0, expect.stringContaining("Would resume anvil")]);
  expect((await run("scan")).exitCode).toBe(1);
  expect((await run("chains", "resume", "anvil", "--reason", "looked")).exitCode).toBe(0);
  const again = await run("scan", "--chain", "anvil", "--json");
  expect(JSON.parse(again.stdout)).toMatchObject({
    chains: [{ state: "ok", found: 0, settledBlock: expect.any(String) }],
  });
  expect((await run("chains", "resume", "anvil", "--reason", "looked")).exitCode).toBe(3);
});
