import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { request } from "node:http";
import { Readable } from "node:stream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { peakMemoryMB } from "../../bench/measure.ts";
import { signNow } from "../../support/http.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { type DrillGateway, makeTwoGateways, type TwoGateways } from "../../support/two-gateways.ts";

const MIB = 1024 * 1024;
const SMALL_BYTES = 64 * MIB;
/** In the soak, as large as a body may be. */
const LARGE_BYTES = process.env["SOAK"] === "1" ? 5 * 1024 * MIB : 640 * MIB;
/** What the heap and the kernel's buffers may differ by from one upload to another. */
const GROWTH_MB_MAX = 64;

let gateways: TwoGateways;

beforeAll(async () => {
  gateways = await makeTwoGateways();
  await gateways.start();
});
afterAll(async () => {
  await gateways?.[Symbol.asyncDispose]();
});

/** Pieces that all differ, without a random byte each. */
function* piecesOf(bytes: number): Generator<Buffer> {
  const piece = Buffer.from(seededRandom(5).bytes(MIB));
  for (let index = 0; index < bytes / MIB; index += 1) {
    piece.writeUInt32BE(index);
    yield Buffer.from(piece);
  }
}

/** Sends a request and takes the answer piece by piece. @returns SHA-256 of the answer, and how long that was */
async function send(
  { box }: DrillGateway,
  method: string,
  path: string,
  bodyBytes: number,
): Promise<{ readonly status: number; readonly bytes: number; readonly sha256: string }> {
  const port = box.ports.gateway;
  const headers = signNow(port, gateways.key, { method, path, payload: "UNSIGNED-PAYLOAD" });
  const length = method === "PUT" ? ["content-length", String(bodyBytes)] : [];
  const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<typeof send>>>();
  const call = request(
    { host: "127.0.0.1", port, method, path, headers: [...headers.flat(), ...length], setHost: false, agent: false },
    (response) => {
      const hash = createHash("sha256");
      let bytes = 0;
      response.on("data", (piece: Uint8Array) => {
        hash.update(piece);
        bytes += piece.byteLength;
      });
      response.on("error", reject);
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, bytes, sha256: hash.digest("hex") });
      });
    },
  );
  call.on("error", reject);
  Readable.from(piecesOf(bodyBytes)).pipe(call);
  return await promise;
}

/** Puts that many bytes at one gateway and gets them at the other. @returns the most memory that each held meanwhile, in MB */
async function roundTrip(bytes: number): Promise<readonly [number, number]> {
  const [first, second] = gateways.both;
  // From here on the kernel counts anew.
  for (const { process } of gateways.both) await writeFile(`/proc/${process.pid}/clear_refs`, "5");
  const path = `/large/${bytes}`;
  expect(await send(first, "PUT", path, bytes)).toMatchObject({ status: 200 });
  const sha256 = createHash("sha256");
  for (const piece of piecesOf(bytes)) sha256.update(piece);
  expect(await send(second, "GET", path, 0)).toEqual({ status: 200, bytes, sha256: sha256.digest("hex") });
  return [peakMemoryMB(first.process.pid), peakMemoryMB(second.process.pid)];
}

test("a body of gigabytes is taken and given back in the memory that a small one takes", {
  timeout: 60_000 + (LARGE_BYTES / MIB) * 300,
}, async () => {
  expect(await send(gateways.both[0], "PUT", "/large", 0)).toMatchObject({ status: 200 });
  const small = await roundTrip(SMALL_BYTES);
  const large = await roundTrip(LARGE_BYTES);
  console.log(
    `peak MB of writer and reader: ${SMALL_BYTES / MIB} MiB ${small.join(" ")}; ${LARGE_BYTES / MIB} MiB ${large.join(" ")}`,
  );
  expect(large[0] - small[0]).toBeLessThan(GROWTH_MB_MAX);
  expect(large[1] - small[1]).toBeLessThan(GROWTH_MB_MAX);
});
