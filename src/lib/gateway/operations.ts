import type { Scope } from "../identity/access-key.ts";
import type { Address } from "./address.ts";
import {
  bucketLocationOperation,
  type BucketParts,
  createBucketOperation,
  deleteBucketOperation,
  headBucketOperation,
  listBucketsOperation,
} from "./bucket-operations.ts";
import type { Exchange } from "./exchange.ts";
import { LIST_PARAMETERS, listObjectsOperation } from "./list-objects.ts";
import {
  deleteObjectOperation,
  getObjectOperation,
  headObjectOperation,
  type ObjectParts,
  putObjectOperation,
} from "./object-operations.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";
import { NEUTRAL_HEADERS, type Understood } from "./supported.ts";

/** Everything that operations need. */
export type OperationParts = BucketParts & ObjectParts;

/** One operation of S3, by the name that AWS gives it. */
export interface Operation extends Understood {
  readonly name: string;
  readonly scope: Scope;
  /** True where the request may have a body. */
  readonly takesBody: boolean;
  readonly run: (exchange: Exchange, parts: OperationParts) => Promise<void>;
}

const READS = { scope: "storage:read", takesBody: false, query: [], headers: [] } as const;
const WRITES = { scope: "storage:write", takesBody: false, query: [], headers: [] } as const;

const BODY_HEADERS = [
  "x-amz-decoded-content-length",
  "x-amz-trailer",
  "x-amz-sdk-checksum-algorithm",
  "x-amz-checksum-crc32",
  "x-amz-checksum-crc32c",
  "x-amz-checksum-crc64nvme",
  "x-amz-checksum-sha1",
  "x-amz-checksum-sha256",
] as const;

const LIST_BUCKETS: Operation = { ...READS, name: "ListBuckets", run: listBucketsOperation };
const HEAD_BUCKET: Operation = { ...READS, name: "HeadBucket", run: headBucketOperation };
const GET_BUCKET_LOCATION: Operation = {
  ...READS,
  name: "GetBucketLocation",
  query: ["location"],
  run: bucketLocationOperation,
};
const LIST_OBJECTS: Operation = { ...READS, name: "ListObjectsV2", query: LIST_PARAMETERS, run: listObjectsOperation };
const CREATE_BUCKET: Operation = {
  ...WRITES,
  name: "CreateBucket",
  takesBody: true,
  headers: [...BODY_HEADERS, "x-amz-acl"],
  run: createBucketOperation,
};
const DELETE_BUCKET: Operation = { ...WRITES, name: "DeleteBucket", run: deleteBucketOperation };
const PUT_OBJECT: Operation = {
  ...WRITES,
  name: "PutObject",
  takesBody: true,
  headers: [...BODY_HEADERS, ...NEUTRAL_HEADERS, "x-amz-meta-*"],
  run: putObjectOperation,
};
const GET_OBJECT: Operation = {
  ...READS,
  name: "GetObject",
  headers: ["x-amz-checksum-mode"],
  run: getObjectOperation,
};
const HEAD_OBJECT: Operation = {
  ...READS,
  name: "HeadObject",
  headers: ["x-amz-checksum-mode"],
  run: headObjectOperation,
};
const DELETE_OBJECT: Operation = { ...WRITES, name: "DeleteObject", run: deleteObjectOperation };

const OF_SERVICE: ReadonlyMap<string, Operation> = new Map([["GET", LIST_BUCKETS]]);
const OF_BUCKET: ReadonlyMap<string, Operation> = new Map([
  ["GET", LIST_OBJECTS],
  ["HEAD", HEAD_BUCKET],
  ["PUT", CREATE_BUCKET],
  ["DELETE", DELETE_BUCKET],
]);
const OF_OBJECT: ReadonlyMap<string, Operation> = new Map([
  ["GET", GET_OBJECT],
  ["HEAD", HEAD_OBJECT],
  ["PUT", PUT_OBJECT],
  ["DELETE", DELETE_OBJECT],
]);
/** Methods that S3 has, if not for everything. */
const S3_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "POST", "DELETE"]);

/**
 * Finds the operation of a request: S3 dispatches on method, address and query flags, which no router knows.
 * @throws S3Error MethodNotAllowed, NotImplemented
 */
export function findOperation(method: string, address: Address, query: QueryMap): Operation {
  if (address.key === null && address.bucket !== null && method === "GET" && query.has("location")) {
    return GET_BUCKET_LOCATION;
  }
  const table = address.bucket === null ? OF_SERVICE : address.key === null ? OF_BUCKET : OF_OBJECT;
  const operation = table.get(method);
  if (operation !== undefined) return operation;
  if (S3_METHODS.has(method)) throw new S3Error("NotImplemented", "This operation is not implemented.");
  throw new S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.", {
    fields: { Method: method },
    headers: { allow: "GET, HEAD, PUT, DELETE" },
  });
}
