import { describe, expect, test } from "vitest";
import { reachableAddresses } from "../../../src/lib/membership/reach.ts";
import { PEER_IDS } from "../../support/federation.ts";

const peerId = PEER_IDS.cluster;
const heard = [
  `/ip4/127.0.0.1/tcp/9096/p2p/${peerId}`,
  `/ip4/172.20.0.3/tcp/9096/p2p/${peerId}`,
  "/ip6/::1/tcp/9096",
  "/ip4/203.0.113.9/tcp/9096",
  `/ip4/203.0.113.1/tcp/4001/p2p/${PEER_IDS.other}/p2p-circuit`,
];

describe("the addresses that others are told", () => {
  test.each([
    ["198.51.100.7", "/ip4/198.51.100.7"],
    ["2001:db8::7", "/ip6/2001:db8::7"],
    ["master-1.example.org", "/dns/master-1.example.org"],
  ])("are those of the announced host %s alone, where there is one", (announce, host) => {
    expect(reachableAddresses({ peerId, announce, transports: ["tcp/9096"], heard })).toEqual([
      `${host}/tcp/9096/p2p/${peerId}`,
    ]);
  });

  test("are else what the daemon says, without loopback and relays", () => {
    expect(reachableAddresses({ peerId, announce: null, transports: ["tcp/9096"], heard })).toEqual([
      `/ip4/172.20.0.3/tcp/9096/p2p/${peerId}`,
      `/ip4/203.0.113.9/tcp/9096/p2p/${peerId}`,
    ]);
  });
});
