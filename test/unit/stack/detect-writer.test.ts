import { expect, test } from "vitest";
import { type ContainerFact, findWriter } from "../../../src/lib/stack/detect-writer.ts";
import { recordPrograms } from "../../support/schedules.ts";

function units(active: readonly string[]) {
  return recordPrograms(
    Object.fromEntries(active.map((unit) => [`systemctl is-active ${unit}`, { stdout: "active\n" }])),
  );
}

function container(name: string, more: Partial<ContainerFact> = {}): ContainerFact {
  return { name, isRunning: true, project: null, ...more };
}

const project = "fula-master";
const addresses = { kuboApi: "/ip4/127.0.0.1/tcp/5001", clusterApi: "/ip4/127.0.0.1/tcp/9094" };

test("the fleet's two systemd units, both active, are a writer", async () => {
  const { run, calls } = units(["ipfs.service", "ipfscluster.service"]);
  expect(await findWriter({ run, containers: null, project })).toEqual({
    state: "found",
    writer: { ...addresses, found: "ipfs.service and ipfscluster.service are active" },
  });
  expect(calls).toEqual(["systemctl is-active ipfs.service", "systemctl is-active ipfscluster.service"]);
});

test.each([
  [["ipfs.service"], "ipfs.service is active, ipfscluster.service is not"],
  [["ipfscluster.service"], "ipfscluster.service is active, ipfs.service is not"],
])("one unit without the other, %s, is half a writer and not passed over", async (active, what) => {
  expect(await findWriter({ run: units(active).run, containers: [], project })).toEqual({ state: "half", what });
});

test("containers of the fleet's names are a writer whoever started them, but not where they are our own", async () => {
  const { run } = units([]);
  const both = [container("ipfs_host"), container("ipfs_cluster", { project: "writer" })];
  expect(await findWriter({ run, containers: both, project })).toEqual({
    state: "found",
    writer: { ...addresses, found: "ipfs_host and ipfs_cluster run" },
  });
  const own = ["ipfs_host", "ipfs_cluster"].map((name) => container(name, { project }));
  expect(await findWriter({ run, containers: own, project })).toEqual({ state: "none" });
});

test("a container that is stopped is no half of a writer that runs", async () => {
  const containers = [container("ipfs_host"), container("ipfs_cluster", { isRunning: false })];
  expect(await findWriter({ run: units([]).run, containers, project })).toEqual({
    state: "half",
    what: "ipfs_host runs, ipfs_cluster does not",
  });
});

test("without systemd and without Docker there is none", async () => {
  const { run } = recordPrograms({ "systemctl is-active ipfs.service": { exitCode: 127 } });
  expect(await findWriter({ run, containers: null, project })).toEqual({ state: "none" });
});
