import { stripVTControlCharacters } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cutTo, renderTable, type TableColumn, widthOf } from "../../../src/lib/terminal/table.ts";
import { property } from "../../support/property.ts";

const PLAIN = { width: null, styleTitle: (text: string) => text };

const PINS: readonly TableColumn[] = [
  { title: "CID", cut: "middle" },
  { title: "Copies", align: "right" },
  { title: "Name", cut: "end" },
];
const ROWS = [
  ["bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi", "3", "photos/summer"],
  ["bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", "12", ""],
];

describe("renderTable", () => {
  test("aligns columns, numbers to the right, without blanks at the end of a line", () => {
    expect(
      renderTable(
        [{ title: "Name" }, { title: "Size", align: "right" }],
        [
          ["a", "1"],
          ["long name", "100"],
        ],
        PLAIN,
      ),
    ).toBe(["Name       Size", "a             1", "long name   100"].join("\n"));
    expect(renderTable([{ title: "A" }, { title: "B" }], [["x", ""]], PLAIN)).toBe("A  B\nx");
  });

  test("without rows there are the titles", () => {
    expect(renderTable(PINS, [], PLAIN)).toBe("CID  Copies  Name");
  });

  test("on a pipe nothing is cut", () => {
    for (const row of ROWS) expect(renderTable(PINS, ROWS, PLAIN)).toContain(row[0]);
  });

  test("on a terminal the widest column that may be cut gives first, and keeps both ends of an identifier", () => {
    const lines = renderTable(PINS, ROWS, { ...PLAIN, width: 60 }).split("\n");
    expect(Math.max(...lines.map(widthOf))).toBe(60);
    expect(lines[1]).toMatch(/^bafybei\w+…\w+5fbzdi {7}3 {2}photos\/summer$/);
    expect(lines[2]).toMatch(/^bafkrei\w+…\w+quvyku {6}12$/);
  });

  test("styles take no room and survive a cut", () => {
    const red = (text: string): string => `\u001b[31m${text}\u001b[39m`;
    const table = renderTable(
      [{ title: "State", cut: "end" }, { title: "Pin" }],
      [
        [{ text: "under-replicated", style: red }, "a"],
        ["ok", "b"],
      ],
      { ...PLAIN, width: 15 },
    );
    expect(table.split("\n")[1]).toBe(`${red("under-rep…")}  a`);
    expect(table.split("\n").map((line) => stripVTControlCharacters(line).length)).toEqual([15, 13, 13]);
  });

  test("what a cell carries is shown, never obeyed", () => {
    expect(renderTable([{ title: "Name" }], [["a\u001b[2J\nb\u202ec"]], PLAIN)).toBe("Name\na\u{fffd}[2J b\u{fffd}c");
  });

  test("no line is wider than the terminal as long as every column may be cut", () => {
    const anyCell = fc.string({ unit: "grapheme", maxLength: 40 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(anyCell, anyCell), { maxLength: 5 }),
        fc.integer({ min: 20, max: 80 }),
        (rows, width) => {
          const columns: readonly TableColumn[] = [
            { title: "One", cut: "end" },
            { title: "Two", cut: "middle", align: "right" },
          ];
          const lines = renderTable(columns, rows, { ...PLAIN, width }).split("\n");
          expect(lines).toHaveLength(rows.length + 1);
          for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(width);
        },
      ),
      property(),
    );
  });
});

describe("widthOf", () => {
  test.each([
    ["abc", 3],
    ["é", 1],
    ["e\u0301", 1],
    ["漢字", 4],
    ["한글", 4],
    ["👩‍👩‍👧", 2],
    ["\u001b[31mred\u001b[39m", 3],
    ["", 0],
  ])("%j takes %d columns", (text, width) => {
    expect(widthOf(text)).toBe(width);
  });
});

describe("cutTo", () => {
  test.each([
    ["abcdef", 6, "end", "abcdef"],
    ["abcdef", 4, "end", "abc…"],
    ["abcdef", 5, "middle", "ab…ef"],
    ["abcdef", 4, "middle", "ab…f"],
    ["漢字漢字", 5, "end", "漢字…"],
  ] as const)("%s cut to %d at the %s is %s", (text, width, where, cut) => {
    expect(cutTo(text, width, where)).toBe(cut);
  });
});
