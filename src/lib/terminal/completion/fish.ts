import type { CompletedOption, CompletionNode, CompletionTree } from "./tree.ts";

function quoteFish(text: string): string {
  return `'${text.replaceAll("\\", String.raw`\\`).replaceAll("'", String.raw`\'`)}'`;
}

/** The beginning of a line that holds only behind the command at `path`. */
function completeAt(path: string): string {
  return `complete -c fula-master -n ${quoteFish(`__fula_master_at "${path}"`)}`;
}

function optionLine(path: string, { names, description, takesValue, choices, paths }: CompletedOption): string {
  const spellings = names.map((name) => (name.startsWith("--") ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const value = choices.length > 0 ? `-x -a ${quoteFish(choices.join(" "))}` : paths === null ? "-x" : "-r -F";
  return [completeAt(path), ...spellings, ...(takesValue ? [value] : []), "-d", quoteFish(description)].join(" ");
}

function nodeLines({ path, words, options, paths }: CompletionNode): readonly string[] {
  return [
    ...words.map(({ word, description }) => `${completeAt(path)} -a ${quoteFish(word)} -d ${quoteFish(description)}`),
    ...(paths === null ? [] : [`${completeAt(path)} -F`]),
    ...options.map((option) => optionLine(path, option)),
  ];
}

/** Renders the completion script for fish, 3.0 and newer. */
export function renderFish({ nodes, steps, valueOptions }: CompletionTree): string {
  const stepCases = steps.map(({ from, to }) => `            case ${quoteFish(from)}\n                set at ${to}`);
  return `# fish completion of fula-master: put it into ~/.config/fish/completions/fula-master.fish
function __fula_master_at
    set -l at ""
    set -l skip ""
    for word in (commandline -opc)[2..-1]
        if test -n "$skip"
            set skip ""
            continue
        end
        switch "$at:$word"
${stepCases.join("\n")}
            case ${valueOptions.map(({ key }) => quoteFish(key)).join(" ")}
                set skip 1
        end
    end
    test "$at" = "$argv[1]"
end
complete -c fula-master -f
${nodes.flatMap(nodeLines).join("\n")}
`;
}
