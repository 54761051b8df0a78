import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type JournalEntry, latestJournal, openJournal, readJournal } from "../../../src/lib/kernel/journal.ts";
import { FakeClock } from "../../support/clock.ts";
import { property } from "../../support/property.ts";
import { tempDir } from "../../support/temp-dir.ts";

async function entriesOf(path: string): Promise<readonly JournalEntry[]> {
  const entries: JournalEntry[] = [];
  for await (const entry of readJournal(path)) entries.push(entry);
  return entries;
}

async function eventsOf(path: string): Promise<readonly string[]> {
  return (await entriesOf(path)).map(({ event }) => event);
}

describe("a journal", () => {
  test("what was appended comes back in order, with its time and its facts", async () => {
    const clock = new FakeClock(Date.UTC(2026, 10, 20, 3));
    await using journal = await openJournal(tempDir(), "join", clock);
    await journal.append("step.started", { step: "keys" });
    clock.step(1_500);
    await journal.append("step.done", { step: "keys", created: 3 });
    expect(await entriesOf(journal.path)).toEqual([
      { at: "2026-11-20T03:00:00.000Z", event: "step.started", step: "keys" },
      { at: "2026-11-20T03:00:01.500Z", event: "step.done", step: "keys", created: 3 },
    ]);
  });

  test("nobody but its owner may read it", async () => {
    await using journal = await openJournal(join(tempDir(), "journal"), "join", new FakeClock());
    expect(statSync(journal.path).mode & 0o777).toBe(0o600);
    expect(statSync(join(journal.path, "..")).mode & 0o777).toBe(0o700);
  });

  test("text with line breaks and any other character stays on its line", async () => {
    const text = 'a\nb\r\nc\u2028d"\\ é 漢';
    await using journal = await openJournal(tempDir(), "join", new FakeClock());
    await journal.append("note", { text });
    await journal.append("end");
    expect((await entriesOf(journal.path))[0]?.["text"]).toBe(text);
    expect(readFileSync(journal.path, "utf8").split("\n")).toHaveLength(3);
  });

  test("a torn last line is left out, wherever it was cut", async () => {
    const dir = tempDir();
    await using journal = await openJournal(dir, "join", new FakeClock());
    for (const event of ["one", "two", "three"]) await journal.append(event, { text: "é漢" });
    const whole = readFileSync(journal.path);
    const lastStart = whole.lastIndexOf("\n", whole.length - 2) + 1;
    for (let length = lastStart; length < whole.length; length += 1) {
      const torn = join(dir, "torn");
      writeFileSync(torn, whole.subarray(0, length));
      expect(await eventsOf(torn)).toEqual(["one", "two"]);
    }
  });

  test("a resumed journal does not grow onto a torn line", async () => {
    const dir = tempDir();
    const clock = new FakeClock();
    const first = await openJournal(dir, "restore", clock);
    await first.append("one");
    await first.close();
    appendFileSync(first.path, '{"at":"2026-11-20T03:00:00.000Z","event":"tw');
    await using second = await openJournal(dir, "restore", clock, first.path);
    expect(second.path).toBe(first.path);
    await second.append("three");
    expect(await eventsOf(first.path)).toEqual(["one", "three"]);
  });

  test("any cut, then any resume, loses nothing that stood before the cut", async () => {
    const dir = tempDir();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: "binary" }), { minLength: 1, maxLength: 8 }),
        fc.nat(),
        async (texts, cutSeed) => {
          const clock = new FakeClock();
          const path = join(dir, "restore-2026.jsonl");
          writeFileSync(path, "");
          const writer = await openJournal(dir, "restore", clock, path);
          for (const text of texts) await writer.append("pin", { text });
          await writer.close();
          const bytes = readFileSync(path);
          const cut = cutSeed % (bytes.length + 1);
          const whole = bytes.subarray(0, cut).filter((byte) => byte === 10).length;
          truncateSync(path, cut);
          await using resumed = await openJournal(dir, "restore", clock, path);
          await resumed.append("resumed");
          const read = (await entriesOf(path)).map((entry) => entry["text"]);
          expect(read).toEqual([...texts.slice(0, whole).map((text) => text.toWellFormed()), undefined]);
        },
      ),
      property(50),
    );
  });

  test("the newest of a kind is found, and no other kind's", async () => {
    const dir = join(tempDir(), "journal");
    expect(await latestJournal(dir, "join")).toBeNull();
    const clock = new FakeClock(Date.UTC(2026, 8, 9));
    const paths: string[] = [];
    for (const kind of ["join", "join", "join-as-storage-node", "restore"]) {
      clock.step(86_400_000);
      await using journal = await openJournal(dir, kind, clock);
      paths.push(journal.path);
    }
    expect(await latestJournal(dir, "join")).toBe(paths[1]);
    expect(await latestJournal(dir, "restore")).toBe(paths[3]);
    expect(await latestJournal(dir, "resync")).toBeNull();
  });
});
