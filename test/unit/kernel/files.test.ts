import { spawn } from "node:child_process";
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { once } from "node:events";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  ensureDir,
  explainWriteError,
  readTextIfExists,
  SECRET_FILE_MODE,
  tempPathFor,
  writeFileAtomic,
} from "../../../src/lib/kernel/files.ts";
import { isFulaError } from "../../../src/lib/kernel/errors.ts";
import { tempDir } from "../../support/temp-dir.ts";

const KILLED_WRITER = join(import.meta.dirname, "..", "..", "support", "children", "write-for-ever.ts");

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

describe("writeFileAtomic", () => {
  test("a secret has mode 0600 before its first byte, whatever the umask", async () => {
    const dir = tempDir();
    const path = join(dir, ".env");
    const seen: { mode: number; size: number }[] = [];
    const handlePrototype: { writeFile: (...args: unknown[]) => Promise<void> } = Object.getPrototypeOf(
      await open(join(dir, "probe"), "w").then(async (handle) => {
        await handle.close();
        return handle;
      }),
    );
    const { writeFile } = handlePrototype;
    onTestFinished(() => {
      handlePrototype.writeFile = writeFile;
    });
    handlePrototype.writeFile = async function writeAfterLooking(...args) {
      const temp = readdirSync(dir).find((name) => name.endsWith(".tmp")) ?? "";
      seen.push({ mode: modeOf(join(dir, temp)), size: statSync(join(dir, temp)).size });
      await writeFile.apply(this, args);
    };
    const umask = process.umask(0o000);
    try {
      await writeFileAtomic(path, "SYSTEM_KEY=1\n", { mode: SECRET_FILE_MODE });
    } finally {
      process.umask(umask);
    }
    expect(seen).toEqual([{ mode: 0o600, size: 0 }]);
    expect(modeOf(path)).toBe(0o600);
  });

  test("the mode that was asked for stands also where the umask would take it away", async () => {
    const path = join(tempDir(), "unit");
    const umask = process.umask(0o077);
    try {
      await writeFileAtomic(path, "", { mode: 0o644 });
    } finally {
      process.umask(umask);
    }
    expect(modeOf(path)).toBe(0o644);
  });

  test("a new content is a new file: who has the old one open or linked keeps the old bytes", async () => {
    const dir = tempDir();
    const path = join(dir, "settings.yaml");
    writeFileSync(path, "old", { mode: 0o666 });
    linkSync(path, join(dir, "kept"));
    await writeFileAtomic(path, "new", { mode: 0o600 });
    expect(readFileSync(join(dir, "kept"), "utf8")).toBe("old");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(modeOf(path)).toBe(0o600);
  });

  test("a link that waits under the temp name is not written through", async () => {
    const dir = tempDir();
    const path = join(dir, "key");
    const victim = join(dir, "victim");
    writeFileSync(victim, "untouched");
    const next = Number(/-(\d+)\.tmp$/.exec(tempPathFor(path))?.[1]) + 1;
    symlinkSync(victim, `${path}.${process.pid}-${next}.tmp`);
    await writeFileAtomic(path, "secret", { mode: 0o600 });
    expect(readFileSync(victim, "utf8")).toBe("untouched");
    expect(readFileSync(path, "utf8")).toBe("secret");
  });

  test("many writers at once leave one whole content and no temp file", async () => {
    const dir = tempDir();
    const path = join(dir, "state.json");
    const contents = Array.from({ length: 20 }, (_, index) => String(index).repeat(10_000));
    await Promise.all(contents.map((content) => writeFileAtomic(path, content, { mode: 0o600 })));
    expect(contents).toContain(readFileSync(path, "utf8"));
    expect(readdirSync(dir)).toEqual(["state.json"]);
  });

  test("a write that fails leaves the old file and removes its temp file", async () => {
    const dir = tempDir();
    const path = join(dir, "target");
    mkdirSync(path);
    await expect(writeFileAtomic(path, "text", { mode: 0o600 })).rejects.toThrow("EISDIR");
    expect(readdirSync(dir)).toEqual(["target"]);
  });

  test("a reader never sees a part, also when the writer is killed in the middle", async () => {
    const path = join(tempDir(), "state.json");
    const child = spawn(process.execPath, [KILLED_WRITER, path], { stdio: ["ignore", "pipe", "inherit"] });
    await once(createInterface({ input: child.stdout }), "line");
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
    const content = readFileSync(path, "utf8");
    expect(content).toHaveLength(1 << 20);
    expect(new Set(content).size).toBe(1);
  });
});

describe("ensureDir", () => {
  test("new directories are private, whatever the umask", async () => {
    const path = join(tempDir(), "base", "state");
    const umask = process.umask(0o777);
    try {
      await ensureDir(join(path, ".."));
    } finally {
      process.umask(umask);
    }
    await ensureDir(path);
    expect([modeOf(join(path, "..")), modeOf(path)]).toEqual([0o700, 0o700]);
  });

  test("a directory that is there keeps the mode that its owner chose", async () => {
    const path = tempDir();
    chmodSync(path, 0o750);
    await ensureDir(path);
    expect(modeOf(path)).toBe(0o750);
  });
});

describe("explainWriteError", () => {
  test.each([
    ["ENOSPC", "FULA_DISK_FULL"],
    ["EDQUOT", "FULA_DISK_FULL"],
    ["EACCES", "FULA_PATH_NOT_WRITABLE"],
    ["EPERM", "FULA_PATH_NOT_WRITABLE"],
    ["EROFS", "FULA_PATH_NOT_WRITABLE"],
  ])("%s is %s and names the path", (errno, code) => {
    const error = explainWriteError(systemError(errno), "/opt/fula-master/.env");
    expect(isFulaError(error) && error.code).toBe(code);
    expect(error).toMatchObject({ message: `Cannot write /opt/fula-master/.env: ${errno}.` });
  });

  test("what is not about writing stays as it is", () => {
    const other = systemError("ENOENT");
    expect(explainWriteError(other, "/x")).toBe(other);
    expect(explainWriteError("text", "/x")).toBe("text");
  });
});

describe("readTextIfExists", () => {
  test("no file is null, an empty one is empty, a directory is an error", async () => {
    const dir = tempDir();
    writeFileSync(join(dir, "empty"), "");
    expect(await readTextIfExists(join(dir, "none"))).toBeNull();
    expect(await readTextIfExists(join(dir, "empty"))).toBe("");
    await expect(readTextIfExists(dir)).rejects.toThrow("EISDIR");
  });
});
