import type { BlockStore } from "../blocks/block-store.ts";
import type { Buckets } from "../buckets/buckets.ts";
import type { Scope } from "../identity/access-key.ts";
import type { Clock } from "../kernel/clock.ts";
import type { Address } from "./address.ts";
import type { Exchange } from "./exchange.ts";
import type { Multipart } from "./multipart-access.ts";
import type { Leases, Possession } from "./possession.ts";
import type { Quota } from "./quota.ts";
import type { UploadRegistry } from "./upload-blocks.ts";

/** Everything that operations need. */
export interface OperationParts {
  readonly buckets: Buckets;
  readonly blocks: BlockStore;
  readonly uploads: UploadRegistry;
  readonly quota: Quota;
  readonly multipart: Multipart;
  /** Null where no PUT may map a block. */
  readonly possession: Possession | null;
  readonly leases: Leases;
  readonly region: string;
  readonly maxObjectBytes: number;
  /** What the ETag of new objects is. */
  readonly etag: "cid" | "md5";
  readonly clock: Clock;
}

/** What an operation understands of a request; everything else that means something in S3 is refused. */
export interface Understood {
  /** Names of query parameters. */
  readonly query: readonly string[];
  /** Names of `x-amz-*` headers beside those of every request; `x-amz-meta-*` stands for all that begin so. */
  readonly headers: readonly string[];
  /** Names of conditional headers. */
  readonly conditions: readonly string[];
}

/** What an address is about. */
export type Target = "service" | "bucket" | "object";

/** One operation of S3, by the name that AWS gives it. */
export interface Operation extends Understood {
  readonly name: string;
  readonly target: Target;
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** The query parameters, and the header, that choose it among those of its target and method; none for the default. */
  readonly chosenBy: { readonly query?: readonly string[]; readonly header?: string } | null;
  readonly scope: Scope;
  /** True where the request may have a body. */
  readonly takesBody: boolean;
  readonly run: (exchange: Exchange, parts: OperationParts) => Promise<void>;
}

const PLAIN = { chosenBy: null, takesBody: false, query: [], headers: [], conditions: [] } as const;

/** What operations that only read have in common. */
export const READS = { ...PLAIN, scope: "storage:read" } as const;
/** What operations that change something have in common. */
export const WRITES = { ...PLAIN, scope: "storage:write" } as const;

/** Headers about a body and what it must hash to. */
export const BODY_HEADERS = [
  "x-amz-decoded-content-length",
  "x-amz-trailer",
  "x-amz-sdk-checksum-algorithm",
  "x-amz-checksum-crc32",
  "x-amz-checksum-crc32c",
  "x-amz-checksum-crc64nvme",
  "x-amz-checksum-sha1",
  "x-amz-checksum-sha256",
] as const;

/** What an address is about. */
export function targetOf({ bucket, key }: Address): Target {
  if (bucket === null) return "service";
  return key === null ? "bucket" : "object";
}
