import type { Writable } from "node:stream";
import { printable } from "./printable.ts";
import { cutTo, widthOf } from "./table.ts";

/** A whole terminal screen that is drawn again and again; what stood there before comes back when it is closed. */
export interface Screen {
  draw(text: string): void;
  close(): void;
}

const ALTERNATE_ON = "\u001b[?1049h\u001b[?25l";
const ALTERNATE_OFF = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const ERASE_LINE_END = "\u001b[K";
const ERASE_BELOW = "\u001b[J";
// For a terminal that does not know its size and says 0.
const FALLBACK = { columns: 80, rows: 24 };

// oxlint-disable-next-line no-control-regex -- the styles that chalk puts around a text
const STYLES = /(\u001b\[[0-9;]*m)/;

/** Cuts a line that holds styles to `width` columns; the styles stay whole. */
function cutStyled(line: string, width: number): string {
  if (widthOf(line) <= width) return line;
  let left = width - 1;
  let cut = "";
  for (const part of line.split(STYLES)) {
    if (STYLES.test(part)) {
      cut += part;
    } else if (left >= 0 && part !== "") {
      const fits = widthOf(part) <= left;
      cut += fits ? part : cutTo(part, left + 1, "end");
      left = fits ? left - widthOf(part) : -1;
    }
  }
  return cut;
}

function printableStyled(text: string): string {
  return text
    .split(STYLES)
    .map((part) => (STYLES.test(part) ? part : printable(part)))
    .join("");
}

/**
 * Opens a screen on a terminal. Each drawing is one write that goes over the old one line by line, so nothing flickers;
 * lines and columns that the terminal does not have are cut.
 */
export function openScreen(stdout: Writable & { readonly columns?: number; readonly rows?: number }): Screen {
  stdout.write(ALTERNATE_ON);
  return {
    draw: (text) => {
      const columns = stdout.columns || FALLBACK.columns;
      const rows = stdout.rows || FALLBACK.rows;
      const lines = printableStyled(text).split("\n");
      const shown =
        lines.length <= rows ? lines : [...lines.slice(0, rows - 1), `… ${lines.length - rows + 1} more lines`];
      const drawn = shown.map((line) => `${cutStyled(line, columns)}${ERASE_LINE_END}`);
      stdout.write(`${HOME}${drawn.join("\r\n")}${ERASE_BELOW}`);
    },
    close: () => {
      stdout.write(ALTERNATE_OFF);
    },
  };
}
