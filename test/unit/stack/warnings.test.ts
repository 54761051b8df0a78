import { expect, test } from "vitest";
import { legacyClusterSecret } from "../../../src/lib/stack/join-options.ts";
import { settingWarnings } from "../../../src/lib/stack/warnings.ts";
import { loadedBox } from "../../support/schedules.ts";

async function idsOf(yaml: string): Promise<readonly string[]> {
  return settingWarnings(await loadedBox({ yaml, env: `ENCRYPTION_KEY=${"a".repeat(64)}\n` })).map(({ id }) => id);
}

const VAULT = `billing:\n  vaultAddress: "0x${"a".repeat(40)}"\n`;

test("a master that lacks nothing is warned of nothing", async () => {
  expect(await idsOf(`${VAULT}cluster:\n  mode: docker\nnode:\n  announce: master-1.example.org\n`)).toEqual([]);
  expect(await idsOf(VAULT)).toEqual([]);
});

test("a pool with a guessable secret is warned of for as long as it has it, by its name", async () => {
  const yaml = `${VAULT}cluster:\n  legacyPool: "7"\n`;
  expect(await idsOf(yaml)).toEqual(["legacy-cluster-secret"]);
  const [warning] = settingWarnings(await loadedBox({ yaml }));
  expect(warning?.message).toContain('pool name "7"');
  const secret = legacyClusterSecret("7").reveal();
  const warned = async (value: string): Promise<readonly string[]> =>
    settingWarnings(await loadedBox({ yaml, env: `CLUSTER_SECRET=${value}\n` })).map(({ id }) => id);
  expect(await warned(secret)).toContain("legacy-cluster-secret");
  expect(await warned("0".repeat(64))).not.toContain("legacy-cluster-secret");
});

test("containers that tell nobody how to reach them are warned of", async () => {
  expect(await idsOf(`${VAULT}cluster:\n  mode: docker\n`)).toEqual(["announce-missing"]);
});
