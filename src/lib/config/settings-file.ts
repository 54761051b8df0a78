import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import canonical from "canonicalize";
import { type Document, isMap, parseDocument } from "yaml";
import { type Clock, systemClock } from "../kernel/clock.ts";
import { FulaError, systemErrorCode } from "../kernel/errors.ts";
import { ensureDir, readTextIfExists, writeFileAtomic } from "../kernel/files.ts";
import { resolveLink, waitForLock } from "./file-access.ts";
import { describeValue, errorOf, NOT_SHOWN, problem } from "./problems.ts";
import { type SettingEntry, type SettingKey, settingOf } from "./schema.ts";
import { renderSettingsTemplate } from "./settings-template.ts";
import { removeFromYaml, setInYaml } from "./yaml-edit.ts";
import { parseSettingsFile, unknownKey } from "./yaml-file.ts";

/** Values as they stand in YAML (`"26h"`, `9010`, `[]`) by dotted key. */
export type SettingChanges = Readonly<Partial<Record<SettingKey, unknown>>>;

/** How `updateSettingsFile` treats what is there. */
export interface SettingsUpdateOptions {
  /** Settings whose lines are taken out, so that their defaults hold again. */
  readonly remove?: readonly SettingKey[];
  /** True leaves every setting alone that the file already gives, whatever its value. */
  readonly keepExisting?: boolean;
  /** True writes nothing at all, not even a lock. */
  readonly dryRun?: boolean;
  readonly clock?: Clock;
  readonly signal?: AbortSignal;
}

/** One setting that was changed; null where it is not in the file. */
export interface SettingChange {
  readonly key: SettingKey;
  readonly from: unknown;
  readonly to: unknown;
}

/** What an update did, or with `dryRun` would do. */
export interface SettingsUpdateReport {
  readonly created: boolean;
  readonly changes: readonly SettingChange[];
  /** The text that the file has now, or would have. */
  readonly text: string;
}

/** Mode of a new settings file: it holds no secret, but tells how the box is built. */
const NEW_FILE_MODE = 0o600;

function entryOf(key: string): SettingEntry {
  const entry = settingOf(key);
  if (entry !== undefined) return entry;
  throw errorOf([unknownKey(key, "This change")]) ?? new Error(`Unknown setting ${key}`);
}

/** Checks a value as it would stand in the file. @throws FulaError FULA_CONFIG_INVALID, FULA_CONFIG_UNKNOWN_KEY */
function assertAllowed(key: string, value: unknown): void {
  const { setting } = entryOf(key);
  const raw = setting.readsSource && typeof value === "number" ? String(value) : value;
  if (setting.schema.safeParse(raw).success) return;
  const reason = setting.explain(value);
  const because = reason === null ? "" : ` (${reason})`;
  const message = `${key} cannot be ${setting.isPrivate ? NOT_SHOWN : describeValue(value)}${because}; expected ${setting.expected}.`;
  throw (
    errorOf([problem("FULA_CONFIG_INVALID", key, message, `the default is ${setting.default.text}.`)]) ??
    new Error(message)
  );
}

function assertReadable(text: string, path: string): void {
  const error = errorOf(parseSettingsFile(text, path).problems.filter(({ code }) => code === "FULA_CONFIG_SYNTAX"));
  if (error !== null) throw error;
}

const ABSENT = Symbol("absent");

function valueAt(text: string, path: readonly string[]): unknown {
  const doc = parseDocument(text);
  return doc.hasIn(path) ? doc.createNode(doc.getIn(path, true)).toJS(doc) : ABSENT;
}

/** Everything that a text sets, as one comparable text. */
function meaningOf(text: string): string {
  return canonical(parseDocument(text).toJS() ?? {}) ?? "";
}

function expectedMeaning(text: string, path: readonly string[], value: unknown): string {
  const doc = parseDocument(text);
  if (value === ABSENT) removeEmptied(doc, path);
  else doc.setIn(path, value);
  return canonical(doc.toJS() ?? {}) ?? "";
}

function removeEmptied(doc: Document, path: readonly string[]): void {
  doc.deleteIn(path);
  for (let depth = path.length - 1; depth > 0; depth -= 1) {
    const section = path.slice(0, depth);
    const node = doc.getIn(section, true);
    if (!isMap(node) || node.items.length > 0) return;
    doc.deleteIn(section);
  }
}

const ONLY_COMMENT = "# No settings here: the defaults hold.\n";

/** Makes one change in the text, and proves that nothing but that setting means something else afterwards. */
function edit(text: string, path: string, entry: SettingEntry, value: unknown): string {
  const edited = value === ABSENT ? removeFromYaml(text, entry.path) : setInYaml(text, entry.path, value);
  const result = edited.trim() === "" ? ONLY_COMMENT : edited;
  const sound = parseSettingsFile(result, path).problems.every(({ code }) => code !== "FULA_CONFIG_SYNTAX");
  if (sound && meaningOf(result) === expectedMeaning(text, entry.path, value)) return result;
  throw new FulaError("FULA_CONFIG_EDIT", `Cannot change ${entry.key} in ${path} without touching other lines.`, {
    hint: `change it by hand, then run fula-master config check.`,
    details: { path, key: entry.key },
  });
}

/** A value as a report tells it. */
function shown({ setting }: SettingEntry, value: unknown): unknown {
  if (value === ABSENT) return null;
  return setting.isPrivate ? NOT_SHOWN : value;
}

/**
 * The text of a settings file after changes, with every comment and the order of the lines kept.
 * @throws FulaError FULA_CONFIG_SYNTAX, FULA_CONFIG_INVALID, FULA_CONFIG_UNKNOWN_KEY, FULA_CONFIG_EDIT
 */
export function updateSettingsText(
  text: string,
  path: string,
  changes: SettingChanges,
  options: Pick<SettingsUpdateOptions, "remove" | "keepExisting"> = {},
): { readonly text: string; readonly changes: readonly SettingChange[] } {
  assertReadable(text, path);
  const made: SettingChange[] = [];
  let result = text;
  const apply = (entry: SettingEntry, value: unknown): void => {
    const from = valueAt(result, entry.path);
    if (value === ABSENT ? from === ABSENT : JSON.stringify(from) === JSON.stringify(value)) return;
    result = edit(result, path, entry, value);
    made.push({ key: entry.key, from: shown(entry, from), to: shown(entry, value) });
  };
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) continue;
    assertAllowed(key, value);
    const entry = entryOf(key);
    if (options.keepExisting !== true || valueAt(result, entry.path) === ABSENT) apply(entry, value);
  }
  for (const key of options.remove ?? []) apply(entryOf(key), ABSENT);
  return { text: result, changes: made };
}

async function modeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).mode & 0o777;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return NEW_FILE_MODE;
    throw error;
  }
}

/**
 * Changes settings in `fula-master.yaml` and leaves everything else in it alone. A file that is not there is made from
 * a template that shows every setting in a comment. Replaces the file in one step; two writers at once both get their
 * changes in; a value that the schema refuses changes nothing.
 * @throws FulaError FULA_CONFIG_SYNTAX, FULA_CONFIG_INVALID, FULA_CONFIG_UNKNOWN_KEY, FULA_CONFIG_EDIT, FULA_LOCKED,
 *   FULA_PATH_NOT_WRITABLE, FULA_DISK_FULL
 */
export async function updateSettingsFile(
  path: string,
  changes: SettingChanges,
  options: SettingsUpdateOptions = {},
): Promise<SettingsUpdateReport> {
  const compute = async (): Promise<SettingsUpdateReport> => {
    const before = await readTextIfExists(path);
    if (before !== null) return { created: false, ...updateSettingsText(before, path, changes, options) };
    const given = Object.entries(changes).filter(([, value]) => value !== undefined);
    for (const [key, value] of given) assertAllowed(key, value);
    const made = given.map(([key, to]) => ({ key: entryOf(key).key, from: null, to: shown(entryOf(key), to) }));
    return { created: true, changes: made, text: renderSettingsTemplate(changes) };
  };
  if (options.dryRun === true) return compute();
  await ensureDir(dirname(path));
  const lock = join(dirname(path), "state", "locks", "settings-file.lock");
  using _ = await waitForLock(lock, `write ${path}`, options.clock ?? systemClock, options.signal);
  const report = await compute();
  const target = await resolveLink(path);
  if (report.created || report.changes.length > 0)
    await writeFileAtomic(target, report.text, { mode: await modeOf(target) });
  return report;
}
