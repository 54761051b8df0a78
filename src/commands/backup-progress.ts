import type { CommandContext } from "../lib/terminal/command.ts";

const TITLES = {
  copy: "Copying",
  test: "Restoring for a test",
  read: "Reading",
} as const;

const MIB = 1_048_576;

/** Shows how far a run on backups is, in MiB, one bar a phase. */
export function backupProgress({ out, clock }: Pick<CommandContext, "clock" | "out">): {
  readonly update: (phase: keyof typeof TITLES, doneBytes: number, totalBytes: number) => void;
  readonly end: () => void;
} {
  let now: keyof typeof TITLES | null = null;
  let bar: { update: (done: number, total: number | null) => void; end: () => void } | null = null;
  return {
    update: (phase, doneBytes, totalBytes) => {
      if (phase !== now) {
        bar?.end();
        now = phase;
        bar = out.progress(TITLES[phase], "MiB", () => clock.monotonicMs());
      }
      bar?.update(Math.round(doneBytes / MIB), Math.round(totalBytes / MIB));
    },
    end: () => {
      bar?.end();
    },
  };
}
