import type { Clock } from "../../kernel/clock.ts";
import { FulaError, messageOf } from "../../kernel/errors.ts";
import type { Random } from "../../kernel/random.ts";
import { Secret } from "../../kernel/secret.ts";
import type { ConnectionTarget } from "../../postgres/pool.ts";
import { openSession } from "../../postgres/session.ts";
import type { SiteSession } from "../../runtime/postgres-site.ts";
import { runScript, writeSiteFile } from "../postgres/site-files.ts";
import { runConfFile, runSingleUser } from "./recover.ts";

/** A server on a data directory of its own, for the time that it is looked at. */
export interface ScratchServer {
  readonly session: SiteSession;
  readonly dataDir: string;
  readonly database: string;
  /** Where this process reaches what listens in the session. */
  readonly host: string;
  /** Free there. */
  readonly port: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
}

const ROLE = "fula_restore_check";
const PASSWORD_BYTES = 32;
const START_MS = 120_000;
const POLL_MS = 50;
/** Ends a server in order, and waits until it has. */
const STOP = `
pid=$(head -n 1 "$1/postmaster.pid") || exit 0
kill -INT "$pid" || exit 0
while kill -0 "$pid" 2>/dev/null && [ -e "$1/postmaster.pid" ]; do sleep 0.05; done`;

function settings({ dataDir, host, port }: ScratchServer): string {
  return [
    `hba_file = '${dataDir.replaceAll("'", "''")}.hba'`,
    `listen_addresses = '${host === "127.0.0.1" ? host : "*"}'`,
    `port = ${port}`,
    "unix_socket_directories = ''",
    "default_transaction_read_only = on",
    "archive_mode = off",
    "autovacuum = off",
    "logging_collector = off",
    "lc_messages = 'C'",
    "timezone = 'UTC'",
    "",
  ].join("\n");
}

/**
 * Starts a server that nobody can write to on a data directory that was recovered, and stops it in order afterwards. One
 * may log in with a password that is made for this alone; its role is gone when this returns.
 * @throws FulaError FULA_RECOVERY_STEP where it does not start; whatever `use` throws
 */
export async function withScratchServer<T>(
  server: ScratchServer,
  use: (target: ConnectionTarget) => Promise<T>,
): Promise<T> {
  const { session, dataDir, database, host, port, random } = server;
  const password = new Secret(Buffer.from(random.bytes(PASSWORD_BYTES)).toString("hex"));
  await runSingleUser(session, "make a role for the check", server, [
    `drop role if exists ${ROLE}`,
    `create role ${ROLE} superuser login password '${password.reveal()}'`,
  ]);
  await writeSiteFile(session, runConfFile(dataDir), settings(server));
  await writeSiteFile(session, `${dataDir}.hba`, `host "${database}" ${ROLE} all scram-sha-256\n`);
  try {
    return await runWhile(server, { host, port, database, user: ROLE, password }, use);
  } finally {
    await writeSiteFile(session, runConfFile(dataDir), "archive_mode = off\n");
    await runSingleUser(session, "remove the role of the check", server, [`drop role if exists ${ROLE}`]);
  }
}

async function runWhile<T>(
  server: ScratchServer,
  target: ConnectionTarget,
  use: (target: ConnectionTarget) => Promise<T>,
): Promise<T> {
  const { session, dataDir, signal } = server;
  const running = session.run("postgres", {
    args: ["-D", dataDir, "-c", `config_file=${runConfFile(dataDir)}`],
    signal,
  });
  let ended: string | null = null;
  const watched = running.then(
    ({ stderr }) => {
      ended = stderr;
    },
    (error: unknown) => {
      ended = messageOf(error);
    },
  );
  try {
    await waitUntilItAnswers(server, target, () => ended);
    return await use(target);
  } finally {
    await runScript(session, `stop the server on ${dataDir}`, STOP, [dataDir], { timeoutMs: START_MS });
    await watched;
  }
}

async function waitUntilItAnswers(
  server: ScratchServer,
  target: ConnectionTarget,
  ended: () => string | null,
): Promise<void> {
  const { clock, signal } = server;
  const deadlineMs = clock.monotonicMs() + START_MS;
  for (;;) {
    signal.throwIfAborted();
    const said = ended();
    if (said !== null) throw notStarted(server, said);
    try {
      await using _ = await openSession({ ...target, part: "restore-check", node: "scratch" }, clock);
      return;
    } catch (error) {
      if (clock.monotonicMs() >= deadlineMs) throw notStarted(server, messageOf(error));
    }
    await clock.sleep(POLL_MS, signal);
  }
}

function notStarted({ dataDir }: ScratchServer, said: string): FulaError {
  return new FulaError(
    "FULA_RECOVERY_STEP",
    `The server on the restored ${dataDir} does not run:\n${said.slice(-600)}`,
    {
      hint: "what was restored is not used; nothing that is in use was changed.",
    },
  );
}
