import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseDocument, stringify } from "yaml";
import { SETTINGS, type SettingKey } from "../../../src/lib/config/schema.ts";
import { renderSettingsTemplate } from "../../../src/lib/config/settings-template.ts";
import { updateSettingsFile, updateSettingsText } from "../../../src/lib/config/settings-file.ts";
import { parseSettingsFile } from "../../../src/lib/config/yaml-file.ts";
import { property } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

const KEY_A = `ed25519:${"a".repeat(64)}`;
const KEY_B = `ed25519:${"b".repeat(64)}`;

const OPERATORS_FILE = `# master of the north, Ana 2026
runtime:   external      # do not touch

server:
    # behind the proxy
    port: 9110   # was 9010
    host: '127.0.0.1'

snapshot: { maxAge: 30h, keep: {last: 9} }   # short form
sweep:

  replMin: 3
  # replMin: 2 was too low


# the end
`;

function edited(
  text: string,
  changes: Parameters<typeof updateSettingsText>[2],
  remove: readonly SettingKey[] = [],
): string {
  return updateSettingsText(text, "f.yaml", changes, { remove }).text;
}

describe("a change of a settings file", () => {
  test.each<[string, Partial<Record<SettingKey, unknown>>, readonly [string, string]]>([
    ["a value, its comment and odd blanks stay", { "server.port": 9111 }, ["    port: 9110   #", "    port: 9111   #"]],
    ["a value in quotes", { "server.host": "::1" }, ["'127.0.0.1'", "::1"]],
    ["a value at the top", { runtime: "embedded" }, ["runtime:   external ", "runtime:   embedded "]],
    [
      "a new line in a section with the operator's indentation",
      { "server.logLevel": "debug" },
      ["    host: '127.0.0.1'\n", "    host: '127.0.0.1'\n    logLevel: debug\n"],
    ],
    [
      "a new line below the comment that names it",
      { "sweep.schedule": "5 * * * *" },
      ["  replMin: 3\n", "  replMin: 3\n  schedule: 5 * * * *\n"],
    ],
    ["a value in short form", { "snapshot.maxAge": "2d" }, ["maxAge: 30h,", "maxAge: 2d,"]],
    ["a new value in short form", { "snapshot.keep.daily": 1 }, ["{last: 9}", "{last: 9, daily: 1}"]],
    ["a new section at the end", { "gateway.port": 1 }, ["# the end\n", "# the end\ngateway:\n  port: 1\n"]],
  ])("touches nothing else: %s", (_, changes, [from, to]) => {
    expect(edited(OPERATORS_FILE, changes)).toBe(OPERATORS_FILE.replace(from, to));
  });

  test("puts a live line where the template shows it in a comment", () => {
    const text = renderSettingsTemplate({ "sweep.replMin": 1 });
    const changed = edited(text, { "sweep.schedule": "@daily", "server.port": 1, "snapshot.keep.daily": 2 });
    expect(changed).toContain('  # schedule: "*/30 * * * *"\n  schedule: "@daily"\n');
    expect(changed).toMatch(/\n# server:\n(#   .*\n)+server:\n {2}port: 1\n\n# gateway:/);
    expect(changed).toMatch(/\n# snapshot:\n(#   .*\n)+snapshot:\n {2}keep:\n {4}daily: 2\n\nsweep:/);
  });

  test("lets a list grow below its last item, whose comments stay", () => {
    const text = `snapshot:\n  trustedKeys: # who may\n    - ${KEY_A} # Ana\n  maxAge: 26h\n`;
    expect(edited(text, { "snapshot.trustedKeys": [KEY_A, KEY_B] })).toBe(
      text.replace("# Ana\n", `# Ana\n    - ${KEY_B}\n`),
    );
    expect(edited(text, { "snapshot.trustedKeys": [KEY_B] })).toContain(`trustedKeys: [${KEY_B}]`);
    expect(edited("snapshot:\n  trustedKeys: []\n", { "snapshot.trustedKeys": [KEY_A] })).toBe(
      `snapshot:\n  trustedKeys: [${KEY_A}]\n`,
    );
  });

  test("keeps CRLF line ends", () => {
    expect(edited("server:\r\n  port: 1\r\n", { "server.port": 2, "server.logLevel": "warn" })).toBe(
      "server:\r\n  port: 2\r\n  logLevel: warn\r\n",
    );
  });

  test("takes a line out, and the section line that would be left empty, but no comment", () => {
    expect(edited(OPERATORS_FILE, {}, ["server.port"])).toBe(
      OPERATORS_FILE.replace("    port: 9110   # was 9010\n", ""),
    );
    expect(edited(OPERATORS_FILE, {}, ["sweep.replMin"])).toBe(
      OPERATORS_FILE.replace("sweep:\n", "").replace("  replMin: 3\n", ""),
    );
    expect(edited("snapshot: {keep: {last: 1}, maxAge: 30h} # x\n", {}, ["snapshot.keep.last"])).toBe(
      "snapshot: {maxAge: 30h} # x\n",
    );
    expect(edited("runtime: auto\n", {}, ["runtime"])).toBe("# No settings here: the defaults hold.\n");
    expect(edited("# c\n", { runtime: "auto" })).toBe("# c\nruntime: auto\n");
  });

  test("a value that is there already is no change", () => {
    expect(updateSettingsText(OPERATORS_FILE, "f", { "server.port": 9110, "sweep.replMin": 3 })).toEqual({
      text: OPERATORS_FILE,
      changes: [],
    });
    expect(
      updateSettingsText(OPERATORS_FILE, "f", { "server.port": 1, "server.logLevel": "warn" }, { keepExisting: true })
        .changes,
    ).toEqual([{ key: "server.logLevel", from: null, to: "warn" }]);
  });

  test.each<[Partial<Record<SettingKey, unknown>>, string]>([
    [{ "server.port": "9010" }, "FULA_CONFIG_INVALID"],
    [{ "server.port": 70_000 }, "FULA_CONFIG_INVALID"],
    [{ "snapshot.schedule": "0 0 31 2 *" }, "FULA_CONFIG_INVALID"],
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what a caller without types could hand in
    [{ "server.prot": 1 } as object, "FULA_CONFIG_UNKNOWN_KEY"],
  ])("%j is refused", (changes, code) => {
    expect(() => edited(OPERATORS_FILE, changes)).toThrow(expect.objectContaining({ code }));
  });

  test("a file that cannot be read is left alone", () => {
    expect(() => edited("server:\n\tport: 1\n", { "server.port": 2 })).toThrow(
      expect.objectContaining({ code: "FULA_CONFIG_SYNTAX" }),
    );
  });
});

const VALUES: Readonly<Partial<Record<SettingKey, readonly unknown[]>>> = {
  runtime: ["auto", "external"],
  "node.name": ["a", "b.c-d"],
  "node.clusterId": [null, "0b9d8d1e-6f53-4c1a-9d3e-0a8f4f8e2a11"],
  "server.port": [1, 9010],
  "server.host": ["::1", "127.0.0.1"],
  "snapshot.maxAge": ["30h", "2d"],
  "snapshot.keep.last": [1, 2],
  "snapshot.keep.daily": [0, 7],
  "snapshot.trustedKeys": [[], [KEY_A], [KEY_A, KEY_B]],
  "sweep.schedule": ["*/30 * * * *", "@daily"],
  "billing.fulaPerGbMonth": ["3", "2.75"],
  "gateway.remoteCidPut": [true, false],
};
const KEYS = SETTINGS.map(({ key }) => key).filter((key) => VALUES[key] !== undefined);
const anySettings = fc
  .uniqueArray(fc.constantFrom(...KEYS), { maxLength: 8 })
  .chain((keys) =>
    fc.tuple(...keys.map((key) => fc.constantFrom(...(VALUES[key] ?? [])).map((value) => [key, value] as const))),
  )
  .map((pairs) => Object.fromEntries(pairs));
const anyStyle = fc.record({
  indent: fc.constantFrom(2, 4),
  flow: fc.boolean(),
  template: fc.boolean(),
  crlf: fc.boolean(),
  noise: fc.boolean(),
});

function written(
  settings: Record<string, unknown>,
  style: { indent: number; flow: boolean; template: boolean; crlf: boolean; noise: boolean },
): string {
  if (style.template) return renderSettingsTemplate(settings);
  const doc = parseDocument("");
  for (const [key, value] of Object.entries(settings)) doc.setIn(key.split("."), value);
  const text =
    doc.contents === null
      ? "# nothing\n"
      : stringify(doc.toJS(), { indent: style.indent, ...(style.flow ? { collectionStyle: "flow" as const } : {}) });
  const noisy =
    style.noise && !style.flow
      ? text
          .split("\n")
          .map((line, index) => (/^ *[a-zA-Z].*: \S/.test(line) ? `${line}  # note ${index}` : line))
          .join("\n# between\n")
      : text;
  return style.crlf ? noisy.replaceAll("\n", "\r\n") : noisy;
}

function commentsOf(text: string): string[] {
  return text
    .split(/\r?\n/)
    .filter((line) => line.trimStart().startsWith("#"))
    .concat(Array.from(text.matchAll(/ {2}# note \d+/g), ([note]) => note));
}

function meaningOf(text: string): Record<string, unknown> {
  const { entries, problems } = parseSettingsFile(text, "f");
  expect(problems).toEqual([]);
  return Object.fromEntries(Array.from(entries, ([key, { value }]) => [key, value]));
}

describe("whatever a settings file looks like", () => {
  test("setting a value changes that value alone and keeps every comment line", () => {
    fc.assert(
      fc.property(anySettings, anySettings, anyStyle, (before, changes, style) => {
        const text = written(before, style);
        const result = edited(text, changes);
        expect(meaningOf(result)).toEqual({ ...meaningOf(text), ...changes });
        const kept = new Set(commentsOf(result));
        expect(commentsOf(text).filter((comment) => !kept.has(comment) && !comment.startsWith("  # note"))).toEqual([]);
      }),
      property(80, 3_000),
    );
  });

  test("taking values out leaves the others and every comment line", () => {
    fc.assert(
      fc.property(anySettings, fc.subarray(KEYS), anyStyle, (before, remove, style) => {
        const text = written(before, style);
        const result = edited(text, {}, remove);
        expect(meaningOf(result)).toEqual(
          Object.fromEntries(Object.entries(meaningOf(text)).filter(([key]) => !remove.some((each) => each === key))),
        );
        const kept = new Set(commentsOf(result));
        expect(commentsOf(text).filter((comment) => !kept.has(comment) && !comment.startsWith("  # note"))).toEqual([]);
      }),
      property(80, 3_000),
    );
  });
});

describe("the file on the disk", () => {
  test("is made from a template that shows every setting, and reads back as what was asked for", async () => {
    const path = join(tempDir(), "box", "fula-master.yaml");
    const { created, changes } = await updateSettingsFile(path, { runtime: "embedded", "sweep.replMin": 1 });
    expect({ created, changes: changes.map(({ key }) => key) }).toEqual({
      created: true,
      changes: ["runtime", "sweep.replMin"],
    });
    const text = readFileSync(path, "utf8");
    expect(meaningOf(text)).toEqual({ runtime: "embedded", "sweep.replMin": 1 });
    for (const { path: names, setting } of SETTINGS) {
      expect(text).toMatch(new RegExp(`^[# ]*${names.at(-1)}: `, "m"));
      expect(text).toContain(setting.description);
    }
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("every commented line of the template is right when its comment sign is taken away", () => {
    const live = renderSettingsTemplate({})
      .split("\n")
      .slice(4)
      .map((line) => line.replace(/^# (?! )(?=[a-z]\w*:|\s)/, "").replace(/^# (?= )/, ""))
      .join("\n");
    expect(Object.keys(meaningOf(live))).toEqual(SETTINGS.map(({ key }) => key));
    for (const { key, setting } of SETTINGS) {
      expect(setting.schema.safeParse(meaningOf(live)[key]).success, key).toBe(true);
    }
  });

  test("keeps the mode that its owner gave it, and a symbolic link", async () => {
    const dir = tempDir();
    writeFileSync(join(dir, "real.yaml"), "runtime: auto\n", { mode: 0o640 });
    mkdirSync(join(dir, "box"));
    symlinkSync(join(dir, "real.yaml"), join(dir, "box", "f.yaml"));
    await updateSettingsFile(join(dir, "box", "f.yaml"), { "server.port": 1 });
    expect(readFileSync(join(dir, "real.yaml"), "utf8")).toBe("runtime: auto\nserver:\n  port: 1\n");
    expect(statSync(join(dir, "real.yaml")).mode & 0o777).toBe(0o640);
    expect(lstatSync(join(dir, "box", "f.yaml")).isSymbolicLink()).toBe(true);
  });

  test("a dry run tells the same text and writes nothing", async () => {
    const dir = tempDir();
    const path = join(dir, "box", "f.yaml");
    const planned = await updateSettingsFile(path, { runtime: "auto" }, { dryRun: true });
    expect(readdirSync(dir)).toEqual([]);
    expect(await updateSettingsFile(path, { runtime: "auto" })).toEqual(planned);
    expect(readFileSync(path, "utf8")).toBe(planned.text);
  });

  test("a refused value writes nothing, not even the file", async () => {
    const dir = tempDir();
    await expect(
      updateSettingsFile(join(dir, "box", "f.yaml"), { runtime: "auto", "server.port": 0.5 }),
    ).rejects.toMatchObject({ code: "FULA_CONFIG_INVALID" });
    expect(readdirSync(join(dir, "box")).filter((name) => name.endsWith(".yaml"))).toEqual([]);
  });

  test("two writers at once both get their change in", async () => {
    const path = join(tempDir(), "f.yaml");
    const keys = ["server.port", "gateway.port", "postgres.port", "postgres.poolMax", "sweep.replMin"] as const;
    await Promise.all(keys.map(async (key) => updateSettingsFile(path, { [key]: 7 })));
    expect(meaningOf(readFileSync(path, "utf8"))).toEqual(Object.fromEntries(keys.map((key) => [key, 7])));
  });
});
