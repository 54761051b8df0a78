import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { renderConfigurationReference } from "../../../src/lib/config/reference.ts";
import { envNameOf, SECRETS, SETTINGS } from "../../../src/lib/config/schema.ts";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";

test("docs/configuration.md says what the table of settings says (else: npm run docs:generate)", () => {
  expect(readFileSync(join(PROJECT_ROOT, "docs", "configuration.md"), "utf8")).toBe(renderConfigurationReference());
});

test("the reference names every setting, every name of the environment and every secret", () => {
  const text = renderConfigurationReference();
  for (const { key, envNames } of SETTINGS) {
    for (const name of [key, ...envNames]) expect(text).toContain(`\`${name}\``);
  }
  for (const { envName } of SECRETS) expect(text).toContain(`\`${envName}\``);
});

test("no two settings share a name in the environment", () => {
  const names = SETTINGS.flatMap(({ envNames }) => envNames).concat(SECRETS.map(({ envName }) => envName));
  expect(new Set(names).size).toBe(names.length);
  expect(envNameOf("billing.fulaPerGbMonth")).toBe("FULA_MASTER_BILLING_FULA_PER_GB_MONTH");
  expect(envNameOf("identity.eip712ChainIds")).toBe("FULA_MASTER_IDENTITY_EIP712_CHAIN_IDS");
});
