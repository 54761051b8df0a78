import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { ensureDir, explainWriteError, SECRET_FILE_MODE } from "../kernel/files.ts";
import { type LogBounds, LOG_BOUNDS, rotateLog } from "../runtime/log-files.ts";

interface AlertTimes {
  /** RFC 3339 UTC. */
  readonly at: string;
  /** Since when it has not been well. */
  readonly since: string;
}

interface PinAlert extends AlertTimes {
  readonly event: "under-replicated" | "cleared";
  readonly cid: string;
  readonly name: string;
  /** `lost`: no peer has it. */
  readonly verdict: "under" | "lost" | null;
  readonly pinned: number | null;
  readonly required: number | null;
  readonly reason: string;
}

interface PeerAlert extends AlertTimes {
  readonly event: "peer" | "peer-cleared";
  readonly peer: string;
  readonly name: string;
  /** `silent`, `hiding`, `gone` or `kubo`. */
  readonly problem: string | null;
  readonly reason: string;
}

interface LedgerAlert extends AlertTimes {
  readonly event: "ledger" | "ledger-cleared";
  readonly cid: string;
  readonly name: string;
  /** `missing` or `not-a-cid`. */
  readonly problem: string | null;
  readonly reason: string;
}

/** One line of the alert log: about a pin, a peer, or a CID that the ledger wants pinned. */
export type Alert = PinAlert | PeerAlert | LedgerAlert;

const LINES_BUFFERED = 500;

/** Appends alerts to a log whose size is bounded. */
export class AlertLog implements AsyncDisposable {
  readonly #path: string | null;
  readonly #bounds: LogBounds;
  #buffer: string[] = [];

  /** @param path null drops every line, for a run that must leave no trace */
  constructor(path: string | null, bounds: LogBounds = LOG_BOUNDS) {
    this.#path = path;
    this.#bounds = bounds;
  }

  /** @throws FulaError FULA_DISK_FULL, FULA_PATH_NOT_WRITABLE */
  async append(alert: Alert): Promise<void> {
    this.#buffer.push(`${JSON.stringify(alert)}\n`);
    if (this.#buffer.length >= LINES_BUFFERED) await this.flush();
  }

  async flush(): Promise<void> {
    const path = this.#path;
    const text = this.#buffer.join("");
    this.#buffer = [];
    if (text === "" || path === null) return;
    await ensureDir(dirname(path));
    await rotateLog(path, false, this.#bounds);
    let file: FileHandle | null = null;
    try {
      file = await open(path, "a", SECRET_FILE_MODE);
      await file.appendFile(text);
      await file.sync();
    } catch (error) {
      throw explainWriteError(error, path);
    } finally {
      await file?.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
  }
}
