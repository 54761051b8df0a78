import type { ListrDefaultRendererLogLevels as LogLevels } from "listr2";
import type { Output } from "./output.ts";
import { printableLine } from "./printable.ts";

/** One step of a longer piece of work that the operator watches. */
export interface Task {
  readonly title: string;
  /** Does the work. `report` shows what it is doing now; the text it returns stays behind the title when it is done. */
  readonly run: (report: (text: string) => void) => Promise<string | void>;
  /** Asked when the task's turn comes: the reason why there is nothing to do ("already so"), or null to run it. */
  readonly skip?: () => string | null | Promise<string | null>;
}

const REPORT_INTERVAL_MS = 5_000;
// Below this the live list would break every title; a terminal that does not know its size says 0.
const LIVE_COLUMNS_MIN = 30;

/**
 * Runs the tasks one after the other and shows them on stderr: live on a terminal, plain lines on a pipe, nothing with
 * `--quiet`. The first error ends the run and is thrown as it is.
 */
export async function runTasks(out: Output, tasks: readonly Task[]): Promise<void> {
  const { isTTY, columns } = out.stderr;
  if (!out.quiet && isTTY === true && (columns ?? 0) >= LIVE_COLUMNS_MIN) await runLive(out, tasks);
  else await runPlain(out, tasks);
}

async function runPlain(out: Output, tasks: readonly Task[], monotonicMs = () => performance.now()): Promise<void> {
  for (const { title, run, skip } of tasks) {
    const reason = (await skip?.()) ?? null;
    if (reason !== null) {
      out.note(`- ${title}: ${printableLine(reason)}`);
      continue;
    }
    out.note(`> ${title}`);
    let shownMs = monotonicMs();
    try {
      const result = await run((text) => {
        if (!out.verbose && monotonicMs() - shownMs < REPORT_INTERVAL_MS) return;
        shownMs = monotonicMs();
        out.note(`  ${title}: ${printableLine(text)}`);
      });
      out.note(`+ ${title}${typeof result === "string" ? `: ${printableLine(result)}` : ""}`);
    } catch (error) {
      out.note(`! ${title}: failed`);
      throw error;
    }
  }
}

async function runLive(out: Output, tasks: readonly Task[]): Promise<void> {
  const { Listr, ListrDefaultRendererLogLevels: Level, ListrLogger, ProcessOutput } = await import("listr2");
  const { stderr, errorStyle } = out;
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- listr2 asks for a TTY stream's type and uses only `write` and `columns`
  const stream = stderr as NodeJS.WriteStream;
  const list = new Listr(
    tasks.map(({ title, run, skip }) => ({
      title,
      skip: async () => {
        const reason = (await skip?.()) ?? null;
        return reason === null ? false : `${title}: ${printableLine(reason)}`;
      },
      task: async (_context: unknown, shown: { output: string; title: string }) => {
        const result = await run((text) => {
          shown.output = printableLine(text);
        });
        if (typeof result === "string") shown.title = `${title}: ${printableLine(result)}`;
      },
    })),
    {
      concurrent: false,
      exitOnError: true,
      // Ctrl-C aborts the run's signal; listr2 would end the process in the middle of a step.
      registerSignalListeners: false,
      // listr2 looks at process.stdout; the list is shown on stderr, whatever stdout is.
      forceTTY: true,
      rendererOptions: {
        logger: new ListrLogger<LogLevels>({
          processOutput: new ProcessOutput(stream, stream, { leaveEmptyLine: false }),
        }),
        // The error is printed once, by reportError.
        showErrorMessage: false,
        color: {
          [Level.PENDING]: errorStyle.yellow,
          [Level.COMPLETED]: errorStyle.green,
          [Level.FAILED]: errorStyle.red,
          [Level.SKIPPED_WITH_COLLAPSE]: errorStyle.dim,
          [Level.WAITING]: errorStyle.dim,
        },
      },
    },
  );
  await list.run();
}
