import { createCid, DAG_PB_CODEC, RAW_CODEC } from "../../src/lib/blocks/cid.ts";

/** CID of a content that is nowhere: CIDv1 in base32. */
export function anyContent(name: string | number): string {
  return createCid(RAW_CODEC, Buffer.from(`content ${name}`)).toString();
}

/** The same content's CID as CIDv0 and as CIDv1. */
export function twoSpellings(name: string | number): readonly [v0: string, v1: string] {
  const v1 = createCid(DAG_PB_CODEC, Buffer.from(`content ${name}`));
  return [v1.toV0().toString(), v1.toString()];
}
