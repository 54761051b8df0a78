import { formatUtc } from "../kernel/clock.ts";
import { formatDuration } from "../kernel/units.ts";
import { findPortOwner, probePort } from "../runtime/port-owner.ts";
import { compareVersions } from "./installation.ts";
import type { Finding } from "./preflight.ts";

/** The oldest Node.js that has everything we use (SQLite without a flag, `await using`). */
const NODE_VERSION_MIN = "24.0.0";

/**
 * No clock can truthfully show an earlier time than this: the day on which this code was written. A box whose battery
 * died starts in 1970 or at its firmware's date, and would sign snapshots that no later one can follow.
 */
export const CLOCK_MIN_MS = Date.UTC(2026, 10, 1);

/** Files of ours may be this much ahead of the clock before we say so: two machines under NTP differ by less. */
export const CLOCK_AHEAD_MAX_MS = 5 * 60_000;

/** Judges the Node.js that runs us. */
export function judgeNode(version: string): Finding {
  if (compareVersions(version, NODE_VERSION_MIN) >= 0) return { state: "ok", message: `Node.js ${version}` };
  return {
    state: "failed",
    code: "FULA_NODE_TOO_OLD",
    message: `Node.js ${version} runs this; fula-master needs ${NODE_VERSION_MIN} or newer.`,
    remedy: "install Node.js 24 or newer from https://nodejs.org, or run fula-master through npx in its own folder.",
  };
}

/** What `judgeClock` is told. */
export interface ClockFacts {
  readonly nowMs: number;
  /** The newest time that stands on a file which this box wrote; null where there is none yet. */
  readonly newestFile: { readonly path: string; readonly mtimeMs: number } | null;
  /** Null where nobody can tell. */
  readonly synchronized: boolean | null;
}

/** Judges whether the clock can be right. */
export function judgeClock({ nowMs, newestFile, synchronized }: ClockFacts): Finding {
  const remedy = "set the clock (timedatectl set-ntp true, or: date -u --set=...), then run the command again.";
  const now = formatUtc(nowMs);
  if (nowMs < CLOCK_MIN_MS) {
    return {
      state: "failed",
      code: "FULA_CLOCK_WRONG",
      message: `The clock says ${now}, which is before this fula-master was built (${formatUtc(CLOCK_MIN_MS)}).`,
      remedy,
    };
  }
  if (newestFile !== null && newestFile.mtimeMs - nowMs > CLOCK_AHEAD_MAX_MS) {
    const ahead = formatDuration(newestFile.mtimeMs - nowMs);
    return {
      state: "failed",
      code: "FULA_CLOCK_WRONG",
      message: `The clock says ${now}, but ${newestFile.path} was written ${ahead} after that: the clock has gone back.`,
      remedy,
    };
  }
  if (synchronized === false) {
    return {
      state: "warning",
      message: `The clock says ${now}, and no time service keeps it.`,
      remedy: "turn one on: timedatectl set-ntp true. Masters whose clocks differ cannot share a lease.",
    };
  }
  return { state: "ok", message: synchronized === true ? `${now}, kept by a time service` : now };
}

/** A port that the master will listen on. */
export interface WantedPort {
  /** What it is for, as the settings name it: `server.port`. */
  readonly setting: string;
  /** The option or line that changes it. */
  readonly remedy: string;
  readonly host: string;
  readonly port: number;
}

/** Judges one port: free, held by our own processes, or taken, and then by whom. */
export async function checkPort(wanted: WantedPort, ownPids: ReadonlySet<number>): Promise<Finding> {
  const { setting, host, port, remedy } = wanted;
  const where = `${host}:${port}`;
  const state = await probePort(host, port);
  if (state === "free") return { state: "ok", message: `${setting} ${where} is free` };
  if (state === "not-permitted") {
    return {
      state: "failed",
      code: "FULA_PATH_NOT_WRITABLE",
      message: `This user may not listen on ${where} (${setting}).`,
      remedy: `take a port above 1023: ${remedy}.`,
    };
  }
  if (state === "no-such-address") {
    return {
      state: "failed",
      code: "FULA_USAGE",
      message: `${host} (${setting}) is not an address of this machine.`,
      remedy: "set an address that `ip address` lists, or 127.0.0.1.",
    };
  }
  const owner = await findPortOwner(port);
  if (owner !== null && ownPids.has(owner.pid)) {
    return { state: "ok", message: `${setting} ${where} is held by this master itself (process ${owner.pid})` };
  }
  const who = owner === null ? "a process of another user" : `process ${owner.pid} (${owner.command})`;
  return {
    state: "failed",
    code: "FULA_PORT_IN_USE",
    message: `Port ${where} (${setting}) is in use by ${who}.`,
    remedy: `stop it, or take another port: ${remedy}.`,
    details: { setting, host, port, owner },
  };
}

/** Judges all ports at once: no two alike, none taken. */
export async function checkPorts(
  wanted: readonly WantedPort[],
  ownPids: ReadonlySet<number>,
): Promise<readonly Finding[]> {
  return await Promise.all(
    wanted.map(async (one, index): Promise<Finding> => {
      const twin = wanted.slice(0, index).find((other) => other.port === one.port && one.port !== 0);
      if (twin === undefined) return await checkPort(one, ownPids);
      return {
        state: "failed",
        code: "FULA_USAGE",
        message: `${one.setting} and ${twin.setting} are both ${one.port}.`,
        remedy: `give one of them another port: ${one.remedy}.`,
      };
    }),
  );
}
