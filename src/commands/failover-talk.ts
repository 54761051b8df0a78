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
