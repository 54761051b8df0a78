import type { Client } from "pg";
import { cutConnection } from "./cut-connection.ts";

/** What the server's notice of a wait that was given up comes from; the same in all versions, whatever the language. */
const WAIT = "SyncRepWaitForLSN";

/**
 * A call for the list of a statement that looks whether an earlier commit is there: the statement then commits itself, after
 * what it saw, and its answer comes only when the synchronous standbys have both. Without it, a look at the server proves
 * nothing: a commit whose wait was cancelled, or ended by a restart, is seen there and may be nowhere else.
 */
export const REPLICATED = "pg_logical_emit_message(true, 'fula-master', '')";

/**
 * Makes a connection fail whose commit was done without its synchronous standbys: the server says "done" and adds a notice
 * that it did not wait, because somebody cancelled the wait or ends the session. Whether the change outlives the server is not
 * known then, as where the connection is lost in the middle of a commit; so it is lost.
 */
export function failUnreplicatedCommits(client: Client): void {
  client.on("notice", ({ routine }) => {
    if (routine === WAIT) cutConnection(client, "a commit did not wait for its synchronous standbys");
  });
}
