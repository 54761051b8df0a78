import { createHash } from "node:crypto";
import type { CID } from "multiformats/cid";
import type { AnswerHeaders } from "../exchange.ts";
import { CAR_TYPE, RAW_TYPE } from "./accept.ts";
import type { ContentRequest } from "./content-request.ts";

/** What is named by its content never changes. */
const FOR_EVER = "public, max-age=29030400, immutable";
/** More of them would make the head of the answer longer than clients take. */
const ROOTS_MAX = 32;
const HASH_SHOWN = 16;

/** The ETag of an answer, without quotes. */
export function tagOf({ rootText, segments, format, scope, bytes }: ContentRequest, terminus: CID): string {
  if (format.kind === "raw") return `${terminus.toString()}.raw`;
  const range = bytes === null ? null : `${bytes.from}:${bytes.to ?? "*"}`;
  const rest = JSON.stringify([rootText, segments, range, format.dups]);
  const hash = createHash("sha256").update(rest).digest("hex").slice(0, HASH_SHOWN);
  return `${terminus.toString()}.car.${scope}.${hash}`;
}

/** A name to save the answer as, for readers of ASCII alone and for others (RFC 6266). */
function dispositionOf({ rootText, format, fileName }: ContentRequest): string {
  const name = fileName ?? `${rootText}.${format.kind === "raw" ? "bin" : "car"}`;
  const plain = name.replaceAll(/[^ -~]|["\\%]/g, "_");
  const utf8 = encodeURIComponent(name.toWellFormed()).replaceAll(/['()*]/g, (char) => {
    return `%${char.charCodeAt(0).toString(16).toUpperCase()}`;
  });
  return plain === name
    ? `attachment; filename="${name}"`
    : `attachment; filename="${plain}"; filename*=UTF-8''${utf8}`;
}

/** Headers of the answer to a request, whatever its body is. */
export function contentHeaders(
  request: ContentRequest,
  { path, roots, terminus }: { readonly path: string; readonly roots: readonly CID[]; readonly terminus: CID },
): AnswerHeaders {
  const { format, location } = request;
  const type = format.kind === "raw" ? RAW_TYPE : `${CAR_TYPE}; version=1; order=dfs; dups=${format.dups ? "y" : "n"}`;
  return {
    "content-type": type,
    // A later version may send the same blocks in another way.
    etag: `${format.kind === "raw" ? "" : "W/"}"${tagOf(request, terminus)}"`,
    "cache-control": FOR_EVER,
    "content-disposition": dispositionOf(request),
    "x-content-type-options": "nosniff",
    "x-ipfs-path": path,
    ...(roots.length <= ROOTS_MAX && { "x-ipfs-roots": roots.join(",") }),
    ...(format.kind === "car" && { "accept-ranges": "none" }),
    ...(location !== null && { "content-location": location, vary: "Accept, Origin" }),
  };
}
