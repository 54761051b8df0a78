import { createReadStream } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseCid } from "../blocks/cid.ts";
import { FulaError, isFulaError, systemErrorCode } from "../kernel/errors.ts";

/** CIDs that `--only` takes; more is a restore of everything, and this list is held in memory. */
const ONLY_MAX = 100_000;

/**
 * Reads the values of `--only`: CIDs, or files with one CID a line (blank lines and lines that begin with # are left
 * out). Null where there are none.
 * @throws FulaError FULA_USAGE
 */
export async function readOnlyList(
  values: readonly string[] | undefined,
  cwd: string,
): Promise<ReadonlySet<string> | null> {
  if (values === undefined) return null;
  const cids = new Set<string>();
  const add = (cid: string): void => {
    cids.add(cid);
    if (cids.size > ONLY_MAX) throw usage(`--only names more than ${ONLY_MAX} CIDs.`);
  };
  for (const value of values) {
    const cid = cidOrNull(value);
    if (cid !== null) add(cid);
    else for await (const line of cidLines(resolve(cwd, value), value)) add(line);
  }
  if (cids.size === 0) throw usage("--only names no CID at all.");
  return cids;
}

function usage(message: string): FulaError {
  return new FulaError("FULA_USAGE", message, { hint: "fula-master restore --help" });
}

function cidOrNull(text: string): string | null {
  try {
    return parseCid(text).toString();
  } catch (error) {
    if (isFulaError(error, "FULA_CID_INVALID")) return null;
    throw error;
  }
}

async function* cidLines(path: string, shown: string): AsyncGenerator<string> {
  let number = 0;
  try {
    for await (const line of createInterface({ input: createReadStream(path), crlfDelay: Number.POSITIVE_INFINITY })) {
      number += 1;
      const text = line.trim();
      if (text === "" || text.startsWith("#")) continue;
      const cid = cidOrNull(text);
      if (cid === null) throw usage(`Line ${number} of ${shown} is not a CID: ${JSON.stringify(text.slice(0, 80))}.`);
      yield cid;
    }
  } catch (error) {
    const errno = systemErrorCode(error);
    if (errno === undefined) throw error;
    throw usage(`--only ${JSON.stringify(shown)} is neither a CID nor a file that can be read (${errno}).`);
  }
}
