import { formatBytes, formatCount } from "../kernel/units.ts";
import type { StandbyAddReport } from "./standby-add.ts";
import type { StandbyRemoveReport } from "./standby-remove.ts";
import type { StandbyLine, StandbyStatus } from "./standby-status.ts";
import { NOT_TAKEN_TEXT } from "./plan.ts";

/** What `standby add` would do, or did, in lines. */
export function renderStandbyAdd({ outcome, node, kind, steps }: StandbyAddReport): string {
  if (outcome === "already") return `Already so: ${node} has a standby of the ledger that streams.`;
  if (outcome === "added") return `${node} has a standby of the ledger now. fula-master standby status shows it.`;
  const lines = steps.map(({ title, state, why, changes }) => {
    if (state !== "todo") return `  ${title}: ${NOT_TAKEN_TEXT[state]}: ${why}`;
    return `  ${title}: ${why}\n${changes.map((change) => `    - ${change}`).join("\n")}`;
  });
  const where = kind === "docker" ? "in a container" : "as processes";
  return [`Would make a standby of the ledger on ${node}, ${where}:`, ...lines].join("\n");
}

/** What `standby remove` did, or would do. */
export function renderStandbyRemove({ outcome, dryRun, node, stopped }: StandbyRemoveReport): string {
  if (outcome === "already") return `Already so: ${node} has no standby.`;
  if (dryRun) return `Would take the standby of ${node} out. Its data would stay.`;
  return `The standby of ${node} is out${stopped ? ", and its server has stopped" : ""}. Its data are where they were.`;
}

function replicationText({ replication, isSync, lagBytes, lagSeconds }: StandbyLine): string {
  if (replication === null)
    return isSync ? "commits wait for it; the primary's box knows more" : "the primary's box knows more";
  const lag = lagBytes === null ? "" : `, ${formatBytes(lagBytes)} behind`;
  const seconds = lagSeconds === null ? "" : ` (${lagSeconds.toFixed(1)} s)`;
  return `${replication}${lag}${seconds}, ${isSync ? "synchronous" : "asynchronous"}`;
}

function slotText({ slot }: StandbyLine): string {
  if (slot === null) return "";
  const bound = slot.safeBytes === null ? "" : ` of ${formatBytes(slot.keptBytes + slot.safeBytes)}`;
  return `; its slot (${slot.walStatus ?? "empty"}) keeps ${formatBytes(slot.keptBytes)}${bound}`;
}

function lossText({ wouldLoseBytes: bytes, own }: StandbyStatus): string {
  if (bytes === null && own?.role === "primary")
    return "What a failover would lose now, nobody knows: no standby is connected.";
  if (bytes === null) return "What a failover would lose now, the primary's box knows.";
  if (bytes === 0) return "A failover would lose nothing that was acknowledged.";
  return `A failover now would lose up to ${formatBytes(bytes)} of log.`;
}

/** The ledger's servers in lines. */
export function renderStandbyStatus(status: StandbyStatus): string {
  const { epoch, own, standbys, failover, problems } = status;
  if (epoch === null) {
    const joining = standbys.length === 0 ? "" : ` Asked for: ${standbys.map(({ node }) => node).join(", ")}.`;
    return `The ledger has one server and no standby.${joining} fula-master standby add, on another master, makes one.`;
  }
  const lines = [
    `Epoch ${epoch.number} (${epoch.uuid.slice(0, 8)}), ${epoch.phase}: ${epoch.primary}${epoch.address === null ? "" : ` at ${epoch.address}`} is the primary.`,
    ...(own === null
      ? []
      : [`This box's server: ${own.role}${own.receivedLsn === null ? "" : `, received up to ${own.receivedLsn}`}.`]),
    ...standbys.map((line) => `  ${line.node} (${line.state}): ${replicationText(line)}${slotText(line)}`),
    ...(standbys.length === 0 ? ["There is no standby."] : [lossText(status)]),
    ...(failover === null
      ? []
      : [`A ${failover.kind} from ${failover.from} is ${failover.state} at ${failover.step}.`]),
    ...(problems.length === 0
      ? []
      : [`${formatCount(problems.length, "problem")}:`, ...problems.map(({ message }) => `  - ${message}`)]),
  ];
  return lines.join("\n");
}
