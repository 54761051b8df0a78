import type { SiteSession } from "../../runtime/postgres-site.ts";
import { runScript } from "./site-files.ts";

// df counts in blocks of 1024 bytes; the last line is the file system's, also where its name is long.
const FREE = `df -Pk "$1" | awk 'END { print $4 }'`;

/** What is free on the disk of a directory of a site. @throws FulaError FULA_RECOVERY_STEP */
export async function freeBytesAt(files: SiteSession, dir: string): Promise<number> {
  return Number(await runScript(files, `measure ${dir}`, FREE, [dir])) * 1024;
}
