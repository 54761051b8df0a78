import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { PROJECT_ROOT } from "../../../src/lib/kernel/project.ts";
import { type ConsoleStep, parseConsoleBlocks, runConsoleSteps, sectionOf } from "../../support/console-blocks.ts";
import type { HostMember } from "./member.ts";

const TIMEOUT_MS = 240_000;
/**
 * What looks at the daemons of all boxes, of which one may be busy for a moment or may just have been restarted by the command
 * before; and the sweep, which goes on with what it began.
 */
const LOOKS =
  /^fula-master (?:status|doctor|sweep --strict|buckets verify|peers show)\b|^docker (?:ps|exec \S+ (?:pg_isready|ipfs-cluster-ctl peers ls))\b|^curl /;
const LOOKS_WITHIN_MS = 120_000;

/** Where a page is carried out, and what stands for what on it. */
export interface PageRun {
  readonly member: HostMember;
  /** What the page has → what this test has. */
  readonly replace: Readonly<Record<string, string>>;
  /** What every join is told beside what the page has: in what a box of a test differs from one of an operator. */
  readonly joinArgs?: readonly string[];
}

/** What stands on every page for a box: its directory, containers, project and the port of its operations. */
export function namesOf(member: HostMember): Readonly<Record<string, string>> {
  return {
    "/opt/fula-master": member.baseDir,
    "/root/": `${member.root}/`,
    "/tmp/": `${member.root}/`,
    "postgres-pinning": member.container("postgres"),
    ipfs_host: member.container("kubo"),
    ipfs_cluster: member.container("cluster"),
    "project=fula-master": `project=${member.project}`,
    "127.0.0.1:9010": `127.0.0.1:${member.ports.server}`,
  };
}

async function readPage(name: string, replace: Readonly<Record<string, string>>): Promise<string> {
  const page = await readFile(join(PROJECT_ROOT, "docs/handbook", name), "utf8");
  // In one pass: what was put in may hold what stands for something else.
  const names = Object.keys(replace).map((from) => from.replaceAll(/[^\w\s]/g, String.raw`\$&`));
  return page.replaceAll(new RegExp(names.join("|"), "g"), (from) => replace[from] ?? from);
}

/** A `fula-master` on the PATH that is this project's, and keeps timers out of this machine's /etc. */
async function makeShim({ member, joinArgs }: PageRun): Promise<string> {
  const path = join(member.root, "bin/fula-master");
  await mkdir(dirname(path), { recursive: true });
  const timers = ["--schedule-root", member.scheduleRoot];
  const quoted = (args: readonly string[]): string => args.map((arg) => `'${arg}'`).join(" ");
  const script = `#!/bin/sh
case "$1" in
join|join-as-storage-node) set -- "$@" ${quoted(joinArgs ?? timers)} ;;
status|leave) set -- "$@" ${quoted(timers)} ;;
doctor) set -- "$@" --skip schedules ;;
esac
exec '${process.execPath}' '${join(PROJECT_ROOT, "bin/fula-master.js")}' "$@"
`;
  await writeFile(path, script);
  await chmod(path, 0o755);
  return dirname(path);
}

async function runSteps(steps: readonly ConsoleStep[], run: PageRun): Promise<void> {
  const { member } = run;
  // Timers of this machine are not the test's, and nor is its cron, of which doctor asks whether it runs.
  await runConsoleSteps(steps, {
    cwd: member.root,
    env: {
      PATH: `${await makeShim(run)}:${process.env["PATH"] ?? ""}`,
      HOME: process.env["HOME"] ?? "/root",
      NO_COLOR: "1",
      FULA_MASTER_BASE_DIR: member.baseDir,
    },
    timeoutMs: TIMEOUT_MS,
    again: { looks: LOOKS, withinMs: LOOKS_WITHIN_MS },
  });
}

/**
 * Carries out the section of a page as it is printed. @returns how many commands there were
 * @throws Error naming the line, what differs, and everything that was printed
 */
export async function runSection(page: string, heading: RegExp, run: PageRun): Promise<number> {
  const steps = parseConsoleBlocks(sectionOf(await readPage(page, run.replace), heading));
  await runSteps(steps, run);
  return steps.length;
}

/** A row of the tables of the incident page. */
export interface IncidentRow {
  readonly line: number;
  readonly command: string;
  /** A line that the command prints where all is well. */
  readonly good: string;
}

const ROW = /^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \| [^|]+ \|$/;

/** The rows of a page that say what to type and what good looks like. */
function incidentRows(markdown: string): readonly IncidentRow[] {
  return markdown.split("\n").flatMap((line, index) => {
    const [, command, good] = ROW.exec(line) ?? [];
    return command === undefined || good === undefined ? [] : [{ line: index + 1, command, good }];
  });
}

/** How many rows of four columns the tables have, whatever stands in them. */
function countRows(markdown: string): number {
  return markdown.split("\n").filter((line) => line.split(" | ").length === 4 && !/^\| (?:you see|---)/.test(line))
    .length;
}

/** Types the command of every row on a healthy box, where it must succeed and print what the page calls good. */
export async function runIncidentRows(page: string, run: PageRun): Promise<number> {
  const markdown = await readPage(page, run.replace);
  const rows = incidentRows(markdown);
  if (rows.length !== countRows(markdown)) throw new Error(`${page} has rows that are not of the form that is run`);
  const steps = rows.map(({ line, command, good }) => ({
    line,
    command,
    expected: good === "…" ? ["…"] : ["…", good, "…"],
    exitCode: 0,
  }));
  await runSteps(steps, run);
  return rows.length;
}
