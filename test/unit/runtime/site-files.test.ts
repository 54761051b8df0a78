import { createHash } from "node:crypto";
import { readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { OwnSiteFiles } from "../../../src/lib/runtime/site-files.ts";
import { tempDir } from "../../support/temp-dir.ts";

const { username, uid, gid } = userInfo();

function open(user = { name: username, uid, gid }): { readonly files: OwnSiteFiles; readonly path: string } {
  return { files: new OwnSiteFiles(user, systemClock), path: join(tempDir(), "node.conf") };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

test("a file is only replaced where it holds what is expected, and is its owner's alone", async () => {
  const { files, path } = open();
  await expect(files.read(path)).resolves.toBeNull();
  await expect(files.replace(path, "b", sha256("a"))).resolves.toBe(false);
  await expect(files.replace(path, "a", "absent")).resolves.toBe(true);
  await expect(files.replace(path, "b", "absent")).resolves.toBe(false);
  await expect(files.replace(path, "b", sha256("a"))).resolves.toBe(true);
  await expect(files.read(path)).resolves.toBe("b");
  await expect(files.replace(path, "c", "any")).resolves.toBe(true);
  expect(readFileSync(path, "utf8")).toBe("c");
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await files.remove(path);
  await files.remove(path);
  await expect(files.read(path)).resolves.toBeNull();
});

test("of all who replace the same content one is taken, and nobody waits for ever", async () => {
  const { files, path } = open();
  await files.replace(path, "0", "absent");
  const others = Array.from({ length: 5 }, () => new OwnSiteFiles({ name: username, uid, gid }, systemClock));
  const taken = await Promise.all(others.map(async (each, at) => await each.replace(path, `${at + 1}`, sha256("0"))));
  expect(taken.filter(Boolean)).toHaveLength(1);
  await expect(files.read(path)).resolves.toBe(String(taken.indexOf(true) + 1));
});

test("a directory that is not there is no directory without the file", async () => {
  const { files, path } = open();
  const elsewhere = join(path, "..", "gone", "node.conf");
  await expect(files.read(elsewhere)).rejects.toThrow("ENOENT");
  await expect(files.replace(elsewhere, "a", "any")).rejects.toThrow();
});

test("a link that the server's user laid leads nowhere: what it names is neither read nor written", async () => {
  const { files, path } = open();
  const secret = `${path}.secret`;
  writeFileSync(secret, "secret");
  symlinkSync(secret, path);
  await expect(files.read(path)).rejects.toThrow("ELOOP");
  await files.replace(path, "a", "any");
  expect(readFileSync(secret, "utf8")).toBe("secret");
  await expect(files.read(path)).resolves.toBe("a");
});

test("what root writes belongs to the server's user; nobody else can give files away", async () => {
  const { files, path } = open({ name: "somebody", uid: 4711, gid: 4712 });
  const writing = files.replace(path, "a", "absent");
  if (uid !== 0) {
    await expect(writing).rejects.toThrow();
    return;
  }
  await writing;
  expect(statSync(path)).toMatchObject({ uid: 4711, gid: 4712 });
});
