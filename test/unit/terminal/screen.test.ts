import { Writable } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import { openScreen } from "../../../src/lib/terminal/screen.ts";

class Terminal extends Writable {
  readonly writes: string[] = [];
  readonly columns: number;
  readonly rows: number;

  constructor(columns: number, rows: number) {
    super({ decodeStrings: false });
    this.columns = columns;
    this.rows = rows;
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    this.writes.push(chunk);
    done();
  }
}

function linesOf(drawing: string | undefined): readonly string[] {
  return stripVTControlCharacters(drawing ?? "").split("\r\n");
}

test("each drawing is one write over the old one, line by line, and nothing is erased before it", () => {
  const terminal = new Terminal(20, 5);
  const screen = openScreen(terminal);
  screen.draw("one\ntwo");
  expect(terminal.writes).toHaveLength(2);
  expect(terminal.writes[1]).toBe("\u001b[Hone\u001b[K\r\ntwo\u001b[K\u001b[J");
});

test("what the terminal has no room for is cut, so that no line wraps and none scrolls", () => {
  const terminal = new Terminal(14, 3);
  openScreen(terminal).draw("0123456789abcd\n0123456789abcde\nthree\nfour");
  expect(linesOf(terminal.writes[1])).toEqual(["0123456789abcd", "0123456789abc…", "… 2 more lines"]);
});

test("a style that is cut off is closed all the same", () => {
  const terminal = new Terminal(10, 3);
  openScreen(terminal).draw("ab \u001b[31m0123456789\u001b[39m end");
  expect(terminal.writes[1]).toContain("ab \u001b[31m012345…\u001b[39m");
  expect(linesOf(terminal.writes[1])).toEqual(["ab 012345…"]);
});

test("a terminal obeys nothing that stands in a text but its styles", () => {
  const terminal = new Terminal(40, 3);
  openScreen(terminal).draw("name \u001b[2J\u001b]0;title\u0007");
  expect(terminal.writes[1]).not.toContain("\u001b[2J");
  expect(terminal.writes[1]).not.toContain("\u001b]0");
});

test("closing gives back the cursor and what stood on the terminal before", () => {
  const terminal = new Terminal(40, 3);
  const screen = openScreen(terminal);
  screen.close();
  expect(terminal.writes).toEqual(["\u001b[?1049h\u001b[?25l", "\u001b[?25h\u001b[?1049l"]);
});
