import { DAG_PB_CODEC, parseCid, SHA2_256 } from "../blocks/cid.ts";

/**
 * The ways in which other software may have written a content's CID: as given, CIDv1 in base32, CIDv0 where it has one.
 * @throws FulaError FULA_CID_INVALID
 */
export function spellingsOf(text: string): readonly string[] {
  const v1 = parseCid(text).toV1();
  const { code, multihash } = v1;
  const hasV0 = code === DAG_PB_CODEC && multihash.code === SHA2_256;
  return [...new Set([text, v1.toString(), ...(hasV0 ? [v1.toV0().toString()] : [])])];
}
