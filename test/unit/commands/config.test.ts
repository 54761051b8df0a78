import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { type CliRun, runCliForTest } from "../../support/cli.ts";
import { boxWith } from "../../support/config.ts";

const shownSchema = z.looseObject({ settings: z.array(z.looseObject({ key: z.string() })) });

type Box = ReturnType<typeof boxWith>;

async function run(box: Box, ...argv: string[]): Promise<CliRun> {
  const { exitCode, stdout, stderr } = await runCliForTest(["config", ...argv], {
    baseDir: box.baseDir,
    env: box.env,
    cwd: box.cwd,
  });
  const hide = (text: string): string => text.replaceAll(box.baseDir, "<base>");
  return { exitCode, stdout: hide(stdout), stderr: hide(stderr) };
}

describe("config show", () => {
  const files = { yaml: "server:\n  port: 9911\n", env: "SYSTEM_KEY='hunter22 hunter22'\nREPL_MIN=3\n" };

  test("prints every effective value with its source, and secrets as ****", async () => {
    const box = boxWith(files, { FULA_MASTER_SNAPSHOT_MAX_AGE: "30h" });
    const { exitCode, stdout } = await run(box, "show");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^server\.port +<base>\/fula-master\.yaml:2 +9911$/m);
    expect(stdout).toMatch(/^sweep\.replMin +<base>\/\.env:2 REPL_MIN +3$/m);
    expect(stdout).toMatch(/^snapshot\.maxAge +environment FULA_MASTER_SNAPSHOT_MAX_AGE +30h$/m);
    expect(stdout).toMatch(/^gateway\.port +default +9000$/m);
    expect(stdout).toMatch(/^SYSTEM_KEY +<base>\/\.env:1 SYSTEM_KEY +\*\*\*\*$/m);
    expect(stdout).toMatch(/^JWT_SECRET +\(not set\)$/m);
    expect(stdout).not.toContain("hunter22");
  });

  test("--json gives the same as data with stable fields", async () => {
    const box = boxWith(files);
    const { stdout } = await run(box, "show", "--json");
    const { settings, ...rest } = shownSchema.parse(JSON.parse(stdout));
    expect(rest).toEqual({ baseDir: "<base>", configFile: "<base>/fula-master.yaml", envFile: "<base>/.env" });
    expect(settings.find(({ key }) => key === "server.port")).toEqual({
      key: "server.port",
      value: 9911,
      text: "9911",
      source: { kind: "file", path: "<base>/fula-master.yaml", line: 2 },
      from: "<base>/fula-master.yaml:2",
      secret: false,
    });
    expect(settings.find(({ key }) => key === "SYSTEM_KEY")).toMatchObject({ value: "****", secret: true });
    expect(settings.find(({ key }) => key === "JWT_SECRET")).toMatchObject({
      value: null,
      text: "(not set)",
      secret: true,
    });
    expect(stdout).not.toContain("hunter22");
  });

  test("shows one section, one setting, or what differs from the defaults", async () => {
    const box = boxWith(files);
    expect((await run(box, "show", "snapshot.keep")).stdout.split("\n").length).toBe(6);
    expect((await run(box, "show", "server.port")).stdout).toMatch(/^SETTING.*\nserver\.port.*9911\n$/);
    expect((await run(box, "show", "--changed")).stdout.match(/^\S+/gm)).toEqual([
      "SETTING",
      "server.port",
      "sweep.replMin",
      "SYSTEM_KEY",
    ]);
    expect(await run(box, "show", "sever")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("did you mean server"),
    });
  });

  test("a half-written settings file ends with exit code 2, line and column, and changes nothing", async () => {
    const box = boxWith({ yaml: "server:\n  port: [90" });
    const before = readdirSync(box.baseDir);
    const { exitCode, stdout, stderr } = await run(box, "show");
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toMatch(/^FULA_CONFIG_SYNTAX: <base>\/fula-master\.yaml:\d+:\d+ is not valid YAML: .*\n {2}Try: /);
    expect(readdirSync(box.baseDir)).toEqual(before);
    expect(readFileSync(box.configFile, "utf8")).toBe("server:\n  port: [90");
  });
});

describe("config check", () => {
  test("prints every problem and exits 2 where one is an error", async () => {
    const box = boxWith({ yaml: "server:\n  prot: 1\n  host: x\n", env: "SYSTEM_KEY=a b\n" });
    chmodSync(box.envFile, 0o644);
    const { exitCode, stdout, stderr } = await run(box, "check");
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: "" });
    expect(stdout).toMatch(
      /^error: .*sets server\.prot.* \[FULA_CONFIG_UNKNOWN_KEY\]\n {2}Try: did you mean server\.port\?$/m,
    );
    expect(stdout).toMatch(/^error: server\.host .* \[FULA_CONFIG_INVALID\]$/m);
    expect(stdout).toMatch(/^error: <base>\/\.env holds secrets/m);
    expect(stdout).toMatch(/^warning: Billing is off/m);
    expect(stdout).toMatch(/3 errors, \d warnings\.\n$/);
  });

  test("exits 0 with warnings alone, and --json tells ok", async () => {
    const box = boxWith({});
    const { exitCode, stdout } = await run(box, "check", "--json");
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      errors: 0,
      warnings: 2,
      problems: [{ severity: "warning", code: "FULA_CONFIG_RISK" }, {}],
    });
    expect(readdirSync(box.baseDir)).toEqual([]);
  });
});

test("config path prints where everything lies, and why", async () => {
  const box = boxWith({});
  expect((await run(box, "path")).stdout).toMatch(/^baseDir +<base> +--base-dir$/m);
  expect(JSON.parse((await run(box, "path", "--json")).stdout)).toMatchObject({
    envFile: "<base>/.env",
    because: { baseDir: "--base-dir", configFile: "default" },
  });
});

describe("config set", () => {
  const yaml = "# ours\nserver:\n  port: 9911 # since May\n";

  test("changes one line and nothing else", async () => {
    const box = boxWith({ yaml });
    expect(await run(box, "set", "server.port", "9912")).toEqual({
      exitCode: 0,
      stdout: "Changed server.port in <base>/fula-master.yaml: 9911 -> 9912\n",
      stderr: "A running serve takes it up when it is started again.\n",
    });
    expect(readFileSync(box.configFile, "utf8")).toBe(yaml.replace("9911", "9912"));
    expect((await run(box, "set", "server.port", "9912")).stdout).toBe(
      "Already so: <base>/fula-master.yaml was not changed.\n",
    );
    expect((await run(box, "unset", "server.port")).stdout).toBe(
      "Changed server.port in <base>/fula-master.yaml: 9912 -> (default)\n",
    );
  });

  test("--dry-run checks, tells and writes nothing, not even a lock", async () => {
    const box = boxWith({ yaml });
    expect((await run(box, "set", "server.port", "9912", "--dry-run")).stdout).toMatch(/^Would change server\.port/);
    expect((await run(box, "set", "server.port", "x", "--dry-run")).exitCode).toBe(2);
    expect(readdirSync(box.baseDir)).toEqual(["fula-master.yaml"]);
    expect(readFileSync(box.configFile, "utf8")).toBe(yaml);
  });

  test.each([
    [["server.port", "nine"], 2, /cannot be "nine" \(text\); expected a whole number/],
    [["server.port", "9000"], 2, /server\.port .* and gateway\.port \(default\) are both 9000/],
    [["snapshot.schedule", "0 0 31 2 *"], 2, /no month/],
    [["snapshot.trustedKeys", "ed25519:abc"], 2, /expected a list of ed25519/],
    [["server.prot", "1"], 2, /did you mean server\.port\?/],
    [["postgres.password", "hunter22"], 2, /secrets do not belong/],
    [["sweep.replMin", "4"], 3, /FULA_CONFIG_SHADOWED: .*\.env:1 REPL_MIN stands above it/],
  ])("%j is refused with exit code %i and nothing is written", async (argv, code, message) => {
    const box = boxWith({ yaml, env: "REPL_MIN=3\n" });
    const { exitCode, stderr } = await run(box, "set", ...argv);
    expect(exitCode).toBe(code);
    expect(stderr).toMatch(message);
    expect(readFileSync(box.configFile, "utf8")).toBe(yaml);
  });

  test("says when the environment stands above the change", async () => {
    const box = boxWith({}, { REPL_MIN: "3" });
    const { exitCode, stderr } = await run(box, "set", "sweep.replMin", "1");
    expect(exitCode).toBe(0);
    expect(stderr).toContain("environment REPL_MIN stands above it");
  });

  test("mends one of two errors: only what the change makes wrong stops it", async () => {
    const box = boxWith({ yaml: "server:\n  port: x\nsweep:\n  replMin: x\n" });
    expect((await run(box, "set", "server.port", "1")).exitCode).toBe(0);
    expect(readFileSync(box.configFile, "utf8")).toBe("server:\n  port: 1\nsweep:\n  replMin: x\n");
  });

  test("makes a settings file where there is none, with every other setting in a comment", async () => {
    const box = boxWith({});
    expect((await run(box, "set", "snapshot.maxAge", "30h")).exitCode).toBe(0);
    const text = readFileSync(box.configFile, "utf8");
    expect(text).toContain("\n  maxAge: 30h\n");
    expect(text).toContain("\n#   port: 9010\n");
    expect((await run(box, "show", "--changed")).stdout.match(/^\S+/gm)).toEqual(["SETTING", "snapshot.maxAge"]);
  });

  test("does not touch a file that it cannot read", async () => {
    const box = boxWith({});
    writeFileSync(box.configFile, "server:\n\tport: 1\n");
    expect(await run(box, "set", "server.port", "2")).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("FULA_CONFIG_SYNTAX"),
    });
    expect(readFileSync(box.configFile, "utf8")).toBe("server:\n\tport: 1\n");
  });
});

test("config path prints one path alone, and a name that there is not names the nearest", async () => {
  const box = boxWith({});
  expect(await run(box, "path", "snapshotsDir")).toMatchObject({ exitCode: 0, stdout: "<base>/snapshots\n" });
  const refused = await run(box, "path", "snapshotDir");
  expect(refused.exitCode).toBe(2);
  expect(refused.stderr).toContain("fula-master config path snapshotsDir");
});
