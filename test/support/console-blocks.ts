import { spawn } from "node:child_process";
import { mkdtemp, open as openFile, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { systemClock } from "../../src/lib/kernel/clock.ts";

/** One command of a document with what the document says it prints. */
export interface ConsoleStep {
  /** Line of the command in the document, from 1. */
  readonly line: number;
  readonly command: string;
  /** Null for a command of an `sh` block, whose output the document does not show. */
  readonly expected: readonly string[] | null;
  readonly exitCode: number;
}

const ANY = "…";
const EXIT_LINE = /^# exit (\d+)$/;
const FENCE = /^(`{3,})\s*(\S*)\s*$/;

function levelOf(line: string): number {
  return /^(#{1,6}) /.exec(line)?.[1]?.length ?? 0;
}

/**
 * Gives the part of a Markdown document under one heading, up to the next heading of the same or a higher level, with
 * empty lines in place of everything before it, so that line numbers stay true.
 * @throws Error where there is no such heading
 */
export function sectionOf(markdown: string, heading: RegExp): string {
  const lines = markdown.split("\n");
  const from = lines.findIndex((line) => levelOf(line) > 0 && heading.test(line));
  if (from === -1) throw new Error(`No heading matches ${heading}`);
  const level = levelOf(lines[from] ?? "");
  let fenced = false;
  const length = lines.slice(from + 1).findIndex((line) => {
    if (FENCE.test(line)) fenced = !fenced;
    const other = levelOf(line);
    return !fenced && other > 0 && other <= level;
  });
  const to = length === -1 ? lines.length : from + 1 + length;
  return [...lines.slice(0, from).map(() => ""), ...lines.slice(from, to)].join("\n");
}

interface Block {
  readonly language: string;
  readonly firstLine: number;
  readonly lines: readonly string[];
}

function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let open: { language: string; fence: string; firstLine: number; lines: string[] } | null = null;
  for (const [index, line] of markdown.split("\n").entries()) {
    const fence = FENCE.exec(line);
    if (open !== null && fence?.[1]?.startsWith(open.fence) === true && fence[2] === "") {
      blocks.push(open);
      open = null;
    } else if (open !== null) {
      open.lines.push(line);
    } else if (fence !== null) {
      open = { language: fence[2] ?? "", fence: fence[1] ?? "", firstLine: index + 2, lines: [] };
    }
  }
  if (open !== null) throw new Error(`The block that begins on line ${open.firstLine - 1} does not end`);
  return blocks;
}

function stepsOfConsole({ firstLine, lines }: Block): ConsoleStep[] {
  const steps: { line: number; command: string; expected: string[]; exitCode: number }[] = [];
  let reading: "command" | "output" = "output";
  for (const [index, line] of lines.entries()) {
    const last = steps.at(-1);
    if (line.startsWith("$ ")) {
      steps.push({ line: firstLine + index, command: line.slice(2), expected: [], exitCode: 0 });
      reading = "command";
    } else if (last === undefined) {
      throw new Error(`Line ${firstLine + index}: a console block begins with output; commands begin with "$ "`);
    } else if (reading === "command" && line.startsWith("> ")) {
      last.command += `\n${line.slice(2)}`;
    } else {
      reading = "output";
      last.expected.push(line);
    }
  }
  for (const step of steps) {
    while (step.expected.at(-1)?.trim() === "") step.expected.pop();
    const exit = EXIT_LINE.exec(step.expected.at(-1) ?? "");
    if (exit === null) continue;
    step.expected.pop();
    step.exitCode = Number(exit[1]);
  }
  return steps;
}

/**
 * Reads the commands of a document. In a ```console block a line that begins with `$ ` is a command (`> ` goes on with
 * it), the lines after it are what it prints; `…` in a line stands for anything, a line of `…` alone for any number of
 * lines, and a last line `# exit 1` for the exit code (0 where there is none). A ```sh block is one command whose
 * output is not looked at. Every other block is left out.
 */
export function parseConsoleBlocks(markdown: string): readonly ConsoleStep[] {
  return blocksOf(markdown).flatMap((block): readonly ConsoleStep[] => {
    if (block.language === "console") return stepsOfConsole(block);
    if (block.language !== "sh") return [];
    return [{ line: block.firstLine, command: block.lines.join("\n"), expected: null, exitCode: 0 }];
  });
}

function lineMatches(pattern: string, line: string): boolean {
  const parts = pattern.split(ANY);
  const [head = ""] = parts;
  const tail = parts.at(-1) ?? "";
  if (parts.length === 1) return pattern === line;
  if (!line.startsWith(head) || !line.endsWith(tail) || line.length < head.length + tail.length) return false;
  const end = line.length - tail.length;
  let position = head.length;
  for (const part of parts.slice(1, -1)) {
    const found = line.indexOf(part, position);
    if (found === -1 || found + part.length > end) return false;
    position = found + part.length;
  }
  return true;
}

/** Turns what a terminal would show into lines: no styles, no trailing blanks, no empty last line. */
function linesOf(output: string): readonly string[] {
  const lines = stripVTControlCharacters(output)
    .split("\n")
    .map((line) => line.replace(/.*\r(?=.)/, "").trimEnd());
  while (lines.at(-1) === "") lines.pop();
  return lines;
}

/** Compares what was printed with what the document says. @returns null where they agree, else what differs first */
export function differenceOf(expected: readonly string[], output: string): string | null {
  const patterns = expected.map((line) => line.trimEnd());
  const lines = linesOf(output);
  let [pattern, line, star, starLine, furthest] = [0, 0, -1, 0, 0];
  while (line < lines.length) {
    if (patterns[pattern] === ANY) {
      star = pattern;
      starLine = line;
      pattern += 1;
    } else if (pattern < patterns.length && lineMatches(patterns[pattern] ?? "", lines[line] ?? "")) {
      pattern += 1;
      line += 1;
      furthest = Math.max(furthest, pattern);
    } else if (star !== -1) {
      pattern = star + 1;
      starLine += 1;
      line = starLine;
    } else {
      return `expected ${JSON.stringify(patterns[pattern] ?? "no more lines")}, got ${JSON.stringify(lines[line])}`;
    }
  }
  while (patterns[pattern] === ANY) pattern += 1;
  if (pattern === patterns.length) return null;
  return `no line is left for ${JSON.stringify(patterns[Math.max(pattern, furthest)] ?? patterns[pattern])}`;
}

/** Where the commands run. */
export interface ConsoleRun {
  readonly cwd: string;
  /** The whole environment of the first command; what a command exports is there for the next. */
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Commands that only look at what may still be settling: typed again for so long, as somebody would who waits for it. */
  readonly again?: { readonly looks: RegExp; readonly withinMs: number };
}

const KILLED = -1;
const AGAIN_PAUSE_MS = 1_000;

interface ShellResult {
  /** KILLED where it ran too long or died of a signal. */
  readonly exitCode: number;
  readonly output: string;
}

// Each command has a shell of its own, so that one that hangs can be ended alone; variables and directory go on.
const WRAPPER = `
  if [ -e "$CONSOLE_STATE/env" ]; then . "$CONSOLE_STATE/env"; cd "$(cat "$CONSOLE_STATE/cwd")" || exit 125; fi
  . "$CONSOLE_STATE/command"
  CONSOLE_EXIT=$?
  export -p > "$CONSOLE_STATE/env"; pwd > "$CONSOLE_STATE/cwd"
  exit $CONSOLE_EXIT`;

async function runInShell(command: string, stateDir: string, run: ConsoleRun): Promise<ShellResult> {
  const outputFile = join(stateDir, "output");
  await writeFile(join(stateDir, "command"), `${command}\n`);
  // A file and no pipe: a daemon that the command leaves behind would hold a pipe open for ever.
  const output = await openFile(outputFile, "w");
  try {
    const exitCode = await new Promise<number>((resolve, reject) => {
      const child = spawn("bash", ["--noprofile", "--norc", "-c", WRAPPER], {
        cwd: run.cwd,
        env: { ...run.env, CONSOLE_STATE: stateDir },
        stdio: ["ignore", output.fd, output.fd],
        detached: true,
      });
      const timer = setTimeout(() => {
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      }, run.timeoutMs);
      child.once("error", reject);
      child.once("exit", (code) => {
        clearTimeout(timer);
        resolve(code ?? KILLED);
      });
    });
    return { exitCode, output: await readFile(outputFile, "utf8") };
  } finally {
    await output.close();
  }
}

/** @returns null where the command printed and returned what the document says, else what differs and all that it printed */
async function typeStep(
  { line, command, expected, exitCode }: ConsoleStep,
  stateDir: string,
  run: ConsoleRun,
): Promise<string | null> {
  const result = await runInShell(command, stateDir, run);
  const problem =
    result.exitCode === KILLED
      ? `killed; it may take ${run.timeoutMs} ms`
      : result.exitCode !== exitCode
        ? `exit code ${result.exitCode}, expected ${exitCode}`
        : expected === null
          ? null
          : differenceOf(expected, result.output);
  return problem === null ? null : `line ${line}: $ ${command}\n${problem}\nIt printed:\n${result.output}`;
}

/**
 * Runs the commands one after the other, as somebody would who types the document, and stops at the first that prints
 * or returns something else than the document says.
 * @throws Error naming the line, the difference, and everything that was printed
 */
export async function runConsoleSteps(steps: readonly ConsoleStep[], run: ConsoleRun): Promise<void> {
  const stateDir = await mkdtemp(join(tmpdir(), "console-blocks-"));
  try {
    for (const step of steps) {
      const { looks, withinMs = 0 } = run.again ?? {};
      const deadlineMs = systemClock.monotonicMs() + (looks?.test(step.command) === true ? withinMs : 0);
      let problem = await typeStep(step, stateDir, run);
      while (problem !== null && systemClock.monotonicMs() < deadlineMs) {
        await systemClock.sleep(AGAIN_PAUSE_MS);
        problem = await typeStep(step, stateDir, run);
      }
      if (problem !== null) throw new Error(problem);
    }
  } finally {
    await rm(stateDir, { recursive: true, force: true });
  }
}
