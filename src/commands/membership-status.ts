import { formatCount, formatDuration } from "../lib/kernel/units.ts";
import type { MembershipStatusReport } from "../lib/stack/membership-status.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

const MODES: Readonly<Record<MembershipStatusReport["mode"], string>> = {
  sqlite: "a file of this box",
  docker: "NATS in a container",
  nats: "NATS servers that run already",
};

function serverTable({ servers }: MembershipStatusReport, { out }: CommandContext): string {
  return out.table(
    [{ title: "SERVER" }, { title: "STATE" }, { title: "BEHIND", align: "right" }, { title: "VERSION" }],
    servers.map(({ name, state, lag, version, leads }) => [
      leads ? `${name} (leads)` : name,
      state,
      String(lag),
      version ?? "-",
    ]),
  );
}

function poolTable({ pools, lagging }: MembershipStatusReport, { out }: CommandContext): string {
  return out.table(
    [{ title: "POOL" }, { title: "EPOCH", align: "right" }, { title: "MEMBERS", align: "right" }, { title: "LAGGING" }],
    pools.map(({ id, epoch, members }) => {
      const late = lagging.filter(({ pool }) => pool === id).map(({ member }) => member);
      return [id, String(epoch), String(members), late.length === 0 ? "-" : late.join(", ")];
    }),
  );
}

function statusText(report: MembershipStatusReport, context: CommandContext): string {
  const { mode, address, metaLeader, replicas, stampAgeMs, operators, admins, servers, pools, problem } = report;
  const facts: readonly (readonly [string, string])[] = [
    ["Control plane", `${MODES[mode]}: ${address}`],
    ...(mode === "sqlite"
      ? []
      : ([
          ["Meta leader", metaLeader ?? "none"],
          ["Replicas", replicas === null ? "not known" : String(replicas)],
        ] as const)),
    ["Confirmed", stampAgeMs === null ? "no: this box is not authorized" : `${formatDuration(stampAgeMs)} ago`],
    ["Operators", operators === null ? "not known" : `${operators}, ${formatCount(admins ?? 0, "admin")} among them`],
  ];
  return [
    facts.map(([title, value]) => `${`${title}:`.padEnd(15)} ${value}`).join("\n"),
    ...(servers.length === 0 ? [] : [serverTable(report, context)]),
    ...(pools.length === 0 ? [] : [poolTable(report, context)]),
    ...(problem === null ? [] : [problem]),
  ].join("\n\n");
}

/** `fula-master membership status`: how the control plane is. */
export const membershipStatusCommand = defineCommand({
  name: "status",
  summary: "show how the control plane is",
  description:
    "Shows where the control plane is, its servers with leader, replicas and who is behind, how old the quorum's last " +
    "confirmation is, and which members have not put the newest secrets to use. Exits 1 where something is wrong or " +
    "cannot be looked at. Reads only.",
  examples: [
    { command: "fula-master membership status", explains: "servers, operators, pools" },
    {
      command: "fula-master membership status --json",
      explains: "the fields of controlPlane in status --json, with address and healthy",
    },
  ],
  run: async (context) => {
    const { readMembershipStatus } = await import("../lib/stack/membership-status.ts");
    const report = await readMembershipStatus(context);
    context.out.result(report, () => statusText(report, context));
    return report.healthy ? 0 : 1;
  },
});
