import { spawn } from "node:child_process";
import { once } from "node:events";
import type { ContainerInfo } from "dockerode";
import { expect, test } from "vitest";
import { foreignPorts, ofAnotherBaseDir } from "../../../src/lib/runtime/compose-foreign.ts";
import { parseCompose } from "../../../src/lib/runtime/compose-file.ts";
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

/** Listens on a port as the engine does for a container of ours that comes up: under a name of its own. */
const PROXY = `require("node:net").createServer().listen(0, "127.0.0.1", function () { console.log(this.address().port); })`;

test("a port that the engine has taken for a container that is coming up is no stranger's", async () => {
  const proxy = spawn(process.execPath, ["-e", PROXY], {
    argv0: "/usr/bin/docker-proxy",
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [chunk] = await once(proxy.stdout, "data");
    const port = Number(String(chunk));
    const file = "/opt/one/compose.yaml";
    const text = `services: {kubo: {container_name: ipfs_host, image: "x:1", ports: ["127.0.0.1:${port}:5001"]}}`;
    const { services } = parseCompose(text, { project: "fula-master", file });
    const coming = { ...container({ [LABELS.service]: "kubo" }), Ports: [] };
    expect(await foreignPorts(services, "fula-master", [coming])).toEqual([]);
    const other = { ...container({ [LABELS.service]: "cluster" }), Ports: [] };
    expect(await foreignPorts(services, "fula-master", [other])).toMatchObject([
      { kind: "port", what: expect.stringContaining("docker-proxy") },
    ]);
  } finally {
    proxy.kill("SIGKILL");
  }
});
