import type { ContainerInfo } from "dockerode";
import { expect, test } from "vitest";
import { ofAnotherBaseDir } from "../../../src/lib/runtime/compose-foreign.ts";
import { LABELS, madeBy } from "../../../src/lib/runtime/compose-labels.ts";

function container(labels: Readonly<Record<string, string>>): ContainerInfo {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what else an engine lists is not looked at
  return {
    Id: "0123456789abcdef",
    Names: ["/ipfs_host"],
    Labels: { [LABELS.project]: "fula-master", ...labels },
  } as unknown as ContainerInfo;
}

const FILE = "/opt/one/compose.yaml";
const OTHER = "/opt/other/compose.yaml";

test("containers that another base directory made under the same project name are not taken over", () => {
  const found = ofAnotherBaseDir(container({ [LABELS.version]: madeBy(), [LABELS.configFiles]: OTHER }), FILE);
  expect(found).toMatchObject({ kind: "container", name: "ipfs_host", what: expect.stringContaining(OTHER) });
});

test.each([
  ["its own", { [LABELS.version]: "fula-master-0.0.1", [LABELS.configFiles]: FILE }],
  ["those of an older installer, wherever its file lies", { [LABELS.version]: "2.29.1", [LABELS.configFiles]: OTHER }],
  ["those that carry no version", { [LABELS.configFiles]: OTHER }],
])("a base directory may have %s", (_, labels) => {
  expect(ofAnotherBaseDir(container(labels), FILE)).toBeNull();
});
