import { describe, expect, test } from "vitest";
import type { ClusterView, PeerView, ServerView, StreamView } from "../../../src/lib/membership/kv/state.ts";
import { judgeCluster, type WantedCluster } from "../../../src/lib/stack/control-plane-judge.ts";
import type { PartProblem } from "../../../src/lib/stack/status-part.ts";

const BUCKETS = ["FULA_users", "FULA_rooms"];

function peer(name: string, more: Partial<PeerView> = {}): PeerView {
  return { name, current: true, offline: false, lag: 0, silentMs: 500, ...more };
}

function server(name: string, more: Partial<ServerView> = {}): ServerView {
  return { name, version: "2.15.2", syncAlways: true, clockOffsetMs: 12, ...more };
}

function stream(bucket: string, more: Partial<StreamView> = {}): StreamView {
  const peers = [peer("b"), peer("c")];
  return { bucket, leader: "a", replicas: 3, peers, storage: "file", directGets: false, ...more };
}

const WELL: ClusterView = {
  servers: ["a", "b", "c"].map((name) => server(name)),
  metaLeader: "b",
  clustered: true,
  members: [peer("a"), peer("c")],
  streams: BUCKETS.map((bucket) => stream(bucket)),
};

const WANTED: WantedCluster = { buckets: BUCKETS, replicas: 3, witness: null };

function found(view: Partial<ClusterView>, wanted: Partial<WantedCluster> = {}): readonly PartProblem[] {
  return judgeCluster({ ...WELL, ...view }, { ...WANTED, ...wanted });
}

test("three servers that are well have nothing against them", () => {
  expect(found({})).toEqual([]);
});

test("one server that forms no cluster needs no leader of a group", () => {
  const alone = { servers: [server("a")], metaLeader: null, clustered: false, members: [] };
  const streams = BUCKETS.map((bucket) => stream(bucket, { replicas: 1, peers: [] }));
  expect(found({ ...alone, streams }, { replicas: 1 })).toEqual([]);
});

const ONE_PROBLEM: readonly (readonly [
  title: string,
  view: Partial<ClusterView>,
  severity: PartProblem["severity"],
  message: RegExp,
  remedy: RegExp,
])[] = [
  ["no leader of all", { metaLeader: null, members: [] }, "bad", /have no leader/, /route ports/],
  [
    "a bucket on fewer servers than are to hold it",
    { streams: [stream("FULA_rooms", { peers: [peer("b")] }), stream("FULA_users")] },
    "attention",
    /^FULA_rooms lies on 2 servers and should on 3\.$/,
    /another master/,
  ],
  [
    "a bucket on a server that is none of them any more",
    {
      streams: [
        stream("FULA_rooms", { peers: [peer("b"), peer("gone", { current: false, offline: true })] }),
        stream("FULA_users"),
      ],
    },
    "attention",
    /^gone is to hold FULA_rooms, and is not heard\.$/,
    /peer remove|join/,
  ],
  [
    "a server that is silent for a minute",
    { members: [peer("a"), peer("c", { current: false, offline: true, silentMs: 60_000 })] },
    "attention",
    /^c is a server .* 1m\.$/,
    /see whether/,
  ],
  [
    "a server that is silent for an hour, with the command that takes it out",
    { members: [peer("a"), peer("c", { current: false, offline: true, silentMs: 3_600_000 })] },
    "bad",
    /^c is a server .* 1h\.$/,
    /fula-master membership peer remove c$/,
  ],
  [
    "a server that lags",
    { members: [peer("a"), peer("c", { current: false, lag: 7 })] },
    "attention",
    /^c is 7 operations behind in the list/,
    /catches up/,
  ],
  ["a bucket that is not there", { streams: [stream("FULA_users")] }, "bad", /no bucket FULA_rooms/, /join/],
  [
    "a stream that nobody leads",
    { streams: [stream("FULA_users", { leader: null }), stream("FULA_rooms")] },
    "bad",
    /Nobody leads FULA_users/,
    /which servers run/,
  ],
  [
    "a stream in memory",
    { streams: [stream("FULA_users", { storage: "memory" }), stream("FULA_rooms")] },
    "bad",
    /FULA_users lies in memory/,
    /membership export/,
  ],
  [
    "direct gets",
    { streams: [stream("FULA_users", { directGets: true }), stream("FULA_rooms")] },
    "bad",
    /FULA_users answers reads from servers that may be behind/,
    /membership export/,
  ],
  [
    "a stream on too few servers",
    { streams: [stream("FULA_users", { replicas: 1, peers: [] }), stream("FULA_rooms")] },
    "attention",
    /FULA_users lies on 1 server and should on 3/,
    /serve/,
  ],
  [
    "a replica that lags",
    {
      streams: [
        stream("FULA_users", { peers: [peer("b"), peer("c", { current: false, lag: 3 })] }),
        stream("FULA_rooms"),
      ],
    },
    "attention",
    /c is 3 operations behind in FULA_users/,
    /catches up/,
  ],
  [
    "a version that parts when a server is taken out",
    { servers: ["a", "b", "c"].map((name) => server(name, { version: "2.12.2" })).slice(0, 1) },
    "bad",
    /a is nats-server 2\.12\.2: taking a server out/,
    /2\.12\.3 or newer/,
  ],
  ["a version that nobody can read", { servers: [server("a", { version: "" })] }, "bad", /of no version/, /newer/],
  [
    "two versions",
    { servers: [server("a"), server("b", { version: "2.14.0" })] },
    "attention",
    /2 versions .*: 2\.14\.0, 2\.15\.2/,
    /upgrade/,
  ],
  ["lazy syncs", { servers: [server("a", { syncAlways: false })] }, "bad", /a acknowledges writes/, /always/],
  [
    "a server that does not tell how it syncs",
    { servers: [server("a", { syncAlways: null })] },
    "bad",
    /does not tell/,
    /always/,
  ],
  ["a clock 2 s ahead", { servers: [server("a", { clockOffsetMs: 2_000 })] }, "attention", /a is 2s ahead of/, /ntp/],
  ["a clock 6 s behind", { servers: [server("a", { clockOffsetMs: -6_000 })] }, "bad", /a is 6s behind/, /ntp/],
  [
    "a clock that could not be read",
    { servers: [server("a", { clockOffsetMs: null })] },
    "bad",
    /could not be read/,
    /answers/,
  ],
];

describe("each thing that is wrong is told once, with what to do:", () => {
  test.each(ONE_PROBLEM)("%s", (_title, view, severity, message, remedy) => {
    const problems = found(view);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ severity });
    expect(problems[0]?.message).toMatch(message);
    expect(problems[0]?.remedy).toMatch(remedy);
  });
});

test("the witness is told of once three masters do without, and not before", () => {
  const witness = "a-witness";
  const two = { metaLeader: "b", members: [peer("a"), peer(witness)] };
  expect(found(two, { witness })).toEqual([]);
  const three = { metaLeader: "b", members: [peer("a"), peer("c"), peer(witness)] };
  expect(found(three, { witness })).toMatchObject([
    { severity: "attention", message: expect.stringMatching(/^a-witness is still/) },
  ]);
  const oneSilent = { metaLeader: "b", members: [peer("a"), peer("c", { offline: true }), peer(witness)] };
  expect(found(oneSilent, { witness }).filter(({ message }) => message.includes("still"))).toEqual([]);
});

test("the worst come first", () => {
  const problems = found({
    servers: [server("a", { clockOffsetMs: 2_000 }), server("b", { syncAlways: false })],
    streams: [stream("FULA_users", { replicas: 1 }), stream("FULA_rooms")],
  });
  expect(problems.map(({ severity }) => severity)).toEqual(["bad", "attention", "attention"]);
});
