import type { Client } from "pg";

/**
 * Ends a connection at once, without a word to the server: what runs on it fails as where the connection is lost, even if
 * its answer has arrived and only waits to be read.
 * @param why completes the error of whatever runs on it: "Connection terminated: …", which is known as a loss
 */
export function cutConnection({ connection }: Pick<Client, "connection">, why: string): void {
  connection.removeAllListeners("commandComplete");
  connection.removeAllListeners("readyForQuery");
  connection.emit("error", new Error(`Connection terminated: ${why}`));
  connection.stream.destroy();
}
