import { afterAll, beforeAll, expect, test } from "vitest";
import { clientOf } from "../../support/bucket-workload.ts";
import { checkHistory, type Condition, renderVerdict } from "../../support/history-check.ts";
import { HistoryRecorder, type RecordingClient } from "../../support/recording-client.ts";
import { makeTwoGateways, type TwoGateways } from "../../support/two-gateways.ts";
import { STORM_SETTINGS } from "./storm.ts";

const ROUNDS = process.env["SOAK"] === "1" ? 2_000 : 200;
const WRITERS = 32;
const BUCKET = "conditions";
const BODY_BYTES = 64;

let gateways: TwoGateways;
const recorder = new HistoryRecorder();
let clients: readonly RecordingClient[];

beforeAll(async () => {
  // What was put at one is read at the other a moment later: neither goes on from what it knew before.
  gateways = await makeTwoGateways({ buckets: { ...STORM_SETTINGS.buckets, readTimeout: "30s" } });
  await gateways.start();
  clients = Array.from({ length: WRITERS }, (_, index) => {
    const gateway = gateways.both[index % 2 === 0 ? 0 : 1];
    return clientOf(gateways, gateway, BUCKET, recorder, `writer ${index}`);
  });
  await clients[0]?.createBucket();
});
afterAll(async () => {
  for (const client of clients ?? []) client[Symbol.dispose]();
  await gateways?.[Symbol.asyncDispose]();
});

/** All writers put at the same time. @returns what the one wrote that was told so */
async function race(key: string, when: Condition): Promise<string> {
  const before = recorder.operations.length;
  const values = await Promise.all(clients.map(async (client) => await client.put(key, BODY_BYTES, when)));
  const answers = recorder.operations.slice(before).map(({ answer }) => answer.kind);
  const [winner, ...others] = values.filter((value) => value !== null);
  if (
    winner === undefined ||
    others.length > 0 ||
    answers.filter((kind) => kind === "refused").length !== WRITERS - 1
  ) {
    throw new Error(
      `${key}: ${others.length + (winner === undefined ? 0 : 1)} of ${WRITERS} were told that they won: ${answers.join(" ")}`,
    );
  }
  return winner;
}

test("of 32 conditional PUTs at once over two gateways exactly one succeeds, and the others are told 412, round after round", {
  timeout: 60_000 + ROUNDS * 600,
}, async () => {
  let value = "";
  for (let round = 0; round < ROUNDS; round += 1) {
    const key = `key-${Math.floor(round / 2)}`;
    value = await race(key, round % 2 === 0 ? { kind: "absent" } : { kind: "is", value });
    const seen = await Promise.all([clients[0]?.get(key), clients[1]?.get(key)]);
    expect(seen).toEqual([value, value]);
  }
  expect(recorder.complaints).toEqual([]);
  expect(checkHistory(recorder.operations).map(renderVerdict)).toEqual([]);
});
