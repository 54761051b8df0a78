import { stripVTControlCharacters } from "node:util";
import { printableLine } from "./printable.ts";

/** How one column of a table is laid out. */
export interface TableColumn {
  readonly title: string;
  /** Default "left"; numbers are read from the right. */
  readonly align?: "left" | "right";
  /**
   * What may be cut where the terminal is too narrow: the end of a text, or the middle of an identifier whose ends tell
   * it from others. A column without it is never cut, and nothing is cut on a pipe.
   */
  readonly cut?: "end" | "middle";
}

/** One cell: plain text, or text and the style that is put on it after it has been measured and cut. */
export type TableCell = string | { readonly text: string; readonly style: (text: string) => string };

/** Where a table is printed. */
export interface TableOptions {
  /** Columns of the terminal; null on a pipe, where lines are as long as they need to be. */
  readonly width: number | null;
  readonly styleTitle: (text: string) => string;
}

const GAP = "  ";
const COLUMN_WIDTH_MIN = 8;

// Two-column characters: CJK, Hangul, full-width forms, and emoji as Unicode presents them (UAX #11, UTS #51).
const WIDE =
  /^(?:\p{Emoji_Presentation}|\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|[\u3000-\u303f\uff01-\uff60\uffe0-\uffe6])/u;
const ASCII = /^[\u0020-\u007e]*$/;
let segmenter: Intl.Segmenter | null = null;

function graphemesOf(text: string): readonly string[] {
  if (ASCII.test(text)) return Array.from(text);
  // Not before it is needed: it reads tables for longer than most commands' own modules take to load.
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** How many terminal columns a text takes; styles take none. */
export function widthOf(text: string): number {
  const plain = stripVTControlCharacters(text);
  if (ASCII.test(plain)) return plain.length;
  return graphemesOf(plain).reduce((sum, grapheme) => sum + (WIDE.test(grapheme) ? 2 : 1), 0);
}

function take(graphemes: readonly string[], width: number): string[] {
  const taken: string[] = [];
  let used = 0;
  for (const grapheme of graphemes) {
    used += widthOf(grapheme);
    if (used > width) break;
    taken.push(grapheme);
  }
  return taken;
}

/** Cuts a text to at most `width` terminal columns, with an ellipsis where something is missing. */
export function cutTo(text: string, width: number, where: "end" | "middle"): string {
  if (widthOf(text) <= width) return text;
  const graphemes = graphemesOf(text);
  const tailWidth = where === "end" ? 0 : Math.floor((width - 1) / 2);
  const head = take(graphemes, width - 1 - tailWidth);
  const tail = take(graphemes.toReversed(), tailWidth).toReversed();
  return `${head.join("")}…${tail.join("")}`;
}

function fitWidths(columns: readonly TableColumn[], natural: readonly number[], width: number | null): number[] {
  const widths = [...natural];
  if (width === null) return widths;
  const excess = (): number => widths.reduce((sum, each) => sum + each, GAP.length * (columns.length - 1)) - width;
  // The widest column that may be cut gives first, so that one long name does not cost the short ones their text.
  while (excess() > 0) {
    let widest = -1;
    for (const [index, column] of columns.entries()) {
      const candidate = widths[index] ?? 0;
      if (column.cut === undefined || candidate <= COLUMN_WIDTH_MIN) continue;
      if (candidate > (widths[widest] ?? 0)) widest = index;
    }
    if (widest === -1) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

/** Renders rows under their titles, aligned, without trailing blanks; only the titles where there are no rows. */
export function renderTable(
  columns: readonly TableColumn[],
  rows: readonly (readonly TableCell[])[],
  options: TableOptions,
): string {
  const plain = rows.map((row) => row.map((cell) => printableLine(typeof cell === "string" ? cell : cell.text)));
  const natural = columns.map(({ title }, index) =>
    plain.reduce((most, row) => Math.max(most, widthOf(row[index] ?? "")), widthOf(title)),
  );
  const widths = fitWidths(columns, natural, options.width);
  const line = (texts: readonly string[], style: (text: string, index: number) => string): string =>
    columns
      .map((column, index) => {
        const width = widths[index] ?? 0;
        const text = cutTo(texts[index] ?? "", width, column.cut ?? "end");
        const blanks = " ".repeat(width - widthOf(text));
        if (column.align === "right") return blanks + style(text, index);
        return index === columns.length - 1 ? style(text, index) : style(text, index) + blanks;
      })
      .join(GAP)
      .trimEnd();
  const head = line(
    columns.map(({ title }) => title),
    (text) => options.styleTitle(text),
  );
  const body = plain.map((texts, rowIndex) =>
    line(texts, (text, index) => {
      const cell = rows[rowIndex]?.[index];
      return cell === undefined || typeof cell === "string" ? text : cell.style(text);
    }),
  );
  return [head, ...body].join("\n");
}
