import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { PROJECT_ROOT, toolVersion } from "../../../src/lib/kernel/project.ts";
import { tempDir } from "../../support/temp-dir.ts";

const CHILDREN = join(PROJECT_ROOT, "test", "support", "children");

interface Package {
  readonly root: string;
  readonly launcher: string;
}

/** Lays a package with the real launcher and a stand-in for the program; nothing else of the project is near it. */
function layPackage(parent: string, options: { readonly built?: boolean } = {}): Package {
  const root = join(parent, "fula-master");
  mkdirSync(join(root, "bin"), { recursive: true });
  for (const file of ["package.json", "bin/package.json", "bin/fula-master.js"]) {
    copyFileSync(join(PROJECT_ROOT, file), join(root, file));
  }
  if (options.built !== false) {
    mkdirSync(join(root, "dist"));
    copyFileSync(join(CHILDREN, "launched-main.js"), join(root, "dist", "main.js"));
  }
  return { root, launcher: join(root, "bin", "fula-master.js") };
}

/** Puts a Node.js where the npm package `node` would have it. */
function layNode(modules: string): string {
  const file = join(modules, "node", "bin", "node");
  mkdirSync(join(file, ".."), { recursive: true });
  symlinkSync(process.execPath, file);
  return file;
}

/** A `node` that says it is of a version, and starts a real one that pretends to be old. */
function layWrapper(dir: string, version: string): string {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, "node");
  const script = `#!/bin/sh\nif [ "$1" = --version ]; then echo ${version}; else PRETEND_ALWAYS=1 exec ${process.execPath} "$@"; fi\n`;
  writeFileSync(file, script);
  chmodSync(file, 0o755);
  return file;
}

const AS_OLD_NODE = ["--require", join(CHILDREN, "pretend-old-node.cjs")];

function run(
  launcher: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  node: readonly string[] = AS_OLD_NODE,
) {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [...node, launcher, ...args], {
    encoding: "utf8",
    env: { PATH: "/nonexistent", PRETEND_NODE: "20.20.2", ...env },
    input: "typed\n",
  });
  return { status, signal, stdout, stderr };
}

let home = "";
beforeEach(() => {
  home = tempDir();
});

describe("on a Node.js that is new enough", () => {
  test("the program runs in the same process, with its arguments as they were", () => {
    const { launcher } = layPackage(home);
    const { stdout, status } = run(launcher, ["about", "--json", "a b", "é"], {}, []);
    expect(JSON.parse(stdout)).toMatchObject({ args: ["about", "--json", "a b", "é"], ppid: process.pid });
    expect(status).toBe(0);
  });

  test("without dist/ it says how to build it, and with --json as JSON", () => {
    const { launcher, root } = layPackage(home, { built: false });
    const plain = run(launcher, ["status"], {}, []);
    expect(plain).toMatchObject({ status: 2, stdout: "" });
    expect(plain.stderr).toBe(
      `FULA_NOT_BUILT: ${root}/dist/main.js is missing: fula-master has not been built.\n  Try: run "npm run build" in ${root}.\n`,
    );
    const json = run(launcher, ["status", "--json"], {}, []);
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: "FULA_NOT_BUILT", exitCode: 2 } });
  });

  test("where a dependency is missing it says how to install, and a bug in the program stays a bug", () => {
    const { launcher, root } = layPackage(home);
    writeFileSync(join(root, "dist", "main.js"), 'import "commander-that-is-not-there";\n');
    expect(run(launcher, ["status"], {}, []).stderr).toMatch(
      /^FULA_NOT_BUILT: .*commander-that-is-not-there.*\n {2}Try: run "npm ci"/,
    );
    writeFileSync(join(root, "dist", "main.js"), 'throw new TypeError("a bug");\n');
    const broken = run(launcher, ["status"], {}, []);
    expect(broken.stderr).toContain("TypeError: a bug");
    expect(broken.status).not.toBe(0);
  });

  test("compiled code is cached beside the program, where only who installed it may write", () => {
    const { launcher, root } = layPackage(home);
    run(launcher, ["about"], {}, []);
    expect(spawnSync("find", [join(root, ".cache", "compile"), "-type", "f"], { encoding: "utf8" }).stdout).not.toBe(
      "",
    );
  });
});

describe("--version", () => {
  test.each(["--version", "-V"])("%s needs neither the program nor a newer Node.js", (flag) => {
    const { launcher } = layPackage(home, { built: false });
    expect(run(launcher, [flag])).toEqual({ status: 0, signal: null, stdout: `${toolVersion()}\n`, stderr: "" });
  });
});

describe("on a Node.js that is too old", () => {
  test("the one that npm put beside the package is used", () => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    expect(JSON.parse(run(launcher, ["about", "x"]).stdout)).toMatchObject({ args: ["about", "x"] });
  });

  test("so is one that npm hoisted into a node_modules further up", () => {
    const modules = join(home, "app", "node_modules");
    const { launcher } = layPackage(modules);
    layNode(modules);
    expect(run(launcher, ["exit", "0"])).toMatchObject({ status: 0, stderr: "" });
  });

  test("and one that stands later on PATH, behind one that is old and one that does not run", () => {
    const { launcher } = layPackage(home);
    layWrapper(join(home, "old"), "v18.20.4");
    mkdirSync(join(home, "broken"));
    writeFileSync(join(home, "broken", "node"), "no program");
    mkdirSync(join(home, "new"));
    symlinkSync(process.execPath, join(home, "new", "node"));
    const path = ["old", "broken", "new"].map((name) => join(home, name)).join(":");
    expect(run(launcher, ["exit", "5"], { PATH: path })).toMatchObject({ status: 5, stderr: "" });
  });

  test("FULA_MASTER_NODE comes before all others", () => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    const chosen = join(home, "chosen");
    writeFileSync(chosen, `#!/bin/sh\n[ "$1" = --version ] && echo v24.0.0 || echo chosen\n`, { mode: 0o755 });
    expect(run(launcher, ["status"], { FULA_MASTER_NODE: chosen }).stdout).toBe("chosen\n");
  });

  test.each([
    ["is too old", "v20.1.0", "is v20.1.0."],
    ["does not run", null, "does not run."],
  ])("a FULA_MASTER_NODE that %s is an error, not a reason to take another", (_why, version, says) => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    const chosen = version === null ? join(home, "missing") : layWrapper(join(home, "chosen"), version);
    const { status, stderr } = run(launcher, ["status"], { FULA_MASTER_NODE: chosen });
    expect(status).toBe(2);
    expect(stderr).toContain(`FULA_MASTER_NODE=${chosen} ${says}`);
  });

  test("where there is none, it says which version is needed and how to get it", () => {
    const { launcher, root } = layPackage(home);
    const { status, stdout, stderr } = run(launcher, ["status"]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(
      /^FULA_NODE_TOO_OLD: fula-master \S+ needs Node\.js 24 or newer; this is Node\.js 20\.20\.2 \(/,
    );
    for (const way of [`"npm install" in ${root}`, "https://nodejs.org/", "FULA_MASTER_NODE"])
      expect(stderr).toContain(way);
    expect(JSON.parse(run(launcher, ["status", "--json"]).stderr)).toMatchObject({
      error: { code: "FULA_NODE_TOO_OLD" },
    });
  });

  test("a wrapper that promises a new version and starts an old one ends in an error, not in a loop", () => {
    const { launcher } = layPackage(home);
    const wrapper = layWrapper(join(home, "shim"), "v24.9.0");
    const { status, stderr } = run(launcher, ["status"], { FULA_MASTER_NODE: wrapper });
    expect(status).toBe(2);
    expect(stderr).toContain("is it a version manager's wrapper?");
  });

  test("what the program starts may come back through the old Node.js", () => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    expect(JSON.parse(run(launcher, ["about"]).stdout)).not.toHaveProperty("launcherPid");
  });

  test.each([0, 1, 3, 70, 130])("exit code %d is passed on", (code) => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    expect(run(launcher, ["exit", String(code)])).toMatchObject({ status: code, signal: null });
  });

  test.each(["SIGTERM", "SIGKILL", "SIGSEGV", "SIGUSR2"])("death by %s is passed on", (signal) => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    expect(run(launcher, ["kill", signal])).toMatchObject({ status: null, signal });
  });

  test("stdin and stdout are the program's own", () => {
    const { launcher, root } = layPackage(home);
    layNode(join(root, "node_modules"));
    expect(run(launcher, ["echo"]).stdout).toBe("typed\n");
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const)(
    "%s reaches the program, which decides what becomes of it",
    async (signal) => {
      const { launcher, root } = layPackage(home);
      layNode(join(root, "node_modules"));
      const child: ChildProcess = spawn(process.execPath, [...AS_OLD_NODE, launcher, "wait", signal], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { PATH: "/nonexistent", PRETEND_NODE: "20.20.2" },
      });
      onTestFinished(() => {
        child.kill("SIGKILL");
      });
      expect(child.stdout).not.toBeNull();
      if (child.stdout === null) return;
      const said: string[] = [];
      const gone = once(child, "close");
      for await (const line of createInterface({ input: child.stdout })) {
        said.push(line);
        if (line === "waiting") child.kill(signal);
      }
      expect(await gone).toEqual([7, null]);
      expect(said).toEqual(["waiting", signal]);
    },
  );
});

test("the launcher is written in the syntax of 2009", () => {
  const source = readFileSync(join(PROJECT_ROOT, "bin", "fula-master.js"), "utf8");
  const code = source
    .replace(/^#!.*/, "")
    .replaceAll(/\/\*[\s\S]*?\*\//g, "")
    .replaceAll(/^\s*\/\/.*$/gm, "")
    .replaceAll(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '""');
  expect(code).not.toMatch(
    /=>|`|\?\.|\?\?|\.\.\.|\*\*|\b(?:let|const|class|async|await|import|export|of)\b|catch\s*\{/,
  );
});
