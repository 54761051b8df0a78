import { defineCommand } from "../lib/terminal/command.ts";
import { EXIT } from "../lib/terminal/errors.ts";

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** `config check`: all problems at once. */
export const configCheckCommand = defineCommand({
  name: "check",
  summary: "find everything that is wrong with the settings",
  description:
    "Checks the settings file, .env, the environment, how the values fit together, and who can read the secrets; prints " +
    "all problems at once. Exits 2 where there is an error, 0 where there are none or only warnings. Reads only.",
  examples: [
    { command: "fula-master config check", explains: "after a change by hand, before a restart" },
    { command: "fula-master config check --json | jq '.problems[].message'", explains: "for a monitor" },
  ],
  run: async (context) => {
    const { readConfig } = await import("../lib/config/load.ts");
    const { checkConfig } = await import("../lib/config/check.ts");
    const { readBoxFacts } = await import("../lib/config/box-facts.ts");
    const { out } = context;
    const reading = await readConfig(context);
    const problems = checkConfig(reading, await readBoxFacts(reading.paths));
    const errors = problems.filter(({ severity }) => severity === "error").length;
    const warnings = problems.length - errors;
    const style = { error: out.style.red, warning: out.style.yellow };
    out.result({ ok: errors === 0, errors, warnings, problems }, () =>
      [
        ...problems.flatMap(({ severity, code, message, hint }) => [
          `${style[severity](`${severity}:`)} ${message}${severity === "error" ? ` [${code}]` : ""}`,
          ...(hint === null ? [] : [`  Try: ${hint}`]),
        ]),
        problems.length === 0 ? "No problems." : `${counted(errors, "error")}, ${counted(warnings, "warning")}.`,
      ].join("\n"),
    );
    return errors === 0 ? EXIT.done : EXIT.usage;
  },
});
