import { parseCid } from "../blocks/cid.ts";

/**
 * Names a content however its CID is written: CIDv1 in base32. Jobs and pins of the pinning service go by it.
 * @throws FulaError FULA_CID_INVALID
 */
export function contentKey(cid: string): string {
  return parseCid(cid).toV1().toString();
}
