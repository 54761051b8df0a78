import { formatUtc } from "../../kernel/clock.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, type Lsn, segmentOf, segmentStart, walFileName } from "../lsn.ts";
import { historyName } from "../timeline-history.ts";
import { lookAtNodeBy } from "./node-look.ts";
import type { DivergedTail, ReplicaWork } from "./replica-work.ts";
import { runSingleUser } from "./single-user.ts";
import { runScript, writeSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";
import type { WalEnd } from "./wal-end.ts";
import { fileOfSegment, oldestKept } from "./wal-inventory.ts";

/** What was kept of a history that is discarded. */
export interface Salvage {
  /** Directory at the site. */
  readonly dir: string;
  /** Transactions that were committed after the fork. */
  readonly transactions: number;
  /** Rows of money and roots that they wrote; null where the server could not be asked for them any more. */
  readonly rows: number | null;
  readonly failure: string | null;
}

/** What is kept bears its name only when it is whole. */
export const UNFINISHED = ".unfinished";

const COPY_WAL = `
umask 077
data=$1; out=$2; shift 2
mkdir -p "$out/wal" "$out/rows" || exit 1
for name in "$@"; do cp -p --reflink=auto "$data/pg_wal/$name" "$out/wal/" || exit 1; done
sync "$out/wal"`;

// pg_waldump reads files of one timeline, by their names. Where a record begins in a file of one timeline and ends in one of
// the next, only a reader who takes both for the same sees it.
const VIEW_WAL = `
umask 077
out=$1; shift
rm -rf "$out/view" && mkdir "$out/view" || exit 1
while [ $# -gt 0 ]; do ln -s "../wal/$1" "$out/view/$2" || exit 1; shift 2; done`;

// It ends with 1 where a record is torn before the end that it was given. What it has read before is right.
const LIST_TRANSACTIONS = `
umask 077
read=whole
pg_waldump --rmgr=Transaction -t "$1" -p "$4/view" -s "$2" -e "$3" >"$4/transactions.txt" 2>"$4/waldump.txt" || read=torn
awk '/desc: COMMIT/ {
  if (match($0, /tx: +[0-9]+/)) { split(substr($0, RSTART, RLENGTH), part, / +/); if (part[2] != "0") print part[2] }
  if (match($0, /subxacts:[ 0-9]+/)) { n = split(substr($0, RSTART + 9, RLENGTH - 9), sub_, / +/); for (i = 1; i <= n; i++) if (sub_[i] != "") print sub_[i] }
}' "$4/transactions.txt" >"$4/xids.txt" && sync "$4/transactions.txt" "$4/xids.txt" && rm -r "$4/view" || exit 1
echo "$read $(grep -c 'desc: COMMIT' "$4/transactions.txt")"`;

const COUNT_ROWS = 'cd "$1/rows" && sync . && cat -- *.jsonl 2>/dev/null | wc -l';

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/**
 * One file a table of money and roots, which are those that the epoch guards. JSON has no control characters in it, so a
 * CSV without any that could quote is the JSON as it is.
 */
function exportStatement(dir: string): string {
  const xids = `select x from unnest(string_to_array(trim(e'\\n' from pg_read_file(${literal(`${dir}/xids.txt`)})), e'\\n')) x`;
  return `do $salvage$
declare guarded regclass;
begin
  for guarded in select distinct tgrelid::regclass from pg_trigger where tgname = 'ledger_epoch' order by 1 loop
    execute format(
      'copy (select json_build_object(''table'', %L, ''xmin'', t.xmin::text, ''row'', to_json(t))
               from %s t where t.xmin::text in (%s)) to %L with (format csv, delimiter e''\\x01'', quote e''\\x02'')',
      guarded::text, guarded, ${literal(xids)}, ${literal(`${dir}/rows/`)} || replace(guarded::text, '"', '') || '.jsonl');
  end loop;
end $salvage$`;
}

/**
 * Keeps what is about to be discarded: the WAL after the fork, what was committed in it, and the rows of money and roots that
 * those transactions wrote, one JSON a line, for people to compare. Nothing is ever merged. Brings the server, which is
 * stopped, to a clean shutdown on the way, as a rewind needs it.
 * @throws FulaError FULA_RECOVERY_STEP where not even the WAL can be kept, or the data do not recover
 */
export async function salvageTail(
  work: ReplicaWork,
  files: SiteSession,
  { forkLsn }: DivergedTail,
  signal: AbortSignal,
): Promise<Salvage> {
  const { site, clock, log, node } = work.server;
  const whole = `${siteLayout(site).salvage(work.epoch.number)}/${work.session}`;
  const dir = `${whole}${UNFINISHED}`;
  const tail = await findTail(work, files, forkLsn, signal);
  const { count, failure: unread } = await keepWal(work, files, tail, dir, signal);
  let rows: number | null = null;
  let failure = unread;
  try {
    await runSingleUser(work, files, count === 0 ? [] : [exportStatement(dir)], signal);
    rows = Number((await runScript(files, "count the rows", COUNT_ROWS, [dir])).trim());
  } catch (error) {
    signal.throwIfAborted();
    failure = messageOf(error);
  }
  const manifest = {
    node,
    epoch: { number: String(work.epoch.number), uuid: work.epoch.uuid },
    forkLsn: formatLsn(forkLsn),
    endLsn: formatLsn(tail.end.lsn),
    timeline: tail.end.timeline,
    wal: tail.segments.map(({ name }) => name),
    transactions: count,
    rows,
    failure,
    at: formatUtc(clock.nowMs()),
  };
  await writeSiteFile(files, `${dir}/manifest.json`, `${JSON.stringify(manifest, null, 2)}\n`);
  await runScript(files, `keep ${whole}`, 'mv "$1" "$2" && sync "${2%/*}"', [dir, whole]);
  log.info("recovery.salvaged", { dir: whole, transactions: count, rows, failure });
  return { dir: whole, transactions: count, rows, failure };
}

/** What a stopped server has after a fork. */
interface KeptTail {
  readonly forkLsn: Lsn;
  readonly end: Pick<WalEnd, "timeline" | "lsn">;
  /** From where on all of it is there: the fork, where nothing is gone. */
  readonly fromLsn: Lsn;
  /** In their order, with the names that they would have on the last timeline. */
  readonly segments: readonly { readonly name: string; readonly onLast: string }[];
  readonly histories: readonly string[];
}

/** Looks once more: a server that ran when this was planned may have written since. */
async function findTail(work: ReplicaWork, files: SiteSession, forkLsn: Lsn, signal: AbortSignal): Promise<KeptTail> {
  const { data } = await lookAtNodeBy(files, work.server, signal);
  if (data.kind !== "readable") {
    throw new FulaError("FULA_RECOVERY_STEP", `The data in ${work.server.site.where} cannot be read.`, {
      hint: "they stay as they are: a new copy is made beside them.",
    });
  }
  const { end, wal } = data;
  const { segmentBytes } = wal;
  const stretches = data.stretches ?? [{ timeline: end.timeline, beganAtLsn: 0n }];
  const oldest = oldestKept(wal.files, stretches, end.lsn, segmentBytes);
  const fromLsn = oldest > forkLsn ? oldest : forkLsn;
  const segments: KeptTail["segments"][number][] = [];
  const last = segmentOf(end.lsn - 1n, segmentBytes);
  for (let segment = segmentOf(fromLsn, segmentBytes); segment <= last; segment += 1n) {
    const onLast = walFileName(end.timeline, segmentStart(segment, segmentBytes), segmentBytes);
    segments.push({ name: fileOfSegment(stretches, segment, segmentBytes), onLast });
  }
  return { end, forkLsn, fromLsn, segments, histories: [...wal.histories.keys()].map(historyName) };
}

/** @returns how many transactions were committed after the fork; and what of that could not be read, a sentence */
async function keepWal(
  work: ReplicaWork,
  files: SiteSession,
  { end, forkLsn, fromLsn, segments, histories }: KeptTail,
  dir: string,
  signal: AbortSignal,
): Promise<{ readonly count: number; readonly failure: string | null }> {
  const { site } = work.server;
  const names = segments.map(({ name }) => name);
  await runScript(files, `keep the WAL of ${site.where}`, COPY_WAL, [site.dataDir, dir, ...names, ...histories], {
    signal,
  });
  const links = segments.flatMap(({ name, onLast }) => [name, onLast]);
  await runScript(files, "lay out the WAL", VIEW_WAL, [dir, ...links], { signal });
  const range = [String(end.timeline), formatLsn(fromLsn), formatLsn(end.lsn), dir];
  const said = await runScript(files, "read the WAL", LIST_TRANSACTIONS, range, { signal });
  const [read, count = "0"] = said.trim().split(" ");
  const isRead = read === "whole" || fromLsn >= end.lsn;
  if (fromLsn > forkLsn) {
    const gone = `Its WAL between ${formatLsn(forkLsn)} and ${formatLsn(fromLsn)} is gone.`;
    return { count: Number(count), failure: gone };
  }
  return { count: Number(count), failure: isRead ? null : `Its WAL cannot be read up to ${formatLsn(end.lsn)}.` };
}
