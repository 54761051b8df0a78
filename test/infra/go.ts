import { createHash } from "node:crypto";
import { chmodSync, existsSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../src/lib/kernel/errors.ts";
import { cacheDir, makeCacheDir } from "./cache.ts";
import { findProgram, run, type Say } from "./run.ts";

/** SHA-256 of Go's toolchain as the module proxies carry it (https://go.dev/ref/mod#go-toolchain), by platform. */
const TOOLCHAIN_SHA256: Readonly<Record<string, string>> = {
  "1.26.8 linux-amd64": "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
};

const DEFAULT_PROXY = "https://proxy.golang.org";
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;

/** Go's name of this platform: `linux-amd64`. */
function goPlatform(): string {
  return `${process.platform}-${process.arch === "x64" ? "amd64" : process.arch}`;
}

/** True where the version `have` is `wanted` or newer; both as `1.26.8`. Pre-releases count as older. */
export function isNewEnough(have: string, wanted: string): boolean {
  const parts = /^(\d+)\.(\d+)(?:\.(\d+))?$/.exec(have);
  if (parts === null) return false;
  const [major = 0, minor = 0, patch = 0] = parts.slice(1).map((part) => Number(part ?? 0));
  const [wantedMajor = 0, wantedMinor = 0, wantedPatch = 0] = wanted.split(".").map(Number);
  if (major !== wantedMajor) return major > wantedMajor;
  if (minor !== wantedMinor) return minor > wantedMinor;
  return patch >= wantedPatch;
}

function versionOf(go: string): string | null {
  try {
    return run(go, ["env", "GOVERSION"], { env: { GOTOOLCHAIN: "local" } })
      .trim()
      .replace(/^go/, "");
  } catch {
    return null;
  }
}

/** The first HTTP proxy of GOPROXY; `direct` and `off` carry no toolchain. */
function toolchainProxy(): string {
  const entries = (process.env["GOPROXY"] ?? "").split(/[,|]/);
  const http = entries.find((entry) => /^https?:\/\//.test(entry.trim()));
  return (http ?? DEFAULT_PROXY).trim().replace(/\/$/, "");
}

/**
 * The `go` command of that version or a newer one: the one on PATH, else a toolchain in the cache, else one that is
 * downloaded through the module proxy.
 * @throws Error that says what is missing and how to get it
 */
export async function findGo(wanted: string, say: Say): Promise<string> {
  const installed = findProgram("go");
  const version = installed === null ? null : versionOf(installed);
  if (installed !== null && version !== null && isNewEnough(version, wanted)) return installed;
  const dir = cacheDir(`go-${wanted}`);
  const go = join(dir, "bin", "go");
  if (existsSync(go)) return go;
  say(`Go on PATH: ${version ?? "none"}; downloading ${wanted} through ${toolchainProxy()}`);
  try {
    await downloadToolchain(wanted, dir);
    return go;
  } catch (error) {
    throw new Error(
      `The daemons are built with Go ${wanted}; PATH has ${version ?? "none"}, and the toolchain could not be ` +
        `downloaded: ${messageOf(error)}\n  Try: install Go ${wanted} or newer (https://go.dev/dl), or set GOPROXY`,
      { cause: error },
    );
  }
}

async function downloadToolchain(wanted: string, dir: string): Promise<void> {
  const platform = goPlatform();
  const expected = TOOLCHAIN_SHA256[`${wanted} ${platform}`];
  if (expected === undefined) throw new Error(`no checksum of Go ${wanted} for ${platform} is known here`);
  const name = `v0.0.1-go${wanted}.${platform}`;
  const url = `${toolchainProxy()}/golang.org/toolchain/@v/${name}.zip`;
  const answer = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  const bytes = Buffer.from(await answer.arrayBuffer());
  const found = createHash("sha256").update(bytes).digest("hex");
  if (found !== expected) throw new Error(`${url} has SHA-256 ${found}, not ${expected}`);
  unpack(bytes, `golang.org/toolchain@${name}`, dir);
}

/** Module zips carry no modes, so the programs are made executable here, as the go command does with its own. */
function unpack(zip: Buffer, folder: string, dir: string): void {
  const unfinished = makeCacheDir("unfinished-go");
  rmSync(unfinished, { recursive: true, force: true });
  makeCacheDir("unfinished-go");
  const file = join(unfinished, "toolchain.zip");
  writeFileSync(file, zip);
  run("unzip", ["-q", file, "-d", unfinished]);
  const root = join(unfinished, folder);
  for (const sub of ["bin", "pkg/tool"]) makeExecutable(join(root, sub));
  renameSync(root, dir);
  rmSync(unfinished, { recursive: true, force: true });
}

function makeExecutable(path: string): void {
  if (statSync(path).isDirectory()) for (const entry of readdirSync(path)) makeExecutable(join(path, entry));
  else chmodSync(path, 0o755);
}
