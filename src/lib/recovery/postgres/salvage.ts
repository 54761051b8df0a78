import { formatUtc } from "../../kernel/clock.ts";
import { messageOf } from "../../kernel/errors.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { formatLsn, parseWalFileName, segmentOf } from "../lsn.ts";
import type { DivergedTail, ReplicaWork } from "./replica-work.ts";
import { runSingleUser } from "./single-user.ts";
import { runScript, writeSiteFile } from "./site-files.ts";
import { siteLayout } from "./site-layout.ts";

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

// pg_waldump ends with 1 where the WAL ends in the middle of a segment, which it nearly always does. What it has read is
// right: it stands in the file, and a record that is torn is not.
const LIST_TRANSACTIONS = `
umask 077
pg_waldump --rmgr=Transaction -t "$1" -p "$2/pg_wal" -s "$3" -e "$4" >"$5/transactions.txt" 2>"$5/waldump.txt"
awk '/desc: COMMIT/ {
  if (match($0, /tx: +[0-9]+/)) { split(substr($0, RSTART, RLENGTH), part, / +/); if (part[2] != "0") print part[2] }
  if (match($0, /subxacts:[ 0-9]+/)) { n = split(substr($0, RSTART + 9, RLENGTH - 9), sub_, / +/); for (i = 1; i <= n; i++) if (sub_[i] != "") print sub_[i] }
}' "$5/transactions.txt" >"$5/xids.txt" && sync "$5/transactions.txt" "$5/xids.txt" && grep -c "desc: COMMIT" "$5/transactions.txt" || [ $? = 1 ]`;

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
 * those transactions wrote, one JSON a line, for people to compare. Nothing is ever merged. Brings the server to a clean
 * shutdown on the way, as a rewind needs it.
 * @throws FulaError FULA_RECOVERY_STEP where not even the WAL can be kept, or the data do not recover
 */
export async function salvageTail(
  work: ReplicaWork,
  files: SiteSession,
  tail: DivergedTail,
  signal: AbortSignal,
): Promise<Salvage> {
  const { site, clock, log, node } = work.server;
  const whole = `${siteLayout(site).salvage(work.epoch.number)}/${work.session}`;
  const dir = `${whole}${UNFINISHED}`;
  const wal = await walOf(files, site.dataDir, tail);
  await runScript(files, `keep the WAL of ${site.where}`, COPY_WAL, [site.dataDir, dir, ...wal], { signal });
  const range = [String(tail.timeline), site.dataDir, formatLsn(tail.forkLsn), formatLsn(tail.endLsn)];
  const counted = await runScript(files, "read the WAL", LIST_TRANSACTIONS, [...range, dir], { signal });
  const transactions = Number(counted.trim() === "" ? "0" : counted.trim());
  let rows: number | null = null;
  let failure: string | null = null;
  try {
    await runSingleUser(work, files, transactions === 0 ? [] : [exportStatement(dir)], signal);
    rows = Number((await runScript(files, "count the rows", COUNT_ROWS, [dir])).trim());
  } catch (error) {
    signal.throwIfAborted();
    failure = messageOf(error);
  }
  const manifest = {
    node,
    epoch: { number: String(work.epoch.number), uuid: work.epoch.uuid },
    forkLsn: formatLsn(tail.forkLsn),
    endLsn: formatLsn(tail.endLsn),
    timeline: tail.timeline,
    wal,
    transactions,
    rows,
    failure,
    at: formatUtc(clock.nowMs()),
  };
  await writeSiteFile(files, `${dir}/manifest.json`, `${JSON.stringify(manifest, null, 2)}\n`);
  await runScript(files, `keep ${whole}`, 'mv "$1" "$2" && sync "${2%/*}"', [dir, whole]);
  log.info("recovery.salvaged", { dir: whole, transactions, rows, failure });
  return { dir: whole, transactions, rows, failure };
}

/** The segments of the tail, and the histories. */
async function walOf(files: SiteSession, dataDir: string, tail: DivergedTail): Promise<readonly string[]> {
  const [first, last] = [tail.forkLsn, tail.endLsn].map((lsn) => segmentOf(lsn, tail.segmentBytes));
  const listed = await runScript(files, "list the WAL", 'ls "$1/pg_wal"', [dataDir]);
  return listed.split("\n").filter((name) => {
    if (name.endsWith(".history")) return true;
    const file = parseWalFileName(name, tail.segmentBytes);
    return file !== null && first !== undefined && last !== undefined && file.segment >= first && file.segment <= last;
  });
}
