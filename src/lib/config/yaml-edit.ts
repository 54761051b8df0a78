import {
  isMap,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseDocument,
  stringify,
  type YAMLMap,
  type YAMLSeq,
} from "yaml";
import { assert } from "../kernel/assert.ts";

/** What is done to a text: `text` replaces what stands from `start` up to `end`. */
interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

type Range = readonly [start: number, valueEnd: number, nodeEnd: number];

const INDENT = "  ";

function rangeOf(node: Node): Range {
  assert(node.range, "A parsed node has its place in the text");
  return node.range;
}

/** A value on one line, as YAML takes it. */
export function renderYamlValue(value: unknown): string {
  return stringify(value, { lineWidth: 0, collectionStyle: "flow", flowCollectionPadding: false }).trimEnd();
}

function lineStart(text: string, at: number): number {
  return text.lastIndexOf("\n", at - 1) + 1;
}

/** Where the line of `at` ends, its line break included. */
function lineEnd(text: string, at: number): number {
  const newline = text.indexOf("\n", at);
  return newline === -1 ? text.length : newline + 1;
}

function columnOf(text: string, at: number): string {
  return " ".repeat(at - lineStart(text, at));
}

function findPair(map: YAMLMap, name: string): Pair<Node, Node | null> | undefined {
  const pair = map.items.find(({ key }) => isScalar(key) && key.value === name);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a parsed document holds nodes only
  return pair as Pair<Node, Node | null> | undefined;
}

/** The end of the last line that belongs to a node, comments below it left out. */
function lastLineEnd(text: string, node: Node): number {
  if (isMap(node) && node.flow !== true) {
    const last = node.items.at(-1);
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a parsed document holds nodes only
    const inner = (last?.value ?? last?.key) as Node | null | undefined;
    if (inner !== null && inner !== undefined) return lastLineEnd(text, inner);
  }
  if (isSeq(node) && node.flow !== true) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a parsed document holds nodes only
    const last = node.items.at(-1) as Node | undefined;
    if (last !== undefined) return lastLineEnd(text, last);
  }
  const [start, end] = rangeOf(node);
  // A block scalar ends at the start of the next line, everything else within its own.
  return end > start && text[end - 1] === "\n" ? end : lineEnd(text, end);
}

function insertLines(text: string, at: number, lines: readonly string[]): Splice {
  const gap = at > 0 && text[at - 1] !== "\n" ? "\n" : "";
  return { start: at, end: at, text: `${gap}${lines.join("\n")}\n` };
}

/** `["keep", "daily"]` and a value as lines, one level deeper each. */
function nestedLines(path: readonly string[], value: unknown, indent: string): string[] {
  return path.map((name, depth) => {
    const isLast = depth === path.length - 1;
    return `${indent}${INDENT.repeat(depth)}${name}:${isLast ? ` ${renderYamlValue(value)}` : ""}`;
  });
}

/**
 * The place right after the comment that shows a setting (`# port: 9010`) with the deeper comment lines below it: there
 * an operator looks for the live line. Null where there is no such comment.
 */
function commentedLine(text: string, from: number, to: number, name: string, indent: string): number | null {
  const comment = new RegExp(`^${indent}# ?${name}:[^\\n]*(?:\\n${indent}#   [^\\n]*)*(?:\\n|$)`, "m");
  const match = comment.exec(text.slice(from, to));
  return match === null ? null : from + match.index + match[0].length;
}

/** The start of the comments and blank lines right above a section's first live line. */
function sectionStart(text: string, from: number, indent: string): number {
  let at = from;
  while (at > 0) {
    const start = lineStart(text, at - 1);
    const line = text.slice(start, at);
    if (line.trim() !== "" && !line.startsWith(`${indent}#`)) break;
    at = start;
  }
  return at;
}

/** The end of what is indented at least as deep as a section's own lines, its comments included. */
function sectionEnd(text: string, from: number, indent: string): number {
  let at = from;
  while (at < text.length) {
    const end = lineEnd(text, at);
    const line = text.slice(at, end);
    if (line.trim() !== "" && !line.startsWith(indent)) break;
    at = end;
  }
  return at;
}

function insertInto(text: string, map: YAMLMap, path: readonly string[], value: unknown): Splice {
  if (map.flow === true) {
    const [start, end] = rangeOf(map);
    return { start, end, text: renderYamlValue({ ...jsonOf(map), [path[0] ?? ""]: nest(path.slice(1), value) }) };
  }
  const indent = columnOf(text, rangeOf(map)[0]);
  const last = lastLineEnd(text, map);
  const from = indent === "" ? 0 : sectionStart(text, lineStart(text, rangeOf(map)[0]), indent);
  const to = indent === "" ? text.length : sectionEnd(text, last, indent);
  const at = commentedLine(text, from, to, path[0] ?? "", indent) ?? (indent === "" ? text.length : last);
  return insertLines(text, at, nestedLines(path, value, indent));
}

/** `(["keep", "daily"], 3)` → `{ keep: { daily: 3 } }`. */
function nest(path: readonly string[], value: unknown): unknown {
  return path.toReversed().reduce<unknown>((child, name) => ({ [name]: child }), value);
}

function jsonOf(map: YAMLMap): Record<string, unknown> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a mapping with text keys is an object
  return map.toJSON() as Record<string, unknown>;
}

/** Adds items below the last one where the list only grows, so that the comments between the items stay. */
function appendToSequence(text: string, seq: YAMLSeq, items: readonly unknown[]): Splice | null {
  const old: readonly unknown[] = seq.toJSON();
  const isAppend = old.every((item, index) => JSON.stringify(item) === JSON.stringify(items[index]));
  if (seq.flow === true || !isAppend || old.length === 0) return null;
  const indent = columnOf(text, rangeOf(seq)[0]);
  const added = items.slice(old.length).map((item) => `${indent}- ${renderYamlValue(item)}`);
  return insertLines(text, lastLineEnd(text, seq), added);
}

function replaceValue(text: string, pair: Pair<Node, Node | null>, value: unknown): Splice {
  const node = pair.value;
  if (isSeq(node) && Array.isArray(value)) {
    const appended = appendToSequence(text, node, value);
    if (appended !== null) return appended;
  }
  const colon = text.indexOf(":", rangeOf(pair.key)[1]) + 1;
  const [start, end] = node === null ? [colon, colon] : rangeOf(node);
  const valueEnd = Math.max(colon, start + text.slice(start, end).trimEnd().length);
  // An empty value has no place of its own, and a block below its key moves up to the key's line.
  const sameLine = end > start && !text.slice(colon, start).includes("\n");
  return sameLine
    ? { start, end: valueEnd, text: renderYamlValue(value) }
    : { start: colon, end: end > start ? valueEnd : colon, text: ` ${renderYamlValue(value)}` };
}

function spliceForSet(text: string, path: readonly string[], value: unknown): Splice {
  const { contents } = parseDocument(text);
  if (!isMap(contents)) {
    const at = commentedLine(text, 0, text.length, path[0] ?? "", "");
    return insertLines(text, at ?? text.length, nestedLines(path, value, ""));
  }
  let map: YAMLMap = contents;
  for (const [depth, name] of path.entries()) {
    const pair = findPair(map, name);
    if (pair === undefined) return insertInto(text, map, path.slice(depth), value);
    if (depth === path.length - 1) return replaceValue(text, pair, value);
    if (!isMap(pair.value)) return replaceValue(text, pair, nest(path.slice(depth + 1), value));
    map = pair.value;
  }
  throw new Error("A setting has a name");
}

/** The splices that take a value out, the last one in the text first. */
function splicesForRemove(text: string, path: readonly string[]): readonly Splice[] {
  const chain: { readonly map: YAMLMap; readonly pair: Pair<Node, Node | null> }[] = [];
  let node: unknown = parseDocument(text).contents;
  for (const name of path) {
    const pair = isMap(node) ? findPair(node, name) : undefined;
    if (!isMap(node) || pair === undefined) return [];
    chain.push({ map: node, pair });
    node = pair.value;
  }
  // A section that the removal leaves empty goes as well: an empty section is refused as a cut-off file.
  const keeps = chain.findLastIndex(({ map }, depth) => depth === 0 || map.items.length > 1);
  const flow = chain.findIndex(({ map }, depth) => depth <= keeps && map.flow === true);
  const outer = chain[flow]?.map;
  if (outer !== undefined) {
    const [start, end] = rangeOf(outer);
    return [{ start, end, text: renderYamlValue(without(jsonOf(outer), path.slice(flow, keeps + 1))) }];
  }
  return chain
    .slice(keeps)
    .map(({ pair }, index, emptied) => {
      const start = lineStart(text, rangeOf(pair.key)[0]);
      // Of an emptied section only its own line goes, so that the operator's comments inside it stay.
      const isSection = index < emptied.length - 1 && isMap(pair.value) && pair.value.flow !== true;
      const end = isSection ? lineEnd(text, start) : lastLineEnd(text, pair.value ?? pair.key);
      return { start, end, text: "" };
    })
    .toReversed();
}

function without(value: Record<string, unknown>, path: readonly string[]): Record<string, unknown> {
  const [name = "", ...rest] = path;
  const { [name]: child, ...others } = value;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the path was found in this mapping
  return rest.length === 0 ? others : { ...value, [name]: without(child as Record<string, unknown>, rest) };
}

function apply(text: string, splice: Splice): string {
  const inserted = text.includes("\r\n") ? splice.text.replaceAll("\n", "\r\n") : splice.text;
  return `${text.slice(0, splice.start)}${inserted}${text.slice(splice.end)}`;
}

/** Sets one value in the text of a YAML mapping; every other byte of the text stays. */
export function setInYaml(text: string, path: readonly string[], value: unknown): string {
  return apply(text, spliceForSet(text, path, value));
}

/** Takes one value out of the text of a YAML mapping, with the section that it leaves empty; comments stay. */
export function removeFromYaml(text: string, path: readonly string[]): string {
  return splicesForRemove(text, path).reduce(apply, text);
}
