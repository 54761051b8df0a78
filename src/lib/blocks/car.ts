import * as dagCbor from "@ipld/dag-cbor";
import { varint } from "multiformats";
import type { CID } from "multiformats/cid";

// CAR files, version 1 (https://ipld.io/specs/transport/car/carv1/).

function lengthed(parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const head = varint.encodeTo(length, new Uint8Array(varint.encodingLength(length)));
  return Buffer.concat([head, ...parts]);
}

/** The first bytes of a CAR file. */
export function carHeader(roots: readonly CID[]): Uint8Array {
  return lengthed([dagCbor.encode({ roots, version: 1 })]);
}

/** One block, as it stands in a CAR file. */
export function carSection(cid: CID, bytes: Uint8Array): Uint8Array {
  return lengthed([cid.bytes, bytes]);
}
