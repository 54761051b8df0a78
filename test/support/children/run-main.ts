/* Runs the real process edge on commands that misbehave in one way each. */
import { main } from "../../../src/main.ts";
import { type CommandContext, type CommandSpec, defineCommand } from "../../../src/lib/terminal/command.ts";

function command(name: string, run: (context: CommandContext) => Promise<number | void>): CommandSpec {
  return defineCommand({ name, summary: name, description: name, examples: [], run });
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  const keepAlive = setInterval(() => {}, 60_000);
  await new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });
  clearInterval(keepAlive);
}

await main([
  command("wait", async ({ out, signal }) => {
    out.note("waiting");
    await untilAborted(signal);
    signal.throwIfAborted();
  }),
  command("serve", async ({ out, signal }) => {
    out.note("waiting");
    await untilAborted(signal);
    out.note("drained");
  }),
  command("deaf", async ({ out, signal }) => {
    out.note("waiting");
    await untilAborted(signal);
    out.note("aborted");
    await new Promise((resolve) => {
      setTimeout(resolve, 600_000);
    });
  }),
  command("numbers", async ({ out }) => {
    for (let number = 0; ; number += 1) {
      await out.recordSlowly({ number }, () => `line ${number}`);
      if (number % 100 === 0) await new Promise(setImmediate);
    }
  }),
  command("large", async ({ out }) => {
    out.result({ text: "x".repeat(5_000_000) }, () => "x".repeat(5_000_000));
    return 1;
  }),
  command("forget", async () => {
    void Promise.reject(new TypeError("nobody waits for me"));
    await new Promise((resolve) => {
      setTimeout(resolve, 600_000);
    });
  }),
  command("throw-later", async () => {
    setImmediate(() => {
      throw new TypeError("thrown from a timer");
    });
    await new Promise((resolve) => {
      setTimeout(resolve, 600_000);
    });
  }),
]);
