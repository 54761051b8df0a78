import { createHash } from "node:crypto";
import { CID } from "multiformats/cid";
import { create as createDigest } from "multiformats/hashes/digest";
import { makePin, type Pin, type PinOptions } from "../../src/lib/cluster/pins.ts";

const RAW = 0x55;
const SHA2_256 = 0x12;

/** The bytes that `rawCid(seed)` names. */
export function rawBytes(seed: string): Uint8Array {
  return new TextEncoder().encode(`block ${seed}`);
}

/** The CIDv1 of some bytes as a raw block. */
export function cidOfBytes(bytes: Uint8Array, codec: number = RAW): CID {
  return CID.createV1(codec, createDigest(SHA2_256, createHash("sha256").update(bytes).digest()));
}

/** A CID that is as good as any, the same for the same seed. */
export function rawCid(seed: string): CID {
  return cidOfBytes(rawBytes(seed));
}

/** A pin with every option set to something else than its default, the same for the same number. */
export function fullPin(number: number, options: PinOptions = {}): Pin {
  const direct = number % 5 === 0;
  return makePin(rawCid(`full ${number}`).toString(), `2026-0${1 + (number % 9)}-11T03:04:05.${number % 10}6Z`, {
    name: `übung-${number} "quoted" \u{1f600}`,
    mode: direct ? "direct" : "recursive",
    replication_factor_min: [-1, 0, 1, 2][number % 4] ?? -1,
    replication_factor_max: [-1, 0, 3, 4][number % 4] ?? -1,
    shard_size: number * 1024,
    user_allocations: number % 3 === 0 ? ["12D3KooWUser"] : [],
    allocations: number % 2 === 0 ? ["12D3KooWB", "12D3KooWA"] : [],
    expire_at: number % 7 === 0 ? "2999-12-31T23:59:59Z" : null,
    metadata: { bucket: `b${number}`, "key with space": "v" },
    origins: ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWPJUxz2UwuQXQtmXqPzjqWdnnh9otaNVkecRPb6XFtLD6"],
    reference: number % 11 === 0 ? rawCid(`reference ${number}`).toString() : null,
    ...options,
  });
}

/** `count` pins in ascending order of their CIDs. */
export function manyPins(count: number, make: (number: number) => Pin = fullPin): readonly Pin[] {
  return Array.from({ length: count }, (_, number) => make(number)).toSorted((a, b) => (a.cid < b.cid ? -1 : 1));
}

/** Everything that a stream gives. */
export async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}
