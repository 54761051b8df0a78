import { ERROR_CODES, type ErrorCode, type ErrorKind } from "../../src/lib/kernel/error-codes.ts";
import { exitCodeOf } from "../../src/lib/terminal/errors.ts";
import { FulaError } from "../../src/lib/kernel/errors.ts";
import { GENERATED_NOTE, table } from "./markdown.ts";

const KIND_MEANS: Readonly<Record<ErrorKind, string>> = {
  failed: "a check came out bad, or the work could not be finished",
  usage: "the command line, a setting or the installation is wrong",
  refused: "a guard refused to go on, so that nothing is lost",
  unavailable: "something that is needed did not answer; try again later",
};

const INTRO = `# Error codes

Every error has a code that means one thing and decides the exit code. It is printed on stderr as

\`\`\`text
FULA_LOCKED: Cannot start "snapshot": process 4711 (snapshot, since 2026-11-20T03:00:00Z) holds snapshot.lock.
  Try: wait for process 4711 to end, or stop it, then run the command again.
\`\`\`

and with \`--json\` as one document: \`{"error":{"code","message","hint","details","exitCode"}}\`. \`--verbose\` adds the stack
trace and what caused it. Whatever comes without a code, or with the code \`BUG\`, is a bug and exits with 70.`;

/** Renders docs/ERRORS.md. */
export function renderErrorsDoc(): string {
  const kinds = Object.entries(KIND_MEANS).map(([kind, means]) => [kind, means]);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of ERROR_CODES are its codes
  const codes = (Object.keys(ERROR_CODES) as ErrorCode[]).toSorted();
  const rows = codes.map((code) => {
    const { kind, when } = ERROR_CODES[code];
    return [`\`${code}\``, String(exitCodeOf(new FulaError(code, ""))), kind, when];
  });
  return `${GENERATED_NOTE}
${INTRO}

## Kinds

${table(["kind", "means"], kinds)}

## Codes

${table(["code", "exit code", "kind", "when"], rows)}
`;
}
