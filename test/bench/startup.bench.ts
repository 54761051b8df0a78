import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { PROJECT_ROOT } from "../../src/lib/kernel/project.ts";
import buildOnce from "../support/build.ts";
import { type Contestant, measureInTurns, printAgainstFirst } from "./measure.ts";

/** What `--version` may take more than an empty Node.js. */
const VERSION_DIFFERENCE_MAX_MS = 150;
const ROUNDS = 15;
const NPX_ROUNDS = 7;
const LAUNCHER = join(PROJECT_ROOT, "bin", "fula-master.js");

function starting(name: string, command: string, args: readonly string[], cwd: string = PROJECT_ROOT): Contestant {
  return {
    name,
    run: () => {
      execFileSync(command, args, { cwd, stdio: "ignore" });
    },
  };
}

/** The Node.js of the system, where that is another than the one that runs this: what the launcher is for. */
function systemNode(): string | null {
  const dirs = (process.env["PATH"] ?? "").split(delimiter).filter((dir) => !dir.includes("node_modules"));
  const node = dirs.map((dir) => join(dir, "node")).find((file) => existsSync(file));
  if (node === undefined) return null;
  const version = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim();
  return version === process.version ? null : node;
}

/** A project that has fula-master, and a program that does nothing, among its installed programs. */
function layProject(): string {
  const project = mkdtempSync(join(tmpdir(), "fula-bench-"));
  const programs = join(project, "node_modules", ".bin");
  mkdirSync(programs, { recursive: true });
  writeFileSync(join(project, "package.json"), "{}");
  writeFileSync(join(programs, "nothing"), "#!/bin/sh\n", { mode: 0o755 });
  symlinkSync(LAUNCHER, join(programs, "fula-master"));
  return project;
}

/** How long the CLI takes to start, against an empty Node.js. */
export async function bench(): Promise<void> {
  buildOnce();
  const node = process.execPath;
  const measured = await measureInTurns(
    [
      starting("node -e 0", node, ["-e", "0"]),
      starting("fula-master --version", node, [LAUNCHER, "--version"]),
      starting("fula-master --help", node, [LAUNCHER, "--help"]),
      starting("fula-master snapshot --help", node, [LAUNCHER, "snapshot", "--help"]),
      starting("fula-master completion bash", node, [LAUNCHER, "completion", "bash"]),
    ],
    ROUNDS,
  );
  printAgainstFirst(measured);
  const differenceMs = (measured[1]?.medianMs ?? Number.NaN) - (measured[0]?.medianMs ?? Number.NaN);
  const isMet = differenceMs < VERSION_DIFFERENCE_MAX_MS;
  console.log(
    `--version: +${differenceMs.toFixed(1)} ms; allowed are ${VERSION_DIFFERENCE_MAX_MS} ms: ${isMet ? "met" : "NOT MET"}`,
  );
  if (!isMet) process.exitCode = 1;

  const old = systemNode();
  if (old !== null) {
    console.log(
      `\nThrough the launcher, under ${old} (${spawnSync(old, ["--version"], { encoding: "utf8" }).stdout.trim()}):\n`,
    );
    printAgainstFirst(
      await measureInTurns(
        [
          starting("node -e 0", old, ["-e", "0"]),
          starting("fula-master --version", old, [LAUNCHER, "--version"]),
          starting("fula-master --help", old, [LAUNCHER, "--help"]),
        ],
        ROUNDS,
      ),
    );
  }

  console.log("\nThrough npx, which takes most of the time itself:\n");
  const project = layProject();
  try {
    printAgainstFirst(
      await measureInTurns(
        [
          starting("npx of a program that does nothing", "npx", ["nothing"], project),
          starting("npx fula-master --version, installed", "npx", ["fula-master", "--version"], project),
          starting("npx fula-master --version, in its checkout", "npx", ["fula-master", "--version"]),
        ],
        NPX_ROUNDS,
      ),
    );
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}
