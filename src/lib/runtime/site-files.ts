import { createHash } from "node:crypto";
import { constants, open, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { Clock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { fsyncDir, SECRET_FILE_MODE, writeFileAtomic } from "../kernel/files.ts";
import { type ProcessLock, tryLock } from "../kernel/lock.ts";
import type { SystemUser } from "./postgres-user.ts";

/** Small files beside a data directory, where this process reaches them itself: no program is started for them. */
export interface SiteFiles {
  /** Null where there is no such file; that its directory is missing is an error. */
  read(path: string): Promise<string | null>;
  /**
   * Replaces a file in one step, durably.
   * @param expected SHA-256, in hex, of what it has to hold, `absent`, or `any`
   * @returns false where it holds something else
   */
  replace(path: string, content: string, expected: string): Promise<boolean>;
  /** Removes a file, durably; one that is not there is none the less removed. */
  remove(path: string): Promise<void>;
}

const LOCK_POLL_MS = 5;
/** Whoever has the lock writes a file of some kilobytes. */
const LOCK_PATIENCE_MS = 30_000;

/** Files of a server that is a process of this box; what is written belongs to the server's user. */
export class OwnSiteFiles implements SiteFiles {
  readonly #user: SystemUser;
  readonly #clock: Clock;

  constructor(user: SystemUser, clock: Clock) {
    this.#user = user;
    this.#clock = clock;
  }

  async read(path: string): Promise<string | null> {
    try {
      // The directory is the server's user's: a link that he laid must not lead this process elsewhere.
      await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
      return await file.readFile("utf8");
    } catch (error) {
      if (systemErrorCode(error) !== "ENOENT") throw error;
      await stat(dirname(path));
      return null;
    }
  }

  async replace(path: string, content: string, expected: string): Promise<boolean> {
    if (expected === "any") {
      await this.#write(path, content);
      return true;
    }
    using _ = await this.#lock(`${path}.lock`);
    const before = await this.read(path);
    const is = before === null ? "absent" : createHash("sha256").update(before).digest("hex");
    if (is !== expected) return false;
    await this.#write(path, content);
    return true;
  }

  async remove(path: string): Promise<void> {
    await rm(path, { force: true });
    await fsyncDir(dirname(path));
  }

  async #write(path: string, content: string): Promise<void> {
    await writeFileAtomic(path, content, { mode: SECRET_FILE_MODE, owner: this.#user });
  }

  async #lock(path: string): Promise<ProcessLock> {
    const deadlineMs = this.#clock.monotonicMs() + LOCK_PATIENCE_MS;
    for (;;) {
      const lock = await tryLock(path, "change", this.#clock);
      if (lock !== null) return lock;
      if (this.#clock.monotonicMs() > deadlineMs) {
        throw new FulaError("FULA_RECOVERY_STEP", `Another process of this box keeps ${path} for long.`, {
          hint: "look which other command of fula-master runs on this box: ps aux | grep fula-master",
        });
      }
      await this.#clock.sleep(LOCK_POLL_MS);
    }
  }
}
