import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import type { Pin, PinCluster } from "../../../src/lib/cluster/pins.ts";
import { openRestCluster } from "../../../src/lib/cluster/rest.ts";
import { collect, fullPin, rawCid } from "../../support/pins.ts";
import { until } from "../../support/until.ts";
import { type Script, type ScriptedPeer, startScriptedPeer, streamLines } from "../../support/scripted-peer.ts";

const PATIENT = { answerMs: 30_000, streamStartMs: 30_000 };
/** For what is never answered. */
const IMPATIENT = { answerMs: 250, streamStartMs: 250 };
/** For what takes longer as a whole. */
const MODERATE = { answerMs: 1_500, streamStartMs: 1_500 };
/** For what comes in pieces, each of which a busy machine may be late with. */
const LEISURELY = { answerMs: 3_000, streamStartMs: 3_000 };
const FACTORS = { replication_factor_min: 2, replication_factor_max: 6 };
const UNREADABLE = { code: "FULA_CLUSTER_UNREADABLE" };

let opened = new AsyncDisposableStack();
afterEach(async () => {
  await opened.disposeAsync();
  opened = new AsyncDisposableStack();
});

async function open(script: Script, patience = PATIENT): Promise<{ cluster: PinCluster; peer: ScriptedPeer }> {
  const peer = opened.use(await startScriptedPeer(script));
  return {
    peer,
    cluster: opened.use(openRestCluster({ clusterId: "c", url: peer.url, defaultFactors: FACTORS, patience })),
  };
}

/** A pin as IPFS Cluster 1.1.6 sends it. */
function sent(number: number, changes: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    replication_factor_min: 2,
    replication_factor_max: 3,
    name: `pin ${number}`,
    mode: "recursive",
    shard_size: 0,
    user_allocations: null,
    expire_at: "0001-01-01T00:00:00Z",
    metadata: null,
    pin_update: null,
    origins: [],
    cid: rawCid(`sent ${number}`).toString(),
    type: "pin",
    allocations: ["12D3KooWA"],
    max_depth: -1,
    reference: null,
    timestamp: "2026-11-21T09:36:43Z",
    ...changes,
  });
}

function sentStatus(number: number, peers: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({
    cid: rawCid(`sent ${number}`).toString(),
    name: `pin ${number}`,
    allocations: null,
    origins: null,
    created: "2026-11-21T09:36:43Z",
    metadata: null,
    peer_map: peers,
  });
}

function answer(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { "content-type": "application/json" }).end(body);
}

async function pinsOf(script: Script, patience = PATIENT): Promise<readonly Pin[]> {
  const { cluster } = await open(script, patience);
  return collect(cluster.pins());
}

describe("a list of pins", () => {
  test("that the peer ended well is read in full", async () => {
    const pins = await pinsOf((_request, response) => {
      streamLines(response, [sent(1), sent(2)]);
    });
    expect(pins.map(({ name }) => name)).toEqual(["pin 1", "pin 2"]);
  });

  test("of an empty pinset is 204 and nothing else", async () => {
    expect(await pinsOf((_request, response) => response.writeHead(204).end())).toEqual([]);
  });

  test("that ends with an error in its trailer is unreadable, whatever came before", async () => {
    const failed = pinsOf((_request, response) => {
      streamLines(response, [sent(1), sent(2)], "context canceled");
    });
    await expect(failed).rejects.toMatchObject(UNREADABLE);
    await expect(failed).rejects.toThrow("context canceled");
  });

  test("whose trailer comes twice, once empty and once with an error, is unreadable", async () => {
    const failed = pinsOf((_request, response) => {
      response.writeHead(200, { trailer: "X-Stream-Error" });
      response.write(`${sent(1)}\n`);
      response.addTrailers([
        ["X-Stream-Error", ""],
        ["X-Stream-Error", "datastore closed"],
      ]);
      response.end();
    });
    await expect(failed).rejects.toThrow("datastore closed");
  });

  test("that ends without its trailer is unreadable: something in between may have cut it", async () => {
    const failed = pinsOf((_request, response) => {
      streamLines(response, [sent(1)], null);
    });
    await expect(failed).rejects.toThrow("without the trailer");
  });

  test("whose connection breaks after some pins is unreadable", async () => {
    const failed = pinsOf((_request, response) => {
      response.writeHead(200, { trailer: "X-Stream-Error" });
      response.write(`${sent(1)}\n`, () => response.destroy());
    });
    await expect(failed).rejects.toMatchObject(UNREADABLE);
  });

  test("that fails before its first pin is unreadable, with what the peer says", async () => {
    const failed = pinsOf((_request, response) => {
      answer(response, 500, `{"code":500,"message":"state is not available"}`);
    });
    await expect(failed).rejects.toMatchObject(UNREADABLE);
    await expect(failed).rejects.toThrow("state is not available");
  });

  test("with a line that is no JSON, or no pin, is unreadable", async () => {
    for (const line of [
      "{garbage",
      "[]",
      "{}",
      sent(1, { allocations: "all" }),
      sent(1, { replication_factor_min: 1.5 }),
    ]) {
      const failed = pinsOf((_request, response) => {
        streamLines(response, [sent(1), line]);
      });
      await expect(failed, line).rejects.toMatchObject(UNREADABLE);
    }
  });

  test("with bytes that are no UTF-8 is unreadable", async () => {
    const failed = pinsOf((_request, response) => {
      response.writeHead(200, { trailer: "X-Stream-Error" });
      response.write(Buffer.from([0x22, 0xff, 0x22, 0x0a]));
      response.addTrailers({ "X-Stream-Error": "" });
      response.end();
    });
    await expect(failed).rejects.toMatchObject(UNREADABLE);
  });

  test("with a line without end is given up before it fills the memory", async () => {
    const failed = pinsOf((_request, response) => {
      const piece = Buffer.alloc(1024 * 1024, 0x61);
      const more = (): void => {
        if (!response.destroyed) response.write(piece, more);
      };
      response.writeHead(200, { trailer: "X-Stream-Error" });
      more();
    });
    await expect(failed).rejects.toThrow("longer than");
  });

  test("that falls silent in the middle is unreadable after a while", async () => {
    const failed = pinsOf((_request, response) => {
      response.writeHead(200, { trailer: "X-Stream-Error" });
      response.write(`${sent(1)}\n`);
    }, IMPATIENT);
    await expect(failed).rejects.toThrow("it was silent for");
  });

  test("that comes slowly, but comes, is read in full, however long it takes as a whole", async () => {
    const pins = await pinsOf((_request, response) => {
      const whole = Buffer.from(`${sent(1)}\n`);
      response.writeHead(200, { trailer: "X-Stream-Error" });
      let at = 0;
      const timer = setInterval(() => {
        response.write(whole.subarray(at, at + 15));
        at += 15;
        if (at < whole.length) return;
        clearInterval(timer);
        response.addTrailers({ "X-Stream-Error": "" });
        response.end();
      }, 120);
    }, LEISURELY);
    expect(pins).toHaveLength(1);
  });

  test("that waits for a slow reader is not taken for a silent peer", async () => {
    const lines = Array.from({ length: 2_000 }, (_, number) => sent(number));
    const { cluster } = await open((_request, response) => {
      streamLines(response, lines);
    }, MODERATE);
    let read = 0;
    for await (const _pin of cluster.pins()) {
      read += 1;
      if (read === 5) await new Promise((resolve) => setTimeout(resolve, 2 * MODERATE.answerMs));
    }
    expect(read).toBe(2_000);
  });

  test("is taken no faster than it is read", async () => {
    // Some ten thousand fit into the buffers of the two sockets.
    const whole = 300_000;
    let written = 0;
    const { cluster } = await open((_request, response) => {
      const line = `${sent(1)}\n`;
      response.writeHead(200, { trailer: "X-Stream-Error" });
      const more = (): void => {
        while (written < whole && !response.destroyed) {
          written += 1;
          if (!response.write(line)) {
            response.once("drain", more);
            return;
          }
        }
      };
      more();
    });
    for await (const _pin of cluster.pins()) {
      let before = -1;
      await until("the peer can send no more", async () => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        const isStill = written === before;
        before = written;
        return isStill;
      });
      break;
    }
    expect(written).toBeLessThan(whole);
  });
});

describe("a pin of the list", () => {
  const read = async (changes: Readonly<Record<string, unknown>>): Promise<Pin | undefined> => {
    const [pin] = await pinsOf((_request, response) => {
      streamLines(response, [sent(1, changes)]);
    });
    return pin;
  };

  test("has empty lists where Go writes null, and no expiry where it writes the year 1", async () => {
    const empty = { user_allocations: null, allocations: null, origins: null, metadata: null };
    expect(await read(empty)).toMatchObject({
      user_allocations: [],
      allocations: [],
      origins: [],
      metadata: {},
      expire_at: null,
      reference: null,
    });
  });

  test("has its times in UTC, whatever time zone the peer is in", async () => {
    const times = { expire_at: "2030-01-01T01:30:00+01:30", timestamp: "2026-11-21T04:36:43.123456789-05:00" };
    expect(await read(times)).toMatchObject({
      expire_at: "2030-01-01T00:00:00Z",
      timestamp: "2026-11-21T09:36:43Z",
    });
  });

  test("has its CID also where an older peer writes it as a link", async () => {
    const cid = rawCid("a link").toString();
    const pin = await read({ cid: { "/": cid }, type: "clusterdag-pin", mode: "direct", reference: { "/": cid } });
    expect(pin).toMatchObject({ cid, reference: cid, type: "clusterdag-pin" });
  });

  test("keeps what a newer peer says besides out of the record, and a key __proto__ in it", async () => {
    const pin = await read({ metadata: JSON.parse(`{"__proto__":"x"}`), something_new: 1 });
    expect(Object.entries(pin?.metadata ?? {})).toEqual([["__proto__", "x"]]);
    expect(pin).not.toHaveProperty("something_new");
  });
});

describe("a list of statuses", () => {
  const list = async (peers: Readonly<Record<string, unknown>>): ReturnType<typeof collect> => {
    const { cluster } = await open((_request, response) => {
      streamLines(response, [sentStatus(1, peers)]);
    });
    return collect(cluster.statuses());
  };

  test("tells what each peer says, and never calls pinned what it does not understand", async () => {
    const peers = {
      a: { peername: "a", status: "pinned", error: "" },
      b: { peername: "b", status: "cluster_error", error: "dial backoff" },
      c: { peername: "c", status: "half_pinned", error: "new" },
    };
    expect(await list(peers)).toMatchObject([
      {
        name: "pin 1",
        peers: [
          { peer: "a", status: "pinned", error: "" },
          { peer: "b", status: "cluster_error", error: "dial backoff" },
          { peer: "c", status: "undefined", error: "half_pinned new" },
        ],
      },
    ]);
  });

  test("may start late, because the peer gathers it first, but not later than that", async () => {
    const script: Script = (_request, response) => {
      setTimeout(() => streamLines(response, [sentStatus(1)]), 600);
    };
    const patient = await open(script, { answerMs: 250, streamStartMs: 60_000 });
    expect(await collect(patient.cluster.statuses())).toHaveLength(1);
    const impatient = await open(script, IMPATIENT);
    await expect(collect(impatient.cluster.statuses())).rejects.toThrow("it was silent for");
  });

  test("cannot be a deep one, and says so instead of looking less deep", async () => {
    const { cluster, peer } = await open((_request, response) => response.writeHead(204).end());
    const refusal = { code: "FULA_CLUSTER_UNSUPPORTED" };
    await expect(collect(cluster.statuses({ deep: true }))).rejects.toMatchObject(refusal);
    await expect(cluster.status(rawCid("x").toString(), { deep: true })).rejects.toMatchObject(refusal);
    expect(peer.asked).toEqual([]);
  });
});

describe("a call", () => {
  const cid = rawCid("called").toString();
  const pin = fullPin(2, { origins: [] });

  test("to a peer that asks for a password is a matter of the settings, for lists and single pins alike", async () => {
    for (const status of [401, 403]) {
      const { cluster } = await open((_request, response) => {
        answer(response, status, `{"code":${status},"message":"Unauthorized"}`);
      });
      for (const call of [
        () => collect(cluster.pins()),
        () => cluster.pin(cid),
        () => cluster.put(pin),
        () => cluster.peers(),
      ]) {
        await expect(call()).rejects.toMatchObject({ code: "FULA_CLUSTER_DENIED", kind: "usage" });
      }
    }
  });

  test("to nobody is exit code 4, never an empty answer", async () => {
    const { cluster, peer } = await open(() => {});
    await peer[Symbol.asyncDispose]();
    for (const call of [
      () => collect(cluster.pins()),
      () => collect(cluster.statuses()),
      () => cluster.pin(cid),
      () => cluster.status(cid),
      () => cluster.remove(cid),
      () => cluster.recover(cid),
      () => cluster.put(pin),
      () => cluster.peers(),
    ]) {
      await expect(call()).rejects.toMatchObject({ ...UNREADABLE, kind: "unavailable" });
    }
  });

  test("that gets no answer is given up", async () => {
    const { cluster } = await open(() => {}, IMPATIENT);
    await expect(cluster.pin(cid)).rejects.toThrow("it was silent for");
  });

  test("is made again where the peer had closed the connection that was kept", async () => {
    let calls = 0;
    const { cluster, peer } = await open((request, response) => {
      calls += 1;
      if (calls === 2) request.socket.destroy();
      else answer(response, 404, `{"code":404,"message":"pin is not part of the pinset"}`);
    });
    expect(await cluster.pin(cid)).toBeNull();
    expect(await cluster.pin(cid)).toBeNull();
    expect(peer.asked).toHaveLength(3);
  });

  test("whose answer is cut is not made of the half that came", async () => {
    const { cluster } = await open((_request, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write(sent(1).slice(0, 100), () => response.destroy());
    });
    await expect(cluster.pin(cid)).rejects.toMatchObject(UNREADABLE);
  });

  test("ends when it is told to, with the reason that it was told", async () => {
    const { cluster } = await open(() => {}, { answerMs: 60_000, streamStartMs: 60_000 });
    const stop = new AbortController();
    const call = cluster.pin(cid, stop.signal);
    const list = collect(cluster.pins(stop.signal));
    stop.abort(new Error("stopped by the test"));
    await expect(call).rejects.toThrow("stopped by the test");
    await expect(list).rejects.toThrow("stopped by the test");
  });

  test("that the peer answers with a web page shows no more than the beginning of it", async () => {
    const { cluster } = await open((_request, response) => {
      answer(response, 502, `<html>${"x".repeat(10_000)}</html>`);
    });
    const error = await cluster.pin(cid).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(UNREADABLE);
    expect(String(error).length).toBeLessThan(500);
  });
});

describe("the peers", () => {
  const self = { id: "12D3KooWSelf", peername: "me", addresses: ["/ip4/1.2.3.4/tcp/9096"], error: "" };
  const script =
    (peers: readonly object[], alerts: unknown): Script =>
    (request, response) => {
      if (request.url === "/id") answer(response, 200, JSON.stringify(self));
      else if (request.url === "/peers")
        streamLines(
          response,
          peers.map((each) => JSON.stringify(each)),
        );
      else answer(response, 200, JSON.stringify(alerts));
    };

  test("are those that answer, those that fail, and those whose pings have stopped", async () => {
    const failing = { id: "12D3KooWB", error: "dial backoff" };
    const noKubo = { id: "12D3KooWC", ipfs: { id: "", addresses: null, error: "connection refused" } };
    const gone = { name: "ping", peer: "12D3KooWD", triggered_at: "2026-11-21T09:00:00Z" };
    const noise = { name: "freespace", peer: "12D3KooWE", triggered_at: "2026-11-21T09:00:00Z" };
    const back = { ...gone, peer: "12D3KooWC" };
    const { cluster } = await open(script([self, failing, noKubo], [gone, noise, back]));
    expect(await cluster.peers()).toMatchObject([
      { id: "12D3KooWSelf", name: "me", isSelf: true, state: "answers", error: "" },
      { id: "12D3KooWB", isSelf: false, state: "failing", error: "dial backoff", kuboId: null },
      { id: "12D3KooWC", state: "answers", error: "its Kubo does not answer: connection refused" },
      { id: "12D3KooWD", state: "gone", error: "it has not been heard of since 2026-11-21T09:00:00Z" },
    ]);
  });

  test("are unreadable where the alerts are: a list without the dead would be an all-clear", async () => {
    const { cluster } = await open((request, response) => {
      if (request.url === "/health/alerts") answer(response, 500, `{"code":500,"message":"no"}`);
      else script([self], [])(request, response);
    });
    await expect(cluster.peers()).rejects.toMatchObject(UNREADABLE);
  });
});

describe("what is sent for a pin", () => {
  test("keeps any text whole, and wishes for those who held it before", async () => {
    const { cluster, peer } = await open((_request, response) => answer(response, 200, sent(1)));
    const metadata = { "a&b=c": "1+1 %20\n", "": "no key", empty: "", ключ: "\u{1f600}" };
    await cluster.put(
      fullPin(2, {
        origins: [],
        name: "a b&c=d+e%\n\u{1f600}",
        metadata,
        user_allocations: ["X"],
        allocations: ["Y", "X"],
      }),
    );
    const [asked = ""] = peer.asked;
    const query = new URL(asked.split(" ")[1] ?? "", peer.url).searchParams;
    expect(Object.fromEntries(query)).toEqual({
      name: "a b&c=d+e%\n\u{1f600}",
      mode: "recursive",
      "replication-min": "1",
      "replication-max": "3",
      "shard-size": "2048",
      "meta-a&b=c": "1+1 %20\n",
      "meta-empty": "",
      "meta-ключ": "\u{1f600}",
      "user-allocations": "X,Y",
    });
  });

  test("leaves out who held it before where that would make the request too long", async () => {
    const { cluster, peer } = await open((_request, response) => answer(response, 200, sent(1)));
    await cluster.put(
      fullPin(2, { origins: [], allocations: Array.from({ length: 100 }, (_, n) => `12D3KooW${"x".repeat(44)}${n}`) }),
    );
    expect(peer.asked[0]).not.toContain("user-allocations");
  });

  test("is nothing for a shard, which only the cluster itself makes", async () => {
    const { cluster, peer } = await open(() => {});
    await expect(cluster.put(fullPin(2, { type: "shard-pin" }))).rejects.toMatchObject({ code: "FULA_PIN_REFUSED" });
    expect(peer.asked).toEqual([]);
  });
});
