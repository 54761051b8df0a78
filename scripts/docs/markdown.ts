/** Says in a rendered document where it comes from. */
export const GENERATED_NOTE = "<!-- Rendered from the code by `npm run docs:generate`; edit the code instead. -->";

/** A text as the cell of a table: on one line, its bars escaped. */
function cell(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ").replaceAll("|", String.raw`\|`);
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(cell).join(" | ")} |`;
}

/** Renders a table. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(titles), row(titles.map(() => "---")), ...rows.map(row)].join("\n");
}
