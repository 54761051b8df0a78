import type { LoadedConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { JOBS } from "./schedule-files.ts";
import { runProgram } from "./scheduler.ts";
import { installSchedule, planSchedule, type ScheduleKind, type SchedulePlan } from "./schedules.ts";
import type { JoinBox } from "./join-box.ts";
import type { JoinStep } from "./join-step.ts";
import { already, type Assessment, left, todo } from "./plan.ts";

/** How the schedule of one job stands, as a plan and a summary tell it. */
export interface ScheduleLook {
  readonly kind: ScheduleKind;
  /** `other-master`: the files are ours, but run the job of another base directory. */
  readonly state: "installed" | "absent" | "edited" | "other-master" | "no-scheduler";
  readonly plan: SchedulePlan;
}

/** systemd forgets nothing, but a run that was killed may have written units that were never enabled. */
async function isEnabled(plan: SchedulePlan, rootDir: string): Promise<boolean> {
  if (plan.scheduler.kind !== "systemd" || rootDir !== "/") return true;
  const unit = `${JOBS[plan.kind].name}.${plan.kind === "boot" ? "service" : "timer"}`;
  return (await runProgram("systemctl", ["is-enabled", unit])).exitCode === 0;
}

/** Looks at the schedule of one job. Writes nothing. */
export async function lookAtSchedule(kind: ScheduleKind, loaded: LoadedConfig, rootDir = "/"): Promise<ScheduleLook> {
  const plan = await planSchedule(kind, loaded, { rootDir });
  const pending = plan.files.filter(({ state }) => state !== "same");
  if (plan.scheduler.kind === "none") return { kind, plan, state: "no-scheduler" };
  if (pending.length === 0) {
    return { kind, plan, state: (await isEnabled(plan, rootDir)) ? "installed" : "absent" };
  }
  if (pending.some(({ state }) => state === "other-master")) return { kind, plan, state: "other-master" };
  const strange = pending.some(({ state }) => state === "edited" || state === "foreign");
  return { kind, plan, state: strange ? "edited" : "absent" };
}

/** What is asked of the box, be it of a master or of a storage node. */
interface ScheduleBox extends Pick<JoinBox, "context" | "wanted" | "reloadSaved"> {
  readonly options: Pick<JoinBox["options"], "start" | "scheduleRoot">;
}

/**
 * The jobs that a box of that role runs by itself. A storage node neither takes snapshots nor sweeps. Base backups are on every
 * master's schedule, and taken on the one that has the ledger's primary: a change of primary then needs no other schedule.
 */
export function schedulesOf(role: Config["node"]["role"]): readonly ScheduleKind[] {
  return role === "storage" ? ["boot"] : ["snapshot", "sweep", "backup", "boot"];
}

/** The jobs of this box; `boot` only where join starts serve itself. */
function wantedSchedules({ wanted, options }: ScheduleBox): readonly ScheduleKind[] {
  return schedulesOf(wanted.config.node.role).filter((kind) => kind !== "boot" || options.start !== false);
}

/** Looks at every job of this run. */
export async function lookAtSchedules(box: ScheduleBox): Promise<readonly ScheduleLook[]> {
  const loaded = await box.reloadSaved();
  const rootDir = box.options.scheduleRoot ?? "/";
  return await Promise.all(wantedSchedules(box).map(async (kind) => await lookAtSchedule(kind, loaded, rootDir)));
}

function notTaken(looks: readonly ScheduleLook[]): Assessment {
  const [first] = looks;
  if (first?.plan.scheduler.kind === "none") {
    return left(`${first.plan.scheduler.because}; the lines to install stand at the end`);
  }
  const kept = looks.filter(({ state }) => state === "edited" || state === "other-master");
  if (kept.length === 0) return already(`${looks.map(({ kind }) => kind).join(", ")} are installed`);
  return left(`not ours to change: ${kept.map(({ kind, state }) => `${kind} (${state})`).join(", ")}`);
}

/** Step: timers for snapshots, sweeps and base backups, and serve after a reboot. */
export function schedulesStep({ box }: { readonly box: ScheduleBox }): JoinStep {
  const rootDir = box.options.scheduleRoot ?? "/";
  return {
    id: "schedules",
    title: "Schedules",
    assess: async () => {
      const looks = await lookAtSchedules(box);
      const absent = looks.filter(({ state }) => state === "absent");
      if (absent.length === 0) return notTaken(looks);
      return todo(
        box.wanted.config.node.role === "storage"
          ? "serve comes back after a reboot"
          : "snapshots, sweeps and base backups happen by themselves, and serve comes back after a reboot",
        absent.flatMap(({ kind, plan }) =>
          plan.files
            .filter(({ state }) => state !== "same")
            .map(({ path, content }) =>
              content === null ? `remove ${path}` : `write ${path} (${kind}, ${plan.schedule})`,
            ),
        ),
      );
    },
    apply: async (report) => {
      const loaded = await box.reloadSaved();
      const done: string[] = [];
      for (const { kind, state } of await lookAtSchedules(box)) {
        if (state !== "absent") continue;
        report(kind);
        const { clock } = box.context;
        const { outcome } = await installSchedule(kind, loaded, { rootDir, onForeign: "keep", clock });
        done.push(`${kind} ${outcome}`);
      }
      return done.join(", ");
    },
  };
}
