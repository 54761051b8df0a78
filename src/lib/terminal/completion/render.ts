import type { CommandSpec } from "../command.ts";
import { renderBash } from "./bash.ts";
import { renderFish } from "./fish.ts";
import { completionTree } from "./tree.ts";
import { renderZsh } from "./zsh.ts";

/** Shells that a completion script can be rendered for. */
export const COMPLETION_SHELLS = ["bash", "zsh", "fish"] as const;
/** One of `COMPLETION_SHELLS`. */
export type CompletionShell = (typeof COMPLETION_SHELLS)[number];

const RENDERERS = { bash: renderBash, zsh: renderZsh, fish: renderFish } as const;

/** Renders the completion script of a shell from the command tree: commands, subcommands, options, choices, paths. */
export function renderCompletion(shell: CompletionShell, commands: readonly CommandSpec[]): string {
  return RENDERERS[shell](completionTree(commands));
}
