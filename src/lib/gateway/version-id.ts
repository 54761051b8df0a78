import { S3Error } from "./s3-error.ts";

/** The version that every object has where versions are not kept. */
export const NULL_VERSION = "null";

/** @throws S3Error NoSuchVersion for any other version than the one that there is */
export function checkVersionId(versionId: string | undefined): void {
  if (versionId === undefined || versionId === NULL_VERSION) return;
  throw new S3Error("NoSuchVersion", "The specified version does not exist: versions are not kept here.", {
    fields: { VersionId: versionId.slice(0, 1_024) },
  });
}
