import { formatCount } from "../kernel/units.ts";
import type { UpgradeItem, UpgradeProposal } from "./upgrade-plan.ts";
import type { UpgradeOutcome } from "./upgrade-run.ts";

const SERVICE_WIDTH = 10;
const ID_CHARS = 12;

const STANDS = {
  asked: "Every container runs on the image that the settings name.",
  silent: "Every container runs on the image that is on this box. Whether there is a newer one is not known.",
} as const;

/** `sha256:…`, as `docker images` shows it. */
function shortId(id: string | null): string {
  return id === null ? "not here" : id.replace(/^sha256:/, "").slice(0, ID_CHARS);
}

function itemLines({ service, from, to, isDue, why }: UpgradeItem): readonly string[] {
  const name = service.padEnd(SERVICE_WIDTH);
  if (!isDue) return [`  = ${name}${to.image} (${shortId(to.id)})`];
  return [`  + ${name}${from.image} (${shortId(from.id)}) → ${to.image} (${shortId(to.id)})`, `      ${why}`];
}

/** The plan as an operator reads it: `+` is replaced, `=` stays. */
export function renderUpgradePlan({ items, loaded, remarks }: UpgradeProposal): string {
  const due = items.filter(({ isDue }) => isDue);
  const dump = due.some(({ service }) => service === "postgres") ? ["A dump of the ledger is taken first."] : [];
  return [
    `Containers of ${loaded.config.docker.project} in ${loaded.paths.baseDir}`,
    ...items.flatMap(itemLines),
    ...remarks.map((remark) => `Remark: ${remark}.`),
    due.length === 0
      ? STANDS[remarks.length === 0 ? "asked" : "silent"]
      : `${formatCount(due.length, "container")} to replace, one after the other; each only by one that becomes healthy.`,
    ...dump,
  ].join("\n");
}

/** The closing screen. */
export function renderUpgraded({ upgraded, dump }: UpgradeOutcome): string {
  return [
    `Upgraded ${upgraded.join(", ")}; all are healthy.`,
    ...(dump === null ? [] : [`The ledger as it was before is in ${dump}`]),
    "Next: fula-master doctor",
  ].join("\n");
}
