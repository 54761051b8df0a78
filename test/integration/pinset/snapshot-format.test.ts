import { execFile } from "node:child_process";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { filesOf } from "../../../src/lib/pinset/format.ts";
import { fullPins, openBox, type SnapshotBox } from "../../support/snapshots.ts";

const DOC = readFileSync(join(PROJECT_ROOT, "docs/snapshot-format.md"), "utf8");

const run = promisify(execFile);

/** The commands of the page, for one snapshot of a test. */
function documentedCommands(name: string): string {
  const section = DOC.slice(DOC.indexOf("## Check one with standard tools"));
  const block = /```sh\n([^]*?)```/.exec(section)?.[1];
  if (block === undefined) throw new Error("docs/snapshot-format.md has no block of commands");
  expect(block).toContain("S=pinset-20261120T030000Z\n");
  return block.replace("S=pinset-20261120T030000Z\n", `S=${name}\n`);
}

/** Runs each command of the page; the first that fails ends it. */
async function check(box: SnapshotBox, name: string): Promise<{ readonly exitCode: number; readonly output: string }> {
  try {
    const script = ["set -e", documentedCommands(name)].join("\n");
    const { stdout, stderr } = await run("bash", ["-o", "pipefail", "-c", script], { cwd: box.paths.snapshotsDir });
    return { exitCode: 0, output: stdout + stderr };
  } catch (error) {
    if (!(error instanceof Error) || !("stdout" in error) || !("stderr" in error)) throw error;
    return { exitCode: 1, output: `${String(error.stdout)}${String(error.stderr)}` };
  }
}

describe("with standard tools alone", () => {
  test("the documented commands find a good snapshot good, and print what was signed", async () => {
    const box = openBox(fullPins(50));
    const first = filesOf((await box.take()).file);
    const second = filesOf((await box.take()).file);
    const { exitCode, output } = await check(box, second.name);
    expect(output).toContain("Signature Verified Successfully");
    expect(output).toContain("Signature and comment signature verified");
    expect(output).toMatch(
      /Trusted comment: time:2026-11-20T05:00:00Z sequence:2 pins:50 cluster:cluster-under-test previous:[0-9a-f]{64}\n/,
    );
    expect(output).toContain(`${second.name}.jsonl.zst: OK`);
    expect(exitCode).toBe(0);
    const { stdout: previous } = await run("sha256sum", [first.manifest]);
    expect(output).toContain(`previous:${previous.slice(0, 64)}`);
  });

  test.each([
    ["data", /FAILED|did NOT match/],
    ["manifest", /Signature Verification Failure/],
    ["signature", /Signature Verification Failure/],
    ["minisign", /Signature verification failed|Invalid|base64/i],
  ] as const)("and find one bad whose %s file was changed", async (part, message) => {
    const box = openBox(fullPins(5));
    const files = filesOf((await box.take()).file);
    const bytes = readFileSync(files[part]);
    // In the minisign file the second line is what counts; its first is not signed.
    const at = part === "minisign" ? bytes.indexOf("\n") + 40 : bytes.length >> 1;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(files[part], bytes);
    const { exitCode, output } = await check(box, files.name);
    expect(exitCode).toBe(1);
    expect(output).toMatch(message);
  });

  test("and find one bad that was renamed", async () => {
    const box = openBox(fullPins(5));
    const files = filesOf((await box.take()).file);
    const renamed = filesOf(join(box.paths.snapshotsDir, "pinset-20271231T000000Z"));
    for (const part of ["data", "manifest", "signature", "minisign"] as const) renameSync(files[part], renamed[part]);
    expect((await check(box, renamed.name)).exitCode).toBe(1);
  });

  test("the signature was made in the way that openssl and minisign make theirs", async () => {
    const box = openBox(fullPins(5));
    const files = filesOf((await box.take()).file);
    const key = join(box.paths.keysDir, "snapshot-ed25519.pem");
    const own = join(box.baseDir, "own.sig");
    await run("openssl", ["pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", files.manifest, "-out", own]);
    // ed25519 has one signature only for one key and message (RFC 8032 §5.1.6).
    expect(readFileSync(own)).toEqual(readFileSync(files.signature));
    expect(
      (
        await run("minisign", [
          "-V",
          "-H",
          "-p",
          join(box.paths.keysDir, "snapshot-minisign.pub"),
          "-m",
          files.manifest,
        ])
      ).stdout,
    ).toContain("Signature and comment signature verified");
  });
});

describe("docs/snapshot-format.md", () => {
  test("names every field of the manifest, and no other", async () => {
    const box = openBox();
    const { manifestFile } = await box.take();
    const table = DOC.slice(DOC.indexOf("## Manifest"), DOC.indexOf("## Signatures"));
    const named = [...table.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell = ""]) =>
      cell.replaceAll("`", "").split(", "),
    );
    const manifest: unknown = JSON.parse(readFileSync(manifestFile, "utf8"));
    expect(named.toSorted()).toEqual(Object.keys(Object(manifest)).toSorted());
  });

  test("names every field of a record, and no other", async () => {
    const [pin] = fullPins(1);
    const table = DOC.slice(DOC.indexOf("## Records"), DOC.indexOf("## Manifest"));
    const named = [...table.matchAll(/^\| (`[^|]*`) \|/gm)].flatMap(([, cell = ""]) =>
      cell.replaceAll("`", "").split(", "),
    );
    expect(named.toSorted()).toEqual(Object.keys(Object(pin)).toSorted());
  });
});
