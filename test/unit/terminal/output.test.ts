import { describe, expect, test } from "vitest";
import { StdoutClosedError } from "../../../src/lib/terminal/output.ts";
import { FakeClock } from "../../support/clock.ts";
import { testOutput } from "../../support/terminal.ts";

describe("records", () => {
  test("are one line of text each, or one line of JSON", () => {
    const text = testOutput(null);
    text.out.record({ cid: "a" }, () => "pin a");
    const json = testOutput(null, { json: true });
    json.out.record({ cid: "a", name: "x\ny" }, () => "pin a");
    expect([text.stdout.text, json.stdout.text]).toEqual(["pin a\n", '{"cid":"a","name":"x\\ny"}\n']);
  });

  test("a closed stdout ends the listing", () => {
    const { out, stdout } = testOutput(null);
    stdout.destroy();
    expect(() => {
      out.record({}, () => "line");
    }).toThrow(StdoutClosedError);
  });

  test("a long listing waits for a slow reader, and ends when the reader goes away", async () => {
    const { out, stdout } = testOutput(null);
    const pending: (() => void)[] = [];
    stdout._write = (_chunk, _encoding, done) => {
      pending.push(done);
    };
    const large = "x".repeat(stdout.writableHighWaterMark);
    let written = false;
    const first = out
      .recordSlowly({}, () => large)
      .then(() => {
        written = true;
      });
    await new Promise(setImmediate);
    expect(written).toBe(false);
    pending.shift()?.();
    await first;
    const second = out.recordSlowly({}, () => large);
    stdout.destroy();
    await second;
    await expect(out.recordSlowly({}, () => "more")).rejects.toThrow(StdoutClosedError);
  });
});

describe("progress", () => {
  test("on a pipe: nothing in the first second, then a line every five", () => {
    const { out, stderr } = testOutput(null);
    const clock = new FakeClock();
    const progress = out.progress("Reading pins", "pins", () => clock.monotonicMs());
    for (let done = 0; done <= 120; done += 1) {
      progress.update(done, 120);
      clock.step(100);
    }
    progress.end();
    expect(stderr.text).toBe(
      "Reading pins: 10 of 120 pins (8 %)\nReading pins: 60 of 120 pins (50 %)\nReading pins: 110 of 120 pins (91 %)\n",
    );
  });

  test("on a terminal: one line that is redrawn, never wider than the terminal, and gone at the end", () => {
    const { out, stderr } = testOutput(20);
    const progress = out.progress("Reading a very long list", "pins", () => 0);
    progress.update(5, null);
    expect(stderr.text).toBe("\r\u001b[2KReading a very lon…");
    progress.end();
    expect(stderr.text.endsWith("\r\u001b[2K")).toBe(true);
  });

  test("with --quiet there is none", () => {
    const { out, stderr } = testOutput(80, { quiet: true });
    const progress = out.progress("Reading", "pins");
    progress.update(1, 2);
    progress.end();
    expect(stderr.text).toBe("");
  });
});

describe("remarks", () => {
  test("--quiet silences remarks, not warnings; --verbose adds detail", () => {
    const say = (options: { quiet?: boolean; verbose?: boolean }): string => {
      const { out, stderr } = testOutput(null, options);
      out.note("note");
      out.detail("detail");
      out.warn("warn");
      return stderr.text;
    };
    expect(say({})).toBe("note\nwarning: warn\n");
    expect(say({ quiet: true })).toBe("warning: warn\n");
    expect(say({ verbose: true })).toBe("note\ndetail\nwarning: warn\n");
  });
});

describe("a question", () => {
  test("ends with the run when nobody has answered", async () => {
    const controller = new AbortController();
    const { out } = testOutput(80, { signal: controller.signal });
    const question = out.confirm("Remove?", false);
    controller.abort();
    await expect(question).rejects.toMatchObject({ code: "FULA_INTERRUPTED" });
  });

  test("is not asked where the result is read by a program", async () => {
    const { out, stderr } = testOutput(80, { json: true });
    await expect(out.confirm("Remove?", false)).rejects.toMatchObject({ code: "FULA_CONFIRMATION_REQUIRED" });
    expect(stderr.text).toBe("");
  });
});
