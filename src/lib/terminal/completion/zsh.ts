import { type CompletionNode, type CompletionTree, type PathKind, quoteSh, type ValueOption } from "./tree.ts";

/** One entry of `_describe`: the word, a colon, what it is. */
function entry(word: string, description: string): string {
  return quoteSh(`${word.replaceAll(":", String.raw`\:`)}:${description}`);
}

function offerPaths(kind: PathKind): string {
  return kind === "file" ? "_files" : "_files -/";
}

function valueCase({ key, option }: ValueOption): string {
  const { choices, paths } = option;
  const words = choices.length > 0 ? `compadd -- ${choices.map(quoteSh).join(" ")}` : "_message value";
  return `    ${quoteSh(key)}) ${paths === null ? words : offerPaths(paths)}; return ;;`;
}

function nodeCase({ path, words, options, paths }: CompletionNode): string {
  const flags = options.flatMap(({ names, description }) => names.map((name) => entry(name, description)));
  return `    ${quoteSh(path)})
      entries=(${words.map(({ word, description }) => entry(word, description)).join(" ")})
      flags=(${flags.join(" ")})
      files=${quoteSh(paths === null ? "" : offerPaths(paths))} ;;`;
}

/** Renders the completion script for zsh; it works from `$fpath` and when it is sourced. */
export function renderZsh({ nodes, steps, valueOptions }: CompletionTree): string {
  const stepCases = steps.map(({ from, to }) => `      ${quoteSh(from)}) at=${quoteSh(to)} ;;`);
  return `#compdef fula-master
# zsh completion of fula-master: put it as _fula-master into a directory of $fpath, or source it after compinit.
_fula-master() {
  local at="" skip="" files="" index word
  local -a entries flags
  for ((index = 2; index < CURRENT; index++)); do
    word="\${words[index]}"
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$at:$word" in
${stepCases.join("\n")}
      ${valueOptions.map(({ key }) => quoteSh(key)).join("|")}) skip=1 ;;
    esac
  done
  case "$at:\${words[CURRENT-1]}" in
${valueOptions.map(valueCase).join("\n")}
  esac
  case "$at" in
${nodes.map(nodeCase).join("\n")}
  esac
  if [[ $PREFIX == -* ]]; then _describe -o option flags; return; fi
  local none=1
  (( \${#entries} )) && _describe command entries && none=0
  [[ -n $files ]] && \${=files} && none=0
  return none
}
if [[ $funcstack[1] == _fula-master ]]; then _fula-master "$@"; else compdef _fula-master fula-master; fi
`;
}
