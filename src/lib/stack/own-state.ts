import { isFulaError } from "../kernel/errors.ts";
import type { LedgerEpochRecord } from "../membership/ledger-records.ts";
import { readEpochRows } from "../recovery/postgres/epoch-row.ts";
import { askOne, type LedgerServer } from "../recovery/postgres/ledger-server.ts";
import { runScript } from "../recovery/postgres/site-files.ts";
import type { OwnServerState } from "./agent-decision.ts";
import { announcedAddress } from "./own-postgres.ts";

// A word, so that an empty answer is never taken for one.
const IS_STANDBY = 'if [ -e "$1/standby.signal" ]; then echo standby; else echo primary; fi';

async function stoppedState({ site }: LedgerServer, signal: AbortSignal): Promise<OwnServerState> {
  await using files = await site.open(signal);
  const word = await runScript(files, `look at ${site.where}`, IS_STANDBY, [site.dataDir]);
  return { kind: "stopped", isStandby: word.trim() === "standby" };
}

/** The value of a keyword, as `renderConninfo` writes it or a person would. */
function keywordOf(conninfo: string, keyword: string): string | null {
  const match = new RegExp(`(?:^|\\s)${keyword}\\s*=\\s*(?:'([^']*)'|(\\S+))`).exec(conninfo);
  return match?.[1] ?? match?.[2] ?? null;
}

/** Whose log a standby asks for by its settings. */
export function followsBy(
  conninfo: string,
  { address }: Pick<LedgerEpochRecord, "address">,
): "primary" | "other" | "nobody" {
  if (conninfo === "") return "nobody";
  if (address === null) return "other";
  const { host, port } = announcedAddress(address);
  return keywordOf(conninfo, "host") === host && keywordOf(conninfo, "port") === String(port) ? "primary" : "other";
}

/**
 * Looks what this box's server is.
 * @throws FulaError FULA_RECOVERY_STEP, FULA_DOCKER_UNREACHABLE, FULA_DATABASE_LOGIN and others where that cannot be told
 */
export async function lookAtOwnServer(
  server: LedgerServer,
  epoch: Pick<LedgerEpochRecord, "address">,
  signal: AbortSignal,
): Promise<OwnServerState> {
  const state = await server.site.state();
  if (state === "absent") return { kind: "absent" };
  if (state === "stopped") return await stoppedState(server, signal);
  try {
    await using session = await server.connect();
    const { standby, conninfo } = await askOne<{ standby: boolean; conninfo: string | null }>(session, {
      name: "agent_role",
      text: "select pg_is_in_recovery() as standby, current_setting('primary_conninfo', true) as conninfo",
      values: [],
    });
    if (standby) return { kind: "standby", follows: followsBy(conninfo ?? "", epoch) };
    const [newest] = await readEpochRows(session);
    return {
      kind: "primary",
      newest: newest === undefined ? null : { number: Number(newest.number), uuid: newest.uuid },
    };
  } catch (error) {
    if (isFulaError(error, "FULA_DATABASE_UNREACHABLE")) return { kind: "silent" };
    throw error;
  }
}

/** Whether none of these standbys receives from this box's primary at the moment. @throws FulaError FULA_DATABASE_UNREACHABLE */
export async function isWithoutStandbys(server: LedgerServer, names: readonly string[]): Promise<boolean> {
  await using session = await server.connect();
  const { streaming } = await askOne<{ streaming: number }>(session, {
    name: "agent_streaming",
    text: `
      select count(*)::int as streaming from pg_stat_replication
       where application_name = any ($1) and state in ('catchup', 'streaming')`,
    values: [names],
  });
  return streaming === 0;
}
