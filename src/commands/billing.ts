import { defineCommand } from "../lib/terminal/command.ts";
import { billingAlertsCommand } from "./billing-alerts.ts";
import { billingBackfillCommand } from "./billing-backfill.ts";
import { billingModeCommand } from "./billing-mode.ts";
import { billingRunCommand } from "./billing-run.ts";
import { billingWaiveCommand } from "./billing-waive.ts";
import { billingAdjustCommand } from "./billing-adjust.ts";
import { billingHistoryCommand } from "./billing-history.ts";
import { billingReconcileCommand } from "./billing-reconcile.ts";
import { billingReverseCommand } from "./billing-reverse.ts";
import { billingStatusCommand } from "./billing-status.ts";
import { billingChainsCommand } from "./billing-chains.ts";
import { billingDepositsCommand } from "./billing-deposits.ts";
import { billingScanCommand } from "./billing-scan.ts";
import { billingSuspendedCommand } from "./billing-suspended.ts";
import { billingUnsuspendCommand } from "./billing-unsuspend.ts";
import { billingVerifyCommand } from "./billing-verify.ts";

/** `fula-master billing`: what users pay, and whether the books are right. */
export const billingCommand = defineCommand({
  name: "billing",
  summary: "what users pay: look, prove, correct",
  description:
    "Shows how billing stands, proves that the books are right, and does by hand what an operator may have to: bill or " +
    "waive hours, correct balances, look for deposits. docs/billing.md explains how fees come about.",
  examples: [
    { command: "fula-master billing status", explains: "who bills, how far it is, and what needs a person" },
    { command: "fula-master billing verify", explains: "exit code 0 = the books are right, 1 = they are not" },
  ],
  subcommands: [
    billingStatusCommand,
    billingAlertsCommand,
    billingVerifyCommand,
    billingRunCommand,
    billingBackfillCommand,
    billingWaiveCommand,
    billingModeCommand,
    billingReconcileCommand,
    billingScanCommand,
    billingDepositsCommand,
    billingChainsCommand,
    billingHistoryCommand,
    billingAdjustCommand,
    billingReverseCommand,
    billingSuspendedCommand,
    billingUnsuspendCommand,
  ],
});
