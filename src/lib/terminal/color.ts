/** What chalk is told: 0 none, 1 the sixteen colours that every terminal's theme knows. */
export type ColorLevel = 0 | 1;

/**
 * Whether text on `stream` is coloured. NO_COLOR, set to anything but the empty string, wins (https://no-color.org);
 * then FORCE_COLOR; else only a terminal gets colours.
 */
export function colorLevel(
  stream: { readonly isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): ColorLevel {
  if ((env["NO_COLOR"] ?? "") !== "") return 0;
  const force = env["FORCE_COLOR"] ?? "";
  if (force !== "") return force === "0" || force === "false" ? 0 : 1;
  return stream.isTTY === true && env["TERM"] !== "dumb" ? 1 : 0;
}
