import { type CompletionNode, type CompletionTree, type PathKind, quoteSh, type ValueOption } from "./tree.ts";

function offerWords(words: readonly string[]): string {
  return `COMPREPLY=($(compgen -W ${quoteSh(words.join(" "))} -- "$cur"))`;
}

function offerPaths(kind: PathKind): string {
  const flag = kind === "file" ? "-f" : "-d";
  // Only newlines part the names that compgen gives, so that a blank within one stays.
  return `local IFS=$'\\n'; compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen ${flag} -- "$cur"))`;
}

function valueCase({ key, option }: ValueOption): string {
  const { choices, paths } = option;
  const offer = choices.length > 0 ? `${offerWords(choices)}; ` : paths === null ? "" : `${offerPaths(paths)}; `;
  return `    ${quoteSh(key)}) ${offer}return ;;`;
}

function nodeCase({ path, words, options, paths }: CompletionNode): string {
  const flags = offerWords(options.flatMap(({ names }) => names));
  const rest = words.length > 0 ? offerWords(words.map(({ word }) => word)) : paths === null ? ":" : offerPaths(paths);
  return `    ${quoteSh(path)}) if [[ $cur == -* ]]; then ${flags}; else ${rest}; fi ;;`;
}

/** Renders the completion script for bash, 3.2 and newer, with or without the bash-completion package. */
export function renderBash({ nodes, steps, valueOptions }: CompletionTree): string {
  const stepCases = steps.map(({ from, to }) => `      ${quoteSh(from)}) path=${quoteSh(to)} ;;`);
  return `# bash completion of fula-master. Load it with:  source <(fula-master completion bash)
_fula_master() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="" path="" skip="" index word
  COMPREPLY=()
  [[ $COMP_CWORD -gt 0 ]] && prev="\${COMP_WORDS[COMP_CWORD-1]}"
  # bash splits --config=file into three words.
  if [[ $cur == "=" ]]; then cur=""; elif [[ $prev == "=" ]]; then prev="\${COMP_WORDS[COMP_CWORD-2]}"; fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word="\${COMP_WORDS[index]}"
    if [[ $word == "=" ]]; then skip=1; continue; fi
    if [[ -n $skip ]]; then skip=""; continue; fi
    case "$path:$word" in
${stepCases.join("\n")}
      ${valueOptions.map(({ key }) => quoteSh(key)).join("|")}) [[ \${COMP_WORDS[index+1]} == "=" ]] || skip=1 ;;
    esac
  done
  case "$path:$prev" in
${valueOptions.map(valueCase).join("\n")}
  esac
  case "$path" in
${nodes.map(nodeCase).join("\n")}
  esac
}
complete -F _fula_master fula-master
`;
}
