import type { Log } from "../lib/kernel/log.ts";
import type { FailoverTalk } from "../lib/stack/failover-run.ts";
import type { CommandContext } from "../lib/terminal/command.ts";

/** What a command gives to those who change the ledger's servers: what of the control plane is waited for, it says. */
export async function ledgerContext(
  context: CommandContext,
): Promise<CommandContext & { readonly log: Log; readonly onWait: (sentence: string) => void }> {
  const { logTo } = await import("../lib/terminal/log.ts");
  const { out } = context;
  return { ...context, log: logTo(out), onWait: (sentence) => out.note(sentence) };
}

/** The option by which contents that no box has are accepted. */
export const ALLOW_MISSING = {
  flags: "--allow-missing <number>",
  description: "let so many contents be on no box that answers when the new master is tried; they are journaled",
} as const;

/** @throws FulaError FULA_USAGE where it is no number of contents */
export async function readAllowedMissing(text: string | undefined): Promise<number | null> {
  if (text === undefined) return null;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  const { FulaError } = await import("../lib/kernel/errors.ts");
  throw new FulaError("FULA_USAGE", `--allow-missing ${JSON.stringify(text)} is no number of contents.`, {
    hint: "give the number that the failover stopped with; fula-master failover status --json lists them.",
  });
}

/** How a command asks and tells while a failover or switchover is done. @param show renders the plan that is agreed to */
export function talkOf(
  { out }: CommandContext,
  yes: boolean,
  show: (plan: Parameters<FailoverTalk["confirm"]>[0]) => string,
): FailoverTalk {
  return {
    confirm: async (plan) => {
      out.note(show(plan));
      await out.confirmByName(`This changes which master takes the ledger's writes.`, plan.confirmation, yes);
    },
    confirmRescue: async (left) => {
      const names = left.join(",");
      const question = `Go on with ${names} alone? No other server of the control plane may ever start again with what it holds.`;
      await out.confirmByName(question, names, yes);
    },
    onStep: (title) => out.note(`> ${title}`),
    report: (text) => out.detail(text),
  };
}
