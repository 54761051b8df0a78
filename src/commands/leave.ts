import type { LeaveOptions } from "../lib/stack/leave-box.ts";
import { type CommandContext, defineCommand } from "../lib/terminal/command.ts";

async function runLeave(context: CommandContext, options: LeaveOptions): Promise<void> {
  const { applyLeave, isGone, proposeLeave } = await import("../lib/stack/leave.ts");
  const text = await import("../lib/stack/leave-text.ts");
  const { runTasks } = await import("../lib/terminal/tasks.ts");
  const { logTo } = await import("../lib/terminal/log.ts");
  const { out } = context;
  const proposal = await proposeLeave({ ...context, log: logTo(out) }, options);
  const { plan, resumes } = proposal;
  if (options.dryRun === true) {
    out.result({ outcome: "planned", plan, resumes }, () => text.renderLeavePlan(plan));
    return;
  }
  if (isGone(proposal)) {
    out.result({ outcome: "already", plan, changed: [], journal: null }, () => text.renderLeft(plan, "already"));
    return;
  }
  if (resumes !== null) out.note(text.renderLeaveResume(resumes));
  out.note(text.renderLeavePlan(plan));
  if (plan.purge) {
    await out.confirmByName(`This destroys what is listed above, for good.`, plan.name, options.yes === true);
  } else {
    await out.confirm(`Take ${plan.name} out of service?`, options.yes === true);
  }
  const { changed, journal } = await applyLeave(proposal, async (tasks) => {
    await runTasks(out, tasks);
  });
  const outcome = plan.purge ? "purged" : "left";
  out.result({ outcome, plan, resumes, changed, journal }, () => text.renderLeft(plan, outcome));
}

/** `leave`: takes this box out of service. */
export const leaveCommand = defineCommand<LeaveOptions>({
  name: "leave",
  summary: "take this box out of service, keeping its data",
  description:
    "Takes the timers away, lets serve finish what is in flight and stops it, takes and verifies a last snapshot, takes " +
    "this master out of the ledger's list, and stops the containers. Unpins nothing and keeps all data: fula-master join " +
    "brings the box back. Refuses (exit 3) where this box holds the last copy of pins. With --purge it also removes " +
    "containers, volumes, state, keys and secrets of this box, never a foreign volume and never an external database.",
  examples: [
    { command: "fula-master leave --dry-run", explains: "show what would be done; changes nothing" },
    { command: "fula-master leave", explains: "out of service; run twice, it changes nothing the second time" },
    { command: "fula-master leave --purge", explains: "remove everything; asks for the name first" },
    { command: "fula-master leave --force", explains: "although this box holds the last copy of pins" },
  ],
  options: [
    { flags: "--no-snapshot", description: "take no last snapshot" },
    {
      flags: "--purge",
      description: "remove containers, volumes, state, keys and secrets of this box for good; snapshots stay",
    },
    {
      flags: "--force",
      description: "although this box holds the last copy of pins, or pinset and ledger cannot be asked",
    },
    { flags: "--schedule-root <dir>", description: "look for timers below this directory instead of /" },
  ],
  changes: true,
  asks: true,
  run: runLeave,
});
