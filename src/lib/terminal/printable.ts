// Names of pins, paths and answers of servers reach the screen; a terminal must not obey what stands in them.
// oxlint-disable-next-line no-control-regex -- control characters are what it is for
const CONTROL_CHARACTERS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** The text with every control character but tab and newline shown as U+FFFD, direction overrides included. */
export function printable(text: string): string {
  return text.replaceAll(CONTROL_CHARACTERS, "\u{fffd}");
}

/** Like `printable`, on one line. */
export function printableLine(text: string): string {
  return printable(text.replaceAll(/[\t\n]+/g, " "));
}
