import { open, rename, rm } from "node:fs/promises";
import { parseCid } from "../blocks/cid.ts";
import { exportCar, type ExportFigures } from "../buckets/export-car.ts";
import type { BucketName } from "../buckets/roots/root-pointer.ts";
import { readBucket } from "../buckets/roots/root-queries.ts";
import { explainWriteError, SECRET_FILE_MODE, tempPathFor } from "../kernel/files.ts";
import { type BucketContext, withBucketStores } from "./bucket-ledger.ts";
import { unknownBucket } from "./bucket-verify-run.ts";

/** What `buckets export` prints; `--json` keeps these fields. */
export interface ExportReport extends ExportFigures {
  readonly root: string;
  readonly file: string;
}

/**
 * Writes a root of a bucket into a CAR file, which is there wholly or not at all.
 * @param root null = the current one
 * @throws FulaError FULA_BUCKET_UNKNOWN, FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE, and as `exportCar`
 */
export async function runBucketExport(
  context: BucketContext,
  name: BucketName,
  { file, root, contents }: { readonly file: string; readonly root: string | null; readonly contents: boolean },
): Promise<ExportReport> {
  const { signal } = context;
  return await withBucketStores(context, async ({ pool, blocks }) => {
    const state = await readBucket(pool, name);
    if (state === null) throw unknownBucket(name);
    const chosen = root === null ? state.root : parseCid(root);
    const temp = tempPathFor(file);
    try {
      const figures = await write(temp, exportCar(chosen, { blocks, contents, signal }));
      await rename(temp, file);
      return { ...figures, root: chosen.toString(), file };
    } catch (error) {
      await rm(temp, { force: true });
      throw explainWriteError(error, file);
    }
  });
}

async function write(path: string, pieces: AsyncGenerator<Uint8Array, ExportFigures>): Promise<ExportFigures> {
  const handle = await open(path, "wx", SECRET_FILE_MODE);
  try {
    for (let next = await pieces.next(); ; next = await pieces.next()) {
      if (next.done === true) {
        await handle.sync();
        return next.value;
      }
      await handle.writeFile(next.value);
    }
  } finally {
    await handle.close();
  }
}
