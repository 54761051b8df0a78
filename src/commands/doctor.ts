import { defineCommand } from "../lib/terminal/command.ts";

interface DoctorOptions {
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
  readonly scheduleRoot?: string;
}

/** `doctor`: every check of this box, each with its remedy. */
export const doctorCommand = defineCommand<DoctorOptions>({
  name: "doctor",
  summary: "check everything on this box, and say what to do about what is wrong",
  description:
    "Makes every check that makes sense on this box, side by side: settings and secrets, disk, clock, ports, what others " +
    "could reach, containers, the ledger and its schema, the control plane and its servers, Kubo, the cluster and whom it " +
    "trusts, a block that is stored, pinned, read back and removed, the newest snapshot with its chain, sweeps, alerts and " +
    "timers. Each tells what it looked at, and what to do where it failed. Exits 1 on any failure; a check that could not " +
    "be made is one. Leaves nothing behind.",
  examples: [
    { command: "fula-master doctor", explains: "all checks; exit code 0 = nothing failed, 1 = something did" },
    { command: "fula-master doctor --only exposure,ports", explains: "these alone" },
    { command: "fula-master doctor --skip snapshot --json", explains: "without one of them, for a program" },
  ],
  options: [
    { flags: "--only <names...>", description: "make these checks alone; docs/doctor.md lists them" },
    { flags: "--skip <names...>", description: "leave these checks out; the report says so" },
    { flags: "--schedule-root <dir>", description: "look for timers below this directory instead of /" },
  ],
  run: async (context, { only = [], skip = [], scheduleRoot = "/" }) => {
    const { doctorRun } = await import("../lib/stack/doctor-run.ts");
    const { renderDoctor } = await import("../lib/stack/doctor-text.ts");
    const { out } = context;
    const report = await doctorRun(context, { only, skip, scheduleRoot });
    const style = { good: out.style.green, attention: out.style.yellow, bad: out.style.red };
    out.result(report, () => renderDoctor(report, style));
    return report.healthy ? 0 : 1;
  },
});
