import { assert } from "../lib/kernel/assert.ts";
import { defineCommand } from "../lib/terminal/command.ts";

export const completionCommand = defineCommand({
  name: "completion",
  summary: "print a completion script for bash, zsh or fish",
  description: "Prints the script that lets a shell complete commands, options and their values. Reads only.",
  arguments: [
    { name: "shell", description: "the shell to print it for", required: true, choices: ["bash", "zsh", "fish"] },
  ],
  examples: [
    {
      command: "fula-master completion bash > /etc/bash_completion.d/fula-master",
      explains: "complete in every bash that starts from now on",
    },
    {
      command: "fula-master completion zsh > /usr/local/share/zsh/site-functions/_fula-master",
      explains: "the same for zsh",
    },
    {
      command: "fula-master completion fish > ~/.config/fish/completions/fula-master.fish",
      explains: "the same for fish, for this user",
    },
  ],
  run: async ({ out, commands }, _options, [name]) => {
    const { COMPLETION_SHELLS, renderCompletion } = await import("../lib/terminal/completion/render.ts");
    const shell = COMPLETION_SHELLS.find((each) => each === name);
    assert(shell !== undefined, `Commander let the shell "${name}" pass`);
    const script = renderCompletion(shell, commands);
    out.result({ shell, script }, () => script);
  },
});
