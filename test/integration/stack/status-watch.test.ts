import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { stripVTControlCharacters } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runCli } from "../../../src/cli.ts";
import { COMMANDS } from "../../../src/commands/all.ts";
import { systemClock } from "../../../src/lib/kernel/clock.ts";
import { FulaError } from "../../../src/lib/kernel/errors.ts";
import { systemRandom } from "../../../src/lib/kernel/random.ts";
import type { WatchedStatus } from "../../../src/lib/stack/status-watch.ts";
import { watchStatus } from "../../../src/lib/stack/status-watch.ts";
import { makeTestBox, type TestBox } from "../../support/test-box.ts";
import { until } from "../../support/until.ts";

let box: TestBox;

beforeAll(async () => {
  box = await makeTestBox();
  const joined = await box.run([...box.joinArgs, "--no-start"]);
  expect(joined.exitCode, joined.stderr).toBe(0);
});
afterAll(async () => {
  await box[Symbol.asyncDispose]();
});

const INTERVAL_MS = 200;

/** Watches in this process until `use` is through with it. */
async function watching(use: (looks: readonly { look: WatchedStatus; changed: boolean }[]) => Promise<void>) {
  const stop = new AbortController();
  const looks: { look: WatchedStatus; changed: boolean }[] = [];
  const places = { globals: { baseDir: box.baseDir }, env: {}, cwd: "/" };
  const context = { ...places, clock: systemClock, random: systemRandom, signal: stop.signal };
  const options = { intervalMs: INTERVAL_MS, scheduleRoot: box.scheduleRoot };
  const watch = watchStatus(context, options, (look, changed) => looks.push({ look, changed }));
  try {
    await use(looks);
  } finally {
    stop.abort(new FulaError("FULA_INTERRUPTED", "Stopped."));
    await watch;
  }
}

function problemOf(look: WatchedStatus | undefined, part: "pins" | "key"): string | null {
  return look !== undefined && "report" in look ? (look.report[part]?.problem ?? null) : null;
}

test("looks again and again, and tells what changed: a part that dies, and one that comes back", async () => {
  const pins = join(box.baseDir, "state/pins.sqlite");
  await watching(async (looks) => {
    await until("it has looked three times", async () => looks.length >= 3);
    expect(looks.map(({ changed }) => changed).slice(0, 3)).toEqual([true, false, false]);
    await rename(pins, `${pins}.away`);
    await until("the pinset is missed", async () => problemOf(looks.at(-1)?.look, "pins") !== null);
    await rename(`${pins}.away`, pins);
    await until("the pinset is back", async () => problemOf(looks.at(-1)?.look, "pins") === null);
    expect(looks.filter(({ changed }) => changed)).toHaveLength(3);
  });
});

test("outlives settings that cannot be read for a while", async () => {
  const settings = join(box.baseDir, "fula-master.yaml");
  const text = await readFile(settings, "utf8");
  await watching(async (looks) => {
    await until("it has looked", async () => looks.length > 0);
    await writeFile(settings, "runtime: [\n");
    await until("it tells that the settings are broken", async () => {
      const look = looks.at(-1)?.look;
      return look !== undefined && "error" in look && look.error.code === "FULA_CONFIG_SYNTAX";
    });
    await writeFile(settings, text);
    await until("it looks again", async () => "report" in (looks.at(-1)?.look ?? {}));
  });
});

class Stream extends Writable {
  text = "";
  readonly isTTY: boolean;
  readonly columns = 100;
  readonly rows = 40;

  constructor(isTTY: boolean) {
    super({ decodeStrings: false });
    this.isTTY = isTTY;
  }

  override _write(chunk: string, _encoding: string, done: () => void): void {
    this.text += chunk;
    done();
  }
}

/** Runs the command until it has printed `drawn`, then presses Ctrl-C. */
async function watchUntil(args: readonly string[], isTTY: boolean, drawn: (text: string) => boolean) {
  const stop = new AbortController();
  const stdout = new Stream(isTTY);
  const environment = {
    stdin: Object.assign(Readable.from([""]), { isTTY }),
    stdout,
    stderr: new Stream(isTTY),
    env: { HOME: process.env["HOME"], PATH: process.env["PATH"] },
    cwd: "/",
    signal: stop.signal,
  };
  const words = ["status", "--watch", "200ms", "--schedule-root", box.scheduleRoot, "--base-dir", box.baseDir, ...args];
  const running = runCli(words, environment, COMMANDS);
  await until("it has printed what is waited for", async () => drawn(stdout.text));
  stop.abort(new FulaError("FULA_INTERRUPTED", "Stopped."));
  return { exitCode: await running, text: stdout.text };
}

test("Ctrl-C ends it with 0; on a pipe it has printed a report, with --json a line", async () => {
  const pipe = await watchUntil([], false, (text) => text.includes("base dir"));
  expect(pipe.exitCode).toBe(0);
  expect(pipe.text).toMatch(/^\S+: UNHEALTHY master, embedded/);
  const json = await watchUntil(["--json"], false, (text) => text.endsWith("\n"));
  expect(json.exitCode).toBe(0);
  // Before it is stopped, it may have found something changed.
  expect(JSON.parse(json.text.split("\n")[0] ?? "")).toMatchObject({ joined: true, healthy: false });
});

test("on a terminal it draws over the old screen, gives the terminal back and leaves what it last said", async () => {
  const home = "\u001b[H";
  const { exitCode, text } = await watchUntil([], true, (drawn) => drawn.split(home).length > 3);
  expect(exitCode).toBe(0);
  expect(text.startsWith("\u001b[?1049h")).toBe(true);
  expect(text).not.toContain("\u001b[2J");
  const [, after] = text.split("\u001b[?1049l");
  expect(stripVTControlCharacters(after ?? "")).toMatch(/^\S+: UNHEALTHY master, embedded[^]*base dir/);
});

test("an interval that is none is refused", async () => {
  for (const interval of ["0s", "soon"]) {
    expect(await box.run(["status", "--watch", interval])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("fula-master status --watch 5s"),
    });
  }
});
