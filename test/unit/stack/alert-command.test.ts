import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { runAlertCommand } from "../../../src/lib/stack/alert-command.ts";
import { tempDir } from "../../support/temp-dir.ts";

const never = new AbortController().signal;

function script(body: string): string {
  const path = join(tempDir(), "with blank.sh");
  writeFileSync(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path.replaceAll(" ", "\\ ");
}

describe("the alert command", () => {
  test("gets every line on its standard input, and its arguments as they stand, without a shell", async () => {
    const dir = tempDir();
    const command = `${script('cat > "$1"; printf "%s" "$2" > "$1.args"')} ${dir}/out $HOME;`;
    expect(await runAlertCommand(command, ['{"a":1}\n', '{"b":"ü"}\n'], never)).toBe(null);
    expect(readFileSync(join(dir, "out"), "utf8")).toBe('{"a":1}\n{"b":"ü"}\n');
    expect(readFileSync(join(dir, "out.args"), "utf8")).toBe("$HOME;");
  });

  test("that fails is told with its exit code and what it said", async () => {
    const error = await runAlertCommand(script("cat > /dev/null; echo no route >&2; exit 7"), ["x\n"], never);
    expect(error).toContain("exit code 7");
    expect(error).toContain("no route");
  });

  test("that is not there is told", async () => {
    expect(await runAlertCommand("/no/such/program", ["x\n"], never)).toContain("ENOENT");
  });

  test("that takes too long is ended", async () => {
    expect(await runAlertCommand(script("exec sleep 600"), ["x\n"], never, 200)).toContain("had not finished");
  });

  test("that reads nothing is judged by its exit code alone", async () => {
    const lines = Array.from({ length: 50_000 }, () => `${"x".repeat(100)}\n`);
    expect(await runAlertCommand(script("exit 0"), lines, never)).toBe(null);
  });
});
