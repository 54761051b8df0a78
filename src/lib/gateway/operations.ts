import type { RequestHeaders } from "../identity/raw-request.ts";
import type { Address } from "./address.ts";
import { ACL_OPERATIONS } from "./access-control.ts";
import { CONFIGURATION_OPERATIONS } from "./bucket-configuration.ts";
import { BUCKET_OPERATIONS } from "./bucket-operations.ts";
import { COPY_OPERATIONS } from "./copy-object.ts";
import { DELETE_OBJECTS_OPERATIONS } from "./delete-objects.ts";
import { LIST_OPERATIONS } from "./list-objects.ts";
import { MULTIPART_COMPLETE_OPERATIONS } from "./multipart-complete.ts";
import { MULTIPART_COPY_OPERATIONS } from "./multipart-copy.ts";
import { MULTIPART_LIST_OPERATIONS } from "./multipart-list.ts";
import { MULTIPART_UPLOAD_OPERATIONS } from "./multipart-upload.ts";
import { OBJECT_READS } from "./object-reads.ts";
import { TAGGING_OPERATIONS } from "./object-tagging.ts";
import { OBJECT_WRITES } from "./object-writes.ts";
import { type Operation, targetOf } from "./operation.ts";
import type { QueryMap } from "./query.ts";
import { S3Error } from "./s3-error.ts";

/** How many things a request must have for an operation to be meant. */
function demandsOf({ chosenBy }: Operation): number {
  return (chosenBy?.query?.length ?? 0) + (chosenBy?.header === undefined ? 0 : 1);
}

/** Every operation. Of several that a request could mean, the one that demands most of it comes first. */
export const OPERATIONS: readonly Operation[] = [
  ...BUCKET_OPERATIONS,
  ...CONFIGURATION_OPERATIONS,
  ...ACL_OPERATIONS,
  ...TAGGING_OPERATIONS,
  ...LIST_OPERATIONS,
  // A part that is copied is both a part and a copy.
  ...MULTIPART_COPY_OPERATIONS,
  ...MULTIPART_UPLOAD_OPERATIONS,
  ...MULTIPART_COMPLETE_OPERATIONS,
  ...MULTIPART_LIST_OPERATIONS,
  ...DELETE_OBJECTS_OPERATIONS,
  ...COPY_OPERATIONS,
  ...OBJECT_READS,
  ...OBJECT_WRITES,
].toSorted((one, other) => demandsOf(other) - demandsOf(one));

/** Methods that S3 has, if not for everything. */
const S3_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "POST", "DELETE"]);

function isChosen({ chosenBy }: Operation, query: QueryMap, headers: RequestHeaders): boolean {
  if (chosenBy === null) return true;
  const { query: names = [], header } = chosenBy;
  return names.every((name) => query.has(name)) && (header === undefined || headers.has(header));
}

/**
 * Finds the operation of a request: S3 dispatches on method, address, query flags and headers, which no router knows.
 * @throws S3Error MethodNotAllowed, NotImplemented
 */
export function findOperation(method: string, address: Address, query: QueryMap, headers: RequestHeaders): Operation {
  const target = targetOf(address);
  const operation = OPERATIONS.find(
    (known) => known.target === target && known.method === method && isChosen(known, query, headers),
  );
  if (operation !== undefined) return operation;
  if (S3_METHODS.has(method)) throw new S3Error("NotImplemented", "This operation is not implemented.");
  throw new S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.", {
    fields: { Method: method },
    headers: { allow: "GET, HEAD, PUT, POST, DELETE" },
  });
}
