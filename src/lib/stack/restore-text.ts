import type { RestorePlan } from "../pinset/restore-selection.ts";
import type { RestoreReport } from "./restore-run.ts";
import { formatCount } from "../kernel/units.ts";

/** CIDs that are named one by one in a text; the JSON report has them all. */
const NAMED_MAX = 20;

/** What a restore found and did, or with `dryRun` would do, line by line; names in it come from the snapshot as they are. */
export function restoreLines({ snapshot, overwrite, plan, result }: RestoreReport): readonly string[] {
  const { missing, differs, equal, extra, expired } = plan.counts;
  const lines = [
    `Snapshot ${snapshot.file}`,
    `  taken ${snapshot.time ?? "at an unknown time"}, ${formatCount(snapshot.pinCount ?? 0, "pin")}, signed by ${snapshot.signedBy ?? "nobody"}`,
    `${missing} missing, ${differs} with other options, ${equal} as they should be, ${expired} expired, ${extra} not in the snapshot (left alone).`,
  ];
  if (result === null) lines.push(...planLines(plan, overwrite));
  else lines.push(...resultLines(result));
  if (differs > 0 && !overwrite) {
    if (result !== null) lines.push(...changeLines(plan));
    lines.push(
      `${formatCount(differs, "pin has", "pins have")} other options; --overwrite sets them as in the snapshot.`,
    );
  }
  return lines;
}

function planLines(
  { counts, missing, differing, notInSnapshot, toWrite }: RestoreReport["plan"],
  overwrite: boolean,
): readonly string[] {
  const more = counts.missing + counts.differs - missing.length - differing.length;
  return [
    ...missing.map(({ cid, name }) => `  would pin     ${cid}  ${name}`),
    ...differing.map(
      ({ cid, fields }) => `  ${overwrite ? "would change" : "would leave "}  ${cid}  ${fields.join(", ")}`,
    ),
    ...(more > 0 ? [`  … and ${more} more`] : []),
    ...notInSnapshot.slice(0, NAMED_MAX).map((cid) => `  not there     ${cid}  is not in the snapshot`),
    `A restore would write ${formatCount(toWrite, "pin")}. Nothing was written.`,
  ];
}

function resultLines(result: NonNullable<RestoreReport["result"]>): readonly string[] {
  const { written, verified, problems, shown, file } = result;
  const lines = [`${formatCount(written, "pin")} written. Read again: ${verified} as they should be, ${problems} not.`];
  for (const { cid, name, problem, detail } of shown) lines.push(`  ${cid}  ${name}  ${problem}: ${detail}`);
  if (file !== null) lines.push(`All of these are listed in ${file}`);
  return lines;
}

/** Which existing pins would get other options, for the operator who is about to be asked. */
export function changeLines({ counts, differing }: RestorePlan): readonly string[] {
  const more = counts.differs - differing.length;
  return [
    ...differing.map(({ cid, name, fields }) => `  ${cid}  ${name}  differs in ${fields.join(", ")}`),
    ...(more > 0 ? [`  … and ${more} more`] : []),
  ];
}

/** What an operator is asked before existing pins are changed. */
export function changeQuestion({ counts }: RestorePlan): string {
  const which = counts.differs === 1 ? "1 existing pin" : `${counts.differs} existing pins`;
  return `Set the options of ${which} as they are in the snapshot?`;
}
