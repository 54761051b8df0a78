import { FulaError } from "../lib/kernel/errors.ts";
import { defineCommand } from "../lib/terminal/command.ts";

function parseAlertId(text: string): bigint {
  if (/^\d{1,18}$/.test(text)) return BigInt(text);
  throw new FulaError("FULA_USAGE", `${JSON.stringify(text)} is no alert's id.`, {
    hint: "fula-master billing alerts lists those that stand.",
  });
}

const resolveCommand = defineCommand<{ readonly dryRun?: boolean }>({
  name: "resolve",
  summary: "say that an alert was looked into",
  description:
    "Ends one alert, with your name and the time. What raised it is not mended by that: raised again, it stands again.",
  examples: [{ command: "fula-master billing alerts resolve 7", explains: "by the id that billing alerts shows" }],
  arguments: [{ name: "id", description: "the alert's id", required: true }],
  changes: true,
  requires: "operator",
  run: async (context, { dryRun = false }, [id = ""]) => {
    const { resolveAlertByHand } = await import("../lib/stack/billing-alerts.ts");
    const alert = await resolveAlertByHand(context, parseAlertId(id), dryRun);
    const done = dryRun ? "Would resolve" : "Resolved";
    context.out.result({ ...alert, dryRun }, () => `${done} alert ${alert.id}: ${alert.kind} ${alert.subject}.`);
  },
});

/** `fula-master billing alerts`: what needs a person. */
export const billingAlertsCommand = defineCommand({
  name: "alerts",
  summary: "what needs a person, and what to do about it",
  description: "Lists the alerts of billing that stand, the oldest first. Exits 1 where there are any. Reads only.",
  examples: [
    { command: "fula-master billing alerts", explains: "each with its details and what to do" },
    {
      command: "fula-master billing alerts --json",
      explains: "alerts, each with id, kind, subject, details and advice",
    },
  ],
  subcommands: [resolveCommand],
  run: async (context) => {
    const { listAlerts } = await import("../lib/stack/billing-alerts.ts");
    const alerts = await listAlerts(context);
    context.out.result({ alerts }, () =>
      alerts.length === 0
        ? "No alert stands."
        : alerts
            .map(({ id, kind, subject, raisedAt, lastSeenAt, times, details, advice }) =>
              [
                `${id}  ${kind} ${subject}, since ${raisedAt}, seen ${times} times, last at ${lastSeenAt}`,
                `   ${JSON.stringify(details)}`,
                `   Try: ${advice}`,
              ].join("\n"),
            )
            .join("\n"),
    );
    return alerts.length === 0 ? 0 : 1;
  },
});
