import { expect, test } from "vitest";
import type { FederationNode } from "../../../src/lib/membership/federation-nodes.ts";
import { isSameRegistration, trustChanges } from "../../../src/lib/stack/trust-of-masters.ts";
import { makeRegistration, PEER_IDS } from "../../support/federation.ts";
import { loadedBox } from "../../support/schedules.ts";

const times = { joinedAt: "2026-11-20T00:00:00.000Z", seenAt: "2026-11-20T00:00:00.000Z" };
const OWN = { ...makeRegistration({ name: "m1" }), ...times };
const OTHER: FederationNode = {
  ...makeRegistration({
    name: "m2",
    clusterPeerId: PEER_IDS.other,
    clusterAddresses: [`/ip4/192.0.2.2/tcp/9096/p2p/${PEER_IDS.other}`],
    kuboAddresses: [],
  }),
  ...times,
};

async function configOf(cluster: string) {
  return (await loadedBox({ yaml: `node:\n  name: m1\ncluster:\n${cluster}` })).config;
}

test("another master in the ledger is trusted, asked first and kept connected; this box itself is not in the list", async () => {
  const look = trustChanges(await configOf("  mode: docker\n"), [OWN, OTHER]);
  expect(look).toMatchObject({ masters: ["m2"], missing: ["m2"] });
  expect([...look.settings]).toEqual([
    ["cluster.trustedPeers", [PEER_IDS.other]],
    ["cluster.bootstrap", OTHER.clusterAddresses],
  ]);
});

test("a master that is trusted already changes nothing", async () => {
  const yaml = `  mode: docker\n  trustedPeers: [${PEER_IDS.other}]\n  bootstrap: ["${OTHER.clusterAddresses[0]}"]\n`;
  const look = trustChanges(await configOf(yaml), [OWN, OTHER]);
  expect([look.missing, [...look.settings]]).toEqual([[], []]);
});

test("a master that nobody can reach by an address is trusted all the same", async () => {
  const silent = { ...OTHER, clusterAddresses: [] };
  const { settings } = trustChanges(await configOf("  mode: docker\n"), [OWN, silent]);
  expect([...settings.keys()]).toEqual(["cluster.trustedPeers"]);
});

test("who was trusted by hand and stands in no ledger stays trusted, and is named", async () => {
  const look = trustChanges(await configOf(`  mode: docker\n  trustedPeers: [${PEER_IDS.other}]\n`), [OWN]);
  expect(look.unknown).toEqual([PEER_IDS.other]);
  expect(look.settings.size).toBe(0);
});

test("storage nodes are trusted by nobody", async () => {
  const storage: FederationNode = { ...OTHER, role: "storage" };
  expect(trustChanges(await configOf("  mode: docker\n"), [OWN, storage]).settings.size).toBe(0);
});

test("of an adopted peer it is said what has to be set in it, by whom", async () => {
  const look = trustChanges(await configOf("  mode: rest\n"), [OWN, OTHER]);
  expect(look.settings.size).toBe(0);
  expect(look.byHand).toContain(`CLUSTER_CRDT_TRUSTEDPEERS of the adopted peer to ${PEER_IDS.other}`);
});

test("a row is rewritten where anything but its times differs", () => {
  const { joinedAt: _, seenAt: __, ...own } = OWN;
  expect(isSameRegistration(own, { ...OWN, seenAt: "2026-11-21T00:00:00.000Z" })).toBe(true);
  expect(isSameRegistration({ ...own, version: "9.9.9" }, OWN)).toBe(false);
});
