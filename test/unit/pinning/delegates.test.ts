import { expect, test } from "vitest";
import { silentLog } from "../../../src/lib/kernel/log.ts";
import { chooseDelegates, createDelegates } from "../../../src/lib/pinning/delegates.ts";
import { FakeClock } from "../../support/clock.ts";

const ID = "/p2p/12D3KooWGRUVh1ZjEHtVHhXKkDQpBjgSkP4rGbPcPCUTsBfmgSvi";
const LOOPBACK = `/ip4/127.0.0.1/tcp/4001${ID}`;
const PRIVATE = `/ip4/172.17.0.2/tcp/4001${ID}`;
const PUBLIC = `/ip4/203.0.113.7/tcp/4001${ID}`;
const NAMED = `/dns4/kubo.example.org/udp/4001/quic-v1${ID}`;
const RELAYED = `/ip4/203.0.113.9/tcp/4001${ID}/p2p-circuit${ID}`;

test.each<[string, readonly string[], readonly string[]]>([
  ["those that everybody reaches come first", [PRIVATE, RELAYED, PUBLIC, NAMED], [PUBLIC, NAMED, RELAYED, PRIVATE]],
  ["the box's own loopback is told to nobody", [LOOPBACK, `/ip6/::1/tcp/4001${ID}`, PRIVATE], [PRIVATE]],
  ["but where there is nothing else", [LOOPBACK], [LOOPBACK]],
  ["each once", [PUBLIC, PUBLIC], [PUBLIC]],
  ["none that does not say whose it is", ["/ip4/203.0.113.7/tcp/4001"], []],
  ["none where there are none", [], []],
])("%s", (_what, given, expected) => {
  expect(chooseDelegates(given)).toEqual(expected);
});

test("there are twenty at most", () => {
  expect(chooseDelegates(Array.from({ length: 30 }, (_, n) => `/ip4/203.0.113.${n}/tcp/4001${ID}`))).toHaveLength(20);
});

test("nodes are asked once a minute, and what they said holds while they are silent", async () => {
  const clock = new FakeClock();
  let asked = 0;
  const delegates = createDelegates({
    sources: [
      async () => {
        asked += 1;
        if (asked === 2) throw new Error("silent");
        return await Promise.resolve([`/ip4/203.0.113.${asked}/tcp/4001${ID}`]);
      },
    ],
    clock,
    log: silentLog,
  });
  const first = [`/ip4/203.0.113.1/tcp/4001${ID}`];
  expect(await delegates.read()).toEqual(first);
  expect(await delegates.read()).toEqual(first);
  expect(asked).toBe(1);
  for (const expected of [first, [`/ip4/203.0.113.3/tcp/4001${ID}`]]) {
    clock.step(60_001);
    // Asked for beside what is known already: nobody waits for it.
    await delegates.read();
    await new Promise(setImmediate);
    expect(await delegates.read()).toEqual(expected);
  }
  expect(asked).toBe(3);
});

test("one node that is silent hides no other", async () => {
  const silent = async (): Promise<readonly string[]> => await Promise.reject(new Error("silent"));
  const heard = async (): Promise<readonly string[]> => await Promise.resolve([PUBLIC]);
  const delegates = createDelegates({ sources: [silent, heard], clock: new FakeClock(), log: silentLog });
  expect(await delegates.read()).toEqual([PUBLIC]);
});
