import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from "yaml";
import { nearest } from "../kernel/nearest.ts";
import { type ConfigProblem, describeValue, problem } from "./problems.ts";
import { SECRETS, SETTINGS, settingOf } from "./schema.ts";

/** A setting as the file gives it. */
export interface FileEntry {
  readonly value: unknown;
  /** A scalar as it is written, so that `3.10` stays `3.10`. */
  readonly source: string | undefined;
  /** 1 for the first line. */
  readonly line: number;
}

/** What a settings file says. */
export interface SettingsFile {
  readonly entries: ReadonlyMap<string, FileEntry>;
  readonly problems: readonly ConfigProblem[];
}

interface Reading {
  readonly path: string;
  readonly doc: Document;
  readonly lines: LineCounter;
  readonly entries: Map<string, FileEntry>;
  readonly problems: ConfigProblem[];
}

const HINTS: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: "indent with spaces, two a level.",
  DUPLICATE_KEY: "remove one of the two lines.",
  MULTIPLE_DOCS: 'keep one document: remove the "---" line and what follows it.',
};
const DEFAULT_HINT = "look at that line; the file may have been cut off while it was written. Nothing was changed.";

function at(path: string, line: number, column: number): string {
  return `${path}:${line}:${column}`;
}

/** Damage that YAML itself would not see or would explain badly. */
function findDamage(text: string, path: string): ConfigProblem | null {
  const broken = (line: number, column: number, what: string, hint: string): ConfigProblem =>
    problem("FULA_CONFIG_SYNTAX", path, `${at(path, line, column)} ${what}.`, hint);
  if (text.startsWith("\u{feff}")) {
    return broken(
      1,
      1,
      "begins with a byte order mark",
      `save it as UTF-8 without one: sed -i '1s/^\\xEF\\xBB\\xBF//' ${path}`,
    );
  }
  if (text.trim() === "") {
    return broken(1, 1, "is empty", "restore it from your copy, or remove it to go on with the defaults.");
  }
  const odd = text.search(/[\0\u{fffd}]/u);
  if (odd === -1) return null;
  const before = text.slice(0, odd).split("\n");
  const what = text[odd] === "\0" ? "contains NUL bytes" : "contains bytes that are not UTF-8";
  return broken(
    before.length,
    (before.at(-1) ?? "").length + 1,
    what,
    "restore it from your copy; it was damaged while it was written.",
  );
}

function knownBelow(prefix: string): string[] {
  const names = SETTINGS.filter(({ key }) => key.startsWith(prefix)).map(
    ({ key }) => key.slice(prefix.length).split(".")[0] ?? "",
  );
  return [...new Set(names)];
}

/** The setting that was probably meant: a neighbour first, then a setting elsewhere whose last word is like it. */
function suggest(prefix: string, name: string): string | null {
  const sibling = nearest(name, knownBelow(prefix));
  if (sibling !== null) return `${prefix}${sibling}`;
  const dotted = nearest(
    `${prefix}${name}`,
    SETTINGS.map(({ key }) => key),
  );
  if (dotted !== null) return dotted;
  const leaf = nearest(
    name,
    SETTINGS.map(({ path }) => path.at(-1) ?? ""),
  );
  return SETTINGS.find(({ path }) => path.at(-1) === leaf)?.key ?? null;
}

/** The problem of a key that does not exist, wherever it was given. */
export function unknownKey(key: string, where: string): ConfigProblem {
  const [name = "", ...above] = key.split(".").toReversed();
  const prefix = above.length === 0 ? "" : `${above.toReversed().join(".")}.`;
  const secret = SECRETS.find(
    ({ key: secretKey, envName }) =>
      [secretKey, envName, envName.toLowerCase()].includes(name) ||
      envName === `${prefix}${name}`.replaceAll(".", "_").toUpperCase(),
  );
  if (secret !== undefined) {
    return problem(
      "FULA_CONFIG_UNKNOWN_KEY",
      key,
      `${where} sets ${key}, but secrets do not belong into the settings file.`,
      `move it to the .env file as ${secret.envName}.`,
    );
  }
  const meant = suggest(prefix, name);
  return problem(
    "FULA_CONFIG_UNKNOWN_KEY",
    key,
    `${where} sets ${key}, which is no setting.`,
    meant === null ? "fula-master config show lists all settings." : `did you mean ${meant}?`,
  );
}

function visitPair(pair: Pair, prefix: string, reading: Reading): void {
  const { path, doc, lines, entries, problems } = reading;
  const keyNode = pair.key;
  const offset = isScalar(keyNode) ? (keyNode.range?.[0] ?? 0) : 0;
  const { line, col } = lines.linePos(offset);
  const name = isScalar(keyNode) ? String(keyNode.value) : "?";
  const key = `${prefix}${name}`;
  const node = pair.value;
  if (settingOf(key) !== undefined) {
    const value: unknown = doc.createNode(node).toJS(doc) as unknown;
    entries.set(key, { value, source: isScalar(node) ? node.source : undefined, line });
  } else if (knownBelow(`${key}.`).length === 0) {
    problems.push(unknownKey(key, at(path, line, col)));
  } else if (isMap(node)) {
    visitMap(node, `${key}.`, reading);
  } else {
    const observed = describeValue(isScalar(node) ? node.value : isSeq(node) ? [] : node);
    problems.push(
      problem(
        "FULA_CONFIG_INVALID",
        key,
        `${at(path, line, col)} ${key} is ${observed}; expected a mapping with ${knownBelow(`${key}.`).join(", ")}.`,
        "give at least one of them, indented below it, or remove the line.",
      ),
    );
  }
}

function visitMap(map: YAMLMap, prefix: string, reading: Reading): void {
  for (const pair of map.items) visitPair(pair, prefix, reading);
}

/** Reads the text of a settings file: what it sets and on which line, and everything that is wrong with its form. */
export function parseSettingsFile(text: string, path: string): SettingsFile {
  const damage = findDamage(text, path);
  if (damage !== null) return { entries: new Map(), problems: [damage] };
  const lines = new LineCounter();
  const doc = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: true });
  const problems = [...doc.errors, ...doc.warnings].map((error) => {
    const { line, col } = lines.linePos(error.pos[0]);
    return problem(
      "FULA_CONFIG_SYNTAX",
      path,
      `${at(path, line, col)} is not valid YAML: ${error.message}.`,
      HINTS[error.code] ?? DEFAULT_HINT,
    );
  });
  visit(doc, {
    // An alias would let one line change several settings, and a cut-off file point at nothing.
    Alias: (_, { range, source }) => {
      const { line, col } = lines.linePos(range?.[0] ?? 0);
      const message = `${at(path, line, col)} uses the alias *${source}, which settings cannot have.`;
      problems.push(problem("FULA_CONFIG_SYNTAX", path, message, "write the value out."));
    },
  });
  const reading: Reading = { path, doc, lines, entries: new Map(), problems };
  if (problems.length > 0) return reading;
  if (isMap(doc.contents)) visitMap(doc.contents, "", reading);
  else if (doc.contents !== null) {
    problems.push(
      problem(
        "FULA_CONFIG_SYNTAX",
        path,
        `${at(path, 1, 1)} holds ${describeValue(doc.toJS())}; expected settings of the form "section:" and "  name: value".`,
        DEFAULT_HINT,
      ),
    );
  }
  return reading;
}
