import type { Operator, OperatorRole } from "../lib/membership/records.ts";
import type { CheckReport, OperatorReport } from "../lib/stack/membership-operators.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";
import { EXIT } from "../lib/terminal/errors.ts";

const ROLES = ["admin", "operator"] as const;
const WHO = {
  name: "who",
  description: "a wallet (0x…), a key (ed25519:…), an e-mail address or user id, or system",
  required: true,
};
const ROLE_FLAG = "--role <role>";

function nameOf({ id, name }: Operator): string {
  return name === "" ? id : `${name} (${id})`;
}

const listCommand = defineCommand({
  name: "list",
  aliases: ["ls"],
  summary: "list who may act on the federation",
  description: "Lists every operator with role and status; who was revoked stays on the list. Reads only.",
  examples: [
    { command: "fula-master membership operator list", explains: "who may act, and who may not any more" },
    {
      command: "fula-master membership operator list --json",
      explains: "operators, each with id, role, status, name and createdAt",
    },
  ],
  run: async (context) => {
    const { listAllOperators } = await import("../lib/stack/membership-operators.ts");
    const operators = await listAllOperators(context);
    context.out.result({ operators }, () => {
      if (operators.length === 0) return "No operators, so nobody may act. Try: fula-master join";
      return context.out.table(
        ["OPERATOR", "NAME", "ROLE", "STATUS", "SINCE"].map((title) => ({ title })),
        operators.map(({ id, name, role, status, createdAt }) => [id, name, role, status, createdAt.slice(0, 10)]),
      );
    });
  },
});

interface AddOptions {
  readonly name: string;
  readonly role: OperatorRole;
  readonly dryRun?: boolean;
}

const addCommand = defineCommand<AddOptions>({
  name: "add",
  summary: "let somebody act on the federation",
  description:
    "Adds an operator: a wallet, an ed25519 key, or a user of the ledger. An admin may do everything; an operator " +
    "everything but to change who may act, who belongs, and the secrets. Whoever was revoked is not added again, but " +
    "restored. Writes one record to the control plane.",
  examples: [
    {
      command: "fula-master membership operator add alice@example.com --name Alice",
      explains: "a user of the ledger, as operator",
    },
    {
      command: "fula-master membership operator add 0x52908400098527886E0F7030069857D2E4169EE7 --role admin --name Bob",
      explains: "a wallet, as admin",
    },
    {
      command: "fula-master membership operator add alice@example.com --dry-run --json",
      explains: "dryRun, changed and operator",
    },
  ],
  arguments: [WHO],
  options: [
    { flags: "--name <text>", description: "what people call him", default: "" },
    { flags: ROLE_FLAG, description: "what he may do", default: "operator", choices: ROLES },
  ],
  changes: true,
  requires: "admin",
  run: async (context, { name, role, dryRun = false }, [who = ""]) => {
    const { addOperator } = await import("../lib/stack/membership-operators.ts");
    const report = await addOperator(context, who, { name, role, dryRun });
    context.out.result(
      report,
      () => `${dryRun ? "Would add" : "Added"} ${nameOf(report.operator)} as ${report.operator.role}.`,
    );
  },
});

interface ChangeOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function changedText({ dryRun, changed, operator }: OperatorReport): string {
  const now = `${operator.role}, ${operator.status}`;
  if (changed) return `Changed ${nameOf(operator)}: ${now}.`;
  return dryRun ? `${nameOf(operator)} would be: ${now}.` : `Already so: ${nameOf(operator)} is ${now}.`;
}

async function change(
  context: CommandContext,
  who: string,
  options: ChangeOptions & {
    readonly to: Partial<Pick<Operator, "role" | "status">>;
    readonly question: string | null;
  },
): Promise<void> {
  const { changeOperatorOf } = await import("../lib/stack/membership-operators.ts");
  const { to, question, dryRun = false, yes = false } = options;
  const report = await changeOperatorOf(context, who, {
    change: to,
    dryRun,
    confirm: async (operator) => {
      if (question !== null) await context.out.confirm(`${question} ${nameOf(operator)}?`, yes);
    },
  });
  context.out.result(report, () => changedText(report));
}

const revokeCommand = defineCommand<ChangeOptions>({
  name: "revoke",
  summary: "let somebody act no longer",
  description:
    "Revokes an operator: every master refuses him from then on, at the latest when what it knows is older than " +
    "controlPlane.maxAge. He stays on record, so that no list of old settings brings him back. The last active admin " +
    "cannot be revoked. Writes one record to the control plane.",
  examples: [
    { command: "fula-master membership operator revoke alice@example.com", explains: "asks first" },
    {
      command: "fula-master membership operator revoke ed25519:<key> --yes --json",
      explains: "dryRun, changed and operator",
    },
  ],
  arguments: [WHO],
  changes: true,
  asks: true,
  requires: "admin",
  run: async (context, options, [who = ""]) => {
    await change(context, who, { ...options, to: { status: "revoked" }, question: "Revoke" });
  },
});

const restoreCommand = defineCommand<ChangeOptions>({
  name: "restore",
  summary: "let somebody act again who was revoked",
  description:
    "Makes a revoked operator active again, in the role that he had. Writes one record to the control plane.",
  examples: [{ command: "fula-master membership operator restore alice@example.com", explains: "he may act again" }],
  arguments: [WHO],
  changes: true,
  requires: "admin",
  run: async (context, options, [who = ""]) => {
    await change(context, who, { ...options, to: { status: "active" }, question: null });
  },
});

const roleCommand = defineCommand<ChangeOptions>({
  name: "role",
  summary: "change what an operator may do",
  description:
    "Gives an operator another role. The last active admin cannot lose his. Writes one record to the control plane.",
  examples: [
    { command: "fula-master membership operator role alice@example.com admin", explains: "she may change who may act" },
    { command: "fula-master membership operator role alice@example.com operator", explains: "and not any more" },
  ],
  arguments: [WHO, { name: "role", description: "what he may do", required: true, choices: ROLES }],
  changes: true,
  requires: "admin",
  run: async (context, options, [who = "", role]) => {
    const to = { role: role === "admin" ? "admin" : "operator" } as const;
    await change(context, who, { ...options, to, question: null });
  },
});

/** What nobody could say is no answer of a check: another exit code, and worth another try. */
const UNANSWERED: ReadonlySet<string> = new Set(["unreachable", "no-quorum", "stale"]);

function exitCodeOf(report: CheckReport): number {
  if (report.allowed) return EXIT.done;
  return UNANSWERED.has(report.reason) ? EXIT.unavailable : EXIT.failed;
}

const checkCommand = defineCommand<{ readonly role: OperatorRole }>({
  name: "check",
  summary: "ask whether somebody may act, and why not",
  description:
    "Asks the control plane as every admin command and route does. Exits 0 where he may, 1 where he may not, 4 where " +
    "nobody could be asked in time or the answer may be too old, which counts as no. Reads only.",
  examples: [
    { command: "fula-master membership operator check alice@example.com", explains: "as operator" },
    {
      command: "fula-master membership operator check alice@example.com --role admin --json",
      explains: "id, role, allowed, and operator and ageMs, or reason and why",
    },
  ],
  arguments: [WHO],
  options: [{ flags: ROLE_FLAG, description: "what he wants to act as", default: "operator", choices: ROLES }],
  run: async (context, { role }, [who = ""]) => {
    const { checkOperator } = await import("../lib/stack/membership-operators.ts");
    const report = await checkOperator(context, who, role);
    context.out.result(report, () =>
      report.allowed
        ? `${nameOf(report.operator)} may act as ${role} (${report.operator.role}; confirmed ${Math.ceil(report.ageMs)} ms ago).`
        : `${report.id} may not act as ${role}: ${report.why}`,
    );
    return exitCodeOf(report);
  },
});

/** `fula-master membership operator`: who may act. */
export const membershipOperatorCommand = defineCommand({
  name: "operator",
  aliases: ["user"],
  summary: "who may act on the federation",
  description: "Lists, adds, revokes and restores those whose acts admin commands and routes take.",
  examples: [
    { command: "fula-master membership operator list", explains: "who may act" },
    { command: "fula-master membership operator add alice@example.com --name Alice", explains: "one more" },
  ],
  subcommands: [listCommand, addCommand, revokeCommand, restoreCommand, roleCommand, checkCommand],
});
